"""Online calibration: finds the true factors through biased sensors, holds still on nonsense, never leaves its bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SITE

from coolctl.control.calibrate import BOUND, GAINS, Calibrator
from coolctl.controller import Controller
from coolctl.site import Site, load_site
from sim_plant import params
from sim_plant.load import constant, synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics


class Run:
    """The controller on a plant drawn at `mismatch`; its own calibrator is watched."""

    def __init__(self, site: Site, seed: int, mismatch: float, *, start: str = "07-15T06", load: object = None):
        weather = from_statistics("CHN_Guiyang").starting(start)
        self.plant = SimPlant(site, weather, load or constant(0.6), mismatch=mismatch, mismatch_seed=seed)  # type: ignore[arg-type]
        self.readings = self.plant.reset(1)
        self.controller = Controller(site, None, "auto")
        self.now_s = 0.0

    @property
    def calibrator(self) -> Calibrator:
        found = self.controller.control._calibrator
        assert found is not None
        return found

    def run(self, seconds: int, change: Callable[[dict[str, float]], dict[str, float]] = dict) -> Run:
        for _ in range(seconds):
            decision = self.controller.tick(change(self.readings), self.now_s)
            self.readings = self.plant.step(decision.setpoints, 1.0)  # type: ignore[assignment]
            self.now_s += 1.0
        return self

    def factors(self) -> dict[str, float]:
        return {g.name: g.factor for g in self.calibrator.gains()}


def true_factors(site: Site, plant: SimPlant) -> dict[str, float]:
    nominal, row, true = params.plant_record(site), params.hall_rows(site)[0], plant._p
    return {
        "crah_fan": plant._rows[0][params.H_FAN_W] / row[params.H_FAN_W],
        "chw_pump": nominal.chw_pump_eta / true.chw_pump_eta,
        "cw_pump": nominal.cw_pump_eta / true.cw_pump_eta,
        "tower_fan": true.tower.fan_power_nom_w / nominal.tower.fan_power_nom_w,
    }


@pytest.mark.parametrize("seed", [1, *(pytest.param(k, marks=pytest.mark.nightly) for k in (2, 3))])
def test_power_factors_are_found_through_biased_sensors(site: Site, seed: int) -> None:
    run = Run(site, seed, 0.15, start="07-15T12", load=constant(0.8)).run(2 * 3600)
    found, true = run.factors(), true_factors(site, run.plant)
    # The condenser loop's friction is drawn too and ends in the same factor.
    allowed = {"crah_fan": 0.04, "chw_pump": 0.04, "tower_fan": 0.04, "cw_pump": 0.10}
    assert not [n for n in true if abs(found[n] / true[n] - 1.0) > allowed[n]], (found, true)


def test_nominal_plant_stays_near_one_although_its_equations_differ(site: Site) -> None:
    run = Run(site, 1, 0.0, load=synthetic()).run(2 * 3600)
    assert all(abs(f - 1.0) < 0.06 for f in run.factors().values()), run.factors()


def test_uncertainty_shrinks_with_evidence(site: Site) -> None:
    run = Run(site, 1, 0.15)
    before = [g.sd_ratio for g in run.calibrator.gains()]
    run.run(3600)
    after = {g.name: g.sd_ratio for g in run.calibrator.gains()}
    assert after["crah_fan"] < 0.4 * before[GAINS.index("crah_fan")]


def test_a_chiller_is_learnt_of_while_the_plates_move_nothing_and_not_while_they_do(site: Site) -> None:
    run = Run(site, 1, 0.0).run(300)
    store = run.controller.store
    store.put_readings(run.readings, run.now_s)
    est = run.controller.control._estimator.assess(store.snapshot(run.now_s))
    known = {"chillers_on": 1.0, "chw_flow": 12.0, "chwst": 14.0, "chwrt": 23.0}
    for plates, basin_c, learnt in ((0.0, 20.0, True), (1.0, 28.0, True), (1.0, 20.0, False), (1.0, math.nan, False)):
        now = est._replace(plant=est.plant | known | {"economizer_on": plates, "cwst": basin_c})
        assert math.isfinite(run.calibrator._eir(now, 25.0, 60e3)) == learnt


def test_nothing_is_learnt_while_the_load_moves(site: Site) -> None:
    run = Run(site, 1, 0.15)
    for k in range(30):
        run.plant.load = constant(0.4 + 0.3 * (k % 2))
        run.run(120)
    assert run.factors() == dict.fromkeys(GAINS, 1.0)


def meter(factor: float) -> Callable[[dict[str, float]], dict[str, float]]:
    return lambda readings: {i: v * (factor if i == "hall1.crah_fan_power" else 1.0) for i, v in readings.items()}


def test_meter_that_lies_grossly_is_refused_and_its_gain_frozen(site: Site) -> None:
    run = Run(site, 1, 0.0).run(1800)
    calm = run.factors()["crah_fan"]
    run.run(3600, meter(10.0))
    frozen = {g.name: g.frozen for g in run.calibrator.gains()}
    assert frozen["crah_fan"] and not frozen["chw_pump"]
    assert run.factors()["crah_fan"] == pytest.approx(calm, abs=0.01)
    run.run(3600)
    assert not any(g.frozen for g in run.calibrator.gains())  # a mended meter is believed again


def test_gains_never_leave_their_bounds(site: Site) -> None:
    calibrator = Run(site, 1, 0.0).calibrator
    rng = np.random.default_rng(3)
    for _ in range(20_000):
        calibrator._update(int(rng.integers(len(GAINS))), float(rng.choice([0.55, 0.59, -0.58, 5.0, -math.inf, math.inf])))
        assert (np.abs(calibrator.log) <= BOUND).all() and np.isfinite(calibrator.variance).all()


def test_missing_meters_and_sensors_teach_nothing_and_break_nothing(site: Site) -> None:
    run = Run(site, 1, 0.15).run(1200, lambda r: {i: v for i, v in r.items() if "power" not in i or "it_power" in i})
    assert run.factors() == dict.fromkeys(GAINS, 1.0)
    run.run(600, lambda r: {})
    assert run.factors() == dict.fromkeys(GAINS, 1.0)


def test_site_may_switch_it_off(edited_site: Callable[..., Path]) -> None:
    assert "[control]\n" in SITE.read_text()
    site = load_site(edited_site(("[control]\n", "[control]\ncalibrate = false\n")))
    controller = Controller(site, None)
    assert controller.control._calibrator is None and controller.tick({}, 0.0).seq == 1
