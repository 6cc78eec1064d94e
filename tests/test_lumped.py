"""The lumped plant beside the fine one: the same setpoints, weather, load and faults."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import TWO_HALLS

from coolctl.errors import ConfigError
from coolctl.site import Site, load_site
from sim_plant.faults import parse
from sim_plant.load import Load
from sim_plant.lumped import LumpedPlant, grouped, lumped_site
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

STEP_S, STEPS = 5.0, 500
LOAD = Load("steps", np.array([0.0, 900.0, 1800.0, 1e7]), np.array([0.4, 0.7, 0.55, 0.55]))
LEASED = {
    "chwst_sp": 15.0, "chw_dp_sp": 100.0, "chillers_on_sp": 2.0, "cwst_sp": 24.0, "tower_cells_on_sp": 3.0, "cw_flow_sp": 90.0,
    "economizer_on_sp": 0.0, "hall1.sat_sp": 23.0, "hall1.fan_speed_sp": 75.0,
}  # fmt: skip
# What one zone and few racks cannot show: most of the error is within a minute of a step, when the aisles and the servers'
# fans of the fine plant are still on their way. Means are what a soak is judged by.
MEAN_K, MOST_K, WATER_K, POWER_RATIO = 0.2, 0.9, 0.6, 0.04
COLDEST_K = 0.35  # the coldest group is a mean of racks, the fine plant's coldest rack is one


def both(site: Site, setpoints: dict[str, float] | None, faults: tuple[str, ...], start: str) -> list[np.ndarray]:
    """Per plant and step: hottest rack, coldest rack, chilled water, dew point [°C] and the power of the machines [W]."""
    weather = from_statistics(site.file.weather.station).starting(start)
    traces = []
    for plant in (SimPlant(site, weather, LOAD), LumpedPlant(lumped_site(site), weather, LOAD)):
        for text in faults:
            plant.faults.add(parse(text))
        rows = []
        for _ in range(STEPS):
            plant.advance(setpoints, STEP_S)
            t = plant.truth
            machines_w = t.chiller_w + t.tower_w + t.chw_pump_w + t.cw_pump_w + t.crah_fan_w
            rows.append((t.rack_inlet_c.max(), t.rack_inlet_c.min(), t.chwst_c, t.dewpoint_c, machines_w))
        traces.append(np.array(rows))
    return traces


@pytest.mark.parametrize(
    ("setpoints", "faults", "start"),
    [
        (None, (), "07-15T12"),
        (LEASED, (), "04-10T10"),
        (LEASED, ("off:chiller1@1200", "off:chiller2@1200", "off:chiller3@1200"), "07-15T12"),
        (LEASED, ("off:hall1.crahs:0.3@1200",), "07-15T12"),
    ],
    ids=("own control", "leased", "chillers trip", "CRAHs lost"),
)
def test_lumped_plant_answers_as_the_fine_one(
    site: Site, setpoints: dict[str, float] | None, faults: tuple[str, ...], start: str
) -> None:
    fine, lumped = both(site, setpoints, faults, start)
    off = lumped - fine
    assert np.ptp(fine[:, 0]) > 0.5  # something has happened
    assert abs(off[:, 0].mean()) <= MEAN_K and np.abs(off[:, 0]).max() <= MOST_K
    assert abs(off[:, 1].mean()) <= COLDEST_K
    assert np.abs(off[:, 2]).max() <= WATER_K and np.abs(off[:, 3]).max() <= 0.2
    assert abs(off[:, 4].mean()) <= POWER_RATIO * fine[:, 4].mean()


def test_hottest_rack_stands_for_itself_and_the_others_for_their_likes(site: Site) -> None:
    rng = np.random.default_rng(1)
    gain, offset_k = rng.uniform(0.2, 3.0, 32), rng.uniform(0.0, 0.5, 32)
    few_gain, few_offset_k = grouped(gain, offset_k, 6)
    hottest = int(np.argmax(0.5 * gain + offset_k))
    assert len(few_gain) == 6 and (few_gain[-1], few_offset_k[-1]) == (gain[hottest], offset_k[hottest])
    assert np.all(np.diff(0.5 * few_gain + few_offset_k) > 0.0)
    assert lumped_site(site).file.halls[0].racks == 6 < site.file.halls[0].racks


def test_what_it_cannot_stand_for_is_refused() -> None:
    two = load_site(TWO_HALLS)
    with pytest.raises(ConfigError, match="one hall"):
        lumped_site(two)
    with pytest.raises(ConfigError, match="no such machines"):
        LumpedPlant(two)
