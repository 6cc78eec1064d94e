"""Sensors that may not be believed: one that jumps, one that has frozen, a rack that reads colder than its neighbours say.

What is doubted is not measured: its value is taken out before anything else sees it. A rack in doubt still counts as hot
as its neighbours make it, so that doubt never makes the hall warmer. A rack that reads too WARM is believed: it may be
true, and then it matters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.points import ROLES, PointTable, Snapshot

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# A temperature may move this far from one believed sample to the next, and so much more for each second between them.
JUMP_K, JUMP_K_PER_S, AGREE_K, AGREEING = 3.0, 0.25, 1.5, 3
# No step beyond this is believed, however long it holds: another unit, another sensor. Silence makes a new beginning.
STEP_MAX_K, FORGOTTEN_S = 12.0, 600.0
# Frozen: the same to the last bit for this long, and for many times longer than it ever was while it moved.
FROZEN_S, FROZEN_TIMES, MOVES_MIN = 900.0, 5.0, 50
# A rack against its hall's median, less what it usually differs by.
LOW_K, LOW_S, WELL_K, WELL_S, ALIKE_K = 2.0, 120.0, 1.0, 600.0, 0.6
RACKS_MIN, KNOWN_S, TAU_MIN_S, TAU_MAX_S = 6, 1800.0, 300.0, 24.0 * 3600.0

NOT, JUMPS, FROZEN, LOW, ELSEWHERE = range(5)
REASONS = ("", "jumps", "has frozen", "reads colder than its neighbours say", "is where it cannot have come to: another unit?")


class Doubt(NamedTuple):
    """A point by its position in the table, and why it is not believed."""

    i: int
    reason: str


class Health:
    """Follows every temperature and IT power meter of a site; `assess` every tick."""

    def __init__(self, table: PointTable, halls: tuple[str, ...]):
        measured = [i for i, p in enumerate(table.points) if not ROLES[p.role].writable]
        self._temps: I64 = np.array([i for i in measured if ROLES[table.points[i].role].suffix == "c"], dtype=np.int64)
        watched = [i for i in measured if ROLES[table.points[i].role].suffix == "c" or table.points[i].role == "it_power"]
        self._watched: I64 = np.array(watched, dtype=np.int64)
        self._racks = [table.by_role("rack_inlet", hall) for hall in halls]
        n = len(table)
        self.doubt = np.zeros(n, dtype=np.int8)
        self._believed, self._believed_s, self._heard_s = np.full(n, np.nan), np.full(n, -np.inf), np.full(n, -np.inf)
        self._candidate, self._agreed = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
        self._before, self._same_s = np.full(n, np.nan), np.zeros(n)
        self._longest_s, self._moves = np.zeros(n), np.zeros(n, dtype=np.int64)
        self._usual_k, self._known_s = np.zeros(n), np.zeros(n)
        self._low_s, self._well_s = np.zeros(n), np.zeros(n)
        self._last_s = np.nan
        self.virtual_c = np.full(len(halls), np.nan)

    def assess(self, snap: Snapshot) -> Snapshot:
        """The snapshot without what is doubted; `virtual_c` then has the hottest rack that its neighbours stand in for."""
        since_s = snap.now_s - self._last_s
        dt_s = min(max(since_s, 0.0), 60.0) if since_s == since_s else 0.0
        self._last_s = snap.now_s
        value = np.where(np.isfinite(snap.value), snap.value, np.nan)
        self.doubt[:] = NOT
        self._frozen(value, dt_s)
        self._jumps(value, snap.now_s)
        for h, racks in enumerate(self._racks):
            self.virtual_c[h] = self._neighbours(value, racks, dt_s)
        return snap._replace(value=np.where(self.doubt != NOT, np.nan, value))

    def warned(self, est: Estimate) -> Estimate:
        """The estimate with the racks in doubt as hot as their neighbours make them."""
        if not np.isfinite(self.virtual_c).any():
            return est
        hottest = np.fmax(est.inlet_max_c, self.virtual_c)
        return est._replace(inlet_max_c=hottest, hottest_c=float(np.fmax.reduce([est.hottest_c, *hottest])))

    def doubts(self) -> list[Doubt]:
        """What is not believed now."""
        return [Doubt(int(i), REASONS[self.doubt[i]]) for i in np.flatnonzero(self.doubt)]

    def _frozen(self, value: F64, dt_s: float) -> None:
        i = self._watched
        now, before = value[i], self._before[i]
        same = now == before
        known = now == now
        moved = known & ~same & (before == before)
        over = (self._same_s[i] > FROZEN_S) & (self._moves[i] >= MOVES_MIN)
        ended = np.where(moved & ~over, self._same_s[i], 0.0)  # a pause that was taken for frozen teaches nothing
        self._longest_s[i] = np.maximum(self._longest_s[i], ended)
        self._moves[i] += moved
        self._same_s[i] = np.where(same, self._same_s[i] + dt_s, np.where(known, 0.0, self._same_s[i]))
        self._before[i] = np.where(known, now, before)
        frozen = (self._moves[i] >= MOVES_MIN) & (self._same_s[i] > np.maximum(FROZEN_S, FROZEN_TIMES * self._longest_s[i]))
        self.doubt[i[frozen & known]] = FROZEN

    def _jumps(self, value: F64, now_s: float) -> None:
        i = self._temps
        now = value[i]
        known = now == now
        believed = np.where(now_s - self._heard_s[i] > FORGOTTEN_S, np.nan, self._believed[i])
        self._heard_s[i] = np.where(known, now_s, self._heard_s[i])
        step_k = np.abs(now - believed)
        allowed_k = np.minimum(JUMP_K + JUMP_K_PER_S * np.maximum(now_s - self._believed_s[i], 0.0), STEP_MAX_K)
        jumps = known & (believed == believed) & ~(step_k <= allowed_k)
        elsewhere = jumps & (step_k > STEP_MAX_K)
        # A level that holds is a true step, however large: three samples that agree are believed.
        agrees = jumps & (np.abs(now - self._candidate[i]) <= AGREE_K)
        self._agreed[i] = np.where(jumps, np.where(agrees, self._agreed[i] + 1, 1), 0)
        self._candidate[i] = np.where(jumps, now, np.nan)
        jumps &= (self._agreed[i] < AGREEING) | elsewhere
        take = known & ~jumps
        self._believed[i] = np.where(take, now, believed)
        self._believed_s[i] = np.where(take, now_s, self._believed_s[i])
        self.doubt[i[jumps]] = JUMPS
        self.doubt[i[elsewhere & (self._agreed[i] >= AGREEING)]] = ELSEWHERE

    def _neighbours(self, value: F64, racks: I64, dt_s: float) -> float:
        """Doubt racks that read too cold; returns the hottest that a doubted one would be by its neighbours [°C]."""
        good = racks[(self.doubt[racks] == NOT) & (value[racks] == value[racks])]
        if len(good) < RACKS_MIN:
            return float("nan")
        median_c = float(np.median(value[good]))
        off_k = value[racks] - median_c - self._usual_k[racks]
        judged = self._known_s[racks] >= KNOWN_S
        usable = (self.doubt[racks] == NOT) & (off_k == off_k)
        alike = float(np.median(np.abs(off_k[usable]))) < ALIKE_K
        low = usable & judged & alike & (off_k < -LOW_K)
        well = usable & (off_k > -WELL_K)
        was_low = self._low_s[racks] >= LOW_S
        self._well_s[racks] = np.where(well, self._well_s[racks] + dt_s, 0.0)
        stays = was_low & (self._well_s[racks] < WELL_S)
        self._low_s[racks] = np.where(low | stays, self._low_s[racks] + dt_s, 0.0)
        doubted = usable & (self._low_s[racks] >= LOW_S)
        self.doubt[racks[doubted]] = LOW
        self._learn(racks, off_k, usable & ~doubted & ~low, dt_s)
        stand_in = racks[(self.doubt[racks] != NOT) & judged]
        return median_c + float(self._usual_k[stand_in].max()) if len(stand_in) else float("nan")

    def _learn(self, racks: I64, off_k: F64, believed: NDArray[np.bool_], dt_s: float) -> None:
        """What a rack usually differs by: quickly at first, then over a day, so that a slow drift stands out."""
        i = racks[believed]
        self._known_s[i] += dt_s
        tau_s = np.clip(2.0 * self._known_s[i], TAU_MIN_S, TAU_MAX_S)
        self._usual_k[i] += np.minimum(dt_s / tau_s, 1.0) * off_k[believed]
