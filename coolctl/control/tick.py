"""One tick: health → estimate → mode → policy → plan → shield → Decision. Pure: told the time, returns reasons.

The daemon, replay, scenario tests and `evaluate` all call this same function. Model, policy and airflow feed-forward
run every tick; setpoints are refined every minute or on an event (planner.py); machines move on dwell (shield.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control import mode as modes
from coolctl.control.baseline import Rules, part_load_ratio
from coolctl.control.calibrate import Calibrator, Gain
from coolctl.control.commission import Excitation
from coolctl.control.context import Context
from coolctl.control.decision import Decision
from coolctl.control.estimate import Estimate, Estimator, as_setpoints
from coolctl.control.feedforward import AirflowDemand
from coolctl.control.guideline36 import B2
from coolctl.control.health import Health
from coolctl.control.loops import Loops, Sickness
from coolctl.control.machines import Effects, Lost, Machines
from coolctl.control.objective import Limits, planning_limits
from coolctl.control.own_view import OwnView
from coolctl.control.planner import Plan, Planner, Proposal
from coolctl.control.plant_rules import PlantRules
from coolctl.control.policy import F32, Policy, Situation, decode, describe, features, outside, usable
from coolctl.control.racks import TRIM_START_K, follow_peak, follow_racks, step_reserve_k
from coolctl.control.screening import Screening, Weakest
from coolctl.control.shield import RESCUE_FROM_K, Shield
from coolctl.control.worth import Worth
from coolctl.control.zones import KINDS, Zones
from coolctl.points import (
    U_CELLS,
    U_CHILLERS,
    U_CHWST,
    U_CW_FLOW,
    U_CWST,
    U_ECONOMIZER,
    U_HALL,
    Snapshot,
)  # fmt: skip
from coolctl.thermal.dynamics import HORIZON_S, ride_through_s
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import O_COOLING, OUTPUTS, W_HALL, evaluate_plant
from coolctl.thermal.room import HallParams

if TYPE_CHECKING:
    from coolctl.site import Site

F64 = NDArray[np.float64]

RULES_MODES = ("fallback", "emergency")
DT_MAX_S = 60.0
ADOPT_EVERY_S = 300.0
SHORT_TICK_S = 2.0
FAN_REST_RATIO = 1.005  # fans rest while they deliver up to this over what is needed: meters' noise is not worth following
RIDE_THROUGH_EVERY_S = 5.0
# The load that may be back at any moment: what was seen, forgotten slowly; carefully assumed at the start.
PEAK_TAU_S, PEAK_START_RATIO = 24.0 * 3600.0, 0.75
OVER_ALARM_TICKS, NO_COOLING_S = 2, 60.0
MACHINES = [U_CHILLERS, U_CELLS, U_ECONOMIZER]
NOTICED_S = 2.0  # by so much the plant's own control may come after the end of the lease
HOT_SPOT_OFFSET, COIL_UA, DEWPOINT = (HallParams._fields.index(n) for n in ("hot_spot_offset_k", "coil_ua_nom_wk", "dewpoint_c"))


class GatewayView(NamedTuple):
    """What the controller knows of the enforcer beside the BMS. `in_process` stands for a direct connection."""

    age_s: float = 0.0
    confirmed: bool = True
    hand: bool = False
    overrun: bool = False
    held: bool = True  # False while the gateway has granted its epoch to another controller


IN_PROCESS = GatewayView()


class Tick:
    """The control state of one site; `step` is deterministic in what it is given."""

    def __init__(self, site: Site, policy: Policy | None, granted: str, baseline: Rules | None = None):
        f = site.file
        self.site, self.policy = site, policy
        self.p, self.halls = plant_params(site), hall_array(site)
        self.rules = PlantRules(site, self.p)
        self.required_s = f.limits.ride_through_margin_s + site.chiller.restart_s
        self._health = Health(site.table, site.halls, self.halls)
        self._estimator = Estimator(site, self.halls)
        self._demand = AirflowDemand(self.halls)
        self.baseline: Rules = baseline or B2(site, self.p)
        self._own_view, self._rules_drive = OwnView(len(self.halls)), False
        self._baseline_u: F64 | None = None
        self.modes = modes.ModeMachine(granted, f.control.clean_s)
        self._planner = Planner(
            self.halls, self.p, f.limits, self.rules, f.control.refine_period_s, self.required_s, f.objective.precool_max_k,
            f.control.plausible_plants,
        )  # fmt: skip
        self._worth = Worth(site)
        authority = (f.control.authority_k, f.control.authority_ratio)
        lost_s = f.gateway.ttl_s + NOTICED_S
        self.shield = Shield(self.halls, self.p, f.limits, f.rates, f.dwell, authority, self.required_s, lost_s)
        self._calibrator = Calibrator(site, self.halls, self.p) if f.control.calibrate else None
        self.zones = Zones(self.halls, self.p)
        self._screening, self._weakest = Screening(self.halls, self.p, f.limits), Weakest(0, np.nan)
        self._loops = Loops(len(self.halls), self.p.tower.speed_min_ratio)
        self._machines, self._lost = Machines(), Lost(False, False)
        self._effects = Effects(len(self.halls), site.chiller.restart_s)
        self._model = (self.halls, self.p)
        self._described = describe(self.halls, self.p)
        self._adopted_s = -np.inf
        self._it_nom_w = self.halls[:, HallParams._fields.index("it_power_nom_w")]
        self._it_nom_sum_w = float(self._it_nom_w.sum())
        self._out, self._scratch = np.zeros(len(OUTPUTS)), np.zeros(2 * len(self.halls))
        self._last_s = np.nan
        self._seq = 0
        count = len(self.halls)
        self._bias_k, self._trim_k = np.zeros(count), np.full(count, TRIM_START_K)
        self._ride_s, self._ride_at_s = 0.0, -np.inf
        self._over_ticks, self._no_cooling_s = 0, 0.0
        self._peak_w = PEAK_START_RATIO * self._it_nom_w
        self._mode_before = ""
        self._heard = False
        self.conditions = np.zeros(0)
        self.excitation: Excitation | None = None
        self.withheld = False  # True for a recorded tick in which the policy's answer came too late
        self.override_u = np.full(U_HALL + 2 * count, np.nan)
        self._bits = np.zeros(U_HALL + 2 * count, dtype=np.int64)

    def step(self, snap: Snapshot, gateway: GatewayView = IN_PROCESS) -> Decision:
        """The decision for this snapshot. Never raises for any values."""
        dt_s = snap.now_s - self._last_s
        dt_s = min(max(dt_s, 0.0), DT_MAX_S) if dt_s == dt_s else 1.0
        self._last_s = snap.now_s
        self._seq += 1
        snap = self._health.assess(snap)
        est = self._health.warned(self._estimator.assess(snap), snap)
        self.conditions = est.w
        sick = self._sick_loops(est, dt_s)
        est = self._loops.steadied(est, sick)
        self._calibrate(est, snap, dt_s, sick)
        self._hear(est)
        follow_peak(est.w[W_HALL:], dt_s / PEAK_TAU_S, self._peak_w)
        there = est if self.modes.granted in modes.PUBLISHING else self._own_view.there or est
        demand = self._demand.step(est.w, there.sat_c, there.inlet_mean_c, est.aisle_dp_pa, est.fan_speed, dt_s)
        baseline_u = self._rules_step(est, demand, dt_s)
        last = self.shield.last if self.shield.last is not None else baseline_u
        followed = self._mode_before in modes.PUBLISHING and gateway.confirmed and not est.plant["bms_remote"] < 0.5
        fan_sp = last[U_HALL + 1 :: 2] if followed else np.full(len(self.halls), np.nan)
        est = self.zones.observe(est, last[U_HALL::2], fan_sp, demand, dt_s, {s.loop for s in sick})
        measured_u = as_setpoints(est)
        own_u = self.rules.present(measured_u, last, est.w)
        baseline_u = self._baseline_u = np.where(self.rules.owned, own_u, baseline_u)
        known_u = np.where(self.rules.owned, own_u, last)
        actual_u = np.where(np.isnan(measured_u), known_u, measured_u)
        model_w = self._follow_model(est, actual_u, dt_s)
        available = self._available(est)
        asked = last[U_CHILLERS] if self._seq > 1 else np.nan
        self._lost = self._machines.observe(est, asked, lambda: self.shield.carries(last, est.w, 0.0, 1.0, 1.0))
        self._effects.observe(est, measured_u, last, followed, dt_s)
        ride_s = self._ride_through(est, actual_u, demand, available)
        proposal, u_policy, policy_fault = self._propose(est, available)
        mode, reason = self._mode(est, gateway, policy_fault, actual_u, available, dt_s)
        plan = self._plan(est, proposal, baseline_u, available, dt_s)
        # A policy that has nothing to say has no say in this tick either: its last plan does not go on without it.
        wish, used = self._wish(mode, None if policy_fault else plan, baseline_u, demand)
        if policy_fault and mode in modes.POLICY_MODES:
            wish[MACHINES] = last[MACHINES]  # a tick without an answer starts and stops nothing: that is for a change of mode
        wish = np.where(self.rules.owned, own_u, wish)
        self._loops.hold(wish, last, [] if mode == "emergency" else sick, est.now_s)
        # A person's value goes before the plan and the rules, never before the shield.
        wish = np.where(np.isfinite(self.override_u), self.override_u, wish)
        if self.excitation is not None:
            wish = self.excitation.wish(wish, last, self._bits, est, snap, mode in modes.POLICY_MODES)
        context = Context(
            self._own_view.follow(mode == "shadow", est, self.shield.last, wish, *self._model, self._bias_k),
            demand, baseline_u, mode == "bounded", mode == "emergency", mode != self._mode_before, self._confirmed(gateway),
            self._planner.chwst_cap_c, self._planner.cap_name, ride_s, available, own_u,
        )  # fmt: skip
        if self._mode_before and mode in modes.PUBLISHING and self._mode_before not in modes.PUBLISHING:
            self.shield.last = None  # the plant was its own meanwhile: start from where it is
        u, bits = self.shield.limit(wish, context, dt_s)
        self._bits, self._mode_before = bits, mode
        terms = self._terms(est, plan, baseline_u, model_w, ride_s, gateway, used, sick)
        return Decision(
            self.site, snap.now_s, self._seq, mode, self.modes.granted, reason, u, wish, u_policy, baseline_u, bits,
            terms, plan.source if plan else "no plan yet", policy_fault,
            tuple(self._health.doubts()), tuple(sick), self.override_u.copy(), tuple(self._effects.missing()),
        )  # fmt: skip

    def _confirmed(self, gateway: GatewayView) -> bool:
        """Whether the plant does as it is told: the gateway's word for it, and no valve that has just ceased to follow."""
        return gateway.confirmed and not self._loops.astray()

    def _rules_step(self, est: Estimate, demand: F64, dt_s: float) -> F64:
        """The rules' setpoints: from what is measured while the plant is theirs, else from the model at their own."""
        theirs, last = self._mode_before in RULES_MODES, self.shield.last
        if theirs and not self._rules_drive and last is not None:
            self.baseline.take_over(last)
        self._rules_drive = theirs
        if not theirs and self._baseline_u is not None:
            est = self._own_view.see(est, self._baseline_u, *self._model, self._bias_k)
        return self.baseline.step(est, demand, dt_s)

    def _sick_loops(self, est: Estimate, dt_s: float) -> list[Sickness]:
        """The plant's own loops that do not follow as they should, seen against the setpoints that were published."""
        if self.shield.last is not None:
            self._loops.observe(est, self.shield.last, dt_s)
        return self._loops.sick(est.now_s)

    def _hear(self, est: Estimate) -> None:
        """Until racks and IT power have been heard once, nothing is published; what was assumed is then forgotten."""
        if not self._heard and est.quorum and not any(s.startswith("it_power") for s in est.substituted):
            self._heard = True
            self._demand.forget()

    def _calibrate(self, est: Estimate, snap: Snapshot, dt_s: float, sick: list[Sickness]) -> None:
        """Let the gains follow, where no loop is sick; planner and meters of the page work with them, the shield never."""
        if self._calibrator is None or sick:
            return
        self._calibrator.observe(self.zones.as_held(est), snap.value, dt_s)
        if not 0.0 <= est.now_s - self._adopted_s < ADOPT_EVERY_S:
            self._adopted_s = est.now_s
            self._model = self._calibrator.calibrated()
            self._described = describe(*self._model)

    def restore(self, known: dict[str, list[float]], age_s: float = 0.0) -> None:
        """Start calibration from what was known before a restart."""
        if self._calibrator is not None:
            self._calibrator.restore(known, age_s)

    def known(self) -> dict[str, list[float]]:
        """What calibration would want back after a restart; empty where it is switched off."""
        return self._calibrator.known() if self._calibrator else {}

    def memory(self) -> dict[str, Any]:
        """What a Tick of the same setpoints goes on from without a step; beside it goes `known`."""
        own = {"bias_k": self._bias_k.tolist(), "trim_k": self._trim_k.tolist(), "peak_w": self._peak_w.tolist()}
        return {**own, "mode": self._mode_before, "modes": self.modes.memory(), "shield": self.shield.memory()}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on where another Tick was; the policy has to earn its place again, on the rules meanwhile."""
        self._bias_k, self._trim_k, self._peak_w = (np.array(memory[k]) for k in ("bias_k", "trim_k", "peak_w"))
        self._mode_before = memory["mode"]
        self.modes.recall(memory["modes"])
        self.shield.recall(memory["shield"])

    def gains(self) -> list[Gain]:
        """What calibration has found of the machines' powers; empty where it is switched off."""
        return self._calibrator.gains() if self._calibrator else []

    def _follow_model(self, est: Estimate, actual_u: F64, dt_s: float) -> float:
        """Model power at the measured state; each hall's inlet bias and trim follow its own hottest rack."""
        evaluate_plant(actual_u, est.w, self._model[0], self._model[1].row, self._out)
        model_w = float(self._out[O_COOLING])
        limit_c = self.site.file.limits.rack_inlet_limit_c
        follow_racks(actual_u, est.w, self._model[0], est.inlet_max_c, limit_c, dt_s, self._bias_k, self._trim_k)
        return model_w

    def _ride_through(self, est: Estimate, actual_u: F64, demand: F64, available: float) -> float:
        """Ride-through seconds, and the weakest machine beside it; both anew every few seconds, the loop is no faster."""
        if not 0.0 <= est.now_s - self._ride_at_s < RIDE_THROUGH_EVERY_S:
            limit_c = self.site.file.limits.rack_inlet_allowable_c
            cold, warm = est.plant["chwst"], est.plant["chwrt"]
            self._ride_s = float(
                ride_through_s(actual_u, est.w, cold, warm, limit_c, HORIZON_S, self.halls, self.p.row, self._scratch)
            )
            self._ride_at_s = est.now_s
            self._weakest = self._screening.look(actual_u, est, demand, available)
        return self._ride_s

    def _available(self, est: Estimate) -> float:
        """Chillers that may be counted on; without a measurement only those that run."""
        seen, on = est.plant["chillers_available"], est.plant["chillers_on"]
        if seen != seen:
            seen = on if on == on else self.p.chillers
        seen = max(seen, on) if on == on else seen  # what runs is available, whatever the other sensor says
        return float(math.floor(min(max(seen, 0.0), self.p.chillers)))

    def _propose(self, est: Estimate, available: float) -> tuple[Proposal | None, F64, str]:
        """The policy's proposal, as it came, and why there is none."""
        none = np.full(U_HALL + 2 * len(self.halls), np.nan)
        if self.policy is None:
            return None, none, "no admitted policy"
        limit_c = self.site.file.limits.rack_inlet_limit_c
        s = Situation(limit_c, self._planner.chwst_cap_c, available, self._worth.makeup_wkgs(est))
        x = features(est, s, self._it_nom_sum_w, self._described, self.p.chillers)
        strange = outside(x)
        if strange:
            return None, none, f"{strange} is outside the trained range"
        y = self._infer(x)
        if y is None or not usable(y):
            return None, none, "the policy gave no usable proposal"
        z, chillers, economizer = decode(y, est.w, limit_c, len(self.halls), self.p)
        none[U_CHWST], none[U_CWST], none[U_CW_FLOW] = z[:3]
        none[U_CHILLERS], none[U_ECONOMIZER] = chillers, economizer
        none[U_HALL::2] = z[3::2]
        return Proposal(z, min(chillers, available), economizer), none, ""

    def _infer(self, x: F32) -> F32 | None:
        assert self.policy is not None
        if self.withheld:
            return None
        try:
            return np.asarray(self.policy.infer(x)[0], dtype=np.float32)
        except Exception:  # whatever a network or its engine does, this tick falls to the rule baseline
            return None

    def _mode(
        self, est: Estimate, gateway: GatewayView, policy_fault: str, actual_u: F64, available: float, dt_s: float
    ) -> tuple[str, str]:
        over = est.hottest_c > self.site.file.limits.rack_inlet_alarm_c
        self._over_ticks = self._over_ticks + 1 if over else 0
        running, economizer = est.plant["chillers_on"], est.plant["economizer_on"]
        # Nothing running is an emergency only where something was asked to run.
        asked = self.shield.last is not None and self.shield.last[U_CHILLERS] > 0.5
        idle = running < 0.5 and not economizer > 0.5 and asked and est.plant["chwst"] > actual_u[U_CHWST] - 1.0
        idle = idle and est.plant["chwst"] > (self.shield.last[U_CHWST] if self.shield.last is not None else 0.0) + 4.0
        self._no_cooling_s = self._no_cooling_s + dt_s if idle else 0.0
        evidence = modes.Evidence(
            gateway.hand or est.plant["hand"] > 0.5, gateway.age_s, gateway.confirmed, est.quorum,
            self._over_ticks >= OVER_ALARM_TICKS, self._no_cooling_s >= NO_COOLING_S or self._lost.every, not policy_fault,
            self.policy is not None, gateway.overrun, self._heard, gateway.held, self._lost.one,
            est.hottest_c > self.site.file.limits.rack_inlet_limit_c + RESCUE_FROM_K
            or (self.modes.granted == "bounded" and self.shield.short_of_cold(est, available)),
        )  # fmt: skip
        return self.modes.step(evidence, est.now_s, dt_s)

    def _limits(self, est: Estimate) -> Limits:
        lim = self.site.file.limits
        in_hand_k = float(step_reserve_k(est.w[W_HALL:], self._peak_w))
        return planning_limits(lim, lim.rack_inlet_limit_c, 0.0, est.dewpoint_c, self._worth.makeup_wkgs(est), in_hand_k)

    def _halls_seen(self, est: Estimate) -> F64:
        """The model's halls with what their racks say: each hall's hot spot moved by its own bias
        and trim, its coil as its valve tells, its air as humid as it is."""
        halls = self._model[0].copy()
        halls[:, HOT_SPOT_OFFSET] += self._bias_k + self._trim_k
        halls[:, COIL_UA] *= self.zones.coil_factors()
        if est.dewpoint_c == est.dewpoint_c:
            halls[:, DEWPOINT] = est.dewpoint_c
        return halls

    def _plan(self, est: Estimate, proposal: Proposal | None, baseline_u: F64, available: float, dt_s: float) -> Plan | None:
        planner = self._planner
        if planner.searching and self._ride_at_s == est.now_s and dt_s <= SHORT_TICK_S:
            return planner.plan  # this tick has paid for a roll-out already
        due = planner.due(est.w, est.now_s)
        if due:
            gain_sd = self._calibrator.sd() if self._calibrator else None
            planner.adopt(self._halls_seen(est), self._model[1], gain_sd)
        elif not planner.wants(est.now_s):
            return planner.plan
        last = self.shield.last if self.shield.last is not None else baseline_u
        return planner.step(
            est.w, self._limits(est), proposal, baseline_u, last, available, est.now_s, dt_s, self._peak_w, due,
            self._worth.ahead_ratio(est),
        )  # fmt: skip

    def _wish(self, mode: str, plan: Plan | None, baseline_u: F64, demand: F64) -> tuple[F64, bool]:
        """What the tick would like before the shield: the plan where the policy is in charge, else the baseline."""
        if mode not in (*modes.POLICY_MODES, *modes.WATCHING) or plan is None or self.policy is None:
            wish = baseline_u.copy()
            wish[U_HALL::2] -= self._trim_k
            return wish, False
        wish = plan.u.copy()
        airflow = plan.z[4::2]
        needed = np.minimum(airflow * demand, 1.0)
        last = self.shield.last if self.shield.last is not None else baseline_u
        resting = np.maximum(last[U_HALL + 1 :: 2], needed)
        wish[U_HALL + 1 :: 2] = np.minimum(resting, np.minimum(FAN_REST_RATIO * needed, 1.0))
        return wish, True

    def _terms(
        self, est: Estimate, plan: Plan | None, baseline_u: F64, model_w: float, ride_s: float, gateway: GatewayView, used: bool,
        sick: list[Sickness],
    ) -> F64:  # fmt: skip
        evaluate_plant(baseline_u, est.w, self._model[0], self._model[1].row, self._out)
        suspect, nothing = self.zones.suspect(), np.nan
        return np.array([
            est.it_w.sum(), est.hottest_c, est.w[1], est.dewpoint_c, est.measured_w, model_w, self._out[O_COOLING],
            plan.cost_w if plan else nothing, plan.policy_cost_w if plan else nothing, ride_s, self._planner.chwst_cap_c,
            max(self._bias_k.tolist()), max(self._trim_k.tolist()), part_load_ratio(est, self.p), self.modes.clean_s,
            float(used), float(est.quorum), float(len(est.substituted)), gateway.age_s, float(gateway.confirmed),
            float(suspect.hall) if suspect else nothing,
            float(list(KINDS).index(suspect.kind)) if suspect else nothing, suspect.size if suspect else nothing,
            float(len(sick)), float(np.count_nonzero(self._health.doubt)), float(plan.binding) if plan else nothing,
            float(self._weakest.kind), self._weakest.ratio, self.shield.foresight.hottest_c,
            *self._planner.pricer.values.tolist(),
        ])  # fmt: skip
