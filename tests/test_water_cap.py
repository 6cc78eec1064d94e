"""The warmest chilled water that still leaves enough: each answer is what a bisection over the model itself finds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from coolctl.control.screening import one_crah_fewer
from coolctl.control.water_cap import (
    BISECTIONS,
    PEAK_AIRFLOW,
    one_crah_fewer_where_it_helps,
    warmest_carrying_c,
    warmest_riding_c,
)
from coolctl.points import U_CHW_DP, U_CHWST, U_HALL
from coolctl.site import Site
from coolctl.thermal.air import airflow_speed
from coolctl.thermal.dynamics import ride_through_s
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import O_UNMET, OUTPUTS, W_HALL, W_PRESSURE, air_side
from coolctl.thermal.room import HallParams

LO_C, HI_C, DP_PA = 7.0, 20.0, 120e3


def bisected_c(holds: Callable[[float], bool]) -> float:
    lo, hi = LO_C, HI_C
    if holds(hi):
        return hi
    for _ in range(BISECTIONS):
        mid = 0.5 * (lo + hi)
        lo, hi = (mid, hi) if holds(mid) else (lo, mid)
    return lo


class Case:
    """The two halls at some share of their load [-]."""

    def __init__(self, site: Site, load: float):
        self.p, self.halls = plant_params(site), hall_array(site)
        self.w = np.array([30.0, 20.0, 101325.0, *(load * self.halls[:, 0])])
        self.u = np.array([14.0, 60e3, 1.0, 24.0, 2.0, 0.8, 0.0, *([23.0, 0.8] * len(self.halls))])
        self.out, self.state = np.zeros(len(OUTPUTS)), np.zeros(2 * len(self.halls))

    def rides_s(self, chwst_c: float, needed_s: float) -> float:
        u, w, back_c = self.u, self.w, chwst_c + 8.0
        return float(ride_through_s(u, w, chwst_c, back_c, 32.0, needed_s, self.halls, self.p.row, self.state))

    def carries(self, chwst_c: float, peak_w: np.ndarray) -> bool:
        trial, more = self.u.copy(), self.w.copy()
        trial[U_CHWST], trial[U_CHW_DP] = chwst_c, DP_PA
        more[W_HALL:] = np.maximum(peak_w, more[W_HALL:])
        for h, row in enumerate(self.halls):
            hall, sat_c = HallParams(*row.tolist()), trial[U_HALL + 2 * h]
            speed = airflow_speed(more[W_HALL + h], sat_c, sat_c + 0.5, PEAK_AIRFLOW, more[W_PRESSURE], hall)
            trial[U_HALL + 2 * h + 1] = min(max(speed, 0.1), 1.0)
        air_side(trial, more, self.halls, self.p, self.out)
        return bool(self.out[O_UNMET] <= 0.0)


@pytest.mark.parametrize("needed_s", [10.0, 1500.0, 2300.0, 3500.0, 7200.0])
def test_ride_through_leaves_the_water_that_a_bisection_finds(two_halls: Site, needed_s: float) -> None:
    c = Case(two_halls, 0.7)
    found_c = warmest_riding_c(c.u, c.w, 32.0, needed_s, LO_C, HI_C, c.halls, c.p.row, c.state)
    assert found_c == bisected_c(lambda chwst_c: c.rides_s(chwst_c, needed_s) >= needed_s)
    if needed_s in (10.0, 7200.0):
        assert found_c == (HI_C if needed_s == 10.0 else LO_C)
    else:
        assert LO_C < found_c < HI_C


@pytest.mark.parametrize("peak", [0.1, 0.8, 1.0, 3.0, np.nan])
def test_coils_carry_the_peak_with_the_water_that_a_bisection_finds(two_halls: Site, peak: float) -> None:
    c = Case(two_halls, 0.3)
    peak_w = peak * c.halls[:, 0]
    found_c = warmest_carrying_c(c.u, c.w, peak_w, DP_PA, LO_C, HI_C, c.halls, c.p.row, c.out)
    assert found_c == bisected_c(lambda chwst_c: c.carries(chwst_c, peak_w))
    assert (found_c == HI_C) == (peak == 0.1) and (found_c == LO_C) == (not peak < 3.0)


def test_a_crah_is_taken_away_only_where_the_rest_move_the_air(two_halls: Site) -> None:
    c = Case(two_halls, 0.3)
    fewer, left = one_crah_fewer(c.halls), np.empty_like(c.halls)
    c.w[W_HALL + 1] = 1.4 * c.halls[1, 0]
    one_crah_fewer_where_it_helps(c.u, c.w, c.halls, fewer, left)
    assert np.array_equal(left[0], fewer[0]) and np.array_equal(left[1], c.halls[1])
    assert not np.array_equal(fewer[1], c.halls[1])
