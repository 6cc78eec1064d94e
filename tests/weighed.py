"""IT power held against the heat in the air, written a second time from its description, for `control.heat` to be held against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coolctl.control.estimate import Estimate
from coolctl.psychro import CP_AIR_JKGK, CP_WATER_JKGK
from coolctl.thermal import room
from coolctl.thermal.air import crah_air_kgs
from coolctl.thermal.room import HallParams


def lag(before: float, now: float, tau_s: float, dt_s: float) -> float:
    """What follows `now` over `tau_s`; what is not known changes nothing."""
    if math.isnan(before) or math.isnan(now):
        return now if math.isnan(before) else before
    return now + (before - now) * math.exp(-dt_s / tau_s)


@dataclass
class Hall:
    p: HallParams
    said_w: float = math.nan
    air_w: float = math.nan
    masses_c: float = math.nan
    slow_return_c: float = math.nan
    slow_supply_c: float = math.nan
    over_s: float = math.nan
    well_s: float = 0.0
    over: bool = False
    doubted: bool = False

    def hear(self, metered_w: float, sat_c: float, rat_c: float, fan: float, pressure_pa: float, dt_s: float) -> None:
        """What the meter has said lately falls slowly, rises at once; what the air carries is less what the masses give off."""
        if not math.isnan(metered_w):
            self.said_w = max(lag(self.said_w, metered_w, 45.0, dt_s), metered_w)
        kgs = float(crah_air_kgs(fan, sat_c, pressure_pa, self.p))
        if math.isnan(rat_c - sat_c) or math.isnan(kgs):
            self.air_w = self.masses_c = self.slow_return_c = math.nan
            return
        nom_w, middle_c = self.p.it_power_nom_w, (sat_c + rat_c) / 2.0
        self.masses_c = lag(self.masses_c, middle_c, 300.0, dt_s)
        off_w = 18.0 * nom_w / 300.0 * (self.masses_c - middle_c)
        self.slow_return_c = lag(self.slow_return_c, rat_c, 15.0, dt_s)
        stored_w = 4.0 * nom_w * (rat_c - self.slow_return_c) / max(15.0, dt_s)
        carried_w = kgs * CP_AIR_JKGK * (rat_c - sat_c) - off_w * (1.3 if off_w > 0.0 else 0.7) + stored_w - self.p.misc_heat_w
        self.air_w = lag(self.air_w, max(carried_w, 0.0), 10.0, dt_s)

    def weigh(self, agreed: bool, sat_c: float, dt_s: float) -> None:
        """Far more in the air than the meter said: now, and for long enough."""
        self.slow_supply_c = lag(self.slow_supply_c, sat_c, 60.0, dt_s)
        slack_w = 0.03 * self.p.it_power_nom_w
        plain = self.air_w > 2.5 * self.said_w + slack_w
        self.over = plain or (agreed and self.air_w > 1.6 * self.said_w + slack_w)
        if sat_c < self.slow_supply_c - 1.5:
            self.over = False  # cold air is back in a hot hall: it gives off more than is known
        if not self.over:
            self.over_s = math.nan
        else:
            self.over_s = 0.0 if math.isnan(self.over_s) else self.over_s + dt_s
        self.well_s = self.well_s + dt_s if self.air_w < 1.25 * self.said_w + slack_w else 0.0
        if self.over_s >= 30.0 or (plain and self.over_s >= 10.0):
            self.doubted = True
        elif self.well_s >= 600.0:
            self.doubted = False


class Weighed:
    """As `heat.HeatWitness`: told tick by tick what meters and thermometers say."""

    def __init__(self, halls: np.ndarray):
        self.halls = [Hall(HallParams(*row.tolist())) for row in halls]
        self.water_w = self.last_s = math.nan

    def judge(self, est: Estimate, metered_w: np.ndarray, rat_c: np.ndarray) -> list[tuple[float, float]]:
        """IT power and the servers' work that count, per hall [W]."""
        dt_s = 0.0 if math.isnan(self.last_s) else min(max(est.now_s - self.last_s, 0.0), 60.0)
        self.last_s = est.now_s
        for h, hall in enumerate(self.halls):
            hall.hear(metered_w[h], est.sat_c[h], rat_c[h], est.fan_speed[h], est.w[2], dt_s)
        now_w = est.plant["chw_flow"] * CP_WATER_JKGK * (est.plant["chwrt"] - est.plant["chwst"])
        self.water_w = lag(self.water_w, now_w, 30.0, dt_s)
        said_w = sum(hall.said_w for hall in self.halls if not math.isnan(hall.said_w))
        gaps_w = [hall.air_w - hall.said_w for hall in self.halls]
        missing_w = max([0.0, *(gap_w for gap_w in gaps_w if not math.isnan(gap_w))])
        agreed = math.isnan(now_w) or self.water_w >= said_w + 0.5 * missing_w
        found = []
        for h, hall in enumerate(self.halls):
            hall.weigh(agreed, est.sat_c[h], dt_s)
            found.append((float(est.it_w[h]), float(est.w[3 + h])))
            if hall.over or hall.doubted:
                found[-1] = self._counted(hall, metered_w[h], est.inlet_mean_c[h])
        return found

    @staticmethod
    def _counted(hall: Hall, metered_w: float, mean_c: float) -> tuple[float, float]:
        """The larger of the two, as far as a hall can be so hot; the design load where the air is not known any more."""
        nom_w, carried_w = hall.p.it_power_nom_w, 1.25 * hall.air_w
        larger_w = carried_w if math.isnan(metered_w) else max(metered_w, carried_w)
        it_w = min(nom_w if math.isnan(carried_w) else larger_w, 1.2 * nom_w)
        mean_c = hall.p.server_fan_knee_c if math.isnan(mean_c) else mean_c
        return it_w, max(float(room.it_base_w(it_w, mean_c, hall.p)), 1.0)
