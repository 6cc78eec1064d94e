"""Plausible plants: each draw changes what it names, their mean is the model, and they decide on machines."""

from __future__ import annotations

import numpy as np
import pytest

from coolctl.control import plausible
from coolctl.control.calibrate import GAINS, PRIOR_SD
from coolctl.control.objective import INFEASIBLE_W, cost_w, penalty_w, weighted_w
from coolctl.control.plausible import DOUBTS, RECOVERY_RATIO, draws, scores, varied, weighed_w
from coolctl.control.refine import joint_optimum
from coolctl.site import Site
from coolctl.thermal.params import plant_params
from coolctl.thermal.plant import OUTPUTS, evaluate_plant, plant_of
from coolctl.training.expert import Expert

NEUTRAL = np.array([1.0] * (len(DOUBTS) - 2) + [0.0, 0.0])
CHANGED = {
    "crah_fan": set(),  # the halls' own, as is the coil's
    "coil_ua": set(),
    "chw_pump": {"chw_pump.efficiency_ratio"},
    "cw_pump": {"cw_pump.efficiency_ratio"},
    "tower_fan": {"tower.fan_power_nom_w"},
    "chiller_eir": {"chiller.eir_scale"},
    "tower_ua": {"tower.ua_scale"},
    "plates_ua": {"economizer.ua_nom_wk"},
    "chiller_capacity": {"chiller.capacity_ref_w"},
    "lift_exponent": {"chiller.lift_exponent"},
    "part_load_bend": {"chiller.plr1", "chiller.plr2"},
}


def fields(p, prefix: str = "") -> dict[str, float]:  # type: ignore[no-untyped-def]
    found: dict[str, float] = {}
    for name, value in p._asdict().items():
        found |= fields(value, f"{prefix}{name}.") if hasattr(value, "_asdict") else {prefix + name: value}
    return found


class Case:
    """A drawn state, its fitted model's optimum, and plausible plants beside it."""

    def __init__(self, site: Site, k: int):
        self.expert, rng = Expert(site), np.random.default_rng(11)
        self.c = c = [self.expert.draw(rng) for _ in range(k + 1)][k]
        self.lo, self.hi = self.expert.bounds(c)
        self.lim, self.u, self.out = self.expert.limits(c), self.expert._u, self.expert._out
        self.held, self.trial = np.full(len(self.u), np.nan), np.empty_like(c.halls)
        self.z = np.array([14.0, c.w[1] + 4.0, 0.8, *([c.limit_c - 2.5, 1.06] * len(c.halls))])
        _, self.n, self.e = joint_optimum(
            self.z, c.available, c.w, c.halls, c.p.row, self.lim.row, self.lo, self.hi, 40, self.u, self.out
        )

    def model_w(self, z) -> float:  # type: ignore[no-untyped-def]
        """Cost in the fitted model; leaves the setpoints in `u`."""
        return float(cost_w(z, self.n, self.e, self.held, self.c.w, self.c.halls, self.c.p.row, self.lim.row, self.u, self.out))

    def mean_w(self, doubts) -> float:  # type: ignore[no-untyped-def]
        return float(weighed_w(self.u, self.c.w, self.c.halls, self.c.p.row, doubts, self.lim.row, self.trial, self.out))


def test_draws_stand_round_the_model_and_close_in_with_what_is_known() -> None:
    drawn = scores(16)
    assert drawn.shape == (16, len(DOUBTS))
    assert np.allclose(drawn.mean(axis=0), 0.0) and np.allclose(drawn.std(axis=0), 1.0)
    unknown, known = draws(drawn, None), draws(drawn, np.full(len(GAINS), 0.1 * PRIOR_SD))
    logs, followed = (np.log(d[:, : len(GAINS)]) for d in (unknown, known))
    assert np.allclose(followed, 0.1 * logs), "what calibration has found is doubted less"
    assert np.array_equal(unknown[:, len(GAINS) :], known[:, len(GAINS) :]), "what it cannot find is doubted as before"


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_doubt_changes_what_it_names_and_nothing_else(site: Site, doubt: str) -> None:
    p, d = plant_params(site), NEUTRAL.copy()
    assert fields(plant_of(varied(p.row, NEUTRAL))) == fields(p)
    d[DOUBTS.index(doubt)] += 0.1
    before, after = fields(p), fields(plant_of(varied(p.row, d)))
    assert {name for name in before if before[name] != after[name]} == CHANGED[doubt]


@pytest.mark.parametrize("doubt", ["crah_fan", "coil_ua"])
def test_the_halls_doubts_are_felt(site: Site, doubt: str) -> None:
    case, d = Case(site, 1), np.tile(NEUTRAL, (2, 1))
    base = case.model_w(case.z)
    d[:, DOUBTS.index(doubt)] = 0.5
    assert case.mean_w(d) != pytest.approx(base, rel=1e-3)


@pytest.mark.parametrize("k", [0, 1, 5, 25])
def test_the_mean_is_that_of_the_plants_one_by_one(site: Site, k: int) -> None:
    case = Case(site, k)
    base = case.model_w(case.z)
    assert case.mean_w(np.tile(NEUTRAL, (2, 1))) == pytest.approx(weighted_w(case.lim.makeup_wkgs, case.out), rel=1e-9)
    assert base == pytest.approx(weighted_w(case.lim.makeup_wkgs, case.out), abs=INFEASIBLE_W)
    doubts, each = draws(scores(16), None), []
    for d in doubts:
        halls = case.c.halls.copy()
        halls[:, plausible.FAN_POWER] *= d[0]
        halls[:, plausible.COIL_UA] *= d[DOUBTS.index("coil_ua")]
        plant = varied(case.c.p.row, d)
        evaluate_plant(case.u, case.c.w, halls, plant, case.out)
        each.append(
            weighted_w(case.lim.makeup_wkgs, case.out)
            + RECOVERY_RATIO * penalty_w(case.u, halls, plant_of(plant), case.lim, case.out)
        )
    assert len(set(each)) == len(each), "sixteen plants, not one sixteen times"
    assert case.mean_w(doubts) == pytest.approx(np.mean(each), rel=1e-12)


def test_conditions_that_are_unknown_have_no_cost(site: Site) -> None:
    case = Case(site, 0)
    case.model_w(case.z)
    case.c.w[:] = np.nan
    assert case.mean_w(draws(scores(16), None)) == np.inf
    assert len(case.out) == len(OUTPUTS)
