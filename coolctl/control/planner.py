"""The slow half of the loop: every minute, or on an event, better setpoints and which machines should run.

The work is cut into candidates, one a tick, so that no tick pays for a whole optimisation. Machines change only for a
saving that stands out twice in a row, or at once when what runs can no longer carry the load.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.objective import INFEASIBLE_W, PLAN_PLR_MAX, Limits, cost_w, setpoints_cost_w, weighted_w
from coolctl.control.plant_rules import PlantRules
from coolctl.control.plausible import Plausible
from coolctl.control.precool import precool_k
from coolctl.control.prices import Box, Pricer, binding
from coolctl.control.refine import AIRFLOW_MAX, JOINT_MOVES, descend, first_steps, free_variables
from coolctl.control.screening import one_crah_fewer
from coolctl.control.water_cap import one_crah_fewer_where_it_helps, warmest_carrying_c, warmest_riding_c
from coolctl.points import U_CHILLERS, U_CHW_DP, U_CHWST, U_ECONOMIZER, U_HALL, u_size
from coolctl.site_schema import LimitsTable
from coolctl.thermal.plant import OUTPUTS, W_HALL, W_OAWB, PlantParams

F64 = NDArray[np.float64]

SWEEPS = 5
SHRINK = 0.5
LOAD_EVENT_RATIO, WETBULB_EVENT_K = 0.03, 0.5
SWITCH_GAIN_RATIO, SWITCH_GAIN_W, SWITCH_CONFIRMATIONS = 0.02, 200.0, 3
EVENT_MIN_S = 15.0
FIXED_CHWST_C = 12.0  # good fixed setpoints keep the water no colder, whatever fails
EVALUATIONS_A_TICK = 100


class Proposal(NamedTuple):
    """Free variables and machines, from the policy or a search."""

    z: F64
    chillers: float
    economizer: float


class Found(NamedTuple):
    """Where a search ended: the cost that decides [W], and whether it keeps every limit of the model."""

    cost_w: float
    proposal: Proposal
    feasible: bool


class Plan(NamedTuple):
    """Where the setpoints should go; costs [W] are the model's, penalties included."""

    u: F64
    z: F64
    chillers: float
    economizer: float
    cost_w: float
    policy_cost_w: float
    baseline_cost_w: float
    source: str
    binding: int  # the plan limits that it stands on, see prices.py


class Planner:
    """Holds the running optimisation; `step` does one slice and returns the newest complete plan, if any."""

    def __init__(
        self, halls: F64, p: PlantParams, lim: LimitsTable, rules: PlantRules, period_s: float, required_s: float,
        precool_max_k: float = 0.0, plausible_plants: int = 0,
    ):  # fmt: skip
        self._halls, self._p, self._plant, self._lim, self._period_s = halls, p, p.row, lim, period_s
        self._required_s, self._rules = required_s, rules
        self._fewer_halls, self._left_halls = one_crah_fewer(halls), np.empty_like(halls)
        count = len(halls)
        plant_lo = [lim.chwst_sp_min_c, lim.cwst_sp_min_c, lim.cw_flow_sp_min_ratio]
        plant_hi = [lim.chwst_sp_max_c, lim.cwst_sp_max_c, lim.cw_flow_sp_max_ratio]
        self.lo = np.array(plant_lo + [lim.sat_sp_min_c, lim.airflow_ratio_min] * count)
        self.hi = np.array(plant_hi + [lim.sat_sp_max_c, AIRFLOW_MAX] * count)
        self._u, self._out = np.zeros(u_size(count)), np.zeros(len(OUTPUTS))
        self._scratch = np.zeros(2 * count)
        self._now_u = np.zeros(u_size(count))
        self._steps, self._sweeps_left = np.zeros(len(self.lo)), 0
        # Each sweep tries every variable both ways and each try grows with the halls: a tick of a large site does fewer.
        self._sweeps_a_tick = max(EVALUATIONS_A_TICK // (2 * (len(self.lo) + JOINT_MOVES) * count), 1)
        self.plan: Plan | None = None
        self.pricer = Pricer(len(self.lo))
        self._plausible = Plausible(plausible_plants, halls) if plausible_plants else None
        self.chwst_cap_c = lim.chwst_sp_max_c
        self.cap_name = "ride_through"
        self._precool_max_k, self._precool_k, self._precool_from_c = precool_max_k, 0.0, np.nan
        self._queue: list[Proposal] = []
        self._found: list[Found] = []
        self._started_s = -np.inf
        self._load_w, self._wetbulb_c = np.nan, np.nan
        self._incumbents, self._beaten = (np.nan, np.nan), 0
        self._policy_cost_w = np.nan

    @property
    def searching(self) -> bool:
        """Whether an optimisation, or the pricing of its limits, is under way."""
        return bool(self._queue) or self.pricer.busy

    def adopt(self, halls: F64, p: PlantParams, gain_sd: F64 | None = None) -> None:
        """Plan on this model from now on: the same plant, calibrated; `gain_sd` is what calibration leaves in doubt."""
        self._halls, self._p, self._plant = halls, p, p.row
        if self._plausible:
            self._plausible.follow(gain_sd)

    def due(self, w: F64, now_s: float) -> bool:
        """Whether the next `step` starts an optimisation: none is under way, and the period is over or load or wet bulb
        has moved."""
        if self._queue:
            return False
        age_s = now_s - self._started_s
        load_w = float(w[W_HALL:].sum())
        moved = abs(load_w - self._load_w) > LOAD_EVENT_RATIO * self._load_w
        moved = moved or abs(w[W_OAWB] - self._wetbulb_c) > WETBULB_EVENT_K
        # A clock that jumped back is due too: an old plan must not live for ever.
        return not 0.0 <= age_s < self._period_s or (moved and age_s >= EVENT_MIN_S)

    def step(
        self, w: F64, lim: Limits, policy: Proposal | None, baseline_u: F64, now_u: F64, available: float,
        now_s: float, dt_s: float, peak_w: F64, due: bool, ahead_ratio: float = 1.0,
    ) -> Plan | None:  # fmt: skip
        """One slice of work under conditions `w`; `now_u` is what is set and running now, `peak_w` the load of each
        hall [W] that may be back at any moment, `due` what the question of that name was answered with, `ahead_ratio`
        the worth of energy soon over its worth now."""
        self._now_u = now_u
        # One slice a second: a caller with longer steps does the slices of its step at once.
        for _ in range(max(int(dt_s), 1) if self._queue else 0):
            if self._search(self._queue[0], w, lim):
                self._queue.pop(0)
            if not self._queue:
                self._finish(w, lim, baseline_u, self._current(w, available))
                return self.plan
        if due:
            self._started_s = now_s
            self._load_w, self._wetbulb_c = float(w[W_HALL:].sum()), float(w[W_OAWB])
            self._found = []
            self._update_cap(w, peak_w)
            self._precool(w, ahead_ratio)
            self._queue = self._candidates(policy, self._current(w, available), available)
            self._policy_cost_w = self._cost(policy, w, lim) if policy else np.nan
        elif not self._queue:
            self._price(w, lim, now_s)
        return self.plan

    def wants(self, now_s: float) -> bool:
        """Whether `step` has anything to do while nothing is due: a search, or prices of its plan."""
        return self.searching or (self.plan is not None and self.pricer.due(now_s))

    def _current(self, w: F64, available: float) -> Proposal:
        """What is set and running now, as a start for a search."""
        z, u = np.empty(len(self.lo)), self._now_u
        free_variables(u, w, self._halls, z)
        return Proposal(z, min(u[U_CHILLERS], available), u[U_ECONOMIZER])

    def _price(self, w: F64, lim: Limits, now_s: float) -> None:
        """Between two optimisations: what the limits of the present plan cost."""
        if self.plan and self.pricer.due(now_s):
            held = self._rules.expected(self._now_u, w, self.plan.chillers, self.plan.economizer)
            box = Box(lim, self.lo, self._upper())
            n, e = self.plan.chillers, self.plan.economizer
            self.pricer.begin(self.plan.z, n, e, held, w, self._halls, self._p, box, now_s)
        elif self.pricer.busy:
            self.pricer.step(self._sweeps_a_tick, self._u, self._out)

    def _candidates(self, policy: Proposal | None, current: Proposal, available: float) -> list[Proposal]:
        """What is set now, what the policy proposes, and the neighbouring machine choices from the better start."""
        start = policy.z if policy else current.z
        n, e = current.chillers, current.economizer
        machines = [(n, e), (n + 1.0, e), (n - 1.0, e), (n, 1.0 - e), (0.0, 1.0)]
        if policy:
            machines.insert(1, (policy.chillers, policy.economizer))
        keeps = (self._rules.keeps_chillers, self._rules.keeps_economizer)
        machines = [(k, f) for k, f in machines if (k == n or not keeps[0]) and (f == e or not keeps[1])]
        valid: list[tuple[float, float]] = []
        for k, f in machines:
            possible = 0.0 <= k <= available and (k > 0.5 or f > 0.5) and (f < 0.5 or self._p.economizer.present > 0.5)
            if possible and (k, f) not in valid:
                valid.append((k, f))
        queue = [Proposal(start.copy(), k, f) for k, f in valid]
        if policy and (n, e) in valid:
            # The last plan goes on where it ended; what is set now is minutes behind it.
            same = self.plan is not None and (self.plan.chillers, self.plan.economizer) == (n, e)
            queue.append(Proposal((self.plan.z if self.plan and same else current.z).copy(), n, e))
        return queue or [current]

    def _cost(self, proposal: Proposal, w: F64, lim: Limits) -> float:
        z = np.minimum(np.maximum(proposal.z, self.lo), self._upper())
        return self._complete(proposal._replace(z=z), w, lim)

    def _complete(self, proposal: Proposal, w: F64, lim: Limits) -> float:
        """Cost [W] of a candidate; leaves its setpoint vector in `_u`."""
        n, e = proposal.chillers, proposal.economizer
        held = self._rules.expected(self._now_u, w, n, e)
        return float(cost_w(proposal.z, n, e, held, w, self._halls, self._plant, lim.row, self._u, self._out))

    def _upper(self) -> F64:
        hi = self.hi.copy()
        hi[0] = max(min(hi[0], self.chwst_cap_c), self.lo[0])
        if self.plan and self._precool_k > 0.0:
            hi[0] = max(min(hi[0], self._precool_from_c - self._precool_k), self.lo[0])
        return hi

    def _search(self, candidate: Proposal, w: F64, lim: Limits) -> bool:
        """One slice of the search from a candidate; True once it has had all its sweeps."""
        if not self._sweeps_left:
            first_steps(self._steps, SHRINK)
            self._sweeps_left = SWEEPS
        sweeps = min(self._sweeps_left, self._sweeps_a_tick)
        n, e = candidate.chillers, candidate.economizer
        held = self._rules.expected(self._now_u, w, n, e)
        descend(
            candidate.z, n, e, held, w, self._halls, self._plant, lim.row, self.lo,
            self._upper(), sweeps, self._steps, self._u, self._out,
        )  # fmt: skip
        self._sweeps_left -= sweeps
        if not self._sweeps_left:
            cost = self._complete(candidate, w, lim)
            feasible = bool(cost <= weighted_w(lim.makeup_wkgs, self._out) + INFEASIBLE_W)
            self._found.append(Found(self._weighed(cost, feasible, self._u, w, lim), candidate, feasible))
        return not self._sweeps_left

    def _weighed(self, cost: float, feasible: bool, u: F64, w: F64, lim: Limits) -> float:
        """The cost that decides [W]: the mean over plausible plants, where the model's limits are kept."""
        if self._plausible is None or not feasible:
            return cost
        return self._plausible.weigh(u, w, self._halls, self._plant, lim.row)

    def _finish(self, w: F64, lim: Limits, baseline_u: F64, current: Proposal) -> None:
        """Choose among the candidates; never worse in the model than the rule baseline."""
        machines = (current.chillers, current.economizer)
        same = [f for f in self._found if (f.proposal.chillers, f.proposal.economizer) == machines]
        others = [f for f in self._found if (f.proposal.chillers, f.proposal.economizer) != machines]
        best = min(same, key=lambda f: f.cost_w) if same else Found(np.inf, current, False)
        source = "policy, refined"
        if others:
            other = min(others, key=lambda f: f.cost_w)
            if self._confirmed(best, other):
                best, source = other, "machines changed"
        baseline_cost = self._baseline_cost(baseline_u, w, lim)
        feasible = baseline_cost <= weighted_w(lim.makeup_wkgs, self._out) + INFEASIBLE_W
        weighed = self._weighed(baseline_cost, feasible, baseline_u, w, lim)
        if weighed < best.cost_w:
            z = np.empty(len(self.lo))
            free_variables(baseline_u, w, self._halls, z)
            best = Found(weighed, Proposal(z, baseline_u[U_CHILLERS], baseline_u[U_ECONOMIZER]), True)
            source = "rule baseline is cheaper in the model"
        if self._precool_k > 0.0:
            source += ", cooled ahead of a dearer hour"
        chosen = best.proposal
        cost = self._complete(chosen, w, lim)
        self.plan = Plan(
            self._u.copy(), chosen.z.copy(), chosen.chillers, chosen.economizer, cost, self._policy_cost_w,
            baseline_cost, source, binding(self._u, self._out, Box(lim, self.lo, self._upper())),
        )  # fmt: skip

    def _confirmed(self, now: Found, other: Found) -> bool:
        """Whether to change machines: at once where the present ones cannot keep the limits, else once they have been beaten
        several times in a row, by whichever others."""
        if not now.feasible and other.cost_w < now.cost_w:
            return True
        if (now.proposal.chillers, now.proposal.economizer) != self._incumbents:
            self._incumbents, self._beaten = (now.proposal.chillers, now.proposal.economizer), 0
        better = other.cost_w < (1.0 - SWITCH_GAIN_RATIO) * now.cost_w - SWITCH_GAIN_W
        self._beaten = self._beaten + 1 if better else 0
        return self._beaten >= SWITCH_CONFIRMATIONS

    def _baseline_cost(self, baseline_u: F64, w: F64, lim: Limits) -> float:
        return float(setpoints_cost_w(baseline_u, w, self._halls, self._plant, lim.row, self._out))

    def _update_cap(self, w: F64, peak_w: F64) -> None:
        """Warmest chilled water that leaves the required ride-through and lets the coils carry the peak at once, and the
        present load with one CRAH fewer."""
        u = self.plan.u.copy() if self.plan else self._u.copy()
        if self.plan is None:
            u[U_HALL::2], u[U_HALL + 1 :: 2], u[U_CHW_DP] = 23.0, 0.8, self._lim.chw_dp_sp_max_pa
        lim, plant, halls = self._lim, self._plant, self._halls
        bounds, dp_pa = (lim.chwst_sp_min_c, lim.chwst_sp_max_c), lim.chw_dp_sp_max_pa
        limit_c, needed_s = lim.rack_inlet_allowable_c, self._required_s
        ride_c = float(warmest_riding_c(u, w, limit_c, needed_s, *bounds, halls, plant, self._scratch))
        coil_c = float(warmest_carrying_c(u, w, peak_w, dp_pa, *bounds, halls, plant, self._out))
        # A coil that has become weak is the failure itself: with it, one CRAH more would be the second.
        one_crah_fewer_where_it_helps(u, w, halls, self._fewer_halls, self._left_halls)
        crah_c = float(warmest_carrying_c(u, w, w[W_HALL:], dp_pa, *bounds, self._left_halls, plant, self._out))
        crah_c = max(crah_c, min(FIXED_CHWST_C, self._lim.chwst_sp_max_c))
        caps = {"ride_through": ride_c, "load_step": coil_c, "one_crah_fewer": crah_c}
        self.cap_name = min(caps, key=lambda name: caps[name])
        self.chwst_cap_c = caps[self.cap_name]

    def _precool(self, w: F64, ahead_ratio: float) -> None:
        """How much colder the water should be ahead of a dearer hour; the depth is chosen once, from the plan before it."""
        if not ahead_ratio > 1.0 or self.plan is None:
            self._precool_k = 0.0
        elif not self._precool_k > 0.0:
            u, coldest_c = self.plan.u, float(self.lo[0])
            self._precool_k = precool_k(
                self._precool_max_k, coldest_c, PLAN_PLR_MAX, ahead_ratio, u, w, self._halls, self._p, self._out
            )
            self._precool_from_c = float(u[U_CHWST])
