"""The schedule of a switchback: which arm every block has, drawn by lot before the test from seed and configuration.

Blocks of one clock hour on two neighbouring days are a pair: one has the policy, the other the rule baseline, and a lot
says which comes first. That matches wet bulb and IT load as well as can be done without looking at either, so the whole
schedule is known, and cannot be chosen, once the site file is written. Any change of the file is another schedule.
"""

from __future__ import annotations

import datetime
import hashlib
import zoneinfo
from typing import TYPE_CHECKING, NamedTuple

from coolctl.control.mode import POLICY_MODES

if TYPE_CHECKING:
    from coolctl.site import Site

ARMS = ("baseline", "ai")
DAY_S = 86400.0


class Assigned(NamedTuple):
    """A moment's place in the schedule; `block` -1 outside of it, where `arm` is -1 too (else 0 baseline, 1 policy)."""

    block: int = -1
    arm: int = -1

    @property
    def name(self) -> str:
        return ARMS[self.arm] if self.arm >= 0 else "none"


NOT_ASSIGNED = Assigned()


class Schedule(NamedTuple):
    """Pure: the same seed, hash and block always give the same arm."""

    seed: int
    config_hash: str
    start_s: float
    block_s: float
    blocks: int

    @property
    def per_day(self) -> int:
        return round(DAY_S / self.block_s)

    def block_at(self, clock_s: float) -> int:
        """Number of the block at `clock_s` [s of the clock that the schedule's start is given in]; -1 outside."""
        index = (clock_s - self.start_s) // self.block_s if clock_s == clock_s else -1.0
        return int(index) if 0.0 <= index < self.blocks else -1

    def pair_of(self, block: int) -> int:
        """Number of the pair that a block belongs to."""
        day, slot = divmod(block, self.per_day)
        return day // 2 * self.per_day + slot

    def arm_of(self, block: int) -> int:
        """1 = policy, 0 = baseline."""
        text = f"{self.seed} {self.config_hash} {self.pair_of(block)}"
        first = hashlib.sha256(text.encode()).digest()[0] & 1
        return first ^ (block // self.per_day & 1)

    def at(self, clock_s: float) -> Assigned:
        """The block of a moment and its arm."""
        block = self.block_at(clock_s)
        return Assigned(block, self.arm_of(block)) if block >= 0 else NOT_ASSIGNED

    def begins_s(self, block: int) -> float:
        return self.start_s + block * self.block_s


def schedule_of(site: Site) -> Schedule | None:
    """The schedule that a site file registers; None where it registers none."""
    t, s = site.file.switchback, site.file.site
    if not t.enabled:
        return None
    block_s = 3600.0 * t.block_h
    return Schedule(t.seed, site.config_hash, start_s(t.start, s.timezone, s.simulated), block_s, round(t.days * DAY_S / block_s))


def start_s(date: str, timezone: str, simulated: bool) -> float:
    """First moment of a test: midnight in the site's zone [s since 1970], or nought of a simulated plant's own clock."""
    if simulated or not date:
        return 0.0
    day = datetime.date.fromisoformat(date)
    return datetime.datetime(day.year, day.month, day.day, tzinfo=zoneinfo.ZoneInfo(timezone)).timestamp()


class Switchback:
    """What the daemon asks each tick: where in the schedule it is, and how far a grant may reach there."""

    def __init__(self, site: Site):
        self._schedule, self._simulated = schedule_of(site), site.file.site.simulated

    def clock_s(self, now_s: float, unix_s: float) -> float:
        """The clock that blocks are cut by: the wall's, so that a restart finds its block again, or a simulated plant's."""
        return now_s if self._simulated else unix_s

    def at(self, clock_s: float) -> Assigned:
        """Place in the schedule."""
        return self._schedule.at(clock_s) if self._schedule else NOT_ASSIGNED

    def ceiling(self, reaches: str, assigned: Assigned) -> tuple[str, str]:
        """The mode that is left of `reaches`, never a higher one, and why where it is another."""
        if assigned.arm == 0 and reaches in POLICY_MODES:
            return "fallback", f"block {assigned.block} of the switchback has the rule baseline"
        return reaches, ""
