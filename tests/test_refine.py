"""The compass search asks no point twice and the air side only where a move touches it: what it finds is what a search
finds that asks the whole model every time."""

from __future__ import annotations

import numpy as np
import pytest

from coolctl.control.objective import CELL_FLOW_MIN_RATIO, Z_CHWST, cost_w
from coolctl.control.refine import FINEST_K, JOINT_MOVES, descend, first_steps, move
from coolctl.points import U_CELLS, U_CHW_DP, U_CWST
from coolctl.site import Site
from coolctl.thermal.plant import condenser_units
from coolctl.training.expert import Expert

SWEEPS = 12


def plain_search(z, n, e, held, c, lim, lo, hi, sweeps, step, u, out):  # type: ignore[no-untyped-def]
    """The search as it reads: every move asked, whole."""

    def cost(point: np.ndarray) -> float:
        return float(cost_w(point, n, e, held, c.w, c.halls, c.p.row, lim.row, u, out))

    z[:] = np.clip(z, lo, hi)
    water_kgs = c.p.chiller.condenser_flow_nom_kgs * max(condenser_units(n, e, c.p), 1.0)
    cell = CELL_FLOW_MIN_RATIO * c.p.tower.water_flow_nom_kgs / water_kgs
    best, trial = cost(z), np.empty_like(z)
    for _ in range(sweeps):
        before, improved = z.copy(), False
        for k in range(len(z) + JOINT_MOVES):
            for sign in (-1.0, 1.0):
                move(z, k, sign, step, cell, lo, hi, trial)
                if not np.array_equal(trial, z) and cost(trial) < best - 1e-6:
                    best, improved = cost(trial), True
                    z[:] = trial
                    break
        if improved:
            trial[:] = np.clip(2.0 * z - before, lo, hi)
            if cost(trial) < best - 1e-6:
                best = cost(trial)
                z[:] = trial
        elif step[Z_CHWST] < FINEST_K:
            break
        else:
            step *= 0.5
    return best


@pytest.mark.parametrize("sites", ["site", "two_halls"])
@pytest.mark.parametrize("kept", [(), (U_CWST, U_CHW_DP, U_CELLS)])
def test_the_search_finds_what_one_finds_that_asks_everything(
    sites: str, kept: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    site: Site = request.getfixturevalue(sites)
    expert, rng = Expert(site), np.random.default_rng(3)
    u, out = expert._u, expert._out
    held = np.full(len(u), np.nan)
    for k, value in zip(kept, (24.0, 90e3, 2.0), strict=False):
        held[k] = value
    moved = 0
    for n, e in ((1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (2.0, 1.0)) * 3:
        c = expert.draw(rng)
        lim, (lo, hi) = expert.limits(c), expert.bounds(c)
        mine, theirs = expert.start(c), expert.start(c)
        step = np.empty_like(mine)
        first_steps(step, 0.5)
        their_step = step.copy()
        found_w = descend(mine, n, e, held, c.w, c.halls, c.p.row, lim.row, lo, hi, SWEEPS, step, u, out)
        expected_w = plain_search(theirs, n, e, held, c, lim, lo, hi, SWEEPS, their_step, u, out)
        assert found_w == expected_w and np.array_equal(mine, theirs) and np.array_equal(step, their_step)
        moved += not np.array_equal(mine, np.clip(expert.start(c), lo, hi))
    assert moved >= 9, "searches that go nowhere prove nothing"
