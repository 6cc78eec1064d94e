"""Plants that are built differently: plates beside the condensers, a decoupler, a weak coil, wet coils, ten megawatts.

The simulated plant's books close in each, the controller's model (other equations) says the same of it, and what the
option is known for is seen in both.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coolctl.controller import Controller
from coolctl.errors import ConfigError
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL, u_size
from coolctl.site import Site, load_site
from coolctl.thermal import plant as model
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import OUTPUTS, evaluate_plant
from coolctl.thermal.room import HallParams
from sim_plant import physics, room
from sim_plant.load import constant
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics
from tests.conftest import ROOT

EDITS = {
    "series": [],
    "parallel": [("[economizer]", '[economizer]\ntopology = "parallel"'), ("[cw_pumps]\ncount = 3", "[cw_pumps]\ncount = 5")],
    "decoupler": [("[chw_loop]", '[chw_loop]\narrangement = "primary_secondary"')],
    "weak_coil": [("crahs = 10", "crahs = 10\ncrah_worst_ua_ratio = 0.6")],
    "wet": [
        ("crahs = 10", "crahs = 10\nmakeup_air_m3h_per_mw = 4000.0\nmakeup_humidity_max_kgkg = 0.016\ncoil_bypass_ratio = 0.1")
    ],
    "wet_dry": [
        ("crahs = 10", "crahs = 10\nmakeup_air_m3h_per_mw = 4000.0\nmakeup_humidity_max_kgkg = 0.016\ncoil_bypass_ratio = 1.0")
    ],
}
# Chilled water, pressure, chillers, tower water, cells, flow, economizer, supply air, fans.
COLD = (10.0, 110e3, 2.0, 24.0, 3.0, 0.9, 0.0, 20.0, 0.78)
SHARED = (14.0, 110e3, 1.0, 12.0, 3.0, 0.9, 1.0, 22.0, 0.78)
LOAD = 0.7


def variant(edited_site: Callable[..., Path], name: str) -> Site:
    return load_site(edited_site(*EDITS[name]))


def settled(site: Site, u: tuple[float, ...], start: str, hours: float = 3.0, load: float = LOAD) -> SimPlant:
    """The simulated plant after `hours` at setpoints `u` and constant load."""
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting(start), constant(load), noise=False, coarse=True)
    plant.reset(1)
    points, table = site.table.points, np.array(u)
    leased = {points[i].id: points[i].encode(float(table[k])) for k, i in enumerate(site.u_point)}
    for _ in range(round(hours * 60)):
        plant.step(leased, 60.0)
    return plant


def modelled(site: Site, plant: SimPlant, u: tuple[float, ...]) -> np.ndarray:
    """The controller's model under the simulated plant's weather, load and humidity."""
    halls, out = hall_array(site), np.zeros(len(OUTPUTS))
    halls[:, HallParams._fields.index("dewpoint_c")] = plant.truth.dewpoint_c
    base_w = plant.load.at(0.0) * plant._it_nom_w / (1.0 + plant._rows[:, 11])
    w = np.array([*plant._weather_now[:3], *base_w])
    evaluate_plant(np.array(u), w, halls, plant_params(site).row, out)
    return out


@pytest.mark.parametrize(("u", "start"), [(COLD, "07-15T06"), (SHARED, "02-15T00")], ids=["chillers", "shared"])
@pytest.mark.parametrize("name", EDITS)
def test_books_close_and_the_model_agrees(edited_site, name: str, u, start: str) -> None:  # type: ignore[no-untyped-def]
    site = variant(edited_site, name)
    plant = settled(site, u, start)
    out, y, t = plant._out, plant._y, plant.truth
    made_w = float((y[:, room.Y_IT] + y[:, room.Y_CRAH]).sum()) + 15e3 + float(y[:, room.Y_LATENT].sum()) + t.chw_pump_w
    assert out[physics.P_HX] + out[physics.P_CHILLER_HEAT] == pytest.approx(made_w, rel=0.02)
    assert out[physics.P_REJECTED] == pytest.approx(made_w + t.chiller_w, rel=0.02)
    found = modelled(site, plant, u)
    seen_w = t.chiller_w + t.tower_w + t.chw_pump_w + t.cw_pump_w + t.crah_fan_w
    modelled_w = found[model.O_COOLING] - found[model.O_SERVER_FAN]
    assert modelled_w == pytest.approx(seen_w, rel=0.12)
    assert found[model.O_CHW_PUMP] == pytest.approx(t.chw_pump_w, rel=0.2)
    assert found[model.O_CW_PUMP] == pytest.approx(t.cw_pump_w, rel=0.2)
    valve = float(np.maximum(plant._x[:, room.X_VALVE], plant._x[:, room.X_VALVE_WORST]).max())
    assert found[model.O_VALVE] == pytest.approx(valve, rel=0.2)


def test_plates_beside_the_condensers_need_more_pumping_and_leave_them_colder_water(edited_site) -> None:  # type: ignore[no-untyped-def]
    found = {}
    for name in ("series", "parallel"):
        site = variant(edited_site, name)
        both = (12.0, *SHARED[1:])
        plant = settled(site, both, "04-15T12")
        mine = modelled(site, plant, both)
        assert plant._out[physics.P_RUNNING] == 1.0 and plant._out[physics.P_HX] > 1e5
        found[name] = plant.truth, mine, plant._out[physics.P_CHILLER_HEAT]
    (series, series_m, series_heat), (parallel, parallel_m, parallel_heat) = found["series"], found["parallel"]
    assert parallel.cw_pump_w > 1.05 * series.cw_pump_w and parallel_m[model.O_CW_PUMP] > 1.05 * series_m[model.O_CW_PUMP]
    assert parallel.chiller_w / parallel_heat < series.chiller_w / series_heat, "colder condenser water, better COP"


def test_plates_that_move_nothing_are_no_second_pump_for_the_chiller(edited_site) -> None:  # type: ignore[no-untyped-def]
    # The duty set's other pump sends its water past the one chiller that runs. Counted as the chiller's it made plates that
    # had nothing to do look cheaper than none, all summer long, and took a tenth off what the chiller was thought to draw.
    site = variant(edited_site, "series")
    found = {}
    for economizer in (0.0, 1.0):
        warm = list(COLD)
        warm[U_CHWST], warm[U_CHILLERS], warm[U_CWST], warm[U_CELLS] = 15.0, 1.0, 28.0, 2.0
        warm[U_CW_FLOW], warm[U_ECONOMIZER] = 0.9 - 0.4 * economizer, economizer
        plant = settled(site, tuple(warm), "07-15T06", load=0.4)
        assert plant._out[physics.P_RUNNING] == 1.0 and plant._out[physics.P_HX] == 0.0
        found[economizer] = plant.truth.chiller_w, modelled(site, plant, tuple(warm))[model.O_CHILLER]
    (own, own_modelled), (shared, shared_modelled) = found.values()
    assert own_modelled == pytest.approx(own, rel=0.05) and shared_modelled == pytest.approx(shared, rel=0.05)
    assert shared > 1.05 * own and shared_modelled > 1.05 * own_modelled


def test_halls_that_outdraw_the_primary_pumps_get_warm_water_back(edited_site) -> None:  # type: ignore[no-untyped-def]
    site = variant(edited_site, "decoupler")
    thirsty = list(COLD)
    thirsty[U_CHILLERS], thirsty[U_CHWST], thirsty[U_HALL] = 1.0, 13.0, 19.5
    plant = settled(site, tuple(thirsty), "07-15T06", 2.0)
    assert plant._out[physics.P_CHW_KGS] > 1.1 * site.file.chillers.evaporator_flow_nom_kgs
    assert plant.truth.chwst_c > 13.0 + 0.5
    mine = modelled(site, plant, tuple(thirsty))
    assert mine[model.O_CHWST] > 13.0 + 0.5 and mine[model.O_UNMET] > 0.0
    enough = (*thirsty[:U_CHILLERS], 2.0, *thirsty[U_CHILLERS + 1 :])
    assert modelled(site, plant, enough)[model.O_UNMET] == 0.0


def test_one_weak_coil_opens_its_valve_wider_and_its_racks_are_warmer(edited_site) -> None:  # type: ignore[no-untyped-def]
    plain, weak = (settled(variant(edited_site, name), COLD, "07-15T06") for name in ("series", "weak_coil"))
    valves = weak._x[0, room.X_VALVE], weak._x[0, room.X_VALVE_WORST]
    assert valves[1] > 1.3 * valves[0] and valves[0] == pytest.approx(plain._x[0, room.X_VALVE], rel=0.05)
    tight = list(COLD)
    tight[U_CHWST] = 14.0
    starved = settled(variant(edited_site, "weak_coil"), tuple(tight), "07-15T06")
    assert starved._x[0, room.X_VALVE_WORST] > 0.98 > starved._x[0, room.X_VALVE]
    assert starved._x[0, room.X_SAT_WORST] > starved._x[0, room.X_SAT_OTHERS] + 0.3


def test_water_below_the_dew_point_dries_the_air_and_carries_that_heat(edited_site) -> None:  # type: ignore[no-untyped-def]
    wet, dry = (settled(variant(edited_site, name), COLD, "07-15T06") for name in ("wet", "wet_dry"))
    assert wet._y[0, room.Y_LATENT] > 5e3 and dry._y[0, room.Y_LATENT] == 0.0
    assert wet.truth.dewpoint_c < dry.truth.dewpoint_c - 0.5
    assert wet._out[physics.P_CHILLER_HEAT] > dry._out[physics.P_CHILLER_HEAT] + 4e3
    site = wet.site
    assert modelled(site, wet, COLD)[model.O_HEAT] == pytest.approx(wet._out[physics.P_CHILLER_HEAT], rel=0.03)
    warm = (18.0, *COLD[1:])
    heat_w = [found[model.O_HEAT] - found[model.O_CHW_PUMP] for found in (modelled(site, wet, u) for u in (warm, COLD))]
    assert heat_w[0] < heat_w[1] - 4e3


@pytest.mark.parametrize("name", EDITS)
def test_model_is_monotone(edited_site, name: str) -> None:  # type: ignore[no-untyped-def]
    """Warmer wet bulb never saves, more load never saves."""
    rng, site = np.random.default_rng(5), variant(edited_site, name)
    p, halls, out = plant_params(site), hall_array(site), np.zeros(len(OUTPUTS))

    def power(u: np.ndarray, w: np.ndarray) -> float:
        evaluate_plant(u, w, halls, p.row, out)
        return float(out[model.O_COOLING]) if out[model.O_UNMET] <= 0.0 else np.nan

    tried = 0
    for _ in range(80):
        u = np.zeros(u_size(1))
        u[[U_CHWST, U_CHW_DP, U_CHILLERS, U_CWST]] = rng.uniform(9, 15), 120e3, rng.integers(1, 4), rng.uniform(12, 28)
        u[[U_CELLS, U_CW_FLOW, U_ECONOMIZER, U_HALL, U_HALL + 1]] = 3.0, rng.uniform(0.6, 1.1), rng.integers(0, 2), 22.0, 0.85
        w = np.array([25.0, rng.uniform(0, 20), 89e3, rng.uniform(0.3, 0.8) * 1e6])
        base, more, warmer = power(u, w), power(u, w * [1, 1, 1, 1.05]), power(u, w + np.array([2, 2, 0, 0]))
        tried += np.isfinite([base, more, warmer]).all()
        assert not more < base * 0.999 and not warmer < base * 0.998, (u, w)
    assert tried > 20


@pytest.mark.parametrize("name", [n for n in EDITS if n != "series"])
def test_controller_holds_the_variant(edited_site, policy, name: str) -> None:  # type: ignore[no-untyped-def]
    site = variant(edited_site, name)
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("05-10T06"), constant(LOAD), coarse=True)
    controller, readings, used = Controller(site, policy), plant.reset(1), 0
    for k in range(720):
        decision = controller.tick(readings, 10.0 * k)
        readings = plant.step(decision.setpoints, 10.0)
        used += decision.policy_used
        if k > 120:
            assert plant.truth.rack_inlet_c.max() < site.file.limits.rack_inlet_limit_c + 0.4
    assert used > 600 and plant._unmet_w() == 0.0


def test_ten_megawatts_stay_within_limits_and_the_policy_knows_them(policy) -> None:  # type: ignore[no-untyped-def]
    site = load_site(ROOT / "config" / "sites" / "campus10mw.toml")
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("05-10T06"), constant(0.6), coarse=True)
    controller, readings = Controller(site, policy), plant.reset(1)
    powers = []
    for k in range(120):
        decision = controller.tick(readings, 30.0 * k)
        readings = plant.step(decision.setpoints, 30.0)
        t = plant.truth
        powers.append(t.chiller_w + t.tower_w + t.chw_pump_w + t.cw_pump_w + t.crah_fan_w)
        assert t.rack_inlet_c.max() < site.file.limits.rack_inlet_limit_c + 0.4
    assert decision.policy_used and not decision.alarm
    assert np.mean(powers[-20:]) < 0.16 * t.it_w


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        (("[economizer]", '[economizer]\ntopology = "diagonal"'), "economizer.topology"),
        (("[chw_loop]", '[chw_loop]\narrangement = "tertiary"'), "chw_loop.arrangement"),
        (("crahs = 10", "crahs = 10\ncrah_worst_ua_ratio = 1.4"), "halls.0.crah_worst_ua_ratio"),
        (("crahs = 10", "crahs = 10\ncoil_bypass_ratio = -0.1"), "halls.0.coil_bypass_ratio"),
        (("[economizer]", '[economizer]\ntopology = "parallel"'), "cw_pumps.count"),
    ],
)
def test_a_variant_that_cannot_be_is_refused(edited_site, edit: tuple[str, str], key: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError) as found:
        load_site(edited_site(edit))
    assert key in [f.key for f in found.value.faults]
