"""Who is in charge: the operator's grant, the evidence for it, and the rung of the ladder that follows.

Fast out, slow in. A person's choice always wins and may only be made safer by the program: a grant of `auto` runs as
`fallback` until the evidence has been clean for long enough, and drops back within a tick of a hard fault or three of
a soft one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

MODES = ("monitor", "shadow", "advise", "bounded", "auto", "fallback", "release", "emergency")
PUBLISHING = ("bounded", "auto", "fallback", "emergency")
POLICY_MODES = ("bounded", "auto")
WATCHING = ("shadow", "advise")

SOFT_TICKS = 3
# A policy whose answers come and go would have fans and water sent to the rules and back by each that is missing.
LAPSES_MAX, LAPSES_WITHIN_S = 3, 300.0
REARM_MAX_PER_H = 3
GATEWAY_LOST_S = 15.0
EMERGENCY_CLEAR_S = 60.0
# A plant that does not confirm is given back, asked again after a while, and after some times left alone.
UNCONFIRMED_MAX_S, ASK_AGAIN_S, ASK_AGAIN_MAX = 15.0, 300.0, 3
# Before the first lease counts, the gateway proves that the plant takes over in silence; nothing is confirmed meanwhile.
SETTLED_S, ARMING_MAX_S = 10.0, 90.0


class Evidence(NamedTuple):
    """What a tick knows about its right to be in charge."""

    hand: bool
    gateway_age_s: float
    ack_agrees: bool
    quorum: bool
    over_alarm: bool
    no_cooling: bool
    policy_ok: bool
    model_ok: bool
    overrun: bool
    heard: bool = True
    held: bool = True
    machine_lost: bool = False  # a chiller has fallen out in this tick
    rescue: bool = False  # the shield cools whatever anyone wishes: racks far above their limit, or machines short of the load


class ModeMachine:
    """Holds the grant and the effective mode; `step` moves along the declared graph only."""

    def __init__(self, granted: str, clean_s: float):
        if granted not in MODES:
            raise ValueError(f"unknown mode {granted!r}")
        self.granted = granted
        self.clean_needed_s = clean_s
        # A policy grant starts on the rule baseline; the policy has to earn it.
        self.mode = "fallback" if granted in POLICY_MODES else granted
        self.reason = "start"
        self.clean_s = 0.0
        self._soft = 0
        self._calm_s = 0.0
        self._rearms_s: list[float] = []
        self._lapses_s: list[float] = []
        self._unconfirmed_s = self._agreed_s = 0.0
        self._given_back_until_s, self._given_back = -float("inf"), 0
        self.latched = False

    def grant(self, mode: str, reason: str) -> None:
        """An operator's command; effective in this tick, with the policy's clean time starting anew."""
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}")
        self.granted, self.reason = mode, reason
        self.latched = False
        self._rearms_s.clear()
        self._unconfirmed_s = self._agreed_s = 0.0
        self._given_back_until_s, self._given_back = -float("inf"), 0
        keep = mode in POLICY_MODES and self.mode in POLICY_MODES
        if not keep:
            self.mode = "fallback" if mode in POLICY_MODES else mode
            self.clean_s = 0.0

    def memory(self) -> dict[str, Any]:
        """What only a person, or time, may clear, as JSON can carry it."""
        until_s = self._given_back_until_s
        return {
            "emergency": self.mode == "emergency",
            "latched": self.latched,
            "rearms_s": list(self._rearms_s),
            "given_back": self._given_back,
            "given_back_until_s": until_s if until_s > -float("inf") else None,
        }

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on from another machine's `memory`: no emergency, latch or refusal ends because a file was read anew."""
        if memory["emergency"] and self.granted in (*POLICY_MODES, "fallback"):
            self.mode, self.reason = "emergency", "as before the site file was read anew"
        self.latched, self._rearms_s = memory["latched"], list(memory["rearms_s"])
        self._given_back = memory["given_back"]
        until_s = memory["given_back_until_s"]
        self._given_back_until_s = -float("inf") if until_s is None else until_s

    def step(self, e: Evidence, now_s: float, dt_s: float) -> tuple[str, str]:
        """Effective mode of this tick and the event that caused it."""
        before = self.mode
        mode, reason = self._next(e, now_s, dt_s)
        if mode != before or mode == "release":  # what keeps it from publishing may change
            self.mode, self.reason = mode, reason
        return self.mode, self.reason

    def _next(self, e: Evidence, now_s: float, dt_s: float) -> tuple[str, str]:
        if self.granted not in (*POLICY_MODES, "fallback", "emergency"):
            return self.granted, self.reason
        if e.hand:
            self.clean_s = 0.0
            return "release", "the plant is in hand at the BMS"
        if not e.held:
            self.clean_s = 0.0
            return "release", "another controller holds the gateway"
        if not e.heard:
            return "release", "no telemetry heard yet"
        if e.gateway_age_s > GATEWAY_LOST_S:
            self.clean_s = 0.0
            return "release", "the gateway has been silent for 15 s"
        if self._gives_back(e, now_s, dt_s):
            self.clean_s = 0.0
            again = "an operator must grant anew" if self._given_back > ASK_AGAIN_MAX else "it is asked again in a while"
            return "release", f"the plant does not confirm the setpoints: {again}"
        if self.granted == "emergency":
            return "emergency", self.reason
        if e.over_alarm or e.no_cooling:
            self._calm_s = self.clean_s = 0.0
            return "emergency", "rack inlet above alarm" if e.over_alarm else "no machine carries the load"
        self._calm_s += dt_s
        if self.mode == "emergency" and self._calm_s < EMERGENCY_CLEAR_S:
            return "emergency", self.reason
        if self.granted == "fallback":
            return "fallback", "granted"
        return self._policy_rung(e, now_s, dt_s)

    def _gives_back(self, e: Evidence, now_s: float, dt_s: float) -> bool:
        """Whether the plant is left to itself because what is published is not confirmed; more of the same helps nobody."""
        if now_s < self._given_back_until_s or self._given_back > ASK_AGAIN_MAX:
            return True
        if self.mode not in PUBLISHING:
            self._unconfirmed_s = self._agreed_s = 0.0
        elif e.ack_agrees:
            self._unconfirmed_s, self._agreed_s = 0.0, self._agreed_s + dt_s
        else:
            self._unconfirmed_s += dt_s
        if self._unconfirmed_s < (UNCONFIRMED_MAX_S if self._agreed_s > SETTLED_S else ARMING_MAX_S):
            return False
        self._given_back_until_s = now_s + ASK_AGAIN_S
        self._given_back += 1
        return True

    def _policy_rung(self, e: Evidence, now_s: float, dt_s: float) -> tuple[str, str]:
        fault = self._fault(e)
        self._soft = self._soft + 1 if fault else 0
        self.clean_s = 0.0 if fault else self.clean_s + dt_s
        if self.mode in POLICY_MODES:
            if self._soft >= SOFT_TICKS or not e.model_ok or e.machine_lost or self._trial_failed(e) or self._lapsing(e, now_s):
                self._lapses_s.clear()
                self._rearms_s = [t for t in self._rearms_s if now_s - t < 3600.0] + [now_s]
                self.latched = len(self._rearms_s) > REARM_MAX_PER_H
                return "fallback", fault
            return self.granted, "granted"
        if self.latched:
            return "fallback", "demoted more than three times within an hour: an operator must clear it"
        if self.clean_s >= self.clean_needed_s:
            return self.granted, f"clean for {self.clean_needed_s:.0f} s"
        return "fallback", fault or "settling on the rule baseline"

    def _lapsing(self, e: Evidence, now_s: float) -> bool:
        """Whether the policy has been without an answer too often lately, one tick after another or not."""
        if e.policy_ok:
            return False
        self._lapses_s = [t for t in self._lapses_s if now_s - t < LAPSES_WITHIN_S] + [now_s]
        return len(self._lapses_s) >= LAPSES_MAX

    def _trial_failed(self, e: Evidence) -> bool:
        """Whether racks or water need more cooling than a policy on trial may ask for: the band would have to be left."""
        return self.granted == "bounded" and e.rescue

    def _fault(self, e: Evidence) -> str:
        """The first reason against the policy being in charge, or nothing."""
        checks = (
            (e.model_ok, "no admitted policy"),
            (e.quorum, "too few rack inlets are known"),
            (e.policy_ok, "the policy gave no usable proposal"),
            (e.gateway_age_s <= 5.0, "the gateway is silent"),
            (e.ack_agrees, "the plant does not confirm the setpoints"),
            (not e.overrun, "the control loop overran"),
            (not e.machine_lost, "a chiller has fallen out: the rules run with what is left"),
            (not self._trial_failed(e), "more cooling is needed than a policy on trial may ask for"),
        )
        return next((reason for ok, reason in checks if not ok), "")
