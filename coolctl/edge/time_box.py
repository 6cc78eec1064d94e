"""A policy that is late: the tick goes on without it.

Inference runs on a thread of its own; the tick waits for it until the deadline and not longer. What comes later is thrown
away, and until it has come nothing new is asked, so that a network which hangs costs one wait and then none. Late answers are
the tick's business like any that fail: three in a row put the rules in charge, and they stay until the answers have been in
time for five minutes; a fourth time within an hour only a person brings the policy back (`control/mode.py`).
"""

from __future__ import annotations

import queue
import threading
from typing import Protocol

from coolctl.control.policy import F32
from coolctl.errors import ModelError

DEADLINE_S = 0.1


class Late(Exception):
    """There is no answer in time."""


class Stoppable(Protocol):
    """A policy whose inference can be asked to end."""

    model_hash: str

    def infer(self, features: F32) -> F32: ...

    def give_up(self) -> None: ...


class TimeBox:
    """A policy in which `infer` raises `Late` after `deadline_s` [s] at most. Raises `ModelError` without a thread."""

    def __init__(self, policy: Stoppable, deadline_s: float = DEADLINE_S):
        self.model_hash = policy.model_hash
        self.late = 0
        self._policy, self._deadline_s = policy, deadline_s
        self._asked: queue.SimpleQueue[F32] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[F32 | BaseException] = queue.SimpleQueue()
        self._waiting = False
        try:
            # A daemon thread: a network that hangs must not keep the process from ending.
            threading.Thread(target=self._work, name="policy", daemon=True).start()
        except RuntimeError as error:
            raise ModelError(f"policy: no thread to run it on: {error}") from error

    def _work(self) -> None:
        while True:
            features = self._asked.get()
            try:
                self._answers.put(self._policy.infer(features))
            except BaseException as error:  # raised again where it was asked
                self._answers.put(error)

    def infer(self, features: F32) -> F32:
        """Network outputs for rows of features, in time."""
        if self._waiting and not self._has_come():
            self.late += 1
            raise Late("the answer before this one has not come yet")
        self._asked.put(features)
        try:
            answer = self._answers.get(timeout=self._deadline_s)
        except queue.Empty:
            self._waiting = True
            self.late += 1
            self._policy.give_up()
            raise Late(f"no answer within {self._deadline_s:g} s") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _has_come(self) -> bool:
        """Throw the late answer away, if it has come by now."""
        try:
            self._answers.get_nowait()
        except queue.Empty:
            return False
        self._waiting = False
        return True
