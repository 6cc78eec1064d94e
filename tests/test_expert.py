"""The expert is an optimum: a global search that shares nothing with it but the cost finds nothing cheaper."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import differential_evolution

from coolctl.bench.expert import grown
from coolctl.control.objective import cost_w, setpoints_cost_w
from coolctl.control.refine import best_for_machines
from coolctl.site import Site
from coolctl.training.expert import SWEEPS, Conditions, Expert

# Of 120 drawn states the first two, and those where limits couple the variables hardest.
STATES = (0, 1, 25, 40, 70)


def cheapest_w(expert: Expert, c: Conditions) -> float:
    """Cost by differential evolution over every choice of machines."""
    lim, (lo, hi) = expert.limits(c), expert.bounds(c)
    free, best = np.full(len(expert._u), np.nan), np.inf
    for economizer in range(2 if c.p.economizer.present > 0.5 else 1):
        for chillers in range(int(c.available) + 1):
            if chillers or economizer:

                def cost(z, n=float(chillers), e=float(economizer)):  # type: ignore[no-untyped-def]
                    return min(cost_w(z, n, e, free, c.w, c.halls, c.p.row, lim.row, expert._u, expert._out), 1e9)

                box = list(zip(lo, hi, strict=True))
                best = min(best, differential_evolution(cost, box, seed=1, popsize=10, maxiter=100, polish=False).fun)
    return float(best)


def every_number_w(expert: Expert, c: Conditions) -> float:
    """Cost of the best over every choice of machines, each searched as the expert searches one."""
    lim, (lo, hi), free = expert.limits(c), expert.bounds(c), np.full(len(expert._u), np.nan)
    return min(
        best_for_machines(
            expert.start(c), float(n), float(e), free, c.w, c.halls, c.p.row, lim.row, lo, hi, SWEEPS, expert._u, expert._out
        )
        for e in range(2 if c.p.economizer.present > 0.5 else 1)
        for n in range(int(c.available) + 1)
        if n or e
    )


@pytest.mark.parametrize(("times", "states"), [(1, 20), pytest.param(4, 8, marks=pytest.mark.nightly)])
def test_walking_the_number_of_chillers_passes_nothing_over(site: Site, times: int, states: int) -> None:
    expert, rng = grown(Expert(site), times), np.random.default_rng(7)
    for _ in range(states):
        c = expert.draw(rng)
        example = expert.solve(c)
        assert example is None or example.cost_w <= every_number_w(expert, c) * (1.0 + 1e-12)


def test_a_point_costs_what_its_setpoints_cost(site: Site) -> None:
    # With the plates alone the pumps' heat was counted twice: once for the tower water that they need, once for the whole.
    expert, rng = Expert(site), np.random.default_rng(5)
    free, out = np.full(len(expert._u), np.nan), np.zeros_like(expert._out)
    alone = 0
    for _ in range(100):
        c = expert.draw(rng)
        lim, (lo, hi) = expert.limits(c), expert.bounds(c)
        for chillers, economizer in ((0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (2.0, 1.0)):
            z = rng.uniform(lo, hi)
            cost = cost_w(z, chillers, economizer, free, c.w, c.halls, c.p.row, lim.row, expert._u, expert._out)
            assert setpoints_cost_w(expert._u, c.w, c.halls, c.p.row, lim.row, out) == pytest.approx(cost, rel=1e-6)
            alone += chillers == 0.0 and np.isfinite(cost)
    assert alone > 50


@pytest.mark.nightly
def test_a_global_search_finds_nothing_cheaper(site: Site) -> None:
    expert, rng = Expert(site), np.random.default_rng(11)
    drawn = [expert.draw(rng) for _ in range(max(STATES) + 1)]
    excess = []
    for k in STATES:
        example = expert.solve(drawn[k])
        assert example is not None
        excess.append(example.cost_w / cheapest_w(expert, drawn[k]) - 1.0)
    assert np.mean(excess) <= 0.003 and np.max(excess) <= 0.01


@pytest.mark.parametrize("name", ["hot_spot_k", "chiller_eir_ratio"])
def test_the_policy_is_told_what_a_calibration_moves(site: Site, name: str) -> None:
    from coolctl.control.policy import FEATURES, describe
    from coolctl.thermal.room import HallParams

    expert = Expert(site)
    k = [f.name for f in FEATURES].index(name) - [f.name for f in FEATURES].index("economizer_present")
    halls, p = expert.halls.copy(), expert.p
    before = describe(halls, p)[k]
    halls[:, HallParams._fields.index("hot_spot_gain")] *= 1.2
    worse = p._replace(chiller=p.chiller._replace(eir_scale=1.2))
    assert describe(halls, worse)[k] > 1.05 * before
