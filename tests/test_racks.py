"""Each hall's bias and trim follow its own hottest rack; what is not known changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from test_shield import CALM

from coolctl.control.racks import (
    INLET_BIAS_FALL_TAU_S,
    INLET_BIAS_MAX_K,
    INLET_BIAS_TAU_S,
    STEP_RESERVE_K,
    TRIM_BELOW_LIMIT_K,
    TRIM_GAIN_PER_S,
    TRIM_HOLD_MAX_S,
    TRIM_MAX_K,
    TRIM_RELEASE_PER_S,
    follow_peak,
    follow_racks,
    step_reserve_k,
)
from coolctl.controller import Controller
from coolctl.site import Site
from coolctl.thermal.params import hall_array
from coolctl.thermal.plant import hottest_inlets_c
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant

LIMIT_C = 60.0  # far above: the trim only lets go


class Racks:
    """One hall at the setpoints of a calm day, and what its hottest rack is seen at."""

    def __init__(self, site: Site):
        self.halls, self.w = hall_array(site), np.array([20.0, 15.0, site.pressure_pa, 4e5])
        self.bias_k, self.trim_k, model_c = np.zeros(1), np.full(1, 1.0), np.zeros(1)
        hottest_inlets_c(CALM, self.w, self.halls, model_c)
        self.model_c = float(model_c[0])

    def see(self, off_k: float, dt_s: float = 1.0, limit_c: float = LIMIT_C, u: np.ndarray = CALM) -> tuple[float, float]:
        seen_c = np.array([self.model_c + off_k])
        follow_racks(u, self.w, self.halls, seen_c, limit_c, dt_s, self.bias_k, self.trim_k)
        return float(self.bias_k[0]), float(self.trim_k[0])


@pytest.fixture
def racks(site: Site) -> Racks:
    return Racks(site)


def test_bias_rises_fast_and_falls_slowly(racks: Racks) -> None:
    up_k, _ = racks.see(2.0, INLET_BIAS_TAU_S)
    assert up_k == pytest.approx(2.0 * (1.0 - np.exp(-1.0)))
    down_k, _ = racks.see(0.0, INLET_BIAS_FALL_TAU_S)
    assert down_k == pytest.approx(up_k * np.exp(-1.0))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_bias_is_bounded(racks: Racks, sign: float) -> None:
    for _ in range(100):
        bias_k, _ = racks.see(20.0 * sign, 1000.0)
    assert bias_k == pytest.approx(sign * INLET_BIAS_MAX_K)


def test_trim_acts_below_the_limit_and_lets_go_slowly(racks: Racks) -> None:
    limit_c = racks.model_c
    assert racks.see(-TRIM_BELOW_LIMIT_K + 0.3, 4.0, limit_c)[1] == pytest.approx(1.0 + 4.0 * TRIM_GAIN_PER_S * 0.3)
    before = float(racks.trim_k[0])
    assert racks.see(-TRIM_BELOW_LIMIT_K - 0.3, 10.0, limit_c)[1] == pytest.approx(before - 10.0 * TRIM_RELEASE_PER_S)
    for _ in range(10):
        racks.see(9.0, 10.0, limit_c)
    assert racks.trim_k[0] == TRIM_MAX_K and racks.see(-9.0, 1e6, limit_c)[1] == 0.0


def test_a_load_step_in_one_long_tick_counts_as_some_seconds_of_it(racks: Racks) -> None:
    """The next tick answers it; a minute of 7 K would leave the trim full for half a day."""
    limit_c = racks.model_c
    moved_k = racks.see(7.0, 60.0, limit_c)[1] - 1.0
    assert moved_k == pytest.approx(TRIM_HOLD_MAX_S * TRIM_GAIN_PER_S * (7.0 + TRIM_BELOW_LIMIT_K))
    for _ in range(60):  # what lasts is still followed, faster than it is let go
        racks.see(0.3, 60.0, limit_c)
    assert racks.trim_k[0] > 2.0


@pytest.mark.slow
def test_a_minute_between_ticks_costs_little(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    """A year is run at ticks of 60 s: its energy has to be near what a daemon takes at a second."""
    kwh = {}
    for dt_s in (60.0, 5.0):
        plant = SimPlant(site, load=synthetic(1), coarse=True, mismatch=0.15, mismatch_seed=1)
        controller, readings, kwh[dt_s] = Controller(site, policy, "auto"), plant.reset(1), 0.0
        for k in range(round(12 * 3600 / dt_s)):
            readings = plant.step(controller.tick(readings, k * dt_s).setpoints, dt_s)  # type: ignore[assignment,arg-type]
            t = plant.truth
            kwh[dt_s] += (t.chiller_w + t.tower_w + t.chw_pump_w + t.cw_pump_w + t.crah_fan_w) * dt_s / 3.6e6
    assert kwh[60.0] < 1.25 * kwh[5.0]


def test_a_hall_that_is_not_seen_keeps_both(racks: Racks) -> None:
    before = racks.see(1.0, 60.0)
    assert racks.see(np.nan, 60.0) == before


def test_where_the_model_knows_nothing_only_the_trim_moves(racks: Racks) -> None:
    bias_k, trim_k = racks.see(1.0, 60.0)
    after_k = racks.see(1.0, 60.0, racks.model_c, np.full_like(CALM, np.nan))
    assert after_k[0] == bias_k and after_k[1] > trim_k


def test_peak_load_is_seen_at_once_and_forgotten_slowly() -> None:
    peak_w = np.array([5e5, 5e5])
    follow_peak(np.array([8e5, 3e5]), 0.1, peak_w)
    assert peak_w.tolist() == [8e5, pytest.approx(4.8e5)]
    follow_peak(np.array([np.nan, 3e5]), 0.1, peak_w)
    assert np.isnan(peak_w[0])


def test_what_is_left_for_a_step_is_in_proportion_to_it() -> None:
    peak_w = np.array([600e3, 600e3])
    assert step_reserve_k(np.array([600e3, 600e3]), peak_w) == 0.0 == step_reserve_k(np.array([700e3, 650e3]), peak_w)
    assert step_reserve_k(np.array([600e3, 400e3]), peak_w) == pytest.approx(0.5 * STEP_RESERVE_K)  # the hall that may step most
    assert step_reserve_k(np.array([300e3, 600e3]), peak_w) == STEP_RESERVE_K == step_reserve_k(np.array([5e3, 600e3]), peak_w)
    for unknown in (np.nan, 0.0):
        assert step_reserve_k(np.array([unknown, 400e3]), peak_w) == pytest.approx(0.5 * STEP_RESERVE_K)
    assert step_reserve_k(np.array([400e3, 400e3]), np.array([np.nan, 600e3])) == pytest.approx(0.5 * STEP_RESERVE_K)
