"""Proof that silence gives the plant its own control back: asked for before the first lease counts, watched ever after.

A fallback that is never used is taken for broken. After a start the gateway passes a lease on until the BMS says that it
follows, then falls silent for longer than the BMS's patience, and looks: the BMS must say that it has let go, and what
was running must still run. Only then is a lease passed on for good. A lease that ends later is such a proof again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

LEAD_MAX_S = 15.0  # for the BMS to say that it follows
GRACE_S = 8.0  # for units that coast to a stop once the BMS has let go
HEARD_S = 5.0  # older words of the BMS say nothing of now
SILENT_MAX_S = 60.0
STILL_RUNS_RATIO = 0.5  # of its speed before; less is a unit that was switched off
NEEDED, LEAD, SILENT, PASSED, FAILED = "needed", "leading", "silent", "passed", "failed"


class Seen(NamedTuple):
    """What the BMS says: following (1) or not (0), and per unit how fast it runs."""

    at_s: float
    remote: float
    units: Mapping[str, float]


class ProofTest:
    """One gateway's proof; every method is told the gateway's own clock."""

    def __init__(self, bms_ttl_s: float):
        self._wait_s = bms_ttl_s + GRACE_S
        self.state, self.reason = NEEDED, ""
        self.proven_s = -math.inf
        self._since_s = -math.inf
        self._seen = Seen(-math.inf, math.nan, {})
        self._before: Mapping[str, float] = {}
        self._let_go_s = math.nan

    def see(self, seen: Seen) -> None:
        """The newest words of the BMS."""
        self._seen = seen

    def refusal(self) -> str:
        """Why no lease may be passed on now; empty while one may."""
        if self.state == FAILED:
            return "proof_failed"
        return "proof" if self.state == SILENT else ""

    def accepted(self, now_s: float) -> None:
        """A lease is passed on."""
        if self.state == NEEDED:
            self.state, self._since_s = LEAD, now_s

    def tick(self, now_s: float, leased: bool) -> bool:
        """Advance; True where the gateway must fall silent now."""
        heard = 0.0 <= now_s - self._seen.at_s <= HEARD_S
        follows = heard and self._seen.remote > 0.5
        waited_s = now_s - self._since_s
        if self.state == LEAD:
            if follows and self._seen.at_s > self._since_s:
                self.state, self._since_s, self._before = SILENT, now_s, dict(self._seen.units)
                return True
            if not leased:
                self.state = NEEDED  # the controller went, or a person took the plant: nothing was shown either way
            elif waited_s > LEAD_MAX_S:
                return self._fail("the BMS does not say that it follows a lease")
        elif self.state == SILENT and waited_s >= self._wait_s:
            if heard:
                return self._judge(follows, now_s)
            if waited_s > SILENT_MAX_S:
                return self._fail("nothing is heard from the BMS")
        elif self.state == PASSED:
            self._watch(now_s, leased, heard, follows)
        return False

    def _judge(self, follows: bool, now_s: float) -> bool:
        if follows:
            return self._fail("the BMS follows on although the gateway is silent")
        for unit, was in self._before.items():
            if was > 0.0 and self._seen.units.get(unit, was) < STILL_RUNS_RATIO * was:
                return self._fail(f"{unit} stops when the gateway is silent")
        self.state, self.reason, self.proven_s, self._let_go_s = PASSED, "", now_s, math.nan
        return False

    def _watch(self, now_s: float, leased: bool, heard: bool, follows: bool) -> None:
        """The end of every later lease is a proof again, or a failure."""
        if leased:
            self._let_go_s = math.nan
        elif self._let_go_s != self._let_go_s:
            self._let_go_s = now_s
        elif heard and not follows:
            self.proven_s = now_s
        elif heard and now_s - self._let_go_s > self._wait_s:
            self._fail("the BMS follows on although the lease has ended")

    def _fail(self, reason: str) -> bool:
        self.state, self.reason = FAILED, reason
        return True
