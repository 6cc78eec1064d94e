"""B2: a full sequence in the manner of ASHRAE Guideline 36, the fair opponent and the daemon's fallback.

Every reset is trim & respond on requests. Plant loop: first pump pressure, then water temperature; condenser water by
lift; chillers staged on part load against a lift-dependent mark; economizer integrated, enabled on its predicted outlet.
Numbers from LBNL's executable Guideline 36 (Modelica Buildings, G36 templates), §5.20; supply air is outside the
guideline and follows the trade's practice. Needs measurements only: no plant model, no policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.baseline import Timer, begin_with_running, part_load_ratio
from coolctl.control.estimate import Estimate
from coolctl.num import first_order
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL, u_size
from coolctl.psychro import CP_WATER_JKGK
from coolctl.thermal.plant import W_OAWB, PlantParams

if TYPE_CHECKING:
    from coolctl.site import Site

F64 = NDArray[np.float64]


class Reset(NamedTuple):
    """Constants of one trim & respond loop; `respond` has the opposite sign of `trim`."""

    start: float
    low: float
    high: float
    delay_s: float
    period_s: float
    ignored: float
    trim: float
    respond: float
    respond_max: float


class TrimRespond:
    """Every period: always trim; respond to each request beyond those ignored, up to a cap; then clip."""

    def __init__(self, reset: Reset):
        self.reset = reset
        self.value = reset.start
        self._wait_s = reset.delay_s

    def step(self, requests: float, dt_s: float, frozen: bool = False) -> float:
        """The setpoint after `dt_s` [s] more."""
        r = self.reset
        self._wait_s -= dt_s
        if self._wait_s > 0.0 or frozen:
            return self.value
        self._wait_s = r.period_s
        move = r.trim
        if requests > r.ignored:
            respond = r.respond * (requests - r.ignored)
            move += min(respond, r.respond_max) if r.respond > 0.0 else max(respond, r.respond_max)
        self.value = min(max(self.value + move, r.low), r.high)
        return self.value


class Tuning(NamedTuple):
    """What commissioning sets: the constants that a search for the best static sequence (B3) may move."""

    airflow_ratio: float = 1.10
    sat_max_c: float = 24.0
    chwst_max_c: float = 18.0
    lift_ratio: float = 1.0
    cw_flow_min_ratio: float = 0.65
    stage_ratio: float = 1.0


class B2:
    """Setpoints of the whole sequence; one `step` a tick."""

    SAT_MIN_C, SAT_START_C, INLET_BELOW_LIMIT_K = 18.0, 22.0, 0.3
    CHWST_MIN_C = 8.0
    PUMP_FIRST = 0.5  # of the plant reset: below it pressure moves, above it temperature
    VALVE_ASKS, VALVE_CONTENT, CRAHS_IGNORED_RATIO = 0.95, 0.85, 0.1
    VALVE_LOST, LOST_S = 0.995, 60.0
    LIFT_MIN_K, CWRT_DESIGN_C = 6.0, 32.0
    SPLR_MIN, SPLR_MAX, LOAD_MEAN_S, STAGE_S = 0.45, 0.90, 300.0, 900.0
    FAILSAFE_K, EVAPORATOR_FLOW_MAX = 1.0, 1.2
    HX_APPROACH_K, TOWER_APPROACH_K = 2.0, 4.0
    WSE_MIN_S, WSE_GAIN_K, WSE_LOSS_K, WSE_LOSS_S = 1200.0, 1.1, 1.0, 120.0
    ALONE_START_K, ALONE_PER_S, ALONE_MAX_K = 1.0, 1.0 / 300.0, 8.0
    CYCLING_RATIO, SPARE_PER_S, SPARE_MAX_K = 1.1, 1.0 / 120.0, 30.0

    def __init__(self, site: Site, p: PlantParams, tuning: Tuning = Tuning()):  # noqa: B008  a tuple of constants
        self._p, self._lim, self._tuning = p, site.file.limits, tuning
        lim, halls = self._lim, len(site.halls)
        self._lift_max_k = self.CWRT_DESIGN_C - self.CHWST_MIN_C
        self._chwst = (max(self.CHWST_MIN_C, lim.chwst_sp_min_c), min(tuning.chwst_max_c, lim.chwst_sp_max_c))
        self._crahs = [float(h.crahs) for h in site.file.halls]
        self._asking = [False] * halls
        ignored = np.floor(self.CRAHS_IGNORED_RATIO * sum(self._crahs))
        self._plant = TrimRespond(Reset(1.0, 0.0, 1.0, 900.0, 300.0, ignored, -0.02, 0.03, 0.07))
        sat_max_c = min(tuning.sat_max_c, lim.rack_inlet_limit_c - 1.0, lim.sat_sp_max_c)
        supply = Reset(self.SAT_START_C, self.SAT_MIN_C, sat_max_c, 300.0, 120.0, 0.0, 0.1, -0.3, -0.6)
        self._supply = [TrimRespond(supply) for _ in range(halls)]
        self._has_economizer = site.economizer is not None
        self.u = np.zeros(u_size(halls))
        self.u[U_CHILLERS], self.u[U_CELLS] = min(2, site.file.chillers.count), site.file.towers.cells
        self._up, self._down, self._useful, self._useless, self._lost = (Timer() for _ in range(5))
        self._valve_lost = Timer()
        self._load_w = np.nan
        self._since_stage_s = self._since_wse_s = np.inf
        self._alone_k, self._spare_k = self.ALONE_START_K, 0.0
        self._begun = False

    def step(self, est: Estimate, demand_speed: F64, dt_s: float) -> F64:
        """The setpoint vector after `dt_s` [s] more."""
        u = self.u
        if not self._begun:
            begin_with_running(u, est)
            self._begun = True
        self._since_stage_s += dt_s
        self._since_wse_s += dt_s
        wanted = np.maximum(self._tuning.airflow_ratio * demand_speed, self._lim.fan_speed_sp_min_ratio)
        u[U_HALL + 1 :: 2] = np.minimum(wanted, 1.0)
        self._supply_air(est, dt_s)
        self._chilled_water(est, dt_s)
        self._follow_load(est, dt_s)
        self._economizer(est, dt_s)
        self._stage(est, dt_s)
        self._condenser(est, dt_s)
        return u.copy()

    def take_over(self, last: F64) -> None:
        """Begin with the machines that run, and with what is colder: the own resets or the water and air in force."""
        self._begun = False
        warmest_c, coldest_c = self._chwst[1], self._chwst[0]
        cold = (warmest_c - last[U_CHWST]) / max(warmest_c - coldest_c, 1e-6)
        if cold > 0.0:
            self._plant.value = max(self._plant.value, min(self.PUMP_FIRST + (1.0 - self.PUMP_FIRST) * cold, 1.0))
        for h, loop in enumerate(self._supply):
            loop.value = min(loop.value, max(last[U_HALL + 2 * h], self.SAT_MIN_C))

    def _supply_air(self, est: Estimate, dt_s: float) -> None:
        warm_c = self._lim.rack_inlet_limit_c - self.INLET_BELOW_LIMIT_K
        for h, (loop, hottest_c) in enumerate(zip(self._supply, est.inlet_max_c.tolist(), strict=True)):
            unknown = hottest_c != hottest_c
            self.u[U_HALL + 2 * h] = loop.step(1.0 if hottest_c > warm_c else 0.0, dt_s, frozen=unknown)

    def _chilled_water(self, est: Estimate, dt_s: float) -> None:
        """Requests of the coils' valves move pressure first, temperature after; held while machines change."""
        u, lim = self.u, self._lim
        valves, requests = est.valve.tolist(), 0.0
        for h, valve in enumerate(valves):
            self._asking[h] = valve > self.VALVE_ASKS or (self._asking[h] and not valve < self.VALVE_CONTENT)
            requests += self._crahs[h] if self._asking[h] else 0.0
        widest = max((valve for valve in valves if valve == valve), default=0.0)
        level = self._plant.step(requests, dt_s, frozen=self._since_stage_s < self.STAGE_S and requests == 0.0)
        # A coil at its end for a minute has lost its supply air: one more response at once, as its 2.8 K request would.
        if self._valve_lost.after(widest > self.VALVE_LOST, dt_s, self.LOST_S):
            level = self._plant.value = min(level + self._plant.reset.respond_max, 1.0)
        pump = min(level / self.PUMP_FIRST, 1.0)
        cold = max((level - self.PUMP_FIRST) / (1.0 - self.PUMP_FIRST), 0.0)
        u[U_CHW_DP] = lim.chw_dp_sp_min_pa + pump * (lim.chw_dp_sp_max_pa - lim.chw_dp_sp_min_pa)
        u[U_CHWST] = self._chwst[1] - cold * (self._chwst[1] - self._chwst[0])

    def _follow_load(self, est: Estimate, dt_s: float) -> None:
        """Load left to the chillers [W], five minutes' mean; plates ahead of them take their share first."""
        entering_c, cold_c = est.plant["chwrt"], est.plant["chwst"]
        if self.u[U_ECONOMIZER] > 0.5:
            entering_c = min(entering_c, max(est.plant["cwst"] + self.HX_APPROACH_K, cold_c))
        load_w = est.plant["chw_flow"] * CP_WATER_JKGK * max(entering_c - cold_c, 0.0)
        if load_w == load_w:
            self._load_w = load_w if self._load_w != self._load_w else first_order(self._load_w, load_w, self.LOAD_MEAN_S, dt_s)

    def _lift_k(self, est: Estimate) -> float:
        lift_k = est.plant["cwrt"] - est.plant["chwst"]
        return min(max(lift_k, self.LIFT_MIN_K), self._lift_max_k) if lift_k == lift_k else self._lift_max_k

    def _stage_mark(self, est: Estimate) -> float:
        """Part load up to which one chiller fewer is the more efficient stage, for variable-speed centrifugals."""
        e = 0.9 / (self._lift_max_k - self.LIFT_MIN_K)
        f = e * (0.4 * self._lift_max_k - 1.4 * self.LIFT_MIN_K)
        return self._tuning.stage_ratio * min(max(e * self._lift_k(est) + f, self.SPLR_MIN), self.SPLR_MAX)

    def _economizer(self, est: Estimate, dt_s: float) -> None:
        """On when its predicted outlet is colder than what comes back; off when it no longer cools."""
        u = self.u
        back_c, on = est.plant["chwrt"], u[U_ECONOMIZER] > 0.5
        useful = self._has_economizer and back_c > self._predicted_c(est) + self.WSE_GAIN_K
        seen_c = est.plant["cwst"] + self.HX_APPROACH_K
        useless = on and seen_c > back_c - self.WSE_LOSS_K and self._since_wse_s > self.WSE_MIN_S
        if self._useful.after(not on and useful, dt_s, self.WSE_MIN_S):
            u[U_ECONOMIZER], self._since_wse_s = 1.0, 0.0
        elif self._useless.after(useless and u[U_CHILLERS] > 0.5, dt_s, self.WSE_LOSS_S):
            u[U_ECONOMIZER], self._since_wse_s = 0.0, 0.0

    def _predicted_c(self, est: Estimate) -> float:
        """Water that tower and plates would make at full fans [°C]."""
        return float(est.w[W_OAWB] + self.TOWER_APPROACH_K + self.HX_APPROACH_K)

    def _stage(self, est: Estimate, dt_s: float) -> None:
        u, n, mark = self.u, self.u[U_CHILLERS], self._stage_mark(est)
        capacity_w, chwst_c = self._p.chiller.capacity_ref_w, est.plant["chwst"]
        flow = est.plant["chw_flow"] / max(n * self._p.evaporator_flow_nom_kgs, 1e-6)
        warm = chwst_c > u[U_CHWST] + self.FAILSAFE_K
        settled = self._since_stage_s >= self.STAGE_S
        more = n > 0.5 and (self._load_w > mark * n * capacity_w or warm or flow > self.EVAPORATOR_FLOW_MAX)
        fewer = n > 1.5 and self._load_w < mark * (n - 1.0) * capacity_w and not warm
        fewer = fewer and est.plant["chw_flow"] < self.EVAPORATOR_FLOW_MAX * (n - 1.0) * self._p.evaporator_flow_nom_kgs
        alone = u[U_ECONOMIZER] > 0.5 and self._predicted_c(est) + 0.5 < u[U_CHWST] and not warm
        before = n
        if n < 0.5:
            if self._lost.after(warm, dt_s, self.STAGE_S):
                u[U_CHILLERS] = 1.0
        elif self._up.after(settled and more, dt_s, self.STAGE_S):
            u[U_CHILLERS] = min(n + 1.0, self._p.chillers)
        elif self._down.after(settled and (fewer or alone), dt_s, self.STAGE_S):
            # Where the plates can do it, all chillers stop at once: one alone could not pass the water.
            u[U_CHILLERS] = 0.0 if alone else n - 1.0
        if u[U_CHILLERS] != before:
            self._since_stage_s = 0.0

    def _follow_alone(self, est: Estimate, room: bool, dt_s: float) -> None:
        """The economizer alone: tower water follows the chilled water's error, and stops where it can go no colder."""
        error_k = est.plant["chwst"] - self.u[U_CHWST]
        if error_k == error_k and (room or error_k < 0.0):
            self._alone_k = min(max(self._alone_k + error_k * self.ALONE_PER_S * dt_s, 0.0), self.ALONE_MAX_K)

    def _spare_chillers(self, n: float, dt_s: float) -> None:
        """Plates and chillers together: the towers make warmer water where they would leave the chillers to cycle.

        Guideline 36 caps the tower fans so that the chillers keep 110 % of their least load, not in the first minutes.
        """
        if self._since_stage_s < self.LOAD_MEAN_S or self._load_w != self._load_w:
            return
        least_w = self.CYCLING_RATIO * self._p.chiller.plr_min * n * self._p.chiller.capacity_ref_w
        missing = min(max(1.0 - self._load_w / least_w, -1.0), 1.0)
        self._spare_k = min(max(self._spare_k + missing * self.SPARE_PER_S * dt_s, 0.0), self.SPARE_MAX_K)

    def _condenser(self, est: Estimate, dt_s: float) -> None:
        """Tower water by lift; as cold as it gets while the economizer helps; by its own load when it is alone."""
        u, lim, n = self.u, self._lim, self.u[U_CHILLERS]
        low = self._tuning.cw_flow_min_ratio
        share = (n - 1.0) / max(self._p.chillers - 1.0, 1.0)
        u[U_CW_FLOW] = min(max(low + (1.0 - low) * max(share, 0.0), lim.cw_flow_sp_min_ratio), 1.0)
        range_k = est.plant["cwrt"] - est.plant["cwst"]
        coldest_c = est.w[W_OAWB] + self.HX_APPROACH_K
        if u[U_ECONOMIZER] > 0.5 and n > 0.5:
            self._spare_chillers(n, dt_s)
            target_c = coldest_c + self._spare_k
        elif u[U_ECONOMIZER] > 0.5:
            target_c = max(u[U_CHWST] - self.HX_APPROACH_K - self._alone_k, coldest_c)
            self._follow_alone(est, target_c > coldest_c, dt_s)
        else:
            a = 1.1 * (self._lift_max_k - self.LIFT_MIN_K)
            load = part_load_ratio(est, self._p)
            lift_k = a * (load if load == load else 1.0) + self._lift_max_k - a
            lift_k = max(self.LIFT_MIN_K, self._tuning.lift_ratio * min(self._lift_max_k, lift_k))
            leaving_c = min(u[U_CHWST] + lift_k, self.CWRT_DESIGN_C)
            target_c = leaving_c - (range_k if range_k == range_k else 5.0)
            target_c = max(target_c, coldest_c)
        u[U_CWST] = min(max(target_c, lim.cwst_sp_min_c), lim.cwst_sp_max_c)
