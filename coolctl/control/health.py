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

from coolctl.control.estimate import Estimate, only_numbers
from coolctl.control.heat import HeatWitness
from coolctl.control.sums import Groups
from coolctl.jit import kernel
from coolctl.points import ROLES, PointTable, Snapshot

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I8 = NDArray[np.int8]
BOOLS = NDArray[np.bool_]

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


@kernel
def any_finite(x: F64) -> bool:
    """Whether any entry is a number."""
    return bool(np.isfinite(x).any())


@kernel
def sift(
    value: F64, watched: BOOLS, temps: BOOLS, is_rack: BOOLS, doubt: I8, before: F64, same_s: F64, longest_s: F64,
    moves: I64, believed: F64, believed_s: F64, heard_s: F64, candidate: F64, agreed: I64, now_s: float, dt_s: float,
) -> bool:  # fmt: skip
    """Doubt what each point's own past speaks against, and take infinities out of `value`; whether any point is in doubt."""
    only_numbers(value)
    find_frozen(value, watched, before, same_s, longest_s, moves, doubt, dt_s)
    find_jumps(value, temps, is_rack, believed, believed_s, heard_s, candidate, agreed, doubt, now_s)
    return bool(doubt.any())


@kernel
def median_at(x: F64, counts: BOOLS, scratch: F64) -> float:
    """Median of the entries of `x` that count; there is one at least."""
    n = 0
    for k in range(x.shape[0]):
        if counts[k]:
            scratch[n] = x[k]
            n += 1
    return float(np.median(scratch[:n]))


@kernel
def find_low(
    off_k: F64, good: BOOLS, known_s: F64, low_s: F64, well_s: F64, low: BOOLS, scratch: F64, dt_s: float
) -> None:  # fmt: skip
    """Mark racks of one hall that read too `low` now, and for how long: `off_k` [K] are they above what is usual for them
    beside the hall's median. `low_s`, `well_s` [s] are held from call to call."""
    any_low, any_before = False, False
    for k in range(off_k.shape[0]):
        low[k] = good[k] and known_s[k] >= KNOWN_S and off_k[k] < -LOW_K
        any_low = any_low or low[k]
        any_before = any_before or low_s[k] >= LOW_S
    if any_low:
        # Where all have moved apart, no single one stands out.
        any_low = median_at(np.abs(off_k), good, scratch) < ALIKE_K
        if not any_low:
            low[:] = False
    for k in range(off_k.shape[0]):
        if not (any_low or any_before):
            low_s[k] = 0.0
            continue
        well_s[k] = well_s[k] + dt_s if good[k] and off_k[k] > -WELL_K else 0.0
        stays = low_s[k] >= LOW_S and well_s[k] < WELL_S
        low_s[k] = low_s[k] + dt_s if low[k] or stays else 0.0


@kernel
def learn_usual(off_k: F64, believed: BOOLS, known_s: F64, usual_k: F64, dt_s: float) -> None:
    """What a rack usually differs by [K]: quickly at first, then over a day, so that a slow drift stands out."""
    for k in range(off_k.shape[0]):
        if believed[k]:
            known_s[k] += dt_s
            usual_k[k] += min(dt_s / min(max(2.0 * known_s[k], TAU_MIN_S), TAU_MAX_S), 1.0) * off_k[k]


@kernel
def compare_hall(inlet_c: F64, doubt: I8, usual_k: F64, known_s: F64, low_s: F64, well_s: F64, dt_s: float) -> float:
    """Doubt racks of one hall that read too cold; the hottest that a doubted one would be by its neighbours [°C], NaN where
    there is none."""
    count = inlet_c.shape[0]
    good, low, scratch = (doubt == NOT) & (inlet_c == inlet_c), np.zeros(count, dtype=np.bool_), np.empty(count)
    if good.sum() < RACKS_MIN:
        # Too few to judge by; what was found before still stands.
        for k in range(count):
            if good[k] and low_s[k] >= LOW_S:
                doubt[k] = LOW
        return math.nan
    median_c = median_at(inlet_c, good, scratch)
    off_k = inlet_c - median_c - usual_k
    find_low(off_k, good, known_s, low_s, well_s, low, scratch, dt_s)
    for k in range(count):
        if good[k] and low_s[k] >= LOW_S:
            doubt[k] = LOW
    learn_usual(off_k, good & (doubt == NOT) & ~low, known_s, usual_k, dt_s)
    stand_in_k = math.nan
    for k in range(count):
        if doubt[k] != NOT and not usual_k[k] <= stand_in_k:
            stand_in_k = usual_k[k]
    return median_c + stand_in_k


@kernel
def compare_racks(
    value: F64, at: I64, start: I64, doubt: I8, usual_k: F64, known_s: F64, low_s: F64, well_s: F64, dt_s: float, virtual_c: F64
) -> bool:
    """Compare the racks of every hall with each other; `at` are their points, the rest of what is known of racks is in their
    order. `virtual_c` [°C] has what stands in for those in doubt; whether any rack is or was too low."""
    for h in range(virtual_c.shape[0]):
        a, b = start[h], start[h + 1]
        hall_doubt = doubt[at[a:b]]
        virtual_c[h] = compare_hall(value[at[a:b]], hall_doubt, usual_k[a:b], known_s[a:b], low_s[a:b], well_s[a:b], dt_s)
        for k in range(a, b):
            doubt[at[k]] = hall_doubt[k - a]
    return bool(low_s.any())


class Health:
    """Follows every temperature and IT power meter of a site; `assess` every tick."""

    def __init__(self, table: PointTable, halls: tuple[str, ...], params: F64 | None = None):
        suffix = [ROLES[p.role].suffix if not ROLES[p.role].writable else "" for p in table.points]
        self._temps = np.array([s == "c" for s in suffix], dtype=np.bool_)
        self._watched = self._temps | np.array([p.role == "it_power" for p in table.points], dtype=np.bool_)
        self._is_rack = np.array([p.role == "rack_inlet" for p in table.points], dtype=np.bool_)
        self._racks = Groups([table.by_role("rack_inlet", hall) for hall in halls])
        n, racks = len(table), len(self._racks.at)
        self.doubt = np.zeros(n, dtype=np.int8)
        self._believed, self._believed_s, self._heard_s = np.full(n, np.nan), np.full(n, -np.inf), np.full(n, -np.inf)
        self._candidate, self._agreed = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
        self._before, self._same_s = np.full(n, np.nan), np.zeros(n)
        self._longest_s, self._moves = np.zeros(n), np.zeros(n, dtype=np.int64)
        self._usual_k, self._known_s = np.zeros(racks), np.zeros(racks)
        self._low_s, self._well_s = np.zeros(racks), np.zeros(racks)
        self._last_s, self._compared_s, self._low, self._doubting = np.nan, -np.inf, False, False
        self.virtual_c = np.full(len(halls), np.nan)
        self._heat = HeatWitness(table, halls, params) if params is not None else None

    def assess(self, snap: Snapshot) -> Snapshot:
        """The snapshot without what is doubted; `virtual_c` then has the hottest rack that its neighbours stand in for."""
        since_s = snap.now_s - self._last_s
        dt_s = min(max(since_s, 0.0), 60.0) if since_s == since_s else 0.0
        self._last_s = snap.now_s
        value = np.array(snap.value)
        self.doubt.fill(NOT)
        if self._heat is not None:
            self._heat.hear(snap)
            for at in self._heat.accused():
                self.doubt[at] = LIGHT
        self._doubting = sift(
            value, self._watched, self._temps, self._is_rack, self.doubt, self._before, self._same_s, self._longest_s,
            self._moves, self._believed, self._believed_s, self._heard_s, self._candidate, self._agreed, snap.now_s, dt_s,
        )  # fmt: skip
        waited_s = snap.now_s - self._compared_s
        if not 0.0 <= waited_s < COMPARE_EVERY_S or self._doubting or self._low:
            self._compare(value, snap.now_s, min(max(waited_s, 0.0), 60.0))
        if self._doubting:
            value[self.doubt != NOT] = np.nan
        return Snapshot(snap.now_s, value, snap.age_s, snap.quality)

    def _compare(self, value: F64, now_s: float, waited_s: float) -> None:
        """Racks with their neighbours, `waited_s` [s] after the last time."""
        self._compared_s = now_s
        self._low = compare_racks(
            value, self._racks.at, self._racks.start, self.doubt, self._usual_k, self._known_s, self._low_s, self._well_s,
            waited_s, self.virtual_c,
        )  # fmt: skip
        self._doubting = bool(self.doubt.any())

    def warned(self, est: Estimate, snap: Snapshot) -> Estimate:
        """The estimate with racks in doubt as hot as their neighbours make them, and doubted IT power as large as its heat."""
        if self._heat is not None:
            est = self._heat.judge(est, snap)
        if not any_finite(self.virtual_c):
            return est
        hottest = np.fmax(est.inlet_max_c, self.virtual_c)
        return est._replace(inlet_max_c=hottest, hottest_c=float(np.fmax.reduce([est.hottest_c, *hottest])))

    def doubts(self) -> list[Doubt]:
        """What is not believed now."""
        return [Doubt(int(i), REASONS[self.doubt[i]]) for i in np.flatnonzero(self.doubt)] if self._doubting else []
