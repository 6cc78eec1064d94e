"""Which limits hold the plan, and what each of them costs: the power that a little more room would save.

A price is found by searching on from the plan with one limit moved, against the same search with none moved. It is
the model's answer, for the operator who asks whether a kelvin at the racks or a point of airflow is worth a visit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.objective import INFEASIBLE_W, Z_CHWST, Z_CW_FLOW, Z_HALL, Limits, cost_w, weighted_w
from coolctl.control.refine import descend, first_steps
from coolctl.points import U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_HALL
from coolctl.thermal.plant import O_AIRFLOW, O_INLET, O_PLR, PlantParams

F64 = NDArray[np.float64]

EVERY_S = 300.0
SWEEPS, SHRINK = 6, 0.25


class PlanLimit(NamedTuple):
    """A limit of the plan: how far it is moved to price it, the unit that the price is for, and what counts as on it."""

    name: str
    room: float
    per: str
    unit: float
    touch: float


PLAN_LIMITS = (
    PlanLimit("rack_inlet", 0.5, "K", 1.0, 0.05),
    PlanLimit("airflow", 0.02, "percent_of_airflow", 0.01, 0.004),
    PlanLimit("chilled_water_max", 1.0, "K", 1.0, 0.05),
    PlanLimit("dewpoint", 1.0, "K", 1.0, 0.05),
    PlanLimit("supply_air_max", 0.5, "K", 1.0, 0.05),
    PlanLimit("tower_water_min", 1.0, "K", 1.0, 0.1),
    PlanLimit("condenser_flow_min", 0.05, "percent_of_flow", 0.01, 0.005),
    PlanLimit("pump_pressure_min", 5e3, "kPa", 1e3, 300.0),
    PlanLimit("load_ratio_max", 0.05, "percent_of_load_ratio", 0.01, 0.01),
)
(INLET, AIRFLOW, CHILLED_WATER, DEWPOINT, SUPPLY_AIR, TOWER_WATER, CONDENSER_FLOW, PRESSURE, LOAD_RATIO) = range(len(PLAN_LIMITS))


class Box(NamedTuple):
    """Limits of a search and the bounds of its free variables."""

    lim: Limits
    lo: F64
    hi: F64

    def relaxed(self, k: int) -> Box:
        """The same with plan limit `k` moved by its `room`."""
        room, lim, lo, hi = PLAN_LIMITS[k].room, self.lim, self.lo.copy(), self.hi.copy()
        if k == INLET:
            lim = lim._replace(inlet_c=lim.inlet_c + room)
        elif k == AIRFLOW:
            lim = lim._replace(airflow_min=lim.airflow_min - room)
            lo[Z_HALL + 1 :: 2] -= room
        elif k == CHILLED_WATER:
            hi[Z_CHWST] += room
        elif k == DEWPOINT:
            lim = lim._replace(sat_over_dewpoint_k=lim.sat_over_dewpoint_k - room)
        elif k == SUPPLY_AIR:
            hi[Z_HALL::2] += room
        elif k == TOWER_WATER:
            lim = lim._replace(cwst_min_c=lim.cwst_min_c - room)
            lo[1] -= room
        elif k == CONDENSER_FLOW:
            lo[Z_CW_FLOW] -= room
        elif k == PRESSURE:
            lim = lim._replace(chw_dp_min_pa=max(lim.chw_dp_min_pa - room, 1e3))
        else:
            lim = lim._replace(plr_max=lim.plr_max + room)
        return Box(lim, lo, hi)


def binding(u: F64, out: F64, box: Box) -> int:
    """The plan limits that `u` stands on, as bits in the order of `PLAN_LIMITS`; `out` is the model's answer to `u`."""
    lim, sat_c = box.lim, u[U_HALL::2]
    slack = {
        INLET: lim.inlet_c - out[O_INLET] - lim.inlet_bias_k,
        AIRFLOW: out[O_AIRFLOW] - max(lim.airflow_min, float(box.lo[Z_HALL + 1 :: 2].min())),
        CHILLED_WATER: box.hi[Z_CHWST] - u[U_CHWST],
        DEWPOINT: sat_c.min() - lim.dewpoint_c - lim.sat_over_dewpoint_k,
        SUPPLY_AIR: float((box.hi[Z_HALL::2] - sat_c).min()),
        TOWER_WATER: u[U_CWST] - lim.cwst_min_c,
        CONDENSER_FLOW: u[U_CW_FLOW] - box.lo[Z_CW_FLOW],
        PRESSURE: u[U_CHW_DP] - lim.chw_dp_min_pa,
        LOAD_RATIO: lim.plr_max - out[O_PLR] if u[U_CHILLERS] > 0.5 else np.inf,
    }
    return sum(1 << k for k, room in slack.items() if room <= PLAN_LIMITS[k].touch)


def binding_names(bits: int) -> list[str]:
    """Names of the plan limits in `bits`."""
    return [limit.name for k, limit in enumerate(PLAN_LIMITS) if bits >> k & 1]


class Pricer:
    """Prices all plan limits at one state, a slice of the search at a time; `values` [W per unit] are the newest whole set."""

    def __init__(self, count: int):
        self.values = np.full(len(PLAN_LIMITS), np.nan)
        self._new = self.values.copy()
        self._k, self._sweeps_left = len(PLAN_LIMITS), 0
        self._z, self._base_z, self._steps = np.zeros(count), np.zeros(count), np.zeros(count)
        self._base_w, self._bound = np.nan, 0
        self._started_s = -np.inf

    def due(self, now_s: float) -> bool:
        """Whether the last set is old, and none is in the making."""
        return self._k == len(PLAN_LIMITS) and not 0.0 <= now_s - self._started_s < EVERY_S

    @property
    def busy(self) -> bool:
        """Whether a set is in the making."""
        return self._k < len(PLAN_LIMITS)

    def begin(
        self, z: F64, chillers: float, economizer: float, held: F64, w: F64, halls: F64, p: PlantParams, box: Box, now_s: float
    ) -> None:
        """Price the limits at plan `z` under conditions `w`, on one model from the first search to the last."""
        self._state = (chillers, economizer, held.copy(), w.copy(), halls.copy(), p.row)
        self._box, self._boxed = box, box
        self._base_z[:] = z
        self._started_s = now_s
        self._k = -1  # the search with nothing moved comes first
        self._start_search(box)

    def _start_search(self, box: Box) -> None:
        self._boxed, self._sweeps_left = box, SWEEPS
        self._z[:] = self._base_z
        first_steps(self._steps, SHRINK)

    def step(self, sweeps: int, u: F64, out: F64) -> None:
        """Some sweeps of the search under way; `u` and `out` are scratch."""
        n = min(sweeps, self._sweeps_left)
        chillers, economizer, held, w, halls, plant = self._state
        lim, lo, hi = self._boxed
        cost = float(descend(self._z, chillers, economizer, held, w, halls, plant, lim.row, lo, hi, n, self._steps, u, out))
        self._sweeps_left -= n
        if self._sweeps_left:
            return
        if self._k < 0:
            self._base_w, self._base_z = cost, self._z.copy()
            cost_w(self._z, chillers, economizer, held, w, halls, plant, lim.row, u, out)
            if not cost <= weighted_w(self._box.lim.makeup_wkgs, out) + INFEASIBLE_W:
                # Nothing keeps every limit: a difference of penalties is no price.
                self._k, self.values = len(PLAN_LIMITS), np.full(len(PLAN_LIMITS), np.nan)
                return
            self._bound, self._new[:] = binding(u, out, self._box), 0.0
        else:
            limit = PLAN_LIMITS[self._k]
            self._new[self._k] = max(self._base_w - cost, 0.0) * limit.unit / limit.room
        self._next()

    def _next(self) -> None:
        """Go to the next limit that the optimum stands on; the others cost nothing."""
        self._k += 1
        while self._k < len(PLAN_LIMITS) and not self._bound >> self._k & 1:
            self._k += 1
        if self._k < len(PLAN_LIMITS):
            self._start_search(self._box.relaxed(self._k))
        else:
            self.values = self._new.copy()
