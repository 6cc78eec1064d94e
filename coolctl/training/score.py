"""How good a policy is on conditions it has not seen: cost over the optimum in the model, raw and after refinement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coolctl.control.objective import INFEASIBLE_W, cost_w, weighted_w
from coolctl.control.planner import SHRINK, SWEEPS
from coolctl.control.policy import Policy, decode
from coolctl.control.refine import descend, first_steps
from coolctl.points import u_size
from coolctl.site import Site
from coolctl.thermal.plant import OUTPUTS
from coolctl.training.expert import Expert


def regret(sites: Sequence[Site], policy: Policy, states: int, seed: int) -> dict[str, Any]:
    """Mean regret [ratio] raw and refined, and the share of raw proposals that cross a limit."""
    rng = np.random.default_rng([seed, 7])
    raw, refined, crossing = [], [], 0
    for k in range(states):
        expert = Expert(sites[k % len(sites)])
        example = None
        while example is None:
            example = expert.solve(expert.draw(rng))
        c = example.conditions
        halls, p, lim = c.halls, c.p, expert.limits(c)
        lo, hi = expert.bounds(c)
        y = policy.infer(example.features[None, :])[0]
        z, chillers, economizer = decode(y, c.w, c.limit_c, len(halls), p)
        z, chillers = np.clip(z, lo, hi), min(chillers, c.available)
        u, out = np.zeros(u_size(len(halls))), np.zeros(len(OUTPUTS))
        free = np.full(len(u), np.nan)
        cost = cost_w(z, chillers, economizer, free, c.w, halls, p.row, lim.row, u, out)
        crossed = not cost <= weighted_w(lim.makeup_wkgs, out) + INFEASIBLE_W
        crossing += crossed
        if not crossed:
            raw.append(cost / example.cost_w - 1.0)
        step, better = np.empty(len(z)), np.inf
        for n in {chillers, min(chillers + 1.0, c.available), max(chillers - 1.0, 0.0 if economizer else 1.0)}:
            first_steps(step, SHRINK)
            cost = descend(z.copy(), n, economizer, free, c.w, halls, p.row, lim.row, lo, hi, SWEEPS, step, u, out)
            better = min(better, float(cost))
        refined.append(better / example.cost_w - 1.0)
    return {
        "states": states,
        "regret_raw_mean": round(float(np.mean(raw)), 4),
        "regret_refined_median": round(float(np.median(refined)), 4),
        "regret_refined_mean": round(float(np.mean(refined)), 4),
        "raw_crossing_ratio": round(crossing / states, 4),
    }
