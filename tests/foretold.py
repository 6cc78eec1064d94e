"""The foresight of the shield written a second time, from its description and in plain numbers, for the first to be held against.

Only what a hall does (`thermal.room`), air and plates are taken from the model: they have tests of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coolctl.control.estimate import Estimate
from coolctl.psychro import CP_AIR_JKGK, CP_WATER_JKGK
from coolctl.thermal import economizer, room
from coolctl.thermal.air import crah_air_kgs
from coolctl.thermal.plant import PlantParams, condenser_units, plate_water_kgs
from coolctl.thermal.room import HallParams

WATER_JK_M3 = 998.0 * CP_WATER_JKGK
CHWST, DP, CHILLERS, CWST, PLATES, HALLS = 0, 1, 2, 3, 6, 7


def known(value: float, otherwise: float) -> float:
    return float(otherwise if math.isnan(value) else value)


def between(x: float, low: float, high: float) -> float:
    return low if x < low else high if x > high else x


@dataclass
class Hall:
    """One hall on its way through the next minutes."""

    p: HallParams
    load_w: float
    sat_c: float
    fan: float
    bias_k: float
    mass_c: float = 0.0
    structure_c: float = 0.0
    coil: float = 0.85  # of its record

    def air_kgs(self, pressure_pa: float) -> float:
        return 0.95 * float(crah_air_kgs(max(self.fan, 0.05), self.sat_c, pressure_pa, self.p))

    def heat(self, pressure_pa: float) -> tuple[float, float]:
        """Heat with 5 % more than is seen [W], and the hottest inlet by the model [°C]."""
        mean_c, hottest_c, _ = room.inlets_c(1.05 * self.load_w, self.sat_c, self.air_kgs(pressure_pa), self.p)
        return 1.05 * (room.server_power_w(self.load_w, mean_c, self.p) + self.p.misc_heat_w), hottest_c

    def coil_w(self, open_ratio: float, water_c: float, pressure_pa: float) -> float:
        """The most that its coils take [W], at the conductance of their record."""
        kgs = self.air_kgs(pressure_pa)
        return float(
            room.coil_heat_w(open_ratio, water_c, self.mass_c, kgs, kgs / self.p.air_flow_nom_kgs, self.p.coil_ua_nom_wk, self.p)
        )


class Foretold:
    """As `foresight.Foresight`: asked once a tick, it remembers how far each hottest rack stood above the model."""

    def __init__(self, halls: np.ndarray, p: PlantParams, limit_c: float, leased_s: float):
        self.halls, self.p, self.limit_c, self.leased_s = [HallParams(*row.tolist()) for row in halls], p, limit_c, leased_s
        self.above_k = [math.nan] * len(self.halls)  # just now
        self.lately_k = [math.nan] * len(self.halls)
        self.asked_s = self.hottest_c = self.bar_c = math.nan

    def look(self, u: np.ndarray, last: np.ndarray, est: Estimate, demand: np.ndarray) -> bool:
        dt_s = 0.0 if math.isnan(self.asked_s) else between(est.now_s - self.asked_s, 0.0, 60.0)
        self.asked_s = est.now_s
        for h, above_k in enumerate(self.above_k):
            if not math.isnan(above_k):
                near_k, before_k = between(above_k, -3.0, 3.0), self.lately_k[h]
                self.lately_k[h] = near_k if math.isnan(before_k) else near_k + (before_k - near_k) * math.exp(-dt_s / 120.0)
        self.own = [12.0, 140e3, 0.0, 0.0, 0.0, 0.0, 0.0]
        for needed in demand:
            self.own += [22.0, 1.0 if math.isnan(needed) else between(1.15 * needed, 0.35, 1.0)]
        self.est, self.last = est, last
        self.hottest_c = self.foresee(u, self.leased_s)
        if self.hottest_c <= self.limit_c:
            return False
        self.bar_c = max(self.limit_c, self.foresee(last, 0.0)) + 0.05
        return self.hottest_c > self.bar_c

    def nearest(self, u: np.ndarray, colder: np.ndarray) -> np.ndarray:
        """By 64 ths: the first of them from the wish on that passes, if those that pass are at the cold end."""

        def mixed(k: float) -> np.ndarray:
            way = u + k / 64.0 * (colder - u)
            way[[CHILLERS, PLATES]] = colder[[CHILLERS, PLATES]]
            return way

        low, high = 0, 64
        while high - low > 1:
            middle = (low + high) // 2
            passes = self.foresee(mixed(middle), self.leased_s) <= self.bar_c
            low, high = (low, middle) if passes else (middle, high)
        return mixed(high)

    def foresee(self, u: np.ndarray, leased_s: float) -> float:
        """Hottest inlet of five minutes [°C]."""
        est, last, p = self.est, self.last, self.p
        pa, plant = float(est.w[2]), est.plant
        supply_c = known(plant["chwst"], last[CHWST])
        rise_k = max(known(plant["chwrt"], supply_c) - supply_c, 2.0)
        halls, total_w = self._halls(supply_c, (max(last[DP], 1e3) / p.chw_pump.head_static_pa) ** 0.5, pa)
        seen_chillers = known(plant["chillers_on"], last[CHILLERS])
        seen_plates = known(plant["economizer_on"], last[PLATES])
        cwst_c = known(plant["cwst"], last[CWST])
        able_w = self._able_w(
            seen_chillers, seen_plates, known(plant["chwrt"], supply_c), total_w / (CP_WATER_JKGK * rise_k), cwst_c
        )
        stronger = max(total_w / able_w, 1.0) if able_w > 0.0 else 1.0
        chillers, plates = min(seen_chillers, u[CHILLERS]), min(seen_plates, u[PLATES])
        return_c = supply_c + rise_k
        if u[CWST] > last[CWST]:
            cwst_c = max(cwst_c, min(u[CWST], return_c))
        volume_jk = 0.5 * p.loop_volume_m3 * WATER_JK_M3
        hottest_c, t_s = -math.inf, 0.0
        while t_s < 300.0:
            alone_s = t_s - leased_s
            step_s = 15.0 if alone_s >= 0.0 else min(5.0, -alone_s)
            target_c = self._own_way(u, CHWST, 2.0 / 60.0, alone_s)
            open_ratio = (max(self._own_way(u, DP, 1000.0, alone_s), 1e3) / p.chw_pump.head_static_pa) ** 0.5
            taken_w = 0.0
            for h, hall in enumerate(halls):
                inlet_c, coil_w = self._hall(h, hall, u, alone_s, step_s, supply_c, open_ratio, pa)
                hottest_c, taken_w = max(hottest_c, inlet_c), taken_w + coil_w
            flow_wk = max(taken_w, 0.1 * total_w) / rise_k
            most_w = stronger * self._able_w(chillers, plates, return_c, flow_wk / CP_WATER_JKGK, cwst_c)
            leaving_c = min(max(target_c, return_c - most_w / flow_wk), return_c)
            arriving_c = supply_c + taken_w / flow_wk
            supply_c += min(step_s * flow_wk / (volume_jk + p.buffer_m3 * WATER_JK_M3), 1.0) * (leaving_c - supply_c)
            return_c += min(step_s * flow_wk / volume_jk, 1.0) * (arriving_c - return_c)
            t_s += step_s
        return hottest_c

    def _halls(self, supply_c: float, open_ratio: float, pa: float) -> tuple[list[Hall], float]:
        """The halls as they stand, and their heat [W]; notes how far racks stand above the model."""
        halls, total_w = [], 0.0
        for h, p in enumerate(self.halls):
            sat_c = known(self.est.sat_c[h], self.last[HALLS + 2 * h])
            hall = Hall(p, float(self.est.w[3 + h]), sat_c, known(self.est.fan_speed[h], self.last[HALLS + 2 * h + 1]), 0.0)
            heat_w, hottest_c = hall.heat(pa)
            self.above_k[h] = float(self.est.inlet_max_c[h]) - hottest_c
            hall.bias_k = max((k for k in (self.above_k[h], self.lately_k[h]) if not math.isnan(k)), default=0.0)
            hall.mass_c = sat_c + heat_w / (hall.air_kgs(pa) * CP_AIR_JKGK)
            hall.structure_c = hall.mass_c - 2.0
            most_w = 0.85 * hall.coil_w(open_ratio, supply_c, pa)
            hall.coil = 0.85 * max(heat_w / most_w, 1.0) if most_w > 0.0 else 0.85
            halls.append(hall)
            total_w += heat_w
        return halls, total_w

    def _own_way(self, u: np.ndarray, k: int, per_s: float, alone_s: float) -> float:
        """A setpoint on its way to the plant's own, which begins when it is alone."""
        most = per_s * max(alone_s, 0.0)
        return float(u[k] + between(self.own[k] - u[k], -most, most))

    def _hall(
        self, h: int, hall: Hall, u: np.ndarray, alone_s: float, step_s: float, supply_c: float, open_ratio: float, pa: float
    ) -> tuple[float, float]:
        k, p = HALLS + 2 * h, hall.p
        target_c = self._own_way(u, k, 2.0 / 60.0, alone_s)
        hall.fan = min(u[k + 1] if alone_s < 0.0 else self.own[k + 1], hall.fan + 0.0334 * step_s)
        air_wk = hall.air_kgs(pa) * CP_AIR_JKGK
        coldest_c = hall.mass_c - max(hall.coil * hall.coil_w(open_ratio, supply_c, pa), 0.0) / air_wk
        tau_s = 20.0 if target_c > hall.sat_c else 90.0
        wanted_c = hall.sat_c + min(step_s / tau_s, 1.0) * (target_c - hall.sat_c)
        hall.sat_c = between(wanted_c, coldest_c, max(hall.mass_c, target_c))
        kgs = air_wk / CP_AIR_JKGK
        mean_c, hottest_c, _ = room.inlets_c(1.05 * hall.load_w, hall.sat_c, kgs, p)
        heat_w = 1.05 * (room.server_power_w(hall.load_w, mean_c, p) + p.misc_heat_w)
        coil_w = max(air_wk * (hall.mass_c - hall.sat_c), 0.0)
        into_walls_w = 6e-3 * p.it_power_nom_w * (hall.mass_c - hall.structure_c - 2.0)
        hall.mass_c += step_s * (heat_w - coil_w - into_walls_w) / (0.8 * 22.0 * p.it_power_nom_w)
        hall.structure_c += step_s * into_walls_w / p.structure_jk
        return hottest_c + hall.bias_k, coil_w

    def _able_w(self, chillers: float, plates: float, return_c: float, flow_kgs: float, cwst_c: float) -> float:
        """What machines take out of the loop [W], a tenth less than their records say."""
        p, able_w = self.p, 0.9 * chillers * self.p.chiller.capacity_ref_w
        if plates > 0.5 and p.economizer.present > 0.5:
            beside_kgs = plate_water_kgs(chillers, condenser_units(chillers, plates, p) * p.cw_pump.flow_nom_kgs, p)
            able_w += 0.9 * max(economizer.heat_w(return_c, flow_kgs, cwst_c, beside_kgs, p.economizer), 0.0)
        return able_w
