"""What rule baselines share, and B2lite: simple resets in the manner of Guideline 36.

A baseline needs no policy: it works from measurements, holds what it cannot see, and leans to cooling. It returns a
full setpoint vector; where the daemon uses one, the shield has the last word on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate, largest_known
from coolctl.jit import kernel
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL, u_size
from coolctl.psychro import CP_WATER_JKGK
from coolctl.thermal.chiller import capacity_w
from coolctl.thermal.plant import W_OAWB, PlantParams, plant_of

if TYPE_CHECKING:
    from coolctl.site import Site

F64 = NDArray[np.float64]


class Rules(Protocol):
    """A baseline: one setpoint vector per tick from the estimate and the airflow demand [fan speed for ratio 1]."""

    def step(self, est: Estimate, demand_speed: F64, dt_s: float) -> F64: ...

    def take_over(self, last: F64) -> None:
        """From the next step on the plant is theirs, where `last` is in force: begin with what runs, no warmer than it is."""
        ...


def part_load_ratio(est: Estimate, p: PlantParams) -> float:
    """Load of the running chillers over their capacity, from flow and temperatures; 0 when none runs, NaN unknown."""
    n = est.plant["chillers_on"]
    if n < 0.5:
        return 0.0
    cold, warm, flow = est.plant["chwst"], est.plant["chwrt"], est.plant["chw_flow"]
    cw = est.plant["cwst"] if est.plant["cwst"] == est.plant["cwst"] else 24.0
    return flow * CP_WATER_JKGK * max(warm - cold, 0.0) / (n * _capacity_each_w(cold, cw, p.row))


@kernel
def _capacity_each_w(chwst_c: float, cwst_c: float, plant: F64) -> float:
    return capacity_w(chwst_c, cwst_c, plant_of(plant).chiller)


def begin_with_running(u: F64, est: Estimate) -> None:
    """Start from the machines that are seen to run, so that taking over stops none."""
    chillers, economizer = est.plant["chillers_on"], est.plant["economizer_on"]
    if chillers > 0.5 or economizer > 0.5:
        u[U_CHILLERS], u[U_ECONOMIZER] = np.nan_to_num(np.round(chillers)), float(economizer > 0.5)


class Timer:
    """How long a condition has held."""

    def __init__(self) -> None:
        self.held_s = 0.0

    def after(self, condition: bool, dt_s: float, needed_s: float) -> bool:
        """True once `condition` has held for `needed_s`; then starts again."""
        self.held_s = self.held_s + dt_s if condition else 0.0
        if self.held_s >= needed_s and condition:
            self.held_s = 0.0
            return True
        return False


class B2Lite:
    """Simple resets: supply air from the hottest rack, chilled water and pressure from the valve, tower from wet bulb.

    Integrated economizer, staging at PLR 0.85. Every reset is slow and held when its measurement is missing.
    """

    AIRFLOW, SAT_MIN_C, CHWST_CAP_C, FLOW_MARK = 1.10, 18.0, 18.0, 0.85
    INLET_BELOW_LIMIT_K = 0.3
    TOWER_APPROACH_K, CWST_FLOOR_C, CW_FLOW = 4.0, 14.0, 0.9
    UP_PLR, DOWN_PLR, STAGE_S = 0.85, 0.75, 900.0
    SAT_GAIN_PER_KS, CHWST_GAIN_K_PER_S = 1.0 / 600.0, 1.0 / 300.0
    VALVE_FULL, CHWST_RELIEF_K_PER_S = 0.95, 2.0 / 180.0

    def __init__(self, site: Site, p: PlantParams):
        self._p = p
        lim = site.file.limits
        self._lim = lim
        self._sat_max_c = min(lim.sat_sp_max_c, lim.rack_inlet_limit_c - 1.0)
        self._has_economizer = site.economizer is not None
        halls = len(site.halls)
        self.u = np.zeros(u_size(halls))
        self.u[U_CHWST], self.u[U_CHW_DP], self.u[U_CWST] = 12.0, lim.chw_dp_sp_max_pa, 22.0
        self.u[U_CHILLERS], self.u[U_CELLS] = min(2, site.file.chillers.count), site.file.towers.cells
        self.u[U_CW_FLOW] = self.CW_FLOW
        self.u[U_HALL::2], self.u[U_HALL + 1 :: 2] = 22.0, 0.8
        self._up, self._down, self._on, self._off, self._free, self._lost = (Timer() for _ in range(6))
        self._begun = False

    def step(self, est: Estimate, demand_speed: F64, dt_s: float) -> F64:
        """The setpoint vector after `dt_s` [s] more; resets move, the rest follows."""
        u = self.u
        if not self._begun:
            begin_with_running(u, est)
            self._begun = True
        u[U_HALL + 1 :: 2] = np.clip(self.AIRFLOW * demand_speed, self._lim.fan_speed_sp_min_ratio, 1.0)
        self._supply_air(est, dt_s)
        self._chilled_water(est, dt_s)
        self._machines(est, dt_s)
        self._tower(est)
        return u.copy()

    def take_over(self, last: F64) -> None:
        """Begin with the machines that run, and with what is colder: the own setpoints or those in force."""
        self._begun = False
        self.u[U_CHWST] = min(self.u[U_CHWST], max(last[U_CHWST], self._lim.chwst_sp_min_c))
        self.u[U_HALL::2] = np.minimum(self.u[U_HALL::2], np.maximum(last[U_HALL::2], self.SAT_MIN_C))

    def _supply_air(self, est: Estimate, dt_s: float) -> None:
        target_c = self._lim.rack_inlet_limit_c - self.INLET_BELOW_LIMIT_K
        for h, hottest_c in enumerate(est.inlet_max_c):
            if hottest_c == hottest_c:
                move = self.SAT_GAIN_PER_KS * (target_c - hottest_c) * dt_s
                sat = self.u[U_HALL + 2 * h] + (move if move > 0.0 else 3.0 * move)
                self.u[U_HALL + 2 * h] = min(max(sat, self.SAT_MIN_C), self._sat_max_c)

    def _chilled_water(self, est: Estimate, dt_s: float) -> None:
        u, lim = self.u, self._lim
        valve = largest_known(est.valve, np.nan)
        dp = est.plant["chw_dp"] if est.plant["chw_dp"] == est.plant["chw_dp"] else u[U_CHW_DP]
        nominal_pa = self._p.chw_pump.head_static_pa
        if valve == valve:
            flow = valve * np.sqrt(max(dp, 0.0) / nominal_pa)
            u[U_CHW_DP] = min(max(1.2 * nominal_pa * flow * flow, lim.chw_dp_sp_min_pa), lim.chw_dp_sp_max_pa)
            move = self.CHWST_GAIN_K_PER_S * (self.FLOW_MARK - flow) * dt_s
            cap = min(self.CHWST_CAP_C, lim.chwst_sp_max_c)
            if valve > self.VALVE_FULL:
                move = -self.CHWST_RELIEF_K_PER_S * dt_s  # the coils are at their end: do not wait for the slow reset
            u[U_CHWST] = min(max(u[U_CHWST] + (move if move > 0.0 else 3.0 * move), lim.chwst_sp_min_c), cap)

    def _machines(self, est: Estimate, dt_s: float) -> None:
        u, n = self.u, self.u[U_CHILLERS]
        plr = part_load_ratio(est, self._p)
        warm = est.plant["chwst"] > u[U_CHWST] + 1.0
        smaller = plr * n / (n - 1.0) if n > 1.5 else np.inf
        makes_c = est.w[W_OAWB] + self.TOWER_APPROACH_K + 2.0
        useful = self._has_economizer and makes_c < est.plant["chwrt"]
        if u[U_ECONOMIZER] < 0.5 and self._on.after(useful, dt_s, 1200.0):
            u[U_ECONOMIZER] = 1.0
        elif u[U_ECONOMIZER] > 0.5 and n > 0.5 and self._off.after(makes_c > est.plant["chwrt"], dt_s, 1200.0):
            u[U_ECONOMIZER] = 0.0
        carries = u[U_ECONOMIZER] > 0.5 and makes_c + 0.5 < u[U_CHWST] and not warm
        if self._up.after(plr > self.UP_PLR or (n > 0.5 and warm), dt_s, self.STAGE_S):
            u[U_CHILLERS] = min(n + 1.0, self._p.chillers)
        elif self._lost.after(n < 0.5 and est.plant["chwst"] > u[U_CHWST] + 1.0, dt_s, 300.0):
            u[U_CHILLERS] = 1.0
        elif self._down.after(smaller < self.DOWN_PLR, dt_s, self.STAGE_S):
            u[U_CHILLERS] = n - 1.0
        elif self._free.after(n > 0.5 and n < 1.5 and carries, dt_s, self.STAGE_S):
            u[U_CHILLERS] = 0.0

    def _tower(self, est: Estimate) -> None:
        u, lim = self.u, self._lim
        target = est.w[W_OAWB] + self.TOWER_APPROACH_K
        if u[U_CHILLERS] < 0.5:
            target = max(target, u[U_CHWST] - 3.0)  # no colder than the plates need
        elif u[U_ECONOMIZER] < 0.5:
            target = max(target, self.CWST_FLOOR_C)
        u[U_CWST] = min(max(target, lim.cwst_sp_min_c), lim.cwst_sp_max_c)
