"""The small kernels: what they compute, and that the unknown stays unknown."""

from __future__ import annotations

import math

import pytest
from kernels import assert_compiled_equals_plain, kernels_of

from coolctl import num

NAN = math.nan
RANGES = {
    "clamp": ((-10.0, 10.0), (-5.0, 0.0), (0.0, 5.0)),
    "slew": ((-10.0, 10.0), (-10.0, 10.0), (0.1, 2.0), (0.1, 2.0), (0.1, 5.0)),
    "first_order": ((-10.0, 10.0), (-10.0, 10.0), (-1.0, 60.0), (0.1, 5.0)),
    "biquadratic": ((-3.0, 3.0),) * 8,
    "softplus": ((-50.0, 50.0), (0.1, 2.0)),
}


@pytest.mark.parametrize(
    ("x", "held"), [(-2.0, 0.0), (0.0, 0.0), (0.4, 0.4), (1.0, 1.0), (2.0, 1.0), (math.inf, 1.0), (-math.inf, 0.0)]
)
def test_clamp_holds_inside(x: float, held: float) -> None:
    assert num.clamp(x, 0.0, 1.0) == held


def test_clamp_unknown_stays_unknown() -> None:
    # min(hi, max(lo, nan)) would be 0.0 here: a plausible command out of nothing.
    assert math.isnan(num.clamp(NAN, 0.0, 1.0))


@pytest.mark.parametrize(
    ("target", "last", "moved"),
    [(9.0, 5.0, 8.0), (6.0, 5.0, 6.0), (0.0, 5.0, 3.5), (4.0, 5.0, 4.0), (NAN, 5.0, 5.0), (9.0, NAN, 9.0), (math.inf, 5.0, 8.0)],
)
def test_slew_moves_no_faster_than_its_rates(target: float, last: float, moved: float) -> None:
    assert num.slew(target, last, 1.0, 2.0, 1.5) == moved


def test_slew_does_not_depend_on_how_time_is_cut() -> None:
    x = y = 20.0
    for _ in range(60):
        x = num.slew(26.0, x, 0.1, 0.01, 1.0)
    for _ in range(6):
        y = num.slew(26.0, y, 0.1, 0.01, 10.0)
    assert x == pytest.approx(20.6, abs=1e-12) and y == pytest.approx(x, abs=1e-12)


def test_first_order_reaches_63_percent_after_tau_however_time_is_cut() -> None:
    assert num.first_order(0.0, 1.0, 10.0, 10.0) == pytest.approx(1.0 - math.exp(-1.0), rel=1e-12)
    x = 0.0
    for _ in range(10):
        x = num.first_order(x, 1.0, 10.0, 1.0)
    assert x == pytest.approx(1.0 - math.exp(-1.0), rel=1e-12)


def test_first_order_special_cases() -> None:
    assert num.first_order(3.0, 1.0, 0.0, 1.0) == 1.0  # no lag at all
    assert num.first_order(NAN, 1.0, 10.0, 1.0) == 1.0  # nothing to start from
    assert num.first_order(3.0, NAN, 10.0, 1.0) == 3.0  # nowhere to go


def test_biquadratic_takes_coefficients_in_the_order_of_the_data_sets() -> None:
    # One coefficient at a time: c0, x, x², y, y², xy.
    terms = [num.biquadratic(*(1.0 if k == i else 0.0 for k in range(6)), 2.0, 3.0) for i in range(6)]
    assert terms == [1.0, 2.0, 4.0, 3.0, 9.0, 6.0]


def test_softplus_is_max_far_from_its_corner_and_smooth_at_it() -> None:
    assert (num.softplus(40.0, 1.0), num.softplus(-40.0, 1.0)) == (40.0, 0.0)
    assert num.softplus(0.0, 0.5) == pytest.approx(0.5 * math.log(2.0), rel=1e-12)
    # Continuous where the exact limits take over: exp(-30) is what is dropped there.
    for edge in (30.0, -30.0):
        assert num.softplus(edge - 1e-9, 1.0) == pytest.approx(num.softplus(edge + 1e-9, 1.0), abs=1e-8)


def test_every_kernel_has_its_ranges_here() -> None:
    assert set(kernels_of(num)) == set(RANGES)


@pytest.mark.parametrize("name", RANGES)
def test_kernel_compiled_equals_plain(name: str) -> None:
    assert_compiled_equals_plain(kernels_of(num)[name], RANGES[name])
