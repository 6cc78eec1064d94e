"""The expert: joint optima of the controller's model at drawn conditions, as features and labels for the network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.control.objective import Limits
from coolctl.control.planner import INFEASIBLE_W
from coolctl.control.policy import F32, FEATURES, Situation, features, labels
from coolctl.control.refine import AIRFLOW_MAX, joint_optimum
from coolctl.control.shield import EVAPORATOR_MAX
from coolctl.control.tick import PLAN_INLET_RESERVE_K, PLAN_PLR_MAX
from coolctl.points import u_size
from coolctl.site import Site
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import O_COOLING, OUTPUTS, W_HALL, PlantParams
from coolctl.thermal.room import HallParams

F64 = NDArray[np.float64]
SWEEPS = 40


class Conditions(NamedTuple):
    """One drawn state of the world."""

    w: F64
    limit_c: float
    chwst_cap_c: float
    dewpoint_c: float
    available: float
    economizer: bool


class Example(NamedTuple):
    """A label with what is needed to score a proposal for the same conditions."""

    features: F32
    outputs: F32
    cost_w: float
    conditions: Conditions


class Expert:
    """Optimiser of one site's model."""

    def __init__(self, site: Site):
        self.site = site
        self.p, self.halls = plant_params(site), hall_array(site)
        self.it_nom_w = self.halls[:, HallParams._fields.index("it_power_nom_w")]
        self._u, self._out = np.zeros(u_size(len(self.halls))), np.zeros(len(OUTPUTS))

    def draw(self, rng: np.random.Generator) -> Conditions:
        """Conditions over the whole trained range; economizer and chillers are sometimes out of service."""
        low = {f.name: f.low for f in FEATURES}
        high = {f.name: f.high for f in FEATURES}
        w = np.empty(W_HALL + len(self.halls))
        wb = rng.uniform(low["oawb_c"], high["oawb_c"])
        w[:W_HALL] = wb + rng.uniform(0.5, 15.0), wb, self._pressure(rng)
        mean = rng.uniform(low["load_ratio"], 1.0)
        w[W_HALL:] = np.clip(mean * rng.uniform(0.85, 1.15, len(self.halls)), 0.1, 1.0) * self.it_nom_w / 1.05
        n = int(self.p.chillers)
        available = float(n if rng.random() < 0.8 else rng.integers(max(n - 1, 1), n + 1))
        return Conditions(
            w, rng.uniform(23.0, 27.0), rng.uniform(8.0, 20.0), rng.uniform(-5.0, 16.0), available,
            bool(self.p.economizer.present > 0.5 and rng.random() < 0.85),
        )  # fmt: skip

    def _pressure(self, rng: np.random.Generator) -> float:
        """Half around the site's own pressure, half anywhere: one network for sea level and plateau."""
        if rng.random() < 0.5:
            return float(self.site.pressure_pa * rng.uniform(0.98, 1.02))
        return float(rng.uniform(78e3, 103e3))

    def plant(self, c: Conditions) -> PlantParams:
        """The model under conditions `c`."""
        present = 1.0 if c.economizer else 0.0
        return self.p._replace(economizer=self.p.economizer._replace(present=present))

    def limits(self, c: Conditions) -> Limits:
        """The optimisation's limits under `c`."""
        lim = self.site.file.limits
        return Limits(
            c.limit_c - lim.rack_inlet_margin_k - PLAN_INLET_RESERVE_K, 0.0, lim.airflow_ratio_min,
            lim.chw_dp_sp_min_pa, lim.chw_dp_sp_max_pa, PLAN_PLR_MAX, EVAPORATOR_MAX, c.dewpoint_c,
            lim.dewpoint_margin_k, lim.fan_speed_sp_min_ratio,
        )  # fmt: skip

    def bounds(self, c: Conditions) -> tuple[F64, F64]:
        """Lowest and highest free variables."""
        lim, halls = self.site.file.limits, len(self.halls)
        lo = [lim.chwst_sp_min_c, lim.cwst_sp_min_c, lim.cw_flow_sp_min_ratio]
        hi = [min(lim.chwst_sp_max_c, c.chwst_cap_c), lim.cwst_sp_max_c, lim.cw_flow_sp_max_ratio]
        lo += [lim.sat_sp_min_c, lim.airflow_ratio_min] * halls
        hi += [lim.sat_sp_max_c, AIRFLOW_MAX] * halls
        return np.array(lo), np.array(hi)

    def solve(self, c: Conditions) -> Example | None:
        """The optimum under `c`, or None where no setpoint is feasible."""
        p, lim = self.plant(c), self.limits(c)
        lo, hi = self.bounds(c)
        z = np.array([14.0, c.w[1] + 4.0, 0.8, *([c.limit_c - 2.5, 1.06] * len(self.halls))])
        cost, chillers, economizer = joint_optimum(z, c.available, c.w, self.halls, p, lim, lo, hi, SWEEPS, self._u, self._out)
        if not cost <= self._out[O_COOLING] + INFEASIBLE_W:
            return None
        y = labels(z, chillers, economizer, c.w, c.limit_c, float(c.w[W_HALL:].sum()), p)
        return Example(self.features(c), y, float(cost), c)

    def features(self, c: Conditions) -> F32:
        """The network's inputs for `c`."""
        none = np.full(len(self.halls), np.nan)
        est = Estimate(
            0.0, c.w, none, none, none, none, none, none, none, c.dewpoint_c, np.nan, True, {}, np.nan, ()
        )  # fmt: skip
        return features(est, Situation(c.limit_c, c.chwst_cap_c, c.available), self.it_nom_w, self.plant(c))[0]
