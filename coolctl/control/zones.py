"""Halls that are not like the others: a coil that has lost its surface, a valve that does not move, a sensor of supply air
or of fan speed that lies. One such hall pins water and pressure for all, unless the planner knows and the operator is told.

Every hall's coil is followed through its valve in steady moments. What stands out against the other halls is a finding.
"""

from __future__ import annotations

import math
from collections.abc import Set
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.control.loops import followed
from coolctl.jit import kernel
from coolctl.num import first_order
from coolctl.psychro import CP_AIR_JKGK
from coolctl.thermal import pump_fan, room
from coolctl.thermal.air import air_density_kgm3, crah_air_kgs
from coolctl.thermal.plant import W_HALL, W_PRESSURE, PlantParams

F64 = NDArray[np.float64]
BOOLS = NDArray[np.bool_]

OBSERVE_EVERY_S, TAU_S = 30.0, 900.0
STEADY_TAU_S, STEADY_K, STEADY_RATIO = 120.0, 0.3, 0.03
FACTOR_LOW, FACTOR_HIGH = 0.4, 1.6
TELLING = 0.25  # of the heat: by so much must the range of factors change it, or the valve says nothing
OBSERVED_MIN_S, BISECTIONS = 900.0, 10
OBSERVE_MAX_S = 60.0
WEAK_COIL, SENSOR_K, FINDING_S = 0.75, 1.2, 1800.0
STILL_RATIO, STILL_S, ASTRAY_K, FULL_VALVE = 0.01, 900.0, 0.7, 0.97
TALE_S = 900.0
# Fans that are said to move less than the servers draw, and less than was asked of them, over an aisle that has its air.
FAN_SHORT_RATIO, FAN_ASTRAY_RATIO, AISLE_HAS_AIR_PA, FAN_TALE_S = 0.93, 0.05, -1.0, 300.0


KINDS = {
    "weak_coil": "the coil carries {0:.2f} of what its record says, seen through its valve: fouled, or short of water",
    "supply_sensor": "the racks stand {0:+.1f} K from the supply air against the other halls: its sensor is off by as much",
    "valve_still": "the valve does not move while the supply air is {0:+.1f} K from its setpoint",
    "fan_sensor": "the fans are said to be {0:+.2f} from what they were asked for, and the aisle has its air: the reading is off",
}


class Finding(NamedTuple):
    """Something about a hall (by index) that an operator should look at; `size` as its kind's text says."""

    hall: int
    kind: str
    size: float

    def text(self) -> str:
        """For people."""
        return KINDS[self.kind].format(self.size)


@kernel
def find_steady(load_w: F64, sat_c: F64, dt_s: float, slow_load_w: F64, slow_sat_c: F64, steady: BOOLS) -> None:
    """Halls whose load [W] and supply air [°C] stand still; their means are held from call to call."""
    share = min(dt_s / STEADY_TAU_S, 1.0)
    for h in range(sat_c.shape[0]):
        steady[h] = abs(sat_c[h] - slow_sat_c[h]) < STEADY_K and abs(load_w[h] - slow_load_w[h]) < STEADY_RATIO * load_w[h]
        if math.isnan(slow_sat_c[h]) or math.isnan(sat_c[h]):
            slow_sat_c[h], slow_load_w[h] = sat_c[h], load_w[h]
        else:
            slow_sat_c[h] += share * (sat_c[h] - slow_sat_c[h])
            slow_load_w[h] += share * (load_w[h] - slow_load_w[h])


@kernel
def coil_factor(
    it_w: float, speed: float, sat_c: float, valve: float, chwst_c: float, dp_pa: float, head_pa: float, pressure_pa: float,
    row: F64,
) -> float:  # fmt: skip
    """Conductance of the hall's coils over nominal as the valve tells [-]; NaN where it says nothing.

    The factor at which the coils carry the heat `it_w` and of the fans at this `speed`, between `FACTOR_LOW` and `FACTOR_HIGH`.
    """
    hall = room.hall_params(row)
    if not (speed > 0.2 and valve > 0.05 and dp_pa > 0.0 and sat_c > chwst_c):
        return math.nan
    density = air_density_kgm3(sat_c, pressure_pa)
    air_kgs = crah_air_kgs(speed, sat_c, pressure_pa, hall)
    fan_w = hall.crahs * pump_fan.fan_power_w(speed, density, hall.fan_power_nom_w, hall.fan_exponent, hall.fan_power_floor_w)
    heat_w = it_w + fan_w + hall.misc_heat_w
    # The valve is the widest: that of the weakest coil, which carries its share like the others.
    worst_wk = room.weakest_ua_wk(hall)
    ratio = valve * (dp_pa / head_pa) ** 0.5
    air_in_c, air_ratio = sat_c + heat_w / (air_kgs * CP_AIR_JKGK), air_kgs / hall.air_flow_nom_kgs
    low, high = FACTOR_LOW, FACTOR_HIGH
    most_w = room.coil_heat_w(ratio, chwst_c, air_in_c, air_kgs, air_ratio, high * worst_wk, hall)
    least_w = room.coil_heat_w(ratio, chwst_c, air_in_c, air_kgs, air_ratio, low * worst_wk, hall)
    if most_w - least_w < TELLING * heat_w:
        return math.nan
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        if room.coil_heat_w(ratio, chwst_c, air_in_c, air_kgs, air_ratio, middle * worst_wk, hall) < heat_w:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


@kernel
def typical_rise_k(it_w: float, speed: float, sat_c: float, pressure_pa: float, row: F64) -> float:
    """How far the racks of a hall stand above its supply air in the mean, by its record [K]."""
    hall = room.hall_params(row)
    inlet_c, _hottest_c, _ratio = room.inlets_c(it_w, sat_c, crah_air_kgs(speed, sat_c, pressure_pa, hall), hall)
    return inlet_c - sat_c


@kernel
def observe_halls(
    it_w: F64, fan: F64, sat_c: F64, held_c: F64, valve: F64, inlet_mean_c: F64, sat_sp_c: F64, chwst_c: float, dp_pa: float,
    head_pa: float, pressure_pa: float, halls: F64, steady: BOOLS, since_s: float, log: F64, known_s: F64, gap_k: F64,
    off_k: F64, astray_k: F64, slow_valve: F64, still_s: F64,
) -> None:  # fmt: skip
    """What every hall shows after `since_s` [s]: its coil in a steady moment, racks over supply air, that over what it would
    be at the setpoint, supply air over its setpoint [K], and for how long its valve stands still.

    The last seven are held from call to call; `held_c` is supply air [°C] as its loop holds it.
    """
    share = 1.0 - math.exp(-since_s / TAU_S)
    for h in range(halls.shape[0]):
        if steady[h]:
            seen = coil_factor(it_w[h], fan[h], held_c[h], valve[h], chwst_c, dp_pa, head_pa, pressure_pa, halls[h])
            if not math.isnan(seen):
                log[h] = first_order(log[h], math.log(seen), TAU_S, since_s)
                known_s[h] += since_s
        gap = inlet_mean_c[h] - sat_c[h]
        gap_k[h] = followed(gap_k[h], gap, share)
        off_k[h] = followed(off_k[h], gap - typical_rise_k(it_w[h], fan[h], sat_sp_c[h], pressure_pa, halls[h]), share)
        astray_k[h] = followed(astray_k[h], sat_c[h] - sat_sp_c[h], share)
        if abs(valve[h] - slow_valve[h]) < STILL_RATIO:
            still_s[h] += since_s
        else:
            slow_valve[h], still_s[h] = valve[h], 0.0


@kernel
def others_medians(values: F64, found: F64) -> None:
    """Median of the other halls' known values for each; NaN where there are fewer than two: it takes three to see who is odd."""
    rest = np.empty(values.shape[0])
    for h in range(values.shape[0]):
        count = 0
        for k in range(values.shape[0]):
            if k != h and math.isfinite(values[k]):
                rest[count] = values[k]
                count += 1
        found[h] = np.median(rest[:count]) if count >= 2 else math.nan


class Zones:
    """Follows the halls of one site; `observe` every tick."""

    def __init__(self, halls: F64, p: PlantParams):
        self._halls, self._head_pa = halls, p.chw_pump.head_static_pa
        count = len(halls)
        self._log, self._known_s = np.zeros(count), np.zeros(count)
        self._sat_c, self._load_w = np.full(count, np.nan), np.full(count, np.nan)
        self._gap_k, self._off_k, self._astray_k = (np.full(count, np.nan) for _ in range(3))
        self._valve, self._still_s, self._tale_s = np.full(count, np.nan), np.zeros(count), np.zeros(count)
        self._fan_sp, self._fan_off, self._fan_tale_s = np.full(count, np.nan), np.zeros(count), np.zeros(count)
        self._steady, self._sat_sp_c = np.zeros(count, dtype=np.bool_), np.full(count, np.nan)
        self._lasting_s: dict[tuple[int, str], float] = {}
        self._suspect: Finding | None = None
        self._observed_s = -np.inf

    def observe(
        self, est: Estimate, sat_sp_c: F64, fan_sp: F64, demand: F64, dt_s: float, sick: Set[int] = frozenset()
    ) -> Estimate:
        """Take what is measured now; `sat_sp_c` and `fan_sp` are the setpoints in force (NaN: nobody follows them), `demand`
        the fan speeds that the servers need, `sick` halls whose valve loop tells nothing of their coil. Returns `est` as
        `as_held` has it."""
        find_steady(est.w[W_HALL:], est.sat_c, dt_s, self._load_w, self._sat_c, self._steady)
        self._fan_sp[:] = fan_sp
        since_s = est.now_s - self._observed_s
        if 0.0 <= since_s < OBSERVE_EVERY_S:
            return self.as_held(est)
        since_s = min(max(since_s, 0.0), OBSERVE_MAX_S)
        self._observed_s = est.now_s
        self._steady[[h for h in sick if h < len(self._steady)]] = False
        self._sat_sp_c[:] = sat_sp_c  # every second entry of the setpoints: a stride of its own is another signature
        held = self.as_held(est)
        observe_halls(
            est.it_w, held.fan_speed, est.sat_c, held.sat_c, est.valve, est.inlet_mean_c, self._sat_sp_c,
            est.plant["chwst"], est.plant["chw_dp"], self._head_pa, est.w[W_PRESSURE], self._halls, self._steady, since_s,
            self._log, self._known_s, self._gap_k, self._off_k, self._astray_k, self._valve, self._still_s,
        )  # fmt: skip
        told = np.where(self._tale_s >= TALE_S, 2.0, 1.0)  # it takes more to be believed again
        tale = (np.abs(self._astray_k) > ASTRAY_K / told) & (np.abs(self._off_k + self._astray_k) < ASTRAY_K * told)
        self._tale_s = np.where(tale, self._tale_s + since_s, 0.0)
        self._hear_fans(est, demand, since_s)
        self._weigh(since_s)
        return self.as_held(est)

    def suspect(self) -> Finding | None:
        """The hall that stands out most, once it has done so for a while."""
        return self._suspect

    def _hear_fans(self, est: Estimate, demand: F64, since_s: float) -> None:
        """For how long the speed reading has been contradicted; what it says in agreement counts for it again."""
        short = (est.fan_speed < FAN_SHORT_RATIO * np.minimum(demand, 1.0)) & (est.aisle_dp_pa > AISLE_HAS_AIR_PA)
        self._fan_off = est.fan_speed - self._fan_sp
        told = short & (self._fan_off < -FAN_ASTRAY_RATIO)
        agrees = np.abs(self._fan_off) <= FAN_ASTRAY_RATIO
        tale_s = self._fan_tale_s + np.where(told, since_s, np.where(agrees, -since_s, 0.0))
        self._fan_tale_s = np.clip(tale_s, 0.0, 2.0 * FAN_TALE_S)

    def as_held(self, est: Estimate) -> Estimate:
        """`est`, with supply air as its loops hold it: less what a sensor has long been astray from a setpoint that the racks
        say is kept. That is the sensor's error: taken for air, it would have racks that stand where they should look out of
        place, and air that stands still about to change. And with fans as they were asked for, where the aisle has long said
        that they are there and still does: fans that seem to stay behind leave nothing in hand for a load step."""
        told, fans = self._tale_s >= TALE_S, self._fan_tale_s >= FAN_TALE_S
        if told.any():
            est = est._replace(sat_c=est.sat_c - np.where(told, self._astray_k, 0.0))
        if fans.any():
            fans &= (est.aisle_dp_pa > AISLE_HAS_AIR_PA) & np.isfinite(self._fan_sp)
            est = est._replace(fan_speed=np.where(fans, self._fan_sp, est.fan_speed))
        return est

    def _weigh(self, since_s: float) -> None:
        """Each finding has a clock of its own: two that take turns at being the worst must not hide each other."""
        found = self._candidates()
        before = self._lasting_s
        self._lasting_s = {(f.hall, f.kind): before.get((f.hall, f.kind), -since_s) + since_s for _, f in found}
        lasting = [(past, f) for past, f in found if self._lasting_s[f.hall, f.kind] >= FINDING_S]
        self._suspect = max(lasting, key=lambda item: item[0])[1] if lasting else None

    def _candidates(self) -> list[tuple[float, Finding]]:
        """Halls past a mark, each with how far past [-]."""
        found, others = [], np.empty((2, len(self._halls)))
        factors = self.coil_factors()
        others_medians(self._gap_k, others[0])
        others_medians(factors, others[1])
        columns = (self._gap_k, others[0], factors, others[1], self._astray_k, self._still_s, self._valve)
        for h in np.flatnonzero(self._fan_tale_s >= FAN_TALE_S).tolist():
            found.append((1.0, Finding(h, "fan_sensor", float(self._fan_off[h]))))
        seen = zip(*(column.tolist() for column in columns), strict=True)
        for h, (gap_k, others_gap_k, factor, others_factor, astray_k, still_s, valve) in enumerate(seen):
            off_k = gap_k - others_gap_k
            if abs(off_k) > SENSOR_K:
                found.append((abs(off_k) / SENSOR_K, Finding(h, "supply_sensor", off_k)))
            # Air that is astray by what its racks do not feel is a sensor's tale, however still the valve.
            told = abs(off_k) > SENSOR_K and abs(off_k + astray_k) < ASTRAY_K
            still = still_s >= STILL_S and valve > 0.01 and abs(astray_k) > ASTRAY_K
            if still and valve < FULL_VALVE and not told:
                found.append((2.0 * abs(astray_k) / ASTRAY_K, Finding(h, "valve_still", astray_k)))
            # A coil has its record to stand against, where there are not enough others.
            if factor < WEAK_COIL * (others_factor if others_factor == others_factor else 1.0):
                found.append((WEAK_COIL / factor, Finding(h, "weak_coil", factor)))
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
