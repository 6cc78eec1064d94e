"""Prices of limits: an independent search with the limit moved finds the same difference; free limits cost nothing."""

from __future__ import annotations

import numpy as np
import pytest

from coolctl.control.prices import AIRFLOW, CHILLED_WATER, INLET, PLAN_LIMITS, Box, Pricer, binding_names
from coolctl.control.refine import best_for_machines, joint_optimum
from coolctl.site import Site
from coolctl.training.expert import Expert

SWEEPS = 60


def priced(site: Site, k: int):  # type: ignore[no-untyped-def]
    """Drawn state `k`: its prices [W per unit], its limits in force, and a function from box to optimal cost [W]."""
    expert, rng = Expert(site), np.random.default_rng(11)
    c = [expert.draw(rng) for _ in range(k + 1)][k]
    lo, hi = expert.bounds(c)
    box, free, out = Box(expert.limits(c), lo, hi), np.full(len(expert._u), np.nan), expert._out
    best_z = np.array([14.0, c.w[1] + 4.0, 0.8, *([c.limit_c - 2.5, 1.06] * len(c.halls))])
    _, chillers, economizer = joint_optimum(
        best_z, c.available, c.w, c.halls, c.p.row, box.lim.row, lo, hi, SWEEPS, expert._u, out
    )
    pricer = Pricer(len(lo))
    pricer.begin(best_z, chillers, economizer, free, c.w, c.halls, c.p, box, 0.0)
    while pricer.busy:
        pricer.step(1, expert._u, out)

    def optimum_w(b: Box) -> float:
        z, n, e = best_z.copy(), chillers, economizer
        return float(best_for_machines(z, n, e, free, c.w, c.halls, c.p.row, b.lim.row, b.lo, b.hi, SWEEPS, expert._u, out))

    return pricer, box, optimum_w


@pytest.mark.parametrize("k", [0, 1, 5, 25])
def test_price_is_what_another_search_saves_with_the_limit_moved(site: Site, k: int) -> None:
    pricer, box, optimum_w = priced(site, k)
    base_w = optimum_w(box)
    assert np.isfinite(pricer.values).all() and (pricer.values >= 0.0).all()
    for limit in (INLET, AIRFLOW, CHILLED_WATER):
        room, unit = PLAN_LIMITS[limit].room, PLAN_LIMITS[limit].unit
        saved_w = base_w - optimum_w(box.relaxed(limit))
        assert pricer.values[limit] * room / unit == pytest.approx(saved_w, abs=0.006 * base_w), PLAN_LIMITS[limit].name


def test_a_limit_that_is_out_of_reach_costs_nothing(site: Site) -> None:
    pricer, box, _ = priced(site, 0)
    bound = set(binding_names(pricer._bound))
    assert bound, "an optimum without any limit proves nothing"
    for limit, price in zip(PLAN_LIMITS, pricer.values, strict=True):
        assert limit.name in bound or price == 0.0
    far = Box(box.lim._replace(inlet_c=60.0, dewpoint_c=-20.0), box.lo, box.hi)
    assert far.relaxed(INLET).lim.inlet_c == 60.5


def test_where_nothing_keeps_every_limit_there_is_no_price(site: Site) -> None:
    expert = Expert(site)
    c = expert.draw(np.random.default_rng(11))
    lo, hi = expert.bounds(c)
    impossible = Box(expert.limits(c)._replace(inlet_c=5.0), lo, hi)
    pricer, free = Pricer(len(lo)), np.full(len(expert._u), np.nan)
    pricer.values[:] = 1.0  # an older set, from when it could be done
    pricer.begin(0.5 * (lo + hi), 2.0, 0.0, free, c.w, c.halls, c.p, impossible, 0.0)
    while pricer.busy:
        pricer.step(4, expert._u, expert._out)
    assert np.isnan(pricer.values).all()


def test_decision_names_what_binds_and_what_it_costs(site: Site, loop, policy) -> None:  # type: ignore[no-untyped-def]
    decision = loop(site, policy, start="07-15T12").run(1000).decision
    assert decision.plan_binding, "a hot afternoon binds something"
    assert set(decision.limit_prices) == {limit.name for limit in PLAN_LIMITS}
    assert max(w for w, _ in decision.limit_prices.values()) > 10.0
    assert any("the plan stands on" in reason for reason in decision.reasons.values())
