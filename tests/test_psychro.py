"""Moist air against Hyland and Wexler's equation and the worked examples of ASHRAE Fundamentals."""

from __future__ import annotations

import math

import pytest
from kernels import assert_compiled_equals_plain, kernels_of

from coolctl import psychro

RANGES = {
    "pressure_at_altitude_pa": ((-400.0, 5500.0),),
    "saturation_pressure_pa": ((-40.0, 80.0),),
    "dew_point_from_vapour_c": ((50.0, 2e4),),
    "humidity_ratio_kgkg": ((-20.0, 45.0), (0.0, 1.0), (7e4, 1.05e5)),
    "saturation_humidity_ratio_kgkg": ((-20.0, 45.0), (7e4, 1.05e5)),
    "enthalpy_jkg": ((-20.0, 45.0), (0.0, 0.03)),
    "saturation_enthalpy_jkg": ((-20.0, 45.0), (7e4, 1.05e5)),
    "saturated_at_c": ((-15e3, 300e3), (7e4, 1.05e5)),
    "humidity_from_wet_bulb_kgkg": ((20.0, 45.0), (10.0, 20.0), (7e4, 1.05e5)),
    "wet_bulb_c": ((-20.0, 45.0), (0.05, 1.0), (7e4, 1.05e5)),
    "dew_point_c": ((-20.0, 45.0), (0.05, 1.0)),
    "dew_point_from_wet_bulb_c": ((20.0, 45.0), (10.0, 20.0), (7e4, 1.05e5)),
    "air_density_kgm3": ((-40.0, 60.0), (7e4, 1.05e5)),
}
SEA_PA = 101325.0


def hyland_wexler_pa(t_c: float) -> float:
    """Saturation pressure over liquid water, ASHRAE Fundamentals (2017) ch. 1 eq. 6."""
    t_k = t_c + 273.15
    poly = 1.3914993 - 4.8640239e-2 * t_k + 4.1764768e-5 * t_k**2 - 1.4452093e-8 * t_k**3
    return math.exp(-5.8002206e3 / t_k + poly + 6.5459673 * math.log(t_k))


@pytest.mark.parametrize("t_c", range(-20, 61, 5))
def test_saturation_pressure_follows_hyland_wexler(t_c: int) -> None:
    # 0.3 % is the residual of the Magnus form itself; it moves a dew point by 0.05 K.
    assert psychro.saturation_pressure_pa(float(t_c)) == pytest.approx(hyland_wexler_pa(t_c), rel=3e-3)


@pytest.mark.parametrize(("altitude_m", "pressure_pa"), [(0.0, 101325.0), (500.0, 95461.0), (1500.0, 84556.0), (3000.0, 70108.0)])
def test_pressure_at_altitude_is_the_standard_atmosphere(altitude_m: float, pressure_pa: float) -> None:
    # ASHRAE Fundamentals ch. 1 table 1, printed to 1 Pa; the exponent's rounding leaves 4 Pa at 3 km.
    assert psychro.pressure_at_altitude_pa(altitude_m) == pytest.approx(pressure_pa, abs=5.0)


def test_worked_example_of_the_handbook() -> None:
    # ASHRAE Fundamentals ch. 1 example 1: 40 °C dry, 20 °C wet bulb, sea level: W 6.5 g/kg, h 56.7 kJ/kg, dew point 7 °C,
    # 14 % RH, all read from a chart to the last digit shown (0.1 g/kg), to which the Magnus form adds 0.05 g/kg.
    dew_c = psychro.dew_point_from_wet_bulb_c(40.0, 20.0, SEA_PA)
    assert dew_c == pytest.approx(7.0, abs=0.5)
    assert psychro.saturation_humidity_ratio_kgkg(dew_c, SEA_PA) == pytest.approx(0.0065, abs=1.5e-4)
    assert psychro.enthalpy_jkg(40.0, 0.0065) == pytest.approx(56.7e3, rel=0.01)
    assert psychro.wet_bulb_c(40.0, 0.14, SEA_PA) == pytest.approx(20.0, abs=0.1)


@pytest.mark.parametrize(
    ("t_c", "rh", "pressure_pa", "wet_bulb_c"), [(30.0, 0.5, SEA_PA, 22.0), (7.0, 0.61, 1e5, 3.927), (25.0, 1.0, SEA_PA, 25.0)]
)
def test_wet_bulb_known_state(t_c: float, rh: float, pressure_pa: float, wet_bulb_c: float) -> None:
    # Chart no. 1 to 0.1 K; psychrolib's own test value to its digits, saturation curves 0.3 % apart.
    assert psychro.wet_bulb_c(t_c, rh, pressure_pa) == pytest.approx(wet_bulb_c, abs=0.03)


@pytest.mark.parametrize("pressure_pa", [SEA_PA, 87.5e3, 82e3])
@pytest.mark.parametrize("t_c", [-5.0, 10.0, 25.0, 40.0])
@pytest.mark.parametrize("rh", [0.1, 0.5, 0.95])
def test_dew_point_from_wet_bulb_inverts_wet_bulb(t_c: float, rh: float, pressure_pa: float) -> None:
    wet_c = psychro.wet_bulb_c(t_c, rh, pressure_pa)
    assert psychro.dew_point_c(t_c, rh) - 1e-6 <= wet_c <= t_c + 1e-6
    # The balance is the same both ways; 48 halvings of 40 K leave nothing but rounding, magnified in dry cold air.
    assert psychro.dew_point_from_wet_bulb_c(t_c, wet_c, pressure_pa) == pytest.approx(psychro.dew_point_c(t_c, rh), abs=1e-4)


@pytest.mark.parametrize("t_c", [-15.0, 0.0, 22.5, 60.0])
def test_saturated_air_has_the_enthalpy_that_it_is_looked_up_by(t_c: float) -> None:
    # 24 halvings of 100 K.
    assert psychro.saturated_at_c(psychro.saturation_enthalpy_jkg(t_c, 88e3), 88e3) == pytest.approx(t_c, abs=1e-5)


def test_wet_bulb_falls_with_altitude_and_humidity_ratio_rises() -> None:
    assert psychro.wet_bulb_c(30.0, 0.3, 84.8e3) < psychro.wet_bulb_c(30.0, 0.3, SEA_PA) - 0.3
    assert psychro.humidity_ratio_kgkg(30.0, 0.3, 84.8e3) > 1.15 * psychro.humidity_ratio_kgkg(30.0, 0.3, SEA_PA)


def test_dew_point_inverts_saturation_and_refuses_no_vapour() -> None:
    assert psychro.dew_point_c(25.0, 1.0) == pytest.approx(25.0, abs=1e-9)
    for vapour_pa in (0.0, -1.0, math.nan):
        assert math.isnan(psychro.dew_point_from_vapour_c(vapour_pa))


def test_unknown_input_is_an_unknown_result_never_a_plausible_one() -> None:
    for name, kernel in kernels_of(psychro).items():
        middle = [0.5 * (low + high) for low, high in RANGES[name]]
        assert math.isfinite(kernel(*middle))
        for i in range(len(middle)):
            if (name, i) != ("wet_bulb_c", 2):
                assert math.isnan(kernel(*[math.nan if k == i else x for k, x in enumerate(middle)])), (name, i)


def test_every_kernel_has_its_ranges_here() -> None:
    assert set(kernels_of(psychro)) == set(RANGES)


@pytest.mark.parametrize("name", RANGES)
def test_kernel_compiled_equals_plain(name: str) -> None:
    assert_compiled_equals_plain(kernels_of(psychro)[name], RANGES[name])
