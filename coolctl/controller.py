"""The controller as a library: the same tick as the daemon's, without clock or sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coolctl.control.baseline import B2Lite, Rules
from coolctl.control.decision import Decision
from coolctl.control.estimate import Estimator
from coolctl.control.feedforward import AirflowDemand
from coolctl.control.fixed_rules import B0, B1, B1Integrated, B1NoEconomizer, B1Warm
from coolctl.control.guideline36 import B2, Tuning
from coolctl.control.policy import Policy
from coolctl.control.tick import IN_PROCESS, GatewayView, Tick
from coolctl.points import SampleStore, Snapshot
from coolctl.site import Site
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import PlantParams

BASELINES: dict[str, Callable[[Site, PlantParams], Rules]] = {
    "b0": B0, "b1": B1, "b1int": B1Integrated, "b1hi": B1Warm, "b1nw": B1NoEconomizer, "b2lite": B2Lite, "b2": B2,
}  # fmt: skip


class Controller:
    """A site under control. `policy` is a folder or file of a trained policy, an admitted one, or None."""

    def __init__(self, site: Site, policy: str | Path | Policy | None = None, mode: str = "auto"):
        if isinstance(policy, str | Path):
            from coolctl.edge.onnx_policy import load_policy

            policy = load_policy(policy)
        self.site = site
        self.store = SampleStore(site.table)
        self.control = Tick(site, policy, mode)

    def tick(self, readings: Mapping[str, float], now_s: float) -> Decision:
        """The decision at `now_s` [s] after taking `{point id: value in the site file's unit}`.

        Missing points may be absent or NaN. May be called every 1 s to 60 s; everything follows `now_s`.
        """
        self.store.put_readings(readings, now_s)
        return self.tick_snapshot(self.store.snapshot(now_s))

    def tick_snapshot(self, snap: Snapshot, gateway: GatewayView = IN_PROCESS) -> Decision:
        """The decision for a snapshot taken elsewhere (daemon, replay)."""
        return self.control.step(snap, gateway)

    def override(self, u: NDArray[np.float64]) -> None:
        """Setpoints that an operator holds, in internal units, NaN where nobody does; missing ones at the end are NaN."""
        self.control.override_u[:] = np.nan
        self.control.override_u[: len(u)] = u

    def grant(self, mode: str, reason: str) -> None:
        """An operator's choice of mode; effective at the next tick."""
        self.control.modes.grant(mode, reason)


class RuleController:
    """A baseline driven directly, without shield or policy: what the comparison calls `b0` … `b3`.

    `tuning` moves the constants of `b2`, which makes it a `b3` once they are the best ones.
    """

    def __init__(self, site: Site, name: str, tuning: Tuning | None = None):
        self.site = site
        self.store = SampleStore(site.table)
        halls, plant = hall_array(site), plant_params(site)
        self._estimator, self._demand = Estimator(site, halls), AirflowDemand(halls)
        self._rules: Rules = B2(site, plant, tuning) if tuning is not None else BASELINES[name](site, plant)
        self._last_s = float("nan")

    def tick(self, readings: Mapping[str, float], now_s: float) -> dict[str, float]:
        """Setpoints `{point id: value}` of the rules for these readings."""
        self.store.put_readings(readings, now_s)
        dt_s = now_s - self._last_s if self._last_s == self._last_s else 1.0
        self._last_s = now_s
        est = self._estimator.assess(self.store.snapshot(now_s))
        demand = self._demand.step(est.w, est.sat_c, est.inlet_mean_c, est.aisle_dp_pa, est.fan_speed, dt_s)
        u = self._rules.step(est, demand, dt_s)
        points, site = self.site.table.points, self.site
        return {points[i].id: points[i].encode(float(u[k])) for k, i in enumerate(site.u_point) if site.accepted[k]}
