"""What a single failure leaves, kind by kind."""

from __future__ import annotations

import numpy as np
import pytest
from faults.scenes import Play, play

from coolctl.control.estimate import Estimator
from coolctl.control.screening import KINDS, Screening, one_crah_fewer
from coolctl.points import SampleStore
from coolctl.site import Site
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.room import HallParams
from sim_plant.load import constant
from sim_plant.plant import SimPlant


@pytest.fixture
def look(site: Site):  # type: ignore[no-untyped-def]
    plant, store = SimPlant(site, load=constant(0.6)), SampleStore(site.table)
    halls, p = hall_array(site), plant_params(site)
    store.put_readings(plant.reset(1), 0.0)
    est = Estimator(site, halls).assess(store.snapshot(0.0))
    screening = Screening(halls, p, site.file.limits)
    u = np.array([12.0, 140e3, 2.0, 22.0, 2.0, 1.0, 0.0, 22.0, 0.7])

    def at(it_w: float = 6e5, speed: float = 0.65, available: float = 3.0, oawb_c: float = 18.0, **plant_now: float):  # type: ignore[no-untyped-def]
        w = est.w.copy()
        w[1], w[3] = oawb_c, it_w / 1.05
        now = est._replace(w=w, plant={**est.plant, "chw_flow": 20.0, "chwst": 12.0, **plant_now})
        return screening.look(u, now, np.array([speed]), available)

    return at


def kind(found) -> str:  # type: ignore[no-untyped-def]
    return KINDS[found.kind]


def test_plant_with_everything_can_lose_any_one_machine(look) -> None:  # type: ignore[no-untyped-def]
    assert look().ratio > 1.05


def test_each_kind_is_found_where_it_is_the_weakest(look) -> None:  # type: ignore[no-untyped-def]
    fans = look(speed=0.97)
    assert kind(fans) == "crah" and fans.ratio < 0.95
    water = look(chwst=21.0)
    assert kind(water) == "crah" and water.ratio < 1.0
    chillers = look(it_w=9e5, available=2.0, oawb_c=24.0)
    assert kind(chillers) == "chiller" and chillers.ratio < 1.0
    assert look(available=1.0).ratio == 0.0  # the last one gone, and no plates at work
    pumps = look(chw_flow=200.0)
    assert kind(pumps) == "chw_pump" and pumps.ratio < 1.0


def test_unknown_conditions_give_no_figure(look) -> None:  # type: ignore[no-untyped-def]
    assert np.isnan(look(it_w=float("nan")).ratio)


def test_hall_with_one_crah_is_left_as_it_is(site: Site) -> None:
    halls = hall_array(site)
    fewer = one_crah_fewer(halls)
    assert (fewer <= halls).all() and (fewer != halls).any()
    halls[:, HallParams._fields.index("crahs")] = 1.0
    assert (one_crah_fewer(halls) == halls).all()


def test_controller_keeps_the_water_cold_enough_for_one_crah_fewer(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    """A CRAH fails at the load that the plan was made for: the others carry on with the water that is there."""
    seen = play(site, policy, Play(("off:hall1.crahs:0.1@2400",), seconds=3600, load=constant(0.75)))
    assert seen.decisions[2300].weakest is not None and seen.decisions[2300].weakest[1] >= 1.0
    assert seen.hottest_c <= 27.0
