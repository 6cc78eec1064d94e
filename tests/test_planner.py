"""When the planner changes machines: for a lasting gain, and at once where the present ones cannot keep the limits; and by
which cost."""

from __future__ import annotations

import numpy as np
import pytest

from coolctl.control.objective import planning_limits
from coolctl.control.planner import SWITCH_CONFIRMATIONS, Found, Planner, Proposal
from coolctl.control.plant_rules import PlantRules
from coolctl.control.plausible import Plausible
from coolctl.site import Site
from coolctl.thermal.params import hall_array, plant_params

NOW_W = 100e3
SMALL, LARGE = 0.99 * NOW_W, 0.95 * NOW_W


def found(chillers: float, cost_w: float, feasible: bool = True) -> Found:
    return Found(cost_w, Proposal(np.zeros(5), chillers, 1.0), feasible)


@pytest.fixture
def planner(site: Site) -> Planner:
    p, f = plant_params(site), site.file
    return Planner(hall_array(site), p, f.limits, PlantRules(site, p), 60.0, 480.0)


def rounds(planner: Planner, costs_w: list[tuple[float, float]], now_w: float = NOW_W) -> int:
    """After how many rounds of `(chillers, cost)` the two chillers that run are given up; 0 = never."""
    for k, (chillers, cost_w) in enumerate(costs_w, start=1):
        if planner._confirmed(found(2.0, now_w), found(chillers, cost_w)):
            return k
    return 0


def test_a_gain_must_last_and_must_be_worth_it(planner: Planner) -> None:
    assert rounds(planner, [(1.0, SMALL)] * 20) == 0
    assert rounds(planner, [(1.0, LARGE), (1.0, SMALL)] * 20) == 0, "beaten now and then is not beaten"
    assert rounds(planner, [(1.0, LARGE)] * 20) == SWITCH_CONFIRMATIONS


def test_two_that_take_turns_beat_it_together(planner: Planner) -> None:
    assert rounds(planner, [(1.0, LARGE), (3.0, LARGE)] * 20) == SWITCH_CONFIRMATIONS


def test_what_was_beaten_before_a_change_does_not_count_after_it(planner: Planner) -> None:
    for _ in range(SWITCH_CONFIRMATIONS - 1):
        planner._confirmed(found(2.0, NOW_W), found(1.0, LARGE))
    assert not planner._confirmed(found(1.0, NOW_W), found(2.0, LARGE)), "other machines run now"
    assert rounds(planner, [(1.0, LARGE)] * 20) == SWITCH_CONFIRMATIONS


def test_limits_that_cannot_be_kept_do_not_wait(planner: Planner) -> None:
    assert planner._confirmed(found(2.0, NOW_W, feasible=False), found(3.0, SMALL))
    assert not planner._confirmed(found(2.0, NOW_W, feasible=False), found(3.0, 1.1 * NOW_W)), "unless the other is worse still"
    # A saving of some hundred watts alone is no reason to hurry.
    assert not planner._confirmed(found(2.0, NOW_W), found(3.0, NOW_W - 2e3))


@pytest.mark.parametrize("plants", [0, 16])
def test_where_a_search_ended_is_judged_on_the_plausible_plants(site: Site, plants: int) -> None:
    p, f, halls = plant_params(site), site.file, hall_array(site)
    planner = Planner(halls, p, f.limits, PlantRules(site, p), 60.0, 480.0, plausible_plants=plants)
    w, lim = np.array([30.0, 24.0, site.pressure_pa, 0.6e6]), planning_limits(f.limits, 25.0, 0.0, 12.0)
    planner._now_u[:] = np.nan
    for chillers in (2.0, 0.0):  # plates alone cannot carry a summer's day
        candidate = Proposal(np.array([14.0, 27.0, 0.9, 22.0, 1.06]), chillers, 1.0 - np.sign(chillers))
        while not planner._search(candidate, w, lim):
            pass
    able, unable = planner._found
    assert able.feasible and not unable.feasible
    costs = [planner._cost(f.proposal, w, lim) for f in (unable, able)]
    assert unable.cost_w == costs[0], "what the model says cannot be is not weighed"
    many = Plausible(16, halls).weigh(planner._u, w, halls, p.row, lim.row)
    assert able.cost_w == (many if plants else costs[1]) and many != costs[1]
