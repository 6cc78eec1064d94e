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
from coolctl.num import follow
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
STILL_RATIO, ASTRAY_K, HAND_S = 0.005, 1.0, 1800.0
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


class Loops:
    """Follows the valve loop of every hall and the towers' fan loop; `observe` every tick."""

    def __init__(self, halls: int, tower_speed_min: float):
        n = halls + 1
        self._least = np.append(np.zeros(halls), tower_speed_min)
        self.halls = halls
        self._crossing_k, self._area_min_ks = np.full(n, CROSSING_K), np.full(n, AREA_MIN_KS)
        self._crossing_k[-1], self._area_min_ks[-1] = TOWER_CROSSING_K, TOWER_AREA_MIN_KS
        self._side, self._count = np.zeros(n), np.zeros(n)
        self._area, self._area_before = np.zeros(n), np.zeros(n)
        self._hunts, self._wound_s, self._sick_until_s = np.zeros(n, dtype=bool), np.zeros(n), np.full(n, -np.inf)
        self._output, self._still_s = np.full(n, np.nan), np.zeros(n)
        self._mean, self._load_w, self._sp_c = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
        self._travel_k = np.zeros(n)
        self._moved_s, self._target_c = np.full(n, -np.inf), np.full(n, np.nan)

    def observe(self, est: Estimate, u: F64, dt_s: float) -> None:
        """Take what is measured now; `u` are the setpoints in force."""
        plant = est.plant
        sp_c = np.append(u[U_HALL::2], u[U_CWST])
        error_k = np.append(est.sat_c, plant["cwst"]) - sp_c
        output = np.append(est.valve, plant["tower_speed"])
        self._crossings(error_k, sp_c, self._calm(est, dt_s), dt_s)
        pinned = (output >= FULL) & (error_k < -OVERCOOLED_K)
        pinned[-1] = False  # towers at full speed that make colder water than asked for are nobody's mistake for long
        self._wound_s = np.where(pinned, self._wound_s + dt_s, 0.0)
        self._sick_until_s = np.where(self._wound_s >= WINDS_S, est.now_s + SICK_S, self._sick_until_s)
        moved = ~(np.abs(output - self._output) < STILL_RATIO) | ~(np.abs(error_k) > ASTRAY_K)
        at_end = (output >= 1.0 - NEAR_END) | (output <= self._least + NEAR_END)
        self._still_s = np.where(moved | at_end, 0.0, self._still_s + dt_s)
        self._output = np.where(moved | np.isnan(self._output), output, self._output)
        self._mean = follow(self._mean, output, MEAN_TAU_S, dt_s)

    def _calm(self, est: Estimate, dt_s: float) -> NDArray[np.bool_]:
        """Where the load stands still: errors that it makes say nothing of the loop. The towers see the halls' sum."""
        load_w = np.append(est.w[W_HALL:], est.w[W_HALL:].sum())
        self._load_w = follow(self._load_w, load_w, LOAD_TAU_S, dt_s)
        return ~(np.abs(load_w - self._load_w) >= LOAD_RATIO * self._load_w)

    def _crossings(self, error_k: F64, sp_c: F64, calm: NDArray[np.bool_], dt_s: float) -> None:
        """Count half-swings of the error whose area neither the load nor the setpoint's own moves account for."""
        self._travel_k += np.where(np.isnan(self._sp_c), 0.0, np.abs(sp_c - self._sp_c))
        self._sp_c = sp_c
        side = np.where(error_k > self._crossing_k, 1.0, np.where(error_k < -self._crossing_k, -1.0, self._side))
        crossed = (side != self._side) & (self._side != 0.0)
        # Both halves of a swing, and alike: a valve at its end leaves much area on one side and little on the other.
        less, more = np.minimum(self._area, self._area_before), np.maximum(self._area, self._area_before)
        swung = crossed & (less >= self._area_min_ks + FOLLOW_S * self._travel_k) & (less >= ALIKE_RATIO * more)
        self._count = self._count * math.exp(-dt_s / SUPERVISION_S) + swung
        known = np.where(np.isnan(error_k), 0.0, np.abs(error_k))
        self._area_before = np.where(crossed, self._area, self._area_before)
        self._travel_k = np.where(crossed, 0.0, self._travel_k)
        self._area = np.where(calm, np.where(crossed, 0.0, self._area) + known * dt_s, 0.0)
        self._area_before = np.where(calm, self._area_before, 0.0)
        self._side = side
        self._hunts = (self._count >= HUNTS) | (self._hunts & (self._count > CALM))

    def sick(self, now_s: float) -> list[Sickness]:
        """What is wrong now, one entry a loop."""
        found = []
        for k in range(len(self._count)):
            if self._hunts[k]:
                found.append(Sickness(k, "hunts"))
            elif now_s < self._sick_until_s[k]:
                found.append(Sickness(k, "winds_up"))
            elif k == self.halls and self._still_s[k] >= HAND_S:
                found.append(Sickness(k, "in_hand"))
        return found

    def steadied(self, est: Estimate, sick: list[Sickness]) -> Estimate:
        """The estimate with the valves of hunting loops read as their mean."""
        hunting = [s.loop for s in sick if s.kind == "hunts" and s.loop < self.halls]
        if not hunting:
            return est
        valve = est.valve.copy()
        valve[hunting] = self._mean[hunting]
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
