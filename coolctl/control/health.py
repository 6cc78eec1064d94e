"""Sensors that may not be believed: one that jumps, one that has frozen, a rack that reads colder than its neighbours say,
an IT power meter that reads far less than the heat in the air (heat.py).

What is doubted is not measured: its value is taken out before anything else sees it. A rack in doubt still counts as hot
as its neighbours make it, so that doubt never makes the hall warmer. A rack that reads too WARM is believed: it may be
true, and then it matters.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.control.heat import HeatWitness
from coolctl.jit import kernel
from coolctl.points import ROLES, PointTable, Snapshot

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# A temperature may move this far from one believed sample to the next, and so much more for each second between them.
JUMP_K, JUMP_K_PER_S, AGREE_K, AGREEING = 3.0, 0.25, 1.5, 3
# No step beyond this is believed, however long it holds: another unit, another sensor. But a rack that has become so warm
# is, and silence makes a new beginning: who knows what happened meanwhile.
STEP_MAX_K, FORGOTTEN_S = 12.0, 60.0
# Frozen: the same to the last bit for this long, and for many times longer than it ever was while it moved.
FROZEN_S, FROZEN_TIMES, MOVES_MIN = 840.0, 5.0, 50
# A rack against its hall's median, less what it usually differs by.
LOW_K, LOW_S, WELL_K, WELL_S, ALIKE_K = 2.0, 120.0, 1.0, 600.0, 0.6
COMPARE_EVERY_S = 5.0  # while nothing is in doubt
RACKS_MIN, KNOWN_S, TAU_MIN_S, TAU_MAX_S = 6, 1800.0, 300.0, 24.0 * 3600.0

NOT, JUMPS, FROZEN, LOW, ELSEWHERE, LIGHT = range(6)
REASONS = (
    "", "jumps", "has frozen", "reads colder than its neighbours say", "is where it cannot have come to: another unit?",
    "reads far less than the heat that the air carries",
)  # fmt: skip


class Doubt(NamedTuple):
    """A point by its position in the table, and why it is not believed."""

    i: int
    reason: str


@kernel
def find_frozen(value: F64, watched, before: F64, same_s: F64, longest_s: F64, moves: I64, doubt, dt_s: float) -> None:  # type: ignore[no-untyped-def]
    """Doubt what has stood still to the last bit for much longer than it ever did while it moved."""
    for i in range(value.shape[0]):
        if not watched[i] or math.isnan(value[i]):
            continue
        if value[i] == before[i]:
            same_s[i] += dt_s
        else:
            if not math.isnan(before[i]):
                # A pause that was taken for frozen teaches nothing.
                if not (same_s[i] > FROZEN_S and moves[i] >= MOVES_MIN):
                    longest_s[i] = max(longest_s[i], same_s[i])
                moves[i] += 1
            same_s[i] = 0.0
        before[i] = value[i]
        if same_s[i] > FROZEN_S and moves[i] >= MOVES_MIN and same_s[i] > FROZEN_TIMES * longest_s[i]:
            doubt[i] = FROZEN


@kernel
def find_jumps(
    value: F64, temps, is_rack, believed: F64, believed_s: F64, heard_s: F64, candidate: F64, agreed: I64, doubt,  # type: ignore[no-untyped-def]
    now_s: float,
) -> None:  # fmt: skip
    """Doubt temperatures that are further from what was last believed than they can have come."""
    for i in range(value.shape[0]):
        if now_s - heard_s[i] > FORGOTTEN_S:
            believed[i] = math.nan
        if not temps[i] or math.isnan(value[i]):
            agreed[i], candidate[i] = 0, math.nan
            continue
        heard_s[i] = now_s
        step_k = abs(value[i] - believed[i])
        allowed_k = min(JUMP_K + JUMP_K_PER_S * max(now_s - believed_s[i], 0.0), STEP_MAX_K)
        if step_k > allowed_k:  # nothing is believed yet: no jump
            # A level that holds is a true step, if it is not too far: three samples that agree are believed.
            agreed[i] = agreed[i] + 1 if abs(value[i] - candidate[i]) <= AGREE_K else 1
            candidate[i] = value[i]
            held = agreed[i] >= AGREEING
            elsewhere = step_k > STEP_MAX_K and not (is_rack[i] and value[i] > believed[i])
            if elsewhere or not held:
                doubt[i] = ELSEWHERE if elsewhere and held else JUMPS
                continue
        else:
            agreed[i], candidate[i] = 0, math.nan
        believed[i], believed_s[i] = value[i], now_s


class Health:
    """Follows every temperature and IT power meter of a site; `assess` every tick."""

    def __init__(self, table: PointTable, halls: tuple[str, ...], params: F64 | None = None):
        suffix = [ROLES[p.role].suffix if not ROLES[p.role].writable else "" for p in table.points]
        self._temps = np.array([s == "c" for s in suffix])
        self._watched = self._temps | np.array([p.role == "it_power" for p in table.points])
        self._is_rack = np.array([p.role == "rack_inlet" for p in table.points])
        self._racks = [_run(table.by_role("rack_inlet", hall)) for hall in halls]
        n = len(table)
        self.doubt = np.zeros(n, dtype=np.int8)
        self._believed, self._believed_s, self._heard_s = np.full(n, np.nan), np.full(n, -np.inf), np.full(n, -np.inf)
        self._candidate, self._agreed = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
        self._before, self._same_s = np.full(n, np.nan), np.zeros(n)
        self._longest_s, self._moves = np.zeros(n), np.zeros(n, dtype=np.int64)
        self._usual_k, self._known_s = np.zeros(n), np.zeros(n)
        self._low_s, self._well_s = np.zeros(n), np.zeros(n)
        self._last_s, self._compared_s, self._low = np.nan, -np.inf, False
        self.virtual_c = np.full(len(halls), np.nan)
        self._heat = HeatWitness(table, halls, params) if params is not None else None

    def assess(self, snap: Snapshot) -> Snapshot:
        """The snapshot without what is doubted; `virtual_c` then has the hottest rack that its neighbours stand in for."""
        since_s = snap.now_s - self._last_s
        dt_s = min(max(since_s, 0.0), 60.0) if since_s == since_s else 0.0
        self._last_s = snap.now_s
        value = np.where(np.isfinite(snap.value), snap.value, np.nan)
        self.doubt[:] = NOT
        if self._heat is not None:
            self._heat.hear(snap)
            for k in np.flatnonzero(self._heat.doubted):
                self.doubt[self._heat.meters[k]] = LIGHT
        find_frozen(value, self._watched, self._before, self._same_s, self._longest_s, self._moves, self.doubt, dt_s)
        find_jumps(
            value, self._temps, self._is_rack, self._believed, self._believed_s, self._heard_s, self._candidate,
            self._agreed, self.doubt, snap.now_s,
        )  # fmt: skip
        waited_s = snap.now_s - self._compared_s
        if not 0.0 <= waited_s < COMPARE_EVERY_S or self.doubt.any() or self._low:
            self._compared_s = snap.now_s
            waited_s = min(max(waited_s, 0.0), 60.0)
            for h, racks in enumerate(self._racks):
                self.virtual_c[h] = self._neighbours(value, racks, waited_s)
            self._low = bool(self._low_s.any())
        return snap._replace(value=np.where(self.doubt != NOT, np.nan, value) if self.doubt.any() else value)

    def warned(self, est: Estimate, snap: Snapshot) -> Estimate:
        """The estimate with racks in doubt as hot as their neighbours make them, and doubted IT power as large as its heat."""
        if self._heat is not None:
            est = self._heat.judge(est, snap)
        if not np.isfinite(self.virtual_c).any():
            return est
        hottest = np.fmax(est.inlet_max_c, self.virtual_c)
        return est._replace(inlet_max_c=hottest, hottest_c=float(np.fmax.reduce([est.hottest_c, *hottest])))

    def doubts(self) -> list[Doubt]:
        """What is not believed now."""
        return [Doubt(int(i), REASONS[self.doubt[i]]) for i in np.flatnonzero(self.doubt)]

    def _neighbours(self, value: F64, racks: slice | I64, dt_s: float) -> float:
        """Doubt racks that read too cold; returns the hottest that a doubted one would be by its neighbours [°C]."""
        inlet_c, doubt = value[racks], self.doubt[racks]
        good = (doubt == NOT) & (inlet_c == inlet_c)
        if np.count_nonzero(good) < RACKS_MIN:
            # Too few to judge by; what was found before still stands.
            self.doubt[racks] = np.where(good & (self._low_s[racks] >= LOW_S), LOW, doubt)
            return float("nan")
        median_c = float(np.median(inlet_c[good]))
        off_k = inlet_c - median_c - self._usual_k[racks]
        judged = self._known_s[racks] >= KNOWN_S
        low = good & judged & (off_k < -LOW_K)
        was_low = self._low_s[racks] >= LOW_S
        if low.any():
            low &= float(np.median(np.abs(off_k[good]))) < ALIKE_K
        if low.any() or was_low.any():
            self._well_s[racks] = np.where(good & (off_k > -WELL_K), self._well_s[racks] + dt_s, 0.0)
            stays = was_low & (self._well_s[racks] < WELL_S)
            self._low_s[racks] = np.where(low | stays, self._low_s[racks] + dt_s, 0.0)
            doubted = good & (self._low_s[racks] >= LOW_S)
            self.doubt[racks] = doubt = np.where(doubted, LOW, doubt)
        else:
            self._low_s[racks] = 0.0
        self._learn(racks, off_k, good & (doubt == NOT) & ~low, dt_s)
        stand_in = doubt != NOT
        return median_c + float(self._usual_k[racks][stand_in].max()) if stand_in.any() else float("nan")

    def _learn(self, racks: slice | I64, off_k: F64, believed: NDArray[np.bool_], dt_s: float) -> None:
        """What a rack usually differs by: quickly at first, then over a day, so that a slow drift stands out."""
        known_s = self._known_s[racks] + dt_s * believed
        share = np.minimum(dt_s / np.clip(2.0 * known_s, TAU_MIN_S, TAU_MAX_S), 1.0)
        self._known_s[racks] = known_s
        self._usual_k[racks] = np.where(believed, self._usual_k[racks] + share * off_k, self._usual_k[racks])


def _run(i: I64) -> slice | I64:
    """The positions as a slice where they follow each other: no copies then."""
    return slice(int(i[0]), int(i[-1]) + 1) if len(i) and (np.diff(i) == 1).all() else i
