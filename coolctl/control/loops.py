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
from coolctl.points import U_CWST, U_HALL
from coolctl.thermal.plant import W_HALL

F64 = NDArray[np.float64]

CROSSING_K, AREA_MIN_KS = 0.1, 8.0  # twice a thermometer's noise; what one load step leaves between two crossings
TOWER_CROSSING_K, TOWER_AREA_MIN_KS = 0.4, 120.0  # a basin is slow, and its setpoint moves with the wet bulb
ALIKE_RATIO = 0.3
LOAD_RATIO, LOAD_TAU_S = 0.03, 300.0
SUPERVISION_S, HUNTS, CALM = 3600.0, 8.0, 3.0  # crossings with such an area, forgotten over an hour: sick, and well again
FULL, OVERCOOLED_K, WINDS_S = 0.97, 0.5, 120.0
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

    def __init__(self, halls: int):
        n = halls + 1
        self.halls = halls
        self._crossing_k, self._area_min_ks = np.full(n, CROSSING_K), np.full(n, AREA_MIN_KS)
        self._crossing_k[-1], self._area_min_ks[-1] = TOWER_CROSSING_K, TOWER_AREA_MIN_KS
        self._side, self._count = np.zeros(n), np.zeros(n)
        self._area, self._area_before = np.zeros(n), np.zeros(n)
        self._hunts, self._wound_s, self._sick_until_s = np.zeros(n, dtype=bool), np.zeros(n), np.full(n, -np.inf)
        self._output, self._still_s = np.full(n, np.nan), np.zeros(n)
        self._mean, self._load_w = np.full(n, np.nan), np.full(n, np.nan)
        self._moved_s = np.full(n, -np.inf)

    def observe(self, est: Estimate, u: F64, dt_s: float) -> None:
        """Take what is measured now; `u` are the setpoints in force."""
        plant = est.plant
        error_k = np.append(est.sat_c - u[U_HALL::2], plant["cwst"] - u[U_CWST])
        output = np.append(est.valve, plant["tower_speed"])
        self._crossings(error_k, self._calm(est, dt_s), dt_s)
        pinned = (output >= FULL) & (error_k < -OVERCOOLED_K)
        pinned[-1] = False  # towers at full speed that make colder water than asked for are nobody's mistake for long
        self._wound_s = np.where(pinned, self._wound_s + dt_s, 0.0)
        self._sick_until_s = np.where(self._wound_s >= WINDS_S, est.now_s + SICK_S, self._sick_until_s)
        moved = ~(np.abs(output - self._output) < STILL_RATIO) | ~(np.abs(error_k) > ASTRAY_K)
        at_end = (output >= FULL) | (output <= 1.0 - FULL)
        self._still_s = np.where(moved | at_end, 0.0, self._still_s + dt_s)
        self._output = np.where(moved | np.isnan(self._output), output, self._output)
        share = 1.0 - math.exp(-dt_s / MEAN_TAU_S)
        mean = np.where(np.isnan(self._mean), output, self._mean + share * (output - self._mean))
        self._mean = np.where(np.isnan(output), self._mean, mean)

    def _calm(self, est: Estimate, dt_s: float) -> NDArray[np.bool_]:
        """Where the load stands still: errors that it makes say nothing of the loop. The towers see the halls' sum."""
        load_w = np.append(est.w[W_HALL:], est.w[W_HALL:].sum())
        share = 1.0 - math.exp(-dt_s / LOAD_TAU_S)
        mean_w = np.where(np.isnan(self._load_w), load_w, self._load_w + share * (load_w - self._load_w))
        self._load_w = np.where(np.isnan(load_w), self._load_w, mean_w)
        return ~(np.abs(load_w - self._load_w) >= LOAD_RATIO * self._load_w)

    def _crossings(self, error_k: F64, calm: NDArray[np.bool_], dt_s: float) -> None:
        side = np.where(error_k > self._crossing_k, 1.0, np.where(error_k < -self._crossing_k, -1.0, self._side))
        crossed = (side != self._side) & (self._side != 0.0)
        # Both halves of a swing, and alike: a valve at its end leaves much area on one side and little on the other.
        less, more = np.minimum(self._area, self._area_before), np.maximum(self._area, self._area_before)
        swung = crossed & (less >= self._area_min_ks) & (less >= ALIKE_RATIO * more)
        self._count = self._count * math.exp(-dt_s / SUPERVISION_S) + swung
        known = np.where(np.isnan(error_k), 0.0, np.abs(error_k))
        self._area_before = np.where(crossed, self._area, self._area_before)
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
        """Keep the setpoints of sick loops where they are, in place, but for one step every quarter of an hour; colder
        supply air is never held back."""
        for s in sick:
            k = U_CWST if s.loop == self.halls else U_HALL + 2 * s.loop
            if not 0.0 <= now_s - self._moved_s[s.loop] < MOVE_EVERY_S:
                self._moved_s[s.loop] = now_s
            elif k == U_CWST or wish[k] > last[k]:
                wish[k] = last[k]


def encode(sick: list[Sickness]) -> float:
    """A list of sicknesses as one number for the recording: two bits a loop."""
    kinds = list(KINDS)
    return float(sum((kinds.index(s.kind) + 1) << 2 * s.loop for s in sick if s.loop < 26))


def decode(number: float) -> list[Sickness]:
    """The inverse of `encode`."""
    bits, kinds = int(number) if number == number else 0, list(KINDS)
    return [Sickness(k, kinds[(bits >> 2 * k & 3) - 1]) for k in range(26) if bits >> 2 * k & 3]
