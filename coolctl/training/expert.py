"""The expert: joint optima of the controller's model at drawn conditions, as features and labels for the network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.control.objective import INFEASIBLE_W, Limits, planning_limits, weighted_w
from coolctl.control.policy import F32, FEATURES, KWHM3_PER_WKGS, Situation, describe, features, labels
from coolctl.control.refine import AIRFLOW_MAX, joint_optimum
from coolctl.points import u_size
from coolctl.site import Site
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import OUTPUTS, W_HALL, PlantParams
from coolctl.thermal.room import HallParams

F64 = NDArray[np.float64]
SWEEPS = 40
SPREAD = 1.3
SCALED_HALL = ("fan_power_nom_w", "coil_ua_nom_wk", "recirculation_ratio", "hot_spot_gain", "server_fan_ratio")


class Conditions(NamedTuple):
    """One drawn state of the world."""

    w: F64
    limit_c: float
    chwst_cap_c: float
    dewpoint_c: float
    available: float
    halls: F64
    p: PlantParams
    makeup_wkgs: float


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
        halls, p = self._plant(rng)
        n = int(self.p.chillers)
        # Mostly energy alone; else water at any price.
        worth_kwhm3 = 0.0 if rng.random() < 0.7 else rng.uniform(low["makeup_worth_kwhm3"], high["makeup_worth_kwhm3"])
        makeup_wkgs = worth_kwhm3 / KWHM3_PER_WKGS
        available = float(n if rng.random() < 0.8 else rng.integers(max(n - 1, 1), n + 1))
        return Conditions(
            w, rng.uniform(23.0, 27.0), rng.uniform(8.0, 20.0), rng.uniform(-5.0, 16.0), available, halls, p, makeup_wkgs,
        )  # fmt: skip

    def _plant(self, rng: np.random.Generator) -> tuple[F64, PlantParams]:
        """The site's plant as it may turn out to be: every figure that a calibration may move, drawn around nominal."""
        p, halls = self.p, self.halls.copy()

        def scale() -> float:
            return float(rng.uniform(1.0 / SPREAD, SPREAD))

        for name in SCALED_HALL:
            halls[:, HallParams._fields.index(name)] *= scale()
        halls[:, HallParams._fields.index("server_fan_knee_c")] += rng.uniform(-2.0, 2.0)
        present = p.economizer.present if rng.random() < 0.85 else 0.0
        return halls, p._replace(
            chiller=p.chiller._replace(eir_scale=scale(), lift_exponent=float(rng.uniform(0.2, 1.0))),
            tower=p.tower._replace(ua_scale=scale(), fan_power_nom_w=p.tower.fan_power_nom_w * scale()),
            chw_pump=p.chw_pump._replace(efficiency_ratio=p.chw_pump.efficiency_ratio * scale()),
            cw_pump=p.cw_pump._replace(efficiency_ratio=p.cw_pump.efficiency_ratio * scale()),
            economizer=p.economizer._replace(
                present=present, ua_nom_wk=p.economizer.ua_nom_wk * scale(), parallel=float(present > 0.5 and rng.random() < 0.3)
            ),
            primary_secondary=float(rng.random() < 0.3),
        )

    def _pressure(self, rng: np.random.Generator) -> float:
        """Half around the site's own pressure, half anywhere: one network for sea level and plateau."""
        if rng.random() < 0.5:
            return float(self.site.pressure_pa * rng.uniform(0.98, 1.02))
        return float(rng.uniform(78e3, 103e3))

    def limits(self, c: Conditions) -> Limits:
        """The optimisation's limits under `c`."""
        return planning_limits(self.site.file.limits, c.limit_c, 0.0, c.dewpoint_c, c.makeup_wkgs)

    def bounds(self, c: Conditions) -> tuple[F64, F64]:
        """Lowest and highest free variables."""
        lim, halls = self.site.file.limits, len(self.halls)
        lo = [lim.chwst_sp_min_c, lim.cwst_sp_min_c, lim.cw_flow_sp_min_ratio]
        hi = [min(lim.chwst_sp_max_c, c.chwst_cap_c), lim.cwst_sp_max_c, lim.cw_flow_sp_max_ratio]
        lo += [lim.sat_sp_min_c, lim.airflow_ratio_min] * halls
        hi += [lim.sat_sp_max_c, AIRFLOW_MAX] * halls
        return np.array(lo), np.array(hi)

    def start(self, c: Conditions) -> F64:
        """Free variables that every search begins with."""
        return np.array([14.0, c.w[1] + 4.0, 0.8, *([c.limit_c - 2.5, 1.06] * len(self.halls))])

    def solve(self, c: Conditions) -> Example | None:
        """The optimum under `c`, or None where no setpoint is feasible."""
        p, lim = c.p, self.limits(c)
        lo, hi = self.bounds(c)
        z = self.start(c)
        cost, chillers, economizer = joint_optimum(
            z, c.available, c.w, c.halls, p.row, lim.row, lo, hi, SWEEPS, self._u, self._out
        )
        if not cost <= weighted_w(lim.makeup_wkgs, self._out) + INFEASIBLE_W:
            return None
        y = labels(z, chillers, economizer, c.w, c.limit_c, float(c.w[W_HALL:].sum()), p)
        return Example(self.features(c), y, float(cost), c)

    def features(self, c: Conditions) -> F32:
        """The network's inputs for `c`."""
        none = np.full(len(self.halls), np.nan)
        est = Estimate(
            0.0, c.w, none, none, none, none, none, none, none, c.dewpoint_c, np.nan, True, {}, np.nan, ()
        )  # fmt: skip
        s = Situation(c.limit_c, c.chwst_cap_c, c.available, c.makeup_wkgs)
        return features(est, s, float(self.it_nom_w.sum()), describe(c.halls, c.p), c.p.chillers)[0]
