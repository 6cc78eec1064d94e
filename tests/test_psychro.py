"""Units, small kernels and psychrometrics against tables; compiled against plain."""

from __future__ import annotations

import math
import random

import pytest

from coolctl import num, psychro, units


@pytest.mark.parametrize(
    ("value", "unit", "internal"),
    [
        (77.0, "degF", 25.0),
        (298.15, "degK", 25.0),
        (1.0, "kW", 1000.0),
        (1.0, "ton", 3516.8528),
        (3.6, "m3/h", 1.0),
        (50.0, "percent", 0.5),
    ],
)
def test_units_known_value_converts_and_returns(value: float, unit: str, internal: float) -> None:
    assert units.to_internal(value, unit) == pytest.approx(internal, rel=1e-9)
    assert units.from_internal(internal, unit) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("unit", units.UNITS)
def test_units_round_trip_is_exact_to_float(unit: str) -> None:
    assert units.from_internal(units.to_internal(12.345, unit), unit) == pytest.approx(12.345, rel=1e-12)


def test_clamp_nan_stays_nan() -> None:
    assert math.isnan(num.clamp(math.nan, 0.0, 1.0))
    assert (num.clamp(2.0, 0.0, 1.0), num.clamp(-2.0, 0.0, 1.0)) == (1.0, 0.0)


def test_slew_unknown_target_holds_last() -> None:
    assert num.slew(math.nan, 5.0, 1.0, 1.0, 1.0) == 5.0
    assert num.slew(9.0, 5.0, 1.0, 2.0, 1.5) == 8.0


def test_first_order_reaches_63_percent_after_tau() -> None:
    assert num.first_order(0.0, 1.0, 10.0, 10.0) == pytest.approx(1.0 - math.exp(-1.0))


def test_saturation_pressure_table() -> None:
    # ASHRAE Fundamentals, saturated water vapour; Magnus is within 0.2 % of it here.
    for t_c, pa in ((0.0, 611.2), (10.0, 1228.0), (20.0, 2338.8), (30.0, 4246.0), (40.0, 7383.0)):
        assert psychro.saturation_pressure_pa(t_c) == pytest.approx(pa, rel=3e-3)


def test_wet_bulb_known_state() -> None:
    # ASHRAE chart no. 1: 30 °C, 50 % → 22.0 °C; read to 0.1 K.
    assert psychro.wet_bulb_c(30.0, 0.5, 101325.0) == pytest.approx(22.0, abs=0.1)
    assert psychro.wet_bulb_c(25.0, 1.0, 101325.0) == pytest.approx(25.0, abs=1e-6)


def test_wet_bulb_falls_with_altitude() -> None:
    assert psychro.wet_bulb_c(30.0, 0.3, 84.8e3) < psychro.wet_bulb_c(30.0, 0.3, 101.3e3)


def test_dew_point_inverts_saturation() -> None:
    assert psychro.dew_point_c(25.0, 1.0) == pytest.approx(25.0, abs=1e-9)
    assert math.isnan(psychro.dew_point_from_vapour_c(0.0))


KERNELS = [
    (num.clamp, 3), (num.slew, 5), (num.first_order, 4), (num.biquadratic, 8), (num.softplus, 2),
    (psychro.saturation_pressure_pa, 1), (psychro.wet_bulb_c, 3), (psychro.dew_point_c, 2), (psychro.enthalpy_jkg, 2),
]  # fmt: skip


@pytest.mark.parametrize(("kernel", "arity"), KERNELS)
def test_kernel_compiled_equals_plain(kernel, arity: int) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(5)
    for _ in range(50):
        args = [rng.uniform(0.1, 30.0) for _ in range(arity)]
        if kernel is psychro.wet_bulb_c:
            args = [rng.uniform(-10.0, 40.0), rng.uniform(0.05, 1.0), rng.uniform(7e4, 1.05e5)]
        elif kernel is psychro.dew_point_c:
            args = [rng.uniform(-10.0, 40.0), rng.uniform(0.05, 1.0)]
        plain = getattr(kernel, "py_func", kernel)(*args)
        # The compiler may contract and reorder within strict IEEE rules: a few units in the last place.
        assert kernel(*args) == pytest.approx(plain, rel=1e-12)
