"""The rule baselines: trim & respond by its letter, and the whole sequences in closed loop on the simulated plant."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from test_zones import estimate

from coolctl.control.guideline36 import B2, Reset, TrimRespond, Tuning
from coolctl.controller import RuleController
from coolctl.points import U_CHILLERS, U_CHW_DP, U_CHWST, U_CWST, U_ECONOMIZER
from coolctl.site import Site
from coolctl.thermal.params import plant_params
from sim_plant import faults
from sim_plant.load import Load, constant, synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

PLANT_LOOP = Reset(1.0, 0.0, 1.0, 900.0, 300.0, 2.0, -0.02, 0.03, 0.07)
SUPPLY_AIR = Reset(22.0, 18.0, 24.0, 300.0, 120.0, 0.0, 0.1, -0.3, -0.6)


def run_for(loop: TrimRespond, requests: float, seconds: int) -> float:
    return [loop.step(requests, 1.0) for _ in range(seconds)][-1]


def test_trim_and_respond_waits_then_trims_every_period() -> None:
    loop = TrimRespond(PLANT_LOOP)
    assert run_for(loop, 0.0, 899) == 1.0
    assert run_for(loop, 0.0, 1) == pytest.approx(0.98)
    assert run_for(loop, 0.0, 299) == pytest.approx(0.98)
    assert run_for(loop, 0.0, 1) == pytest.approx(0.96)
    assert run_for(loop, 0.0, 300 * 60) == 0.0  # and stops at its end


@pytest.mark.parametrize(("requests", "move"), [(2.0, -0.02), (3.0, 0.01), (4.0, 0.04), (5.0, 0.05), (50.0, 0.05)])
def test_trim_and_respond_ignores_some_and_caps_the_rest(requests: float, move: float) -> None:
    loop = TrimRespond(PLANT_LOOP)
    loop.value = 0.5
    assert run_for(loop, requests, 900) == pytest.approx(0.5 + move)


def test_trim_and_respond_downwards_and_frozen() -> None:
    loop = TrimRespond(SUPPLY_AIR)
    assert run_for(loop, 1.0, 300) == pytest.approx(22.0 + 0.1 - 0.3)
    assert run_for(loop, 9.0, 120) == pytest.approx(21.8 + 0.1 - 0.6)
    assert [loop.step(9.0, 1.0, frozen=True) for _ in range(600)][-1] == pytest.approx(21.3)
    assert run_for(loop, 9.0, 120 * 20) == 18.0


class Run:
    """A baseline on the simulated plant; keeps what it set and what the plant measured."""

    def __init__(self, site: Site, name: str, start: str, load: float):
        self.plant = SimPlant(site, from_statistics("CHN_Guiyang").starting(start), constant(load))
        self.readings = self.plant.reset(1)
        self.rules = RuleController(site, name)
        self.set: list[dict[str, float]] = []
        self.hottest_c = 0.0

    def run(self, seconds: int) -> Run:
        for _ in range(seconds):
            self.set.append(self.rules.tick(self.readings, float(len(self.set))))
            self.readings = self.plant.step(self.set[-1], 1.0)  # type: ignore[assignment]
            self.hottest_c = max(self.hottest_c, float(self.plant.truth.rack_inlet_c.max()))
        return self

    def counts(self, name: str) -> list[float]:
        """The values that a machine count went through."""
        values = [s[name] for s in self.set]
        return [values[0], *(b for a, b in pairwise(values) if a != b)]


@pytest.mark.parametrize(
    ("name", "start", "load"),
    [
        ("b2", "01-15T06", 0.6),
        ("b2", "07-15T12", 0.85),
        ("b1", "07-15T12", 0.85),
        pytest.param("b1", "01-15T06", 0.6, marks=pytest.mark.nightly),
        pytest.param("b2lite", "01-15T06", 0.6, marks=pytest.mark.nightly),
        pytest.param("b2lite", "07-15T12", 0.85, marks=pytest.mark.nightly),
    ],
)
def test_baseline_keeps_the_racks_and_does_not_hunt(site: Site, name: str, start: str, load: float) -> None:
    run = Run(site, name, start, load).run(4 * 3600)
    assert run.hottest_c <= 26.0
    assert all(len(run.counts(n)) <= 4 for n in ("chillers_on_sp", "economizer_on_sp"))


def test_b2_in_winter_runs_on_its_economizer_alone(site: Site) -> None:
    run = Run(site, "b2", "01-15T06", 0.6).run(4 * 3600)
    last = run.set[-1]
    assert last["economizer_on_sp"] == 1.0 and last["chillers_on_sp"] == 0.0 and last["chwst_sp"] > 15.0
    # The towers make just the water that the plates need, not the coldest that January allows.
    assert last["cwst_sp"] > run.readings["oawb"] + 6.0
    assert abs(run.readings["chwst"] - last["chwst_sp"]) < 0.5


def test_b2_in_summer_stages_on_load_and_moves_the_pump_first(site: Site) -> None:
    run = Run(site, "b2", "07-15T12", 0.3).run(3 * 3600)
    calm = run.set[-1]["chillers_on_sp"]
    warmest = max(s["chwst_sp"] for s in run.set)
    run.plant.load = constant(0.95)
    run.run(2 * 3600)
    assert run.set[-1]["chillers_on_sp"] > calm
    assert warmest > 15.0 and run.hottest_c <= 27.0
    for s in run.set:  # below full pressure the water is as warm as it may be
        assert s["chw_dp_sp"] > 139.9 or s["chwst_sp"] > 17.9


def test_b2_adds_a_chiller_when_one_is_lost(site: Site) -> None:
    run = Run(site, "b2", "07-15T12", 0.8).run(3600)
    run.plant.faults.add(faults.parse("off:chiller1"))
    run.run(2 * 3600)
    assert run.readings["chillers_on"] >= 2.0 and run.hottest_c <= 27.0


def test_b2_without_measurements_holds_and_leans_to_cooling(site: Site) -> None:
    rules = RuleController(site, "b2")
    set_ = [rules.tick({}, float(k)) for k in range(3600)]
    assert all(np.isfinite(list(s.values())).all() for s in set_)
    assert set_[-1]["hall1.fan_speed_sp"] >= set_[0]["hall1.fan_speed_sp"] - 0.1 and set_[-1]["chillers_on_sp"] >= 1.0


def test_tuning_reaches_the_sequence(site: Site) -> None:
    rules = B2(site, plant_params(site), Tuning(chwst_max_c=15.0, airflow_ratio=1.2))
    assert rules._chwst[1] == 15.0
    u: Any = rules.u
    assert u[U_CHWST] == u[U_CHW_DP] == 0.0  # nothing is set before the first step


def test_fixed_rules_hold_their_setpoints(site: Site) -> None:
    coldest_c = max(7.0, site.file.limits.chwst_sp_min_c)
    for name, chwst_c in (("b0", coldest_c), ("b1", 12.0), ("b1int", 12.0), ("b1hi", 15.0), ("b1nw", 12.0)):
        run = Run(site, name, "01-15T00", 0.5).run(3600)
        last = run.set[-1]
        assert last["chwst_sp"] == pytest.approx(chwst_c)
        assert run.hottest_c < 27.0
        if name in ("b0", "b1nw"):
            assert not any(run.counts("economizer_on_sp"))


@pytest.mark.parametrize(
    ("start", "load", "starts_max"), [("04-15T00", constant(0.85), 8.0), ("02-15T00", synthetic().at_mean(0.85), 6.0)]
)
def test_b2_stops_its_chillers_together_behind_the_plates(site: Site, start: str, load: Load, starts_max: float) -> None:
    """High load in cold air: one chiller alone could not pass the water, and any that stays on idles and cycles."""
    plant = SimPlant(site, from_statistics("CHN_Lanzhou").starting(start), load, coarse=True)
    readings, rules, counts = plant.reset(1), RuleController(site.at_limit(25.0), "b2"), []
    for k in range(6 * 720):
        setpoints = rules.tick(readings, 5.0 * k)
        readings = plant.step(setpoints, 5.0)  # type: ignore[assignment]
        counts.append(setpoints["chillers_on_sp"])
    assert counts[-1] == 0.0 and any(a >= 2.0 and b == 0.0 for a, b in pairwise(counts))
    assert plant.truth.chiller_starts <= starts_max


def test_b2_makes_warmer_tower_water_where_chillers_would_cycle(site: Site) -> None:
    rules = B2(site, plant_params(site))
    rules.u[U_CHILLERS], rules.u[U_ECONOMIZER], rules._since_stage_s = 2.0, 1.0, 1e4
    plant = dict.fromkeys(("chwst", "cwst", "cwrt", "chw_flow", "chwrt"), 15.0)
    est = estimate(0.0, 1)._replace(plant=plant)
    coldest_c = est.w[1] + B2.HX_APPROACH_K
    for load_w, warmer in ((1e4, True), (1e6, False)):
        rules._load_w = load_w
        for _ in range(3000):
            rules._condenser(est, 1.0)
        assert (rules.u[U_CWST] > coldest_c + 5.0) == warmer and rules.u[U_CWST] >= coldest_c
