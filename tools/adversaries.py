"""Policies that want the hall hot: wishes handed straight to the shield, past the planner that would soften them.

Each is a generator of the worst that a broken, careless or hostile policy could ask for; `WISHES` names them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.control.mode import POLICY_MODES
from coolctl.control.policy import F32, OUTPUTS
from coolctl.control.tick import Tick
from coolctl.points import U_CHILLERS, U_HALL
from coolctl.thermal.plant import hottest_inlets_c

F64 = NDArray[np.float64]
Wish = Callable[["Adversary"], F64]

DWELL_S = (600.0, 900.0, 1800.0)  # where machines may change again


class Adversary(Tick):
    """The real tick, but while the policy is in charge the shield is handed `wish` in place of the plan."""

    def __init__(self, site: Any, policy: Any, granted: str, wish: str, rng: np.random.Generator):
        super().__init__(site, policy, granted)
        self.rng, self._generate = rng, WISHES[wish]
        self.warm = np.where(self.shield.warm_sign > 0.0, self.shield.hi, self.shield.lo)
        self.cold = np.where(self.shield.warm_sign > 0.0, self.shield.lo, self.shield.hi)
        self.count = 0
        self.held = self.warm.copy()

    @property
    def now_s(self) -> float:
        return self._last_s

    def _plan(self, est: Any, *more: Any) -> Any:
        """Only what the shield is told of the planner: its cap on the water. The search would be for nothing."""
        if not self._planner.due(est.w, est.now_s):
            return self._planner.plan
        plan = super()._plan(est, *more)
        self._planner._queue.clear()
        return plan

    def _wish(self, mode: str, plan: Any, baseline_u: F64, demand: F64) -> tuple[F64, bool]:
        wish, used = super()._wish(mode, plan, baseline_u, demand)
        if mode not in POLICY_MODES:
            return wish, used
        self.count += 1
        return np.array(self._generate(self), dtype=np.float64), True


def warmest(a: Adversary) -> F64:
    return a.warm


def beyond(a: Adversary) -> F64:
    """As warm as a number can say, far outside every limit."""
    return np.where(a.shield.warm_sign > 0.0, 1e9, -1e9)


def anything(a: Adversary) -> F64:
    """Another point of the whole box each second."""
    return a.rng.uniform(a.shield.lo, a.shield.hi)


def corners(a: Adversary) -> F64:
    """One end or the other of each setpoint, for as long as it pleases."""
    if a.rng.random() < 0.02 or a.count == 1:
        a.held = np.where(a.rng.random(len(a.warm)) < 0.7, a.warm, a.cold)
    return a.held


def flip(a: Adversary) -> F64:
    """All cold, all warm, each tick."""
    return a.warm if a.count % 2 else a.cold


def at_the_dwell(a: Adversary) -> F64:
    """Turns round whenever machines may change again."""
    period_s = DWELL_S[a.count // 4000 % len(DWELL_S)]
    return a.warm if int(a.now_s / period_s) % 2 == 0 else a.cold


def lull_then_strike(a: Adversary) -> F64:
    """Cold until the machines have settled on it, then everything warm at once."""
    return a.cold if a.now_s % 1500.0 < 700.0 else a.warm


def no_numbers(a: Adversary) -> F64:
    """NaN, infinities and huge numbers here and there."""
    u = a.rng.uniform(a.shield.lo, a.shield.hi)
    bad = a.rng.random(len(u)) < 0.4
    u[bad] = a.rng.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-320, -0.0], bad.sum())
    return u


def band_edge(a: Adversary) -> F64:
    """Warm in small steps that stay just inside every rate."""
    last = a.shield.last if a.shield.last is not None else a.cold
    step = np.where(a.shield.warm_sign > 0.0, a.shield.up, -a.shield.down)
    return np.clip(last + np.clip(step, -1.0, 1.0) * 0.999, a.shield.lo, a.shield.hi)


def no_machines(a: Adversary) -> F64:
    """Good setpoints, and no machine to reach them with."""
    u = a.cold.copy()
    u[U_CHILLERS] = 0.0
    return u


def less_air(a: Adversary) -> F64:
    """Cold water and no air to carry it."""
    u = a.cold.copy()
    u[U_HALL + 1 :: 2] = 0.0
    return u


def greedy(a: Adversary) -> F64:
    """Setpoint by setpoint the end that makes the model's hottest rack hottest."""
    u = (a.shield.last if a.shield.last is not None else a.warm).copy()
    inlets = np.zeros(len(a.halls))
    for k in range(len(u)):
        scores = []
        for end in (a.shield.lo[k], a.shield.hi[k]):
            u[k] = end
            hottest_inlets_c(u, a.conditions, a.halls, inlets)
            scores.append(float(inlets.max()))
        worst_is_low = scores[0] > scores[1] + 1e-9
        u[k] = a.shield.lo[k] if worst_is_low else a.warm[k] if scores[0] == scores[1] else a.shield.hi[k]
    return u


WISHES: dict[str, Wish] = {
    f.__name__: f
    for f in (
        warmest, beyond, anything, corners, flip, at_the_dwell, lull_then_strike, no_numbers, band_edge, no_machines, less_air,
        greedy,
    )
}  # fmt: skip


class Silent:
    """Stands for the network whose proposals an adversary does not wait for."""

    model_hash = "silent"

    def infer(self, features: F32) -> F32:
        return np.full((1, len(OUTPUTS)), 0.5, dtype=np.float32)


class Outputs:
    """A policy whose network gives what `kind` says: through planner and shield, as a model file would."""

    model_hash = "adversary"

    def __init__(self, kind: str, rng: np.random.Generator):
        self.kind, self.rng, self.count = kind, rng, 0

    def infer(self, features: F32) -> F32:
        self.count += 1
        if self.kind == "out_warm":
            y = np.array([-5.0, -5.0, 20.0, 0.0, 0.0, 0.0, 0.0])
        elif self.kind == "out_flip":
            y = np.full(len(OUTPUTS), 10.0 if self.count % 2 else -10.0)
        elif self.kind == "out_nan":
            y = self.rng.choice([0.0, 1.0, np.nan, np.inf, 3e38], len(OUTPUTS), p=[0.45, 0.45, 0.04, 0.03, 0.03])
        else:
            y = self.rng.normal(0.0, 10.0, len(OUTPUTS))
        return y.astype(np.float32).reshape(1, -1)


NETWORKS = ("out_warm", "out_flip", "out_nan", "out_random")
