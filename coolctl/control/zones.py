"""Halls that are not like the others: a coil that has lost its surface, a valve that does not move, a supply sensor that
lies. One such hall pins water and pressure for all, unless the planner knows and the operator is told.

Every hall's coil is followed through its valve in steady moments. What stands out against the other halls is a finding.
"""

from __future__ import annotations

import math
from collections.abc import Set
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.num import first_order, follow
from coolctl.psychro import CP_AIR_JKGK
from coolctl.thermal import pump_fan, room
from coolctl.thermal.plant import W_HALL, W_PRESSURE, PlantParams, air_density_kgm3, crah_air_kgs
from coolctl.thermal.room import HallParams

F64 = NDArray[np.float64]

OBSERVE_EVERY_S, TAU_S = 30.0, 900.0
STEADY_TAU_S, STEADY_K, STEADY_RATIO = 120.0, 0.3, 0.03
FACTOR_LOW, FACTOR_HIGH = 0.4, 1.6
TELLING = 0.25  # of the heat: by so much must the range of factors change it, or the valve says nothing
OBSERVED_MIN_S, BISECTIONS = 900.0, 10
OBSERVE_MAX_S = 60.0
WEAK_COIL, SENSOR_K, FINDING_S = 0.75, 1.2, 1800.0
STILL_RATIO, STILL_S, ASTRAY_K, FULL_VALVE = 0.01, 900.0, 0.7, 0.97


KINDS = {
    "weak_coil": "the coil carries {0:.2f} of what its record says, seen through its valve: fouled, or short of water",
    "supply_sensor": "the racks stand {0:+.1f} K from the supply air against the other halls: its sensor is off by as much",
    "valve_still": "the valve does not move while the supply air is {0:+.1f} K from its setpoint",
}


class Finding(NamedTuple):
    """Something about a hall (by index) that an operator should look at; `size` as its kind's text says."""

    hall: int
    kind: str
    size: float

    def text(self) -> str:
        """For people."""
        return KINDS[self.kind].format(self.size)


class Zones:
    """Follows the halls of one site; `observe` every tick."""

    def __init__(self, halls: F64, p: PlantParams):
        self._p = p
        self._halls = [HallParams(*row.tolist()) for row in halls]
        count = len(self._halls)
        self._log, self._known_s = np.zeros(count), np.zeros(count)
        self._sat_c, self._load_w = np.full(count, np.nan), np.full(count, np.nan)
        self._gap_k, self._astray_k = np.full(count, np.nan), np.full(count, np.nan)
        self._valve, self._still_s = np.full(count, np.nan), np.zeros(count)
        self._lasting_s: dict[tuple[int, str], float] = {}
        self._suspect: Finding | None = None
        self._observed_s = -np.inf

    def observe(self, est: Estimate, sat_sp_c: F64, dt_s: float, sick: Set[int] = frozenset()) -> None:
        """Take what is measured now; `sat_sp_c` are the supply air setpoints in force, `sick` halls whose valve loop tells
        nothing of their coil."""
        steady = self._follow_steadiness(est, dt_s)
        steady[[h for h in sick if h < len(steady)]] = False
        since_s = est.now_s - self._observed_s
        if 0.0 <= since_s < OBSERVE_EVERY_S:
            return
        since_s = min(max(since_s, 0.0), OBSERVE_MAX_S)
        self._observed_s = est.now_s
        for h in np.flatnonzero(steady):
            seen = self._coil(est, int(h))
            if seen == seen:
                self._log[h] = first_order(self._log[h], math.log(seen), TAU_S, since_s)
                self._known_s[h] += since_s
        self._gap_k = follow(self._gap_k, est.inlet_mean_c - est.sat_c, TAU_S, since_s)
        self._astray_k = follow(self._astray_k, est.sat_c - sat_sp_c, TAU_S, since_s)
        moved = ~(np.abs(est.valve - self._valve) < STILL_RATIO)
        self._valve = np.where(moved, est.valve, self._valve)
        self._still_s = np.where(moved, 0.0, self._still_s + since_s)
        self._weigh(since_s)

    def suspect(self) -> Finding | None:
        """The hall that stands out most, once it has done so for a while."""
        return self._suspect

    def _weigh(self, since_s: float) -> None:
        """Each finding has a clock of its own: two that take turns at being the worst must not hide each other."""
        found = self._candidates()
        before = self._lasting_s
        self._lasting_s = {(f.hall, f.kind): before.get((f.hall, f.kind), -since_s) + since_s for _, f in found}
        lasting = [(past, f) for past, f in found if self._lasting_s[f.hall, f.kind] >= FINDING_S]
        self._suspect = max(lasting, key=lambda item: item[0])[1] if lasting else None

    def _candidates(self) -> list[tuple[float, Finding]]:
        """Halls past a mark, each with how far past [-]."""
        found = []
        factors = self.coil_factors()
        for h in range(len(self._halls)):
            off_k = self._gap_k[h] - _others(self._gap_k, h)
            if abs(off_k) > SENSOR_K:
                found.append((abs(off_k) / SENSOR_K, Finding(h, "supply_sensor", float(off_k))))
            # Air that is astray by what its racks do not feel is a sensor's tale, however still the valve.
            told = abs(off_k) > SENSOR_K and abs(off_k + self._astray_k[h]) < ASTRAY_K
            still = self._still_s[h] >= STILL_S and self._valve[h] > 0.01 and abs(self._astray_k[h]) > ASTRAY_K
            if still and self._valve[h] < FULL_VALVE and not told:
                found.append((2.0 * abs(self._astray_k[h]) / ASTRAY_K, Finding(h, "valve_still", float(self._astray_k[h]))))
            # A coil has its record to stand against, where there are not enough others.
            others = _others(factors, h)
            if factors[h] < WEAK_COIL * (others if others == others else 1.0):
                found.append((WEAK_COIL / factors[h], Finding(h, "weak_coil", float(factors[h]))))
        return found

    def coil_factors(self) -> F64:
        """Factor on each hall's coil conductance; one while too little has been seen, and where the valve or the supply
        sensor that it is read from is suspected itself. Never above one: a coil that seems better than its record is
        more often a thermometer that is off, and water too warm for it is found out by the racks."""
        factors = np.where(self._known_s >= OBSERVED_MIN_S, np.exp(np.minimum(self._log, 0.0)), 1.0)
        suspect = self._suspect
        if suspect and suspect.kind != "weak_coil":
            factors[suspect.hall] = 1.0
        return factors

    def _follow_steadiness(self, est: Estimate, dt_s: float) -> NDArray[np.bool_]:
        load_w, sat_c = est.w[W_HALL:], est.sat_c
        first = np.isnan(self._sat_c) | np.isnan(sat_c)
        share = min(dt_s / STEADY_TAU_S, 1.0)
        steady = ~first & (np.abs(sat_c - self._sat_c) < STEADY_K) & (np.abs(load_w - self._load_w) < STEADY_RATIO * load_w)
        self._sat_c = np.where(first, sat_c, self._sat_c + share * (sat_c - self._sat_c))
        self._load_w = np.where(first, load_w, self._load_w + share * (load_w - self._load_w))
        return np.asarray(steady)

    def _coil(self, est: Estimate, h: int) -> float:
        """Coil conductance over nominal as the valve tells; NaN where it says nothing."""
        hall, speed, sat_c, valve = self._halls[h], float(est.fan_speed[h]), float(est.sat_c[h]), float(est.valve[h])
        chwst_c, dp_pa = est.plant["chwst"], est.plant["chw_dp"]
        if not (speed > 0.2 and valve > 0.05 and dp_pa > 0.0 and sat_c > chwst_c):
            return math.nan
        density = air_density_kgm3(sat_c, est.w[W_PRESSURE])
        air_kgs = crah_air_kgs(speed, sat_c, est.w[W_PRESSURE], hall)
        fan_w = hall.crahs * pump_fan.fan_power_w(speed, density, hall.fan_power_nom_w, hall.fan_exponent, hall.fan_power_floor_w)
        heat_w = float(est.it_w[h]) + fan_w + hall.misc_heat_w
        worst_wk = room.weakest_ua_wk(hall)
        ratio = valve * (dp_pa / self._p.chw_pump.head_static_pa) ** 0.5
        air_in_c, air_ratio = sat_c + heat_w / (air_kgs * CP_AIR_JKGK), air_kgs / hall.air_flow_nom_kgs

        def carried_w(factor: float) -> float:
            # The valve is the widest: that of the weakest coil, which carries its share like the others.
            return float(room.coil_heat_w(ratio, chwst_c, air_in_c, air_kgs, air_ratio, factor * worst_wk, hall))

        low, high = FACTOR_LOW, FACTOR_HIGH
        if carried_w(high) - carried_w(low) < TELLING * heat_w:
            return math.nan
        for _ in range(BISECTIONS):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if carried_w(middle) < heat_w else (low, middle)
        return math.sqrt(low * high)


def _others(values: F64, h: int) -> float:
    """Median of the other halls' known values; NaN where there are fewer than two: it takes three to see who is odd."""
    rest = np.delete(values, h)
    rest = rest[np.isfinite(rest)]
    return float(np.median(rest)) if len(rest) >= 2 else math.nan
