"""Objective in site terms: tariff bands reach the tick as points, water has its price, cold is stored where it pays."""

from __future__ import annotations

import datetime
import zoneinfo

import numpy as np
import pytest

from coolctl.control.objective import cost_w
from coolctl.control.precool import precool_k
from coolctl.control.refine import best_for_machines
from coolctl.controller import Controller
from coolctl.errors import ConfigError
from coolctl.points import U_CHWST
from coolctl.site import Site, load_grid, load_site
from coolctl.site_schema import BandTable, TariffTable
from coolctl.tariff import LEAD_S, PriceClock, price_per_kwh
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import O_COOLING, O_MAKEUP, OUTPUTS, evaluate_plant
from coolctl.thermal.tower import makeup_kgs
from coolctl.training.expert import Expert
from sim_plant.equipment import tower as simulated
from sim_plant.load import constant
from sim_plant.params import plant_record
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics
from tests.conftest import ROOT, SITE

GRIDS = sorted((ROOT / "config" / "grids").glob("*.toml"))
NIGHT = TariffTable(price_per_kwh=0.5, bands=[BandTable(from_h=0, to_h=8, price_per_kwh=0.2, months=[7])])
BANDS = "\n[[tariff.bands]]\nfrom_h = 0\nto_h = 8\nprice_per_kwh = 0.2\n"


@pytest.mark.parametrize(
    ("month", "hour", "price"), [(7, 0.0, 0.2), (7, 7.999, 0.2), (7, 8.0, 0.5), (8, 3.0, 0.5), (7, 23.9, 0.5)]
)
def test_a_band_holds_from_its_first_hour_to_its_last(month: int, hour: float, price: float) -> None:
    assert price_per_kwh(NIGHT, month, hour) == price


@pytest.mark.parametrize("path", GRIDS, ids=lambda p: p.stem)
def test_every_shipped_grid_is_taken_by_the_default_site(site: Site, path) -> None:  # type: ignore[no-untyped-def]
    grid = load_grid(path)
    there = site.in_grid(grid, path.name)
    assert there.config_hash != site.config_hash
    assert (there.table.one("energy_price") >= 0) == bool(grid.tariff and grid.tariff.bands)
    assert list(there.u_point) == list(site.u_point)
    prices = {price_per_kwh(there.file.tariff, m, h) for m in range(1, 13) for h in range(24)}
    assert all(0.0 < p < 2.0 for p in prices)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[objective]\nenergy_weight = 0.0", "objective.energy_weight"),
        ("[objective]\nenergy_weight = 0.0\nprice_weight = 1.0\n[tariff]\nprice_per_kwh = 0.0", "objective.energy_weight"),
        ("[tariff]\n[[tariff.bands]]\nfrom_h = 22\nto_h = 6\nprice_per_kwh = 0.2", "tariff.bands.0.to_h"),
        ("[tariff]\n[[tariff.bands]]\nfrom_h = 1\nto_h = 6\nprice_per_kwh = 0.2\nmonths = [13]", "tariff.bands.0.months.0"),
        ("[weather]\nstation = 'x'", "weather"),
    ],
)
def test_a_wrong_grid_is_refused_with_its_key(tmp_path, text: str, key: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "grid.toml"
    path.write_text("format_version = 1\n" + text + "\n")
    with pytest.raises(ConfigError) as found:
        load_grid(path)
    assert [f.key for f in found.value.faults] == [key]
    assert all(f.line is None or f.line > 1 for f in found.value.faults)


def test_a_grid_that_makes_energy_worth_nothing_at_this_site_is_refused(site: Site, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Each table is good by itself; together nothing would be left to divide by."""
    path = tmp_path / "grid.toml"
    path.write_text("format_version = 1\n[objective]\nenergy_weight = 0.0\nprice_weight = 1.0\n")
    free = tmp_path / "free.toml"
    free.write_text("format_version = 1\n[tariff]\nprice_per_kwh = 0.0\n")
    assert site.in_grid(load_grid(path), "grid").file.objective.price_weight == 1.0
    with pytest.raises(ConfigError, match="count for nothing"):
        site.in_grid(load_grid(path), "grid").in_grid(load_grid(free), "free")


def site_with_bands(edited_site, simulated_clock: bool) -> Site:  # type: ignore[no-untyped-def]
    assert "simulated = true" in SITE.read_text()
    path = edited_site(("simulated = true", f"simulated = {str(simulated_clock).lower()}"))
    path.write_text(path.read_text() + BANDS)
    return load_site(path)


def test_the_clock_on_the_wall_fills_the_price_points_of_a_real_site(edited_site) -> None:  # type: ignore[no-untyped-def]
    site = site_with_bands(edited_site, False)
    at = datetime.datetime(2026, 7, 15, 7, 30, tzinfo=zoneinfo.ZoneInfo(site.file.site.timezone)).timestamp()
    now, ahead = PriceClock(site).samples(at)
    assert (now.i, ahead.i) == (site.table.one("energy_price"), site.table.one("energy_price_ahead"))
    assert now.value == 0.2 and ahead.value == site.file.tariff.price_per_kwh, f"{LEAD_S:g} s later it is past eight"
    assert not PriceClock(site_with_bands(edited_site, True)).samples(at), "a simulated plant tells its own"


def test_a_price_of_the_plants_own_is_not_overwritten(edited_site) -> None:  # type: ignore[no-untyped-def]
    path = edited_site(("simulated = true", "simulated = false"))
    row = '\n[[points]]\nrole = "energy_price"\nmachine = "plant"\nunit = "1/MWh"\n'
    path.write_text(path.read_text() + row + BANDS)
    site = load_site(path)
    assert len(site.table.by_role("energy_price")) == 1 and site.table.one("energy_price_ahead") < 0
    assert not PriceClock(site).samples(1.8e9)
    assert site.table.points[site.table.one("energy_price")].decode(300.0) == pytest.approx(0.3)


def test_the_simulated_plant_tells_price_and_the_next_hours(edited_site) -> None:  # type: ignore[no-untyped-def]
    plant = SimPlant(site_with_bands(edited_site, True), from_statistics("CHN_Guiyang").starting("07-15T06"), constant(0.5))
    readings = plant.reset(1)
    assert (readings["energy_price"], readings["energy_price_ahead"]) == (0.2, 0.2)
    plant.t_s = 3700.0
    assert plant.energy_price() == 0.2 and plant.energy_price(LEAD_S) == plant.site.file.tariff.price_per_kwh


@pytest.mark.parametrize("hour", [0, 31 * 24 - 1, 31 * 24, 8759])
def test_calendar_agrees_with_a_real_one(hour: int) -> None:
    at = datetime.datetime(2025, 1, 1) + datetime.timedelta(hours=hour)
    weather = from_statistics("CHN_Guiyang").starting(hour)
    assert weather.calendar(1800.0) == (at.month, at.hour + 0.5)


# Evaporation of the heat [kg/s] is the reference: cold dry air carries off part of it as warmth, hot air brings more.
@pytest.mark.parametrize(
    ("oadb_c", "oawb_c", "low", "high"), [(-2, -4, 0.5, 0.78), (12, 10, 0.65, 0.85), (30, 24, 0.8, 1.15), (40, 20, 0.9, 1.9)]
)
@pytest.mark.parametrize("speed", [0.2, 0.5, 0.9])
def test_make_up_water_follows_from_the_air(
    site: Site, oadb_c: float, oawb_c: float, low: float, high: float, speed: float
) -> None:
    heat_w = 3e5
    mine = makeup_kgs(speed, heat_w, oadb_c, oawb_c, 89e3, plant_params(site).tower)
    theirs = simulated.makeup_kgs(heat_w, speed, oadb_c, oawb_c, 89e3, plant_record(site).tower)
    assert low < mine / (heat_w / 2.45e6 * 4.0 / 3.0) < high
    assert mine == pytest.approx(theirs, rel=0.05)


def test_water_that_is_worth_something_is_saved_at_its_price() -> None:
    """The optimum with water at a price uses less of it, and each cubic metre saved costs no more energy than it is worth."""
    site = load_site(SITE)
    expert = Expert(site)
    p, halls = plant_params(site), hall_array(site)
    w = np.array([40.0, 20.0, 97e3, 0.55e6])
    u, out, free = expert._u.copy(), np.zeros(len(OUTPUTS)), np.full(len(expert._u), np.nan)
    lim0 = expert.limits(expert.draw(np.random.default_rng(1)))._replace(inlet_c=24.6, dewpoint_c=5.0)
    lo, hi = np.array([8.0, 8.0, 0.5, 16.0, 1.03]), np.array([20.0, 32.0, 1.2, 26.0, 1.35])
    kwh_per_m3 = 30.0
    found = []
    for worth in (0.0, kwh_per_m3 * 3.6e6 / 998.0):
        z = np.array([14.0, 24.0, 0.8, 22.0, 1.06])
        best_for_machines(z, 2.0, 1.0, free, w, halls, p.row, lim0._replace(makeup_wkgs=worth).row, lo, hi, 200, u, out)
        cost_w(z, 2.0, 1.0, free, w, halls, p.row, lim0.row, u, out)
        assert out[O_MAKEUP] == 0.0 or lim0.makeup_wkgs > 0.0, "what is worth nothing is not asked for"
        evaluate_plant(u, w, halls, p.row, out)
        found.append((out[O_COOLING], out[O_MAKEUP]))
    (energy, water), (more_energy, less_water) = found
    assert less_water < 0.98 * water
    assert energy <= more_energy <= energy + (water - less_water) * kwh_per_m3 * 3.6e6 / 998.0 * 1.001


def warm_plan(site: Site) -> tuple[np.ndarray, np.ndarray]:
    u = np.array([16.0, 60e3, 1.0, 26.0, 3.0, 0.9, 0.0, 22.0, 0.75])
    return u, np.array([30.0, 22.0, site.pressure_pa, 0.5e6])


def test_precooling_is_deeper_the_dearer_the_next_hour_and_none_where_it_is_not(site: Site) -> None:
    u, w = warm_plan(site)
    p, halls, out = plant_params(site), hall_array(site), np.zeros(len(OUTPUTS))
    evaluate_plant(u, w, halls, p.row, out)
    depth = [precool_k(4.0, 8.0, 0.95, ratio, u, w, halls, p, out) for ratio in (0.5, 1.0, 1.02, 2.0, 4.0)]
    assert depth[:3] == [0.0, 0.0, 0.0] and 0.0 < depth[3] <= depth[4] <= 4.0
    assert precool_k(0.0, 8.0, 0.95, 4.0, u, w, halls, p, out) == 0.0
    assert precool_k(4.0, float(u[U_CHWST]), 0.95, 4.0, u, w, halls, p, out) == 0.0, "not below the coldest setpoint"
    assert precool_k(4.0, 8.0, 0.2, 4.0, u, w, halls, p, out) == 0.0, "not beyond the chillers' load"


def test_water_is_cooled_ahead_of_the_dear_hour_and_only_then(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    """Two runs that differ in the tariff alone; the dear hour begins two hours in."""
    there = site.in_grid(load_grid(ROOT / "config" / "grids" / "guizhou.toml"), "guizhou")
    flat = there.in_grid(load_grid(ROOT / "config" / "grids" / "chongqing.toml"), "flat")
    water = {}
    for name, place in (("bands", there), ("flat", flat)):
        plant = SimPlant(place, from_statistics("CHN_Guiyang").starting("07-15T06"), constant(0.6), coarse=True)
        controller, readings = Controller(place, policy), plant.reset(1)
        setpoints, sources = [], []
        for k in range(2 * 360 + 60):
            decision = controller.tick(readings, 10.0 * k)
            readings = plant.step(decision.setpoints, 10.0)
            setpoints.append(decision.setpoints["chwst_sp"])
            sources.append("dearer hour" in decision.plan_source)
        water[name] = np.array(setpoints), np.array(sources)
    cooled, told = water["bands"]
    assert told[400:700].any() and not told[:300].any() and not water["flat"][1].any()
    assert cooled[710] < water["flat"][0][710] - 0.4
