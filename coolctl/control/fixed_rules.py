"""Baselines of fixed setpoints: B0, a plant as it is often found, and B1, good practice, with its variants.

Their setpoints are frozen: who changes one changes every figure that was ever published against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coolctl.control.baseline import Timer, begin_with_running, part_load_ratio
from coolctl.control.estimate import Estimate
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL, u_size
from coolctl.psychro import CP_AIR_JKGK
from coolctl.thermal.air import crah_air_kgs
from coolctl.thermal.params import hall_array
from coolctl.thermal.plant import W_HALL, W_OAWB, W_PRESSURE, PlantParams
from coolctl.thermal.room import HallParams

if TYPE_CHECKING:
    from coolctl.site import Site

F64 = NDArray[np.float64]


class B0:
    """As found: return air held at 23 °C, water at 7 and 26 °C, fans and pumps at full speed, no economizer.

    An operator starts a chiller when those running are nearly full, and stops one only when two would be idle.
    """

    RETURN_C, SAT_MIN_C, SAT_MAX_C, RETURN_PER_S = 23.0, 14.0, 22.0, 1.0 / 600.0
    CHWST_C, CWST_C, DP_PA = 7.0, 26.0, 140e3
    UP_PLR, DOWN_PLR, OPERATOR_S = 0.95, 0.45, 3600.0

    def __init__(self, site: Site, p: PlantParams):
        self._p = p
        self._halls = [HallParams(*row.tolist()) for row in hall_array(site)]
        lim = site.file.limits
        self._sat = (max(self.SAT_MIN_C, lim.sat_sp_min_c), self.SAT_MAX_C)
        self.u = np.zeros(u_size(len(site.halls)))
        self.u[U_CHWST], self.u[U_CWST] = max(self.CHWST_C, lim.chwst_sp_min_c), self.CWST_C
        self.u[U_CHW_DP], self.u[U_CW_FLOW] = min(self.DP_PA, lim.chw_dp_sp_max_pa), 1.0
        self.u[U_CHILLERS], self.u[U_CELLS] = min(2, site.file.chillers.count), site.file.towers.cells
        self.u[U_HALL::2], self.u[U_HALL + 1 :: 2] = 18.0, 1.0
        self._up, self._down = Timer(), Timer()
        self._begun = False

    def step(self, est: Estimate, demand_speed: F64, dt_s: float) -> F64:
        """The setpoint vector after `dt_s` [s] more."""
        u = self.u
        if not self._begun:
            begin_with_running(u, est)
            u[U_CHILLERS], u[U_ECONOMIZER] = max(u[U_CHILLERS], 1.0), 0.0
            self._begun = True
        for h, hall in enumerate(self._halls):
            sat_c = est.sat_c[h]
            air_kgs = crah_air_kgs(1.0, sat_c, est.w[W_PRESSURE], hall)
            return_c = sat_c + est.w[W_HALL + h] / (air_kgs * CP_AIR_JKGK)
            if return_c == return_c:
                moved_c = u[U_HALL + 2 * h] + self.RETURN_PER_S * (self.RETURN_C - return_c) * dt_s
                u[U_HALL + 2 * h] = min(max(moved_c, self._sat[0]), self._sat[1])
        n, plr = u[U_CHILLERS], part_load_ratio(est, self._p)
        if self._up.after(plr > self.UP_PLR, dt_s, 900.0):
            u[U_CHILLERS] = min(n + 1.0, self._p.chillers)
        elif self._down.after(n > 1.5 and plr < self.DOWN_PLR, dt_s, self.OPERATOR_S):
            u[U_CHILLERS] = n - 1.0
        return u.copy()

    def take_over(self, last: F64) -> None:
        """Begin with the machines that run."""
        self._begun = False


class B1:
    """Good-practice fixed: 12 / 22 / 22 °C, fans at 1.15 of demand, fixed pressure, non-integrated economizer."""

    SAT_C, CHWST_C, CWST_C, DP_PA, AIRFLOW = 22.0, 12.0, 22.0, 140e3, 1.15
    HAS_ECONOMIZER = True
    UP_PLR, DOWN_PLR, STAGE_S = 0.90, 0.80, 900.0

    def __init__(self, site: Site, p: PlantParams):
        self._p = p
        self._fan_min = max(0.35, site.file.limits.fan_speed_sp_min_ratio)
        self._has_economizer = self.HAS_ECONOMIZER and site.economizer is not None
        self.u = np.zeros(u_size(len(site.halls)))
        self.u[U_CHWST], self.u[U_CHW_DP], self.u[U_CWST] = self.CHWST_C, self.DP_PA, self.CWST_C
        self.u[U_CHILLERS], self.u[U_CW_FLOW] = min(2, site.file.chillers.count), 1.0
        self.u[U_HALL::2], self.u[U_HALL + 1 :: 2] = self.SAT_C, 0.8
        self._cells = site.file.towers.cells
        self._up, self._down, self._on, self._off, self._swap, self._lost = (Timer() for _ in range(6))
        self._retry_s, self._begun = 0.0, False

    def step(self, est: Estimate, demand_speed: F64, dt_s: float) -> F64:
        """The setpoint vector after `dt_s` [s] more."""
        u = self.u
        if not self._begun:
            begin_with_running(u, est)
            if not self._has_economizer:
                u[U_CHILLERS], u[U_ECONOMIZER] = max(u[U_CHILLERS], 1.0), 0.0
            self._begun = True
        u[U_HALL + 1 :: 2] = np.clip(self.AIRFLOW * demand_speed, self._fan_min, 1.0)
        if u[U_ECONOMIZER] < 0.5:
            self._stage(part_load_ratio(est, self._p), dt_s)
        self._economizer(est, dt_s)
        u[U_CELLS] = min(max(2.0, u[U_CHILLERS]), self._cells)
        u[U_CWST] = self.CHWST_C - 3.0 if u[U_ECONOMIZER] > 0.5 else self.CWST_C
        return u.copy()

    def take_over(self, last: F64) -> None:
        """Begin with the machines that run."""
        self._begun = False

    def _stage(self, plr: float, dt_s: float) -> None:
        u, n = self.u, self.u[U_CHILLERS]
        smaller = plr * n / (n - 1.0) if n > 1.5 else np.inf
        if self._up.after(plr > self.UP_PLR, dt_s, self.STAGE_S):
            u[U_CHILLERS] = min(n + 1.0, self._p.chillers)
        elif self._down.after(smaller < self.DOWN_PLR, dt_s, self.STAGE_S):
            u[U_CHILLERS] = n - 1.0

    def _economizer(self, est: Estimate, dt_s: float) -> None:
        """Plates alone or not at all: on with 6 K in hand for 20 min, off when the setpoint is lost for 10 min."""
        u = self.u
        self._retry_s = max(self._retry_s - dt_s, 0.0)
        on = u[U_ECONOMIZER] > 0.5
        cold = self._has_economizer and est.w[W_OAWB] <= self.CHWST_C - 6.0 and self._retry_s <= 0.0
        if not on and self._on.after(cold, dt_s, 1200.0):
            u[U_ECONOMIZER] = 1.0
        elif on and self._swap.after(u[U_CHILLERS] > 0.5, dt_s, 900.0):
            u[U_CHILLERS] = 0.0
        lost = on and u[U_CHILLERS] < 0.5 and est.plant["chwst"] > self.CHWST_C + 1.0
        if self._off.after(lost, dt_s, 600.0):
            u[U_ECONOMIZER], u[U_CHILLERS], self._retry_s = 0.0, 1.0, 3600.0


class B1Integrated(B1):
    """B1 with an integrated economizer: plates take what they can, chillers the rest."""

    MAKES_OVER_WETBULB_K, GAIN_K, LOSS_K = 6.0, 1.1, 1.0

    def _economizer(self, est: Estimate, dt_s: float) -> None:
        """On when it would cool the return for 20 min, off when it does not; alone as in B1."""
        u, back_c = self.u, est.plant["chwrt"]
        self._retry_s = max(self._retry_s - dt_s, 0.0)
        on = u[U_ECONOMIZER] > 0.5
        makes_c = est.w[W_OAWB] + self.MAKES_OVER_WETBULB_K
        useful = self._has_economizer and makes_c + self.GAIN_K < back_c
        if not on and self._on.after(bool(useful), dt_s, 1200.0):
            u[U_ECONOMIZER] = 1.0
        elif on and u[U_CHILLERS] > 0.5 and self._off.after(bool(makes_c > back_c - self.LOSS_K), dt_s, 1200.0):
            u[U_ECONOMIZER] = 0.0
        alone = on and est.w[W_OAWB] <= self.CHWST_C - 6.0 and self._retry_s <= 0.0
        if self._swap.after(bool(alone and u[U_CHILLERS] > 0.5), dt_s, 900.0):
            u[U_CHILLERS] = 0.0
        lost = u[U_CHILLERS] < 0.5 and est.plant["chwst"] > self.CHWST_C + 1.0
        if self._lost.after(bool(lost), dt_s, 600.0):
            u[U_CHILLERS], self._retry_s = 1.0, 3600.0
        if on and u[U_CHILLERS] > 0.5:
            self._stage(part_load_ratio(est, self._p), dt_s)


class B1Warm(B1):
    """B1 at 15 / 24 / 22 °C: what a site does that has raised its setpoints by hand."""

    SAT_C, CHWST_C = 24.0, 15.0


class B1NoEconomizer(B1):
    """B1 on a plant whose plates stay shut."""

    HAS_ECONOMIZER = False
