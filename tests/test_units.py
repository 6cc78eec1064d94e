"""Every unit against a value known from elsewhere."""

from __future__ import annotations

import math

import pytest

from coolctl import units
from coolctl.points import ROLES

# unit: wire value, internal value. NIST SP 811 for the customary units, printed there to seven digits.
KNOWN = {
    "degC": (25.0, 25.0), "degF": (77.0, 25.0), "degK": (298.15, 25.0),
    "K": (5.0, 5.0), "deltaC": (5.0, 5.0), "deltaF": (9.0, 5.0),
    "W": (1.0, 1.0), "kW": (1.0, 1e3), "MW": (1.0, 1e6), "ton": (1.0, 3516.853), "Btu/h": (3412.142, 1000.0),
    "kBtu/h": (3.412142, 1000.0), "hp": (1.341022, 1000.0),
    "J": (1.0, 1.0), "kWh": (1.0, 3.6e6),
    "kg/s": (1.0, 1.0), "L/s": (1.0, 1.0), "m3/h": (3.6, 1.0), "gpm": (15.85032, 1.0),
    "L/min": (60.0, 1.0), "L/h": (3600.0, 1.0),
    "m3/s": (1.0, 1.0), "cfm": (2118.880, 1.0),
    "Pa": (1.0, 1.0), "kPa": (1.0, 1e3), "bar": (1.0, 1e5), "hPa": (1.0, 100.0), "psi": (14.69595, 101325.0),
    "inWC": (1.0, 249.0889), "ftH2O": (1.0, 2989.067), "mH2O": (1.0, 9806.65), "mbar": (1.0, 100.0),
    "ratio": (0.5, 0.5), "percent": (50.0, 0.5), "%": (50.0, 0.5),
    "count": (3.0, 3.0), "bool": (1.0, 1.0), "s": (60.0, 60.0), "min": (1.0, 60.0),
    "1/kWh": (0.6, 0.6), "1/MWh": (600.0, 0.6), "kg/kWh": (0.5, 0.5), "g/kWh": (500.0, 0.5),
}  # fmt: skip


def test_units_all_have_a_known_value() -> None:
    assert set(KNOWN) == set(units.UNITS)


@pytest.mark.parametrize("unit", units.UNITS)
def test_unit_known_value_converts_and_returns(unit: str) -> None:
    wire, internal = KNOWN[unit]
    # Seven printed digits of the references.
    assert units.to_internal(wire, unit) == pytest.approx(internal, rel=5e-7)
    assert units.from_internal(internal, unit) == pytest.approx(wire, rel=5e-7)


@pytest.mark.parametrize("unit", units.UNITS)
@pytest.mark.parametrize("wire", [-40.0, 0.0, 12.345, 1e6])
def test_unit_round_trip_loses_nothing_but_rounding(unit: str, wire: float) -> None:
    assert units.from_internal(units.to_internal(wire, unit), unit) == pytest.approx(wire, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("unit", units.UNITS)
def test_unit_unknown_stays_unknown(unit: str) -> None:
    assert math.isnan(units.to_internal(math.nan, unit)) and math.isnan(units.from_internal(math.nan, unit))


def test_every_role_can_be_measured_in_some_unit() -> None:
    measured = {u.suffix for u in units.UNITS.values()}
    assert {role.suffix for role in ROLES.values()} <= measured
