"""Health of the plant's own loops: a valve that hunts, one that winds up, a tower that is in hand.

A setpoint is only as good as the loop that follows it. Moving the setpoint of a sick loop, or learning from it, makes
things worse: it is held, its valve is read as its mean, nothing is calibrated meanwhile, and the operator is told.

Hunting is found after Hägglund (Control Engineering Practice 3(11), 1995): between two zero crossings of a sound loop's
error lies hardly any area; of one that hunts, much, again and again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.jit import kernel
from coolctl.points import U_CWST, U_HALL
from coolctl.thermal.plant import W_HALL

F64 = NDArray[np.float64]

CROSSING_K, AREA_MIN_KS = 0.1, 8.0  # twice a thermometer's noise; what one load step leaves between two crossings
TOWER_CROSSING_K, TOWER_AREA_MIN_KS = 0.4, 120.0  # a basin is slow, and its setpoint moves with the wet bulb
ALIKE_RATIO = 0.3
LOAD_RATIO, LOAD_TAU_S = 0.03, 300.0
FOLLOW_S = 60.0  # a sound loop lags its setpoint by about this long, and leaves so much area for each kelvin that it moves
SUPERVISION_S, HUNTS, CALM = 3600.0, 8.0, 3.0  # crossings with such an area, forgotten over an hour: sick, and well again
FULL, NEAR_END, OVERCOOLED_K, WINDS_S = 0.97, 0.02, 0.5, 120.0
STILL_RATIO, ASTRAY_K, ASTRAY_S, HAND_S = 0.005, 1.0, 60.0, 1800.0
SICK_S = 3600.0  # a loop that wound up is looked at for an hour
MEAN_TAU_S = 600.0
MOVE_EVERY_S = 900.0  # a sick loop's setpoint: three times what a sound one takes to settle

KINDS = {
    "hunts": "hunts: its gain is too high for its sensor, or its valve sticks",
    "winds_up": "stayed fully open while the air was already too cold: its controller winds up",
    "in_hand": "does not move while the water is far from its setpoint: in hand, or stuck",
}


class Sickness(NamedTuple):
    """A loop (hall by index; the number of halls = the towers) and what is wrong with it."""

    loop: int
    kind: str


# Columns of a loop's state, and of what it is judged by.
(
    L_SIDE, L_COUNT, L_AREA, L_AREA_BEFORE, L_HUNTS, L_WOUND_S, L_SICK_UNTIL_S, L_OUTPUT, L_STILL_S, L_MEAN, L_LOAD_W,
    L_SP_C, L_TRAVEL_K, L_ASTRAY_S,
) = range(14)  # fmt: skip
LOOP_COLUMNS = 14
M_CROSSING_K, M_AREA_MIN_KS, M_LEAST, M_PINS = range(4)


@kernel
def followed(mean: float, seen: float, share: float) -> float:
    """A first-order mean's next value; it starts with the first, and what is not known (NaN) changes nothing."""
    if math.isnan(seen):
        return mean
    return seen if math.isnan(mean) else mean + share * (seen - mean)


@kernel
def observe_loop(s: F64, mark: F64, sp_c: float, seen_c: float, output: float, load_w: float, now_s: float, dt_s: float) -> None:
    """What one loop did in this tick, into its state `s`: error swings, an output at its end, an output that stands still."""
    error_k = seen_c - sp_c
    s[L_LOAD_W] = followed(s[L_LOAD_W], load_w, 1.0 - math.exp(-dt_s / LOAD_TAU_S))
    # Where the load moves, the errors that it makes say nothing of the loop.
    calm = not abs(load_w - s[L_LOAD_W]) >= LOAD_RATIO * s[L_LOAD_W]
    count_swings(s, mark, error_k, sp_c, calm, dt_s)
    pinned = mark[M_PINS] > 0.5 and output >= FULL and error_k < -OVERCOOLED_K
    s[L_WOUND_S] = s[L_WOUND_S] + dt_s if pinned else 0.0
    if s[L_WOUND_S] >= WINDS_S:
        s[L_SICK_UNTIL_S] = now_s + SICK_S
    moved = not abs(output - s[L_OUTPUT]) < STILL_RATIO or not abs(error_k) > ASTRAY_K
    at_end = output >= 1.0 - NEAR_END or output <= mark[M_LEAST] + NEAR_END
    s[L_STILL_S] = 0.0 if moved or at_end else s[L_STILL_S] + dt_s
    if moved or math.isnan(s[L_OUTPUT]):
        s[L_OUTPUT] = output
    s[L_ASTRAY_S] = s[L_ASTRAY_S] + dt_s if abs(error_k) > ASTRAY_K else 0.0
    s[L_MEAN] = followed(s[L_MEAN], output, 1.0 - math.exp(-dt_s / MEAN_TAU_S))


@kernel
def count_swings(s: F64, mark: F64, error_k: float, sp_c: float, calm: bool, dt_s: float) -> None:
    """Count half-swings of the error whose area neither the load nor the setpoint's own moves account for."""
    if not math.isnan(s[L_SP_C]):
        s[L_TRAVEL_K] += abs(sp_c - s[L_SP_C])
    s[L_SP_C] = sp_c
    side = s[L_SIDE]
    if error_k > mark[M_CROSSING_K]:
        side = 1.0
    elif error_k < -mark[M_CROSSING_K]:
        side = -1.0
    crossed = side != s[L_SIDE] and s[L_SIDE] != 0.0
    s[L_COUNT] *= math.exp(-dt_s / SUPERVISION_S)
    area = s[L_AREA]
    if crossed:
        # Both halves of a swing, and alike: a valve at its end leaves much area on one side and little on the other.
        less, more = min(area, s[L_AREA_BEFORE]), max(area, s[L_AREA_BEFORE])
        if less >= mark[M_AREA_MIN_KS] + FOLLOW_S * s[L_TRAVEL_K] and less >= ALIKE_RATIO * more:
            s[L_COUNT] += 1.0
        s[L_AREA_BEFORE], s[L_TRAVEL_K], area = area, 0.0, 0.0
    known_k = 0.0 if math.isnan(error_k) else abs(error_k)
    s[L_AREA] = area + known_k * dt_s if calm else 0.0
    if not calm:
        s[L_AREA_BEFORE] = 0.0
    s[L_SIDE] = side
    s[L_HUNTS] = 1.0 if s[L_COUNT] >= HUNTS or (s[L_HUNTS] > 0.5 and s[L_COUNT] > CALM) else 0.0


@kernel
def observe_all(
    s: F64, marks: F64, sat_c: F64, valve: F64, load_w: F64, u: F64, cwst_c: float, speed: float, now_s: float, dt_s: float
) -> None:
    """Every hall's valve loop, and the towers' behind them, which see the sum of the loads."""
    halls = sat_c.shape[0]
    for h in range(halls):
        observe_loop(s[h], marks[h], u[U_HALL + 2 * h], sat_c[h], valve[h], load_w[h], now_s, dt_s)
    observe_loop(s[halls], marks[halls], u[U_CWST], cwst_c, speed, load_w.sum(), now_s, dt_s)


@kernel
def any_sick(s: F64, now_s: float) -> bool:
    """Whether anything may be wrong with any loop: most ticks need no closer look."""
    for k in range(s.shape[0]):
        if s[k, L_HUNTS] > 0.5 or now_s < s[k, L_SICK_UNTIL_S]:
            return True
    return bool(s[s.shape[0] - 1, L_STILL_S] >= HAND_S)


class Loops:
    """Follows the valve loop of every hall and the towers' fan loop; `observe` every tick."""

    def __init__(self, halls: int, tower_speed_min: float):
        n = halls + 1
        self.halls = halls
        self._marks = np.tile([CROSSING_K, AREA_MIN_KS, 0.0, 1.0], (n, 1))
        # Towers at full speed that make colder water than asked for are nobody's mistake for long.
        self._marks[-1] = TOWER_CROSSING_K, TOWER_AREA_MIN_KS, tower_speed_min, 0.0
        self._state = np.zeros((n, LOOP_COLUMNS))
        self._state[:, [L_OUTPUT, L_MEAN, L_LOAD_W, L_SP_C]] = np.nan
        self._state[:, L_SICK_UNTIL_S] = -np.inf
        self._moved_s, self._target_c = np.full(n, -np.inf), np.full(n, np.nan)

    def observe(self, est: Estimate, u: F64, dt_s: float) -> None:
        """Take what is measured now; `u` are the setpoints in force."""
        cwst_c, speed = est.plant["cwst"], est.plant["tower_speed"]
        observe_all(self._state, self._marks, est.sat_c, est.valve, est.w[W_HALL:], u, cwst_c, speed, est.now_s, dt_s)

    def sick(self, now_s: float) -> list[Sickness]:
        """What is wrong now, one entry a loop."""
        if not any_sick(self._state, now_s):
            return []
        found = []
        for k, s in enumerate(self._state.tolist()):
            if s[L_HUNTS] > 0.5:
                found.append(Sickness(k, "hunts"))
            elif now_s < s[L_SICK_UNTIL_S]:
                found.append(Sickness(k, "winds_up"))
            elif k == self.halls and s[L_STILL_S] >= HAND_S:
                found.append(Sickness(k, "in_hand"))
        return found

    def astray(self) -> bool:
        """Whether a hall's valve has lately ceased to follow: it stands still between its ends, and the air has not been as set
        for a minute. After half an hour that is no news any more: a sensor that is off looks the same."""
        still_s, astray_s = self._state[:-1, L_STILL_S], self._state[:-1, L_ASTRAY_S]
        return bool(((still_s >= ASTRAY_S) & (astray_s < HAND_S)).any())

    def steadied(self, est: Estimate, sick: list[Sickness]) -> Estimate:
        """The estimate with the valves of hunting loops read as their mean."""
        hunting = [s.loop for s in sick if s.kind == "hunts" and s.loop < self.halls]
        if not hunting:
            return est
        valve = est.valve.copy()
        valve[hunting] = self._state[hunting, L_MEAN]
        return est._replace(valve=valve)

    def hold(self, wish: F64, last: F64, sick: list[Sickness], now_s: float) -> None:
        """Give the setpoints of sick loops one new value every quarter of an hour, in place of `wish`, from where they stand
        (`last`); colder supply air is never held back."""
        ill = {s.loop for s in sick}
        for loop in range(self.halls + 1):
            k = U_CWST if loop == self.halls else U_HALL + 2 * loop
            if loop not in ill:
                self._moved_s[loop] = -np.inf
                continue
            if self._moved_s[loop] == -np.inf:
                self._moved_s[loop], self._target_c[loop] = now_s, last[k]
            elif not 0.0 <= now_s - self._moved_s[loop] < MOVE_EVERY_S:
                self._moved_s[loop], self._target_c[loop] = now_s, wish[k]
            wish[k] = self._target_c[loop] if k == U_CWST else min(wish[k], self._target_c[loop])
