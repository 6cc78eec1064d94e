"""One sensor that is wrong costs little, and no rack its limit."""

from __future__ import annotations

import pytest

from coolctl.site import Site
from sim_plant import faults
from sim_plant.plant import SimPlant
from tools.one_sensor import Seen, kinds, played

HOURS, START, LOAD = 3.0, "07-15T06", 0.6


@pytest.fixture(scope="module")
def clean(site: Site) -> Seen:
    return played(site, "", HOURS, START, LOAD)


def test_every_kind_of_point_is_played(site: Site) -> None:
    found = kinds(site)
    roles = {p.role for p in site.table.points if not p.writable} - {"valve"}
    assert sum(f.startswith("off:") for f in found) == sum(f.startswith("stuck:") for f in found) == len(roles)
    plant = SimPlant(site, coarse=True)
    for text in found:
        plant.faults.add(faults.parse(text))  # the plant knows each
    assert "wrong:hall1.sat:-2" in found and not any(f.startswith("wrong:hall1.it_power") for f in found)


NIGHTLY = pytest.mark.nightly


@pytest.mark.parametrize(
    ("fault", "ratio"),
    [
        ("off:hall1.it_power", 1.35),
        ("wrong:hall1.sat:2", 1.3),
        ("wrong:hall1.sat:-2", 1.1),
        pytest.param("stuck:hall1.it_power", 1.5, marks=NIGHTLY),
        pytest.param("off:hall1.sat", 1.05, marks=NIGHTLY),
        pytest.param("off:chwst", 1.05, marks=NIGHTLY),
        pytest.param("stuck:oawb", 1.15, marks=NIGHTLY),
        pytest.param("off:hall1.rack01.rack_inlet", 1.05, marks=NIGHTLY),
    ],
)
def test_one_sensor_costs_no_rack_its_limit_and_little_energy(site: Site, clean: Seen, fault: str, ratio: float) -> None:
    """Three hours, of which the first half hour is spent on finding out."""
    seen = played(site, fault, HOURS, START, LOAD)
    assert seen.kwh < ratio * clean.kwh, f"{100 * (seen.kwh / clean.kwh - 1):+.1f} %"
    assert seen.hottest_c < max(clean.hottest_c, site.file.limits.rack_inlet_limit_c) + 0.1
