"""Halls that are not like the others: found, named, and not allowed to cost the others their saving."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import SITE

from coolctl.control.estimate import Estimate
from coolctl.control.zones import Finding, Zones, others_medians
from coolctl.controller import Controller, RuleController
from coolctl.points import U_CHWST, U_HALL
from coolctl.savings.evaluate import run
from coolctl.site import Site, load_site
from coolctl.thermal.params import hall_array, plant_params
from sim_plant import faults, params
from sim_plant.load import constant, synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics
from tools.odd_hall import with_halls

HALLS, STEP_S = 6, 5.0


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("zones") / "site.toml"
    path.write_text(with_halls(SITE.read_text(), HALLS, 6))
    return load_site(path)


def unequal(site: Site, seed: int) -> tuple[SimPlant, int]:
    """A plant whose halls have coils within ±15 % of their record, and the hall that will be the odd one."""
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T10"), synthetic(seed), coarse=True)
    rng = np.random.default_rng(seed)
    plant._rows[:, params.H_UA] *= rng.uniform(0.85, 1.15, HALLS)
    return plant, int(rng.integers(HALLS))


def controlled(site: Site, policy: object, plant: SimPlant, hours: float) -> tuple[Controller, float, float]:
    """The controller after its run, its cooling energy [kWh] and K·min above the limit."""
    controller = Controller(site, policy)  # type: ignore[arg-type]
    entry = run(site, plant, controller, hours, 1, STEP_S).entry()
    return controller, entry["energy_kwh"]["cooling_total"], entry["service"]["degree_minutes_above_limit"]


@pytest.mark.parametrize("kind", ["weak_coil", "supply_sensor", "valve_still"])
def test_the_odd_hall_is_named(many: Site, policy: object, kind: str) -> None:
    plant, odd = unequal(many, 2)
    if kind == "weak_coil":
        plant._rows[odd, params.H_UA] *= 0.6
    elif kind == "supply_sensor":
        plant.faults.add(faults.parse(f"wrong:hall{odd + 1}.sat:2@0-1e9"))
    else:
        plant.faults.add(faults.parse(f"stuck:hall{odd + 1}.valve:0.25@0-1e9"))
    controller, _, _ = controlled(many, policy, plant, 2.5)
    suspect = controller.control.zones.suspect()
    assert suspect is not None and (suspect.hall, suspect.kind) == (odd, kind), suspect
    if kind == "weak_coil":
        truth = plant._rows[odd, params.H_UA] / hall_nominal(many, odd)
        assert suspect.size == pytest.approx(truth, abs=0.12)


def test_each_hall_answers_for_its_own_racks(many: Site, policy: object) -> None:
    """Racks of one hall stand 2 K warmer than the model thinks: that hall gets colder air, the others keep theirs."""
    air = {}
    for hot in (False, True):
        plant = SimPlant(many, from_statistics("CHN_Guiyang").starting("07-15T10"), constant(0.6), coarse=True)
        if hot:
            plant.faults.add(faults.parse("wrong:hall2.rack01.rack_inlet:2@0-1e9"))
        controller = Controller(many, policy)  # type: ignore[arg-type]
        seen: list[np.ndarray] = []
        run(
            many,
            plant,
            controller,
            1.5,
            1,
            STEP_S,
            observe=lambda d, now_s, seen=seen: seen.append(d.u[U_HALL::2]) if now_s > 4500.0 else None,
        )
        air[hot] = np.mean(seen, axis=0)
    lowered_k = air[False] - air[True]
    assert lowered_k[1] > 1.0 and np.abs(np.delete(lowered_k, 1)).max() < 0.5, lowered_k


def hall_nominal(site: Site, hall: int) -> float:
    return float(SimPlant(site)._rows[hall, params.H_UA])


@pytest.mark.parametrize("seed", [1, 2])
def test_ordinary_spread_accuses_nobody(many: Site, policy: object, seed: int) -> None:
    plant, _ = unequal(many, seed)
    controller, _, over = controlled(many, policy, plant, 2.0)
    assert controller.control.zones.suspect() is None and over < 1.0


@pytest.mark.nightly
def test_a_weak_coil_leaves_the_others_their_saving(many: Site, policy: object) -> None:
    """Against the rules on the same plant; the first half hour, in which the coil is not yet known, is in it."""
    kwh = {}
    for weak in (False, True):
        for name in ("ai", "b2"):
            plant, odd = unequal(many, 1)
            if weak:
                plant._rows[odd, params.H_UA] *= 0.6
            controller = Controller(many, policy) if name == "ai" else RuleController(many, "b2")  # type: ignore[arg-type]
            entry = run(many, plant, controller, 4.0, 1, STEP_S).entry()
            kwh[name, weak] = entry["energy_kwh"]["cooling_total"]
    clean, rogue = (1.0 - kwh["ai", weak] / kwh["b2", weak] for weak in (False, True))
    assert clean > 0.1
    assert rogue > 0.5 * clean, f"{100 * clean:.1f} % saved before, {100 * rogue:.1f} % with the weak coil"


def estimate(now_s: float, count: int, **changes: np.ndarray) -> Estimate:
    even = np.full(count, 1.0)
    plant = dict.fromkeys(("chwst", "chwrt", "chw_flow", "chw_dp"), math.nan) | {"chwst": 14.0, "chw_dp": 1e5}
    fields = {
        "it_w": 5e4 * even, "inlet_mean_c": 23.0 * even, "inlet_max_c": 24.0 * even, "sat_c": 22.5 * even,
        "fan_speed": 0.6 * even, "valve": 0.5 * even, "aisle_dp_pa": 2.0 * even,
    } | changes  # fmt: skip
    w = np.concatenate([[25.0, 18.0, 89e3], 5e4 * even])
    return Estimate(
        now_s, w, **fields, dewpoint_c=10.0, hottest_c=24.0, quorum=True, plant=plant, measured_w=math.nan, substituted=()
    )


def look(zones: Zones, est: Estimate, sat_sp_c: np.ndarray, dt_s: float, fan_sp: float = 0.6, demand: float = 0.55) -> Estimate:
    """Show it one moment, with fans as they were asked for unless said otherwise."""
    count = len(sat_sp_c)
    return zones.observe(est, sat_sp_c, np.full(count, fan_sp), np.full(count, demand), dt_s)


def test_a_single_hall_stands_against_its_record(site: Site) -> None:
    """Wide valve, little heat: the coil is weak, whoever else is there."""
    zones = Zones(hall_array(site), plant_params(site))
    for k in range(200):
        seen = estimate(30.0 * k, 1, it_w=np.array([4e5]), valve=np.array([0.9 + 0.02 * (k % 2)]), sat_c=np.array([20.0]))
        look(zones, seen, np.array([20.0]), 30.0)
    found = zones.suspect()
    assert found is not None and found.kind == "weak_coil" and found.size < 0.75


def test_a_hall_whose_fans_stand_says_nothing_of_its_coil(site: Site) -> None:
    """The same valve and heat without air: there is nothing to read the coil from. Nor is there with so little water that any
    coil would warm all of it."""
    for fan_speed, opening in ((0.2, 0.9), (0.6, 0.06)):
        zones = Zones(hall_array(site), plant_params(site))
        for k in range(200):
            seen = estimate(30.0 * k, 1, it_w=np.array([4e5]), valve=np.array([opening + 0.02 * (k % 2)]), sat_c=np.array([20.0]))
            look(zones, seen._replace(fan_speed=np.array([fan_speed])), np.array([20.0]), 30.0, fan_speed, fan_speed)
        assert zones.suspect() is None and zones.coil_factors().tolist() == [1.0]


def test_a_coil_is_not_judged_by_a_sensor_that_is_suspected_itself(many: Site) -> None:
    """A hall with a wide valve is short of its coil, until its supply air turns out to be read 3 K off: then nobody knows."""
    zones, sp, wide = Zones(hall_array(many), plant_params(many)), np.full(HALLS, 22.5), 0.45 * np.eye(HALLS)[3]
    for k in range(400):
        off = 3.0 * np.eye(HALLS)[3] * (k >= 200)
        valve = 0.5 + wide + 0.02 * (k % 2)
        look(zones, estimate(30.0 * k, HALLS, valve=valve, sat_c=22.5 + off), sp + off, 30.0)
        if k == 199:
            assert zones.coil_factors()[3] < 0.9
    found = zones.suspect()
    assert found is not None and (found.hall, found.kind) == (3, "supply_sensor") and zones.coil_factors()[3] == 1.0
    assert f"{found.size:+.1f} K" in found.text() and "its sensor is off" in found.text()


def test_two_findings_that_take_turns_do_not_hide_each_other(many: Site) -> None:
    zones, sp = Zones(hall_array(many), plant_params(many)), np.full(HALLS, 22.5)
    for k in range(200):
        worse = np.eye(HALLS)[2] * (2.0 + 1.5 * (k // 40 % 2)) + np.eye(HALLS)[4] * (2.0 + 1.5 * (1 - k // 40 % 2))
        look(zones, estimate(30.0 * k, HALLS, sat_c=22.5 + worse, valve=np.full(HALLS, 0.5 + 0.03 * (k % 2))), sp, 30.0)
        if k > 160:
            found = zones.suspect()
            assert found is not None and found.hall in (2, 4) and found.kind == "supply_sensor"


def test_two_halls_cannot_tell_which_of_them_is_odd(two_halls: Site) -> None:
    zones = Zones(hall_array(two_halls), plant_params(two_halls))
    for k in range(400):
        look(zones, estimate(30.0 * k, 2, sat_c=np.array([22.5, 26.0])), np.array([22.5, 22.5]), 30.0)
    assert zones.suspect() is None or zones.suspect().kind == "valve_still"  # type: ignore[union-attr]


def test_nothing_known_accuses_nobody_and_clears_up(many: Site) -> None:
    zones, sp = Zones(hall_array(many), plant_params(many)), np.full(HALLS, 22.5)
    nothing = np.full(HALLS, np.nan)
    names = ("inlet_mean_c", "inlet_max_c", "sat_c", "fan_speed", "valve")
    for k in range(200):
        look(zones, estimate(30.0 * k, HALLS, **dict.fromkeys(names, nothing)), sp, 30.0)
    assert zones.suspect() is None and (zones.coil_factors() == 1.0).all()
    off = np.full(HALLS, 22.5) + np.eye(HALLS)[3] * 2.0
    moving = [0.5, 0.53]
    for k in range(200, 400):
        look(zones, estimate(30.0 * k, HALLS, sat_c=off, valve=np.full(HALLS, moving[k % 2])), sp, 30.0)
    found = zones.suspect()
    assert isinstance(found, Finding) and (found.hall, found.kind) == (3, "supply_sensor")
    for k in range(400, 800):
        look(zones, estimate(30.0 * k, HALLS, valve=np.full(HALLS, moving[k % 2])), sp, 30.0)
    assert zones.suspect() is None  # a mended sensor is believed again


def test_a_sensor_that_is_long_off_a_setpoint_which_the_racks_say_is_kept_is_not_the_air(many: Site) -> None:
    """Supply air is then as the loop holds it: not before, not where racks follow the air, and not for other halls."""
    sp, off = np.full(HALLS, 22.5), 2.0 * np.eye(HALLS)[3]

    def told(zones: Zones, rounds: range, by: np.ndarray = off, racks: np.ndarray | float = 0.0) -> np.ndarray:
        for k in rounds:
            seen = look(zones, estimate(30.0 * k, HALLS, sat_c=sp + by, inlet_mean_c=23.0 + np.zeros(HALLS) + racks), sp, 30.0)
        return np.asarray(seen.sat_c)

    zones = Zones(hall_array(many), plant_params(many))
    assert told(zones, range(28)).tolist() == (sp + off).tolist()  # it may still be on its way
    assert told(zones, range(28, 40)) == pytest.approx(sp)
    assert look(zones, estimate(30.0 * 39 + 5.0, HALLS, sat_c=sp + off), sp, 5.0).sat_c == pytest.approx(sp)  # every tick
    assert told(zones, range(40, 45), racks=1.0) == pytest.approx(sp)  # racks that are warm for a moment change nothing
    assert told(zones, range(45, 145), np.zeros(HALLS)).tolist() == sp.tolist()  # mended
    for by in (off, -off):
        assert told(Zones(hall_array(many), plant_params(many)), range(80), by, by).tolist() == (sp + by).tolist()
        assert told(Zones(hall_array(many), plant_params(many)), range(80), by) == pytest.approx(sp)
    assert told(Zones(hall_array(many), plant_params(many)), range(80), 0.3 * off).tolist() == (sp + 0.3 * off).tolist()


@pytest.mark.parametrize("off_k", [2.0, -2.0])
def test_a_supply_sensor_that_is_off_does_not_make_the_water_cold_for_all(many: Site, policy: object, off_k: float) -> None:
    water_c, hottest_c = {}, {}
    for faulty in (False, True):
        plant, odd = unequal(many, 1)
        if faulty:
            plant.faults.add(faults.parse(f"wrong:hall{odd + 1}.sat:{off_k}@0-1e9"))
        controller = Controller(many, policy)  # type: ignore[arg-type]
        seen: list[tuple[float, float]] = []
        run(
            many, plant, controller, 1.5, 1, STEP_S,
            observe=lambda d, now_s, seen=seen, plant=plant: seen.append((d.u[U_CHWST], plant.rack_inlet_c.max()))
            if now_s > 3600.0 else None,
        )  # fmt: skip
        water_c[faulty], hottest_c[faulty] = np.mean(seen, axis=0)
    assert water_c[False] > 17.0 and water_c[True] > water_c[False] - 1.0, water_c
    assert hottest_c[True] < hottest_c[False] + 0.2, hottest_c


class Fans:
    """Two halls that are asked for 0.8 of their fans and need 0.75; the second one's speed is said to be something else."""

    def __init__(self, site: Site) -> None:
        self.zones, self.k = Zones(hall_array(site), plant_params(site)), 0

    def after(self, minutes: float, said: float, aisle_pa: float = 2.0, asked: float = 0.8, demand: float = 0.75) -> float:
        """The speed that the second hall's fans are taken to have."""
        for _ in range(round(2.0 * minutes)):
            fans = {"fan_speed": np.array([asked if asked == asked else 0.8, said]), "aisle_dp_pa": np.array([2.0, aisle_pa])}
            seen = look(self.zones, estimate(30.0 * self.k, 2, **fans), np.full(2, 22.5), 30.0, asked, demand)
            self.k += 1
        assert seen.fan_speed[0] == fans["fan_speed"][0]
        return float(seen.fan_speed[1])


def test_fans_said_to_stay_behind_over_an_aisle_that_has_its_air_are_where_they_were_asked_to_be(two_halls: Site) -> None:
    fans = Fans(two_halls)
    assert fans.after(4.0, 0.6) == 0.6  # they may still be on their way
    assert fans.after(1.0, 0.6) == 0.8 and fans.zones.suspect() is None
    assert fans.after(30.0, 0.6, asked=0.9) == 0.9
    found = fans.zones.suspect()
    assert found is not None and (found.hall, found.kind) == (1, "fan_sensor") and "are said to be -0.30 from" in found.text()
    assert fans.after(0.5, 0.6, asked=math.nan) == 0.6  # nobody follows what they are asked for
    assert fans.after(0.5, 0.6, aisle_pa=-1.5) == 0.6  # an aisle that sucks: then they may well stay behind
    assert fans.after(3.0, 0.6, asked=0.4, demand=0.35) == 0.4  # it does not become true by the load's falling below it
    assert fans.after(0.5, 0.6, asked=0.9) == 0.9
    assert fans.after(11.0, 0.9, asked=0.9) == 0.9  # mended: it is believed again, and nobody is suspected
    assert fans.after(3.0, 0.6) == 0.6
    assert all(found.kind != "fan_sensor" for _, found in fans.zones._candidates())


@pytest.mark.parametrize(
    ("what", "seen"),
    [
        ("the aisle is short of air", {"said": 0.6, "aisle_pa": -1.5}),
        ("nobody knows of the aisle", {"said": 0.6, "aisle_pa": math.nan}),
        ("nobody says how fast they turn", {"said": math.nan}),
        ("the servers need no more", {"said": 0.6, "demand": 0.63}),
        ("it is what they were asked for", {"said": 0.6, "asked": 0.64}),
        ("nobody follows what they were asked for", {"said": 0.6, "asked": math.nan}),
        ("more than they were asked for", {"said": 0.9, "demand": 1.0}),
    ],
)
def test_fans_are_believed_where_nothing_contradicts_them(two_halls: Site, what: str, seen: dict[str, float]) -> None:
    assert Fans(two_halls).after(60.0, **seen) == pytest.approx(seen["said"], nan_ok=True), what


def test_a_fan_speed_that_is_stuck_costs_little_and_hides_no_fan_that_stops(site: Site, policy: object) -> None:
    """While the load rises through the morning: the shield would see fans that stay behind, and cool ahead of a load step."""
    kwh, hottest_c = {}, {}
    for fault in ("", "stuck:hall1.crah_fan_speed@600-1e9", "stuck:hall1.crah_fan_speed@600-1e9 off:hall1.crahs:0.2@7200-1e9"):
        plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T06"), synthetic(1).at_mean(0.6), coarse=True)
        for one in fault.split():
            plant.faults.add(faults.parse(one))
        entry = run(site, plant, Controller(site, policy), 3.0, 1, STEP_S).entry()  # type: ignore[arg-type]
        kwh[fault], hottest_c[fault] = entry["energy_kwh"]["cooling_total"], entry["service"]["rack_inlet_max_c"]
    well, stuck, _ = kwh
    assert kwh[stuck] < 1.15 * kwh[well], kwh
    assert max(hottest_c.values()) < site.file.limits.rack_inlet_limit_c + 0.5, hottest_c


def test_it_takes_two_others_that_are_known_to_be_measured_against() -> None:
    found = np.zeros(4)
    others_medians(np.array([1.0, 2.0, 4.0, math.nan]), found)
    assert found.tolist() == [3.0, 2.5, 1.5, 2.0]
    others_medians(np.array([1.0, 2.0, math.inf, math.nan]), found)
    assert np.isnan(found[:2]).all() and found[2:].tolist() == [1.5, 1.5]
