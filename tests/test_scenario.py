"""The whole controller against the simulated plant in one process, every tick under the invariants."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SITE

from coolctl.control.policy import OUTPUTS
from coolctl.controller import RuleController
from coolctl.points import U_CHILLERS
from coolctl.savings.evaluate import evaluate
from coolctl.savings.ledger import Account, heat_left_charge_kwh, service_faults
from coolctl.site import Site, load_site
from sim_plant import faults, physics
from sim_plant.load import constant, synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics


def clean(loop) -> None:  # type: ignore[no-untyped-def]
    assert not loop.audit.violations, loop.audit.violations[:5]


@pytest.mark.parametrize("start", ["01-15T06", "04-20T12", "07-15T12"])
def test_policy_in_charge_keeps_every_invariant(loop, site: Site, policy, start: str) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, policy, start=start).run(4000)
    assert run.decision.mode == "auto" and run.decision.policy_used
    clean(run)
    assert run.hottest_c <= 26.0 and not run.plant.bms.local


@pytest.mark.parametrize("mode", ["auto", "fallback"])
def test_taking_over_a_plant_on_its_economizer_stops_nothing_that_carries(loop, site: Site, policy, mode: str) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, policy, start="01-15T06", load=constant(0.4), mode=mode)
    chwst_c = run.readings["chwst"]
    assert run.readings["economizer_on"] == 1.0 and run.readings["chillers_on"] == 0.0
    for _ in range(30):
        run.run(10)
        assert run.decision.setpoints["economizer_on_sp"] == 1.0 or run.readings["chillers_on"] > 0.0
        assert run.readings["chwst"] <= chwst_c + 1.5
    clean(run)


def test_policy_in_charge_survives_load_that_halves_and_doubles(loop, site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, policy, load=constant(0.4)).run(1800)
    for ratio in (0.8, 0.4, 0.85):
        run.plant.load = constant(ratio)
        run.run(900)
    clean(run)
    assert run.plant.truth.it_w > 8e5  # the steps were felt
    # B1 itself peaks 1 K above its calm value on such steps; the limit is kept to 0.3 K for a minute here.
    assert run.hottest_c <= 26.3


def test_two_halls_without_economizer(loop, two_halls: Site, policy) -> None:  # type: ignore[no-untyped-def]
    run = loop(two_halls, policy, load=synthetic(), start="06-10T10").run(3000)
    assert run.decision.mode == "auto"
    clean(run)
    assert run.hottest_c <= 26.3


OWN_PLANT = """accepts = ["chwst_sp", "cwst_sp", "sat_sp", "fan_speed_sp"]

[plant.rules]
chw_dp = {rule = "fixed", value = 120e3}
chiller_staging = {rule = "load_ratio", up = 0.85, down = 0.7, dwell_s = 600}
tower_cells_on = {rule = "per_chiller"}
cw_pumps = {rule = "per_chiller"}
economizer = {rule = "integrated"}
"""


@pytest.mark.parametrize("start", ["01-15T06", "04-20T12", "07-15T12"])
def test_plant_that_keeps_its_machines_is_modelled_as_it_is(loop, edited_site, policy, start: str) -> None:  # type: ignore[no-untyped-def]
    text = SITE.read_text()
    accepts = text[text.index("accepts = [") : text.index("[weather]")]
    own = load_site(edited_site((accepts, OWN_PLANT + "\n")))
    run = loop(own, policy, start=start, load=constant(0.7)).run(4000)
    assert run.decision.mode == "auto" and run.decision.policy_used
    clean(run)
    assert run.hottest_c <= 26.0
    assert set(run.decision.setpoints) == {"chwst_sp", "cwst_sp", "hall1.sat_sp", "hall1.fan_speed_sp"}
    # What the model believes of the setpoints that are not its own is what the plant does.
    does = run.plant.bms.u.copy()
    does[U_CHILLERS] = run.plant._out[physics.P_RUNNING]  # one that starts does not run yet
    seen = dict(zip(own.u_names, np.round(run.decision.u - does, 3).tolist(), strict=True))
    assert abs(seen["chw_dp_sp"]) < 3e3
    assert [seen[n] for n in ("chillers_on_sp", "tower_cells_on_sp", "cw_flow_sp", "economizer_on_sp")] == [0.0] * 4


class Fixed:
    """A policy that answers the same whatever it is asked."""

    model_hash = "test"

    def __init__(self, row: list[float]):
        self.row = np.array([row], dtype=np.float32)

    def infer(self, features: np.ndarray) -> np.ndarray:
        return self.row


class Broken(Fixed):
    def infer(self, features: np.ndarray) -> np.ndarray:
        raise RuntimeError("no")


WARMEST = [-20.0, -30.0, 60.0, 0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("policy_row", [WARMEST, [1e6] * len(OUTPUTS), [30.0, 30.0, -40.0, 9.0, 9.0, 9.0, 0.0]])
def test_adversarial_policy_cannot_break_the_limits(loop, site: Site, policy_row: list[float]) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, Fixed(policy_row), start="07-15T12").run(5400)
    clean(run)
    assert run.hottest_c <= 26.3


class BangBang(Fixed):
    def infer(self, features: np.ndarray) -> np.ndarray:
        self.row = -self.row
        return self.row


def test_policy_that_jumps_each_tick_moves_no_faster_than_the_rates(loop, site: Site) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, BangBang([8.0, 8.0, 8.0, 1.0, 1.2, 1.5, 0.0])).run(2400)
    clean(run)
    assert run.hottest_c <= 26.0


@pytest.mark.parametrize("broken", [Broken([0.0]), Fixed([float("nan")] * len(OUTPUTS)), None])
def test_policy_that_fails_leaves_the_rules_in_charge(loop, site: Site, broken) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, broken).run(1200)
    assert run.decision.mode == "fallback" and run.decision.setpoints
    clean(run)


def test_policy_that_breaks_in_service_is_demoted_and_comes_back(loop, site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, policy).run(400)
    assert run.decision.mode == "auto"
    tick = run.controller.control
    tick.policy = Broken([0.0])
    run.run(3)
    assert run.decision.mode == "fallback"
    tick.policy = policy
    run.run(299)
    assert run.decision.mode == "fallback"
    run.run(2)
    assert run.decision.mode == "auto"
    clean(run)


def test_lost_rack_sensors_put_the_rules_in_charge_within_3_ticks(loop, site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, policy).run(400)

    def blind(readings: dict[str, float]) -> dict[str, float]:
        return {i: v for i, v in readings.items() if "rack_inlet" not in i}

    run.run(5, blind)  # the last values live for their five seconds
    assert run.decision.mode == "auto"
    run.run(4, blind)
    assert run.decision.mode == "fallback"
    run.run(600, blind)
    clean(run)
    assert run.hottest_c <= 26.0


def test_lost_weather_is_held_and_then_the_design_day(loop, site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, policy, start="04-20T10").run(400)

    def blind(readings: dict[str, float]) -> dict[str, float]:
        return {i: v for i, v in readings.items() if i not in ("oadb", "oawb")}

    seen = run.decision.terms["oawb_c"]
    run.run(3600, blind)
    assert run.decision.terms["oawb_c"] == pytest.approx(seen, abs=0.5)
    run.run(30, blind)
    assert run.decision.terms["oawb_c"] == site.file.weather.wetbulb_design_c
    clean(run)


@pytest.mark.parametrize(
    "text", ["wrong:hall1.rack05.rack_inlet:-4", "stuck:hall1.rack05.rack_inlet:22", "intermittent:chwst:0.5", "garbage:oawb:3"]
)
def test_sensor_fault_keeps_the_racks_cool(loop, site: Site, policy, text: str) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, policy)
    fault = run.plant.faults.add(faults.parse(text))
    run.run(3000)
    assert fault.felt > 1000
    clean(run)
    # The hottest rack may be the one that lies: its neighbours still bound it to well below the allowable 32 °C.
    assert run.hottest_c <= 27.0


@pytest.mark.parametrize("text", ["off:chiller1@600", "slow:hall1.crahs:0.3@600", "slow:tower:0.6@600"])
def test_machine_fault_is_no_worse_than_under_the_plants_own_control(loop, site: Site, policy, text: str) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, policy, start="07-15T12")
    run.plant_fault = True
    fault = run.plant.faults.add(faults.parse(text))
    run.run(3000)
    own = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T12"), constant(0.6))
    own.reset(1)
    own.faults.add(faults.parse(text))
    own_hottest = 0.0
    for _ in range(3000):
        own.step(None, 1.0)
        own_hottest = max(own_hottest, float(own.truth.rack_inlet_c.max()))
    assert fault.felt > 2000
    # Never worse where it matters: above 27 °C by at most 1 K more than the plant's own control.
    assert run.hottest_c <= max(27.0, own_hottest + 1.0)


def test_lost_crahs_without_an_aisle_pressure_sensor_are_made_up_for(loop, site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    """Seen only once the racks are warm; under the plant's own control they stay at 31 °C for good."""
    run = loop(site, policy, start="07-15T12")
    run.plant_fault = True
    run.plant.faults.add(faults.parse("slow:hall1.crahs:0.3@600"))

    def blind(readings: dict[str, float]) -> dict[str, float]:
        return {i: v for i, v in readings.items() if i != "hall1.aisle_dp"}

    fan = run.run(600, blind).decision.setpoints["hall1.fan_speed_sp"]
    fastest = max(run.run(20, blind).decision.setpoints["hall1.fan_speed_sp"] for _ in range(10))
    assert fastest > fan + 15.0
    run.run(2200, blind)
    assert run.hottest_c <= 30.0
    assert float(run.plant.truth.rack_inlet_c.max()) <= 27.0


# -- the ledger must be hard to please


class Constant:
    """A controller with fixed wishes."""

    def __init__(self, setpoints: dict[str, float]):
        self.setpoints = setpoints

    def tick(self, readings: object, now_s: float) -> dict[str, float]:
        return self.setpoints


OFF = {"chillers_on_sp": 0.0, "economizer_on_sp": 0.0, "hall1.fan_speed_sp": 30.0, "hall1.sat_sp": 22.0, "chwst_sp": 20.0}
HOT = {"hall1.sat_sp": 32.0, "chwst_sp": 24.0, "hall1.fan_speed_sp": 60.0}


@pytest.mark.parametrize("cheat", [OFF, HOT])
def test_ledger_cheats_that_heat_the_room_are_not_comparable(site: Site, cheat: dict[str, float]) -> None:
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T12"), constant(0.7))
    ledger = evaluate(plant, {"b1": RuleController(site, "b1"), "cheat": Constant(cheat)}, 1.5, site=site).as_dict()
    saving = ledger["savings"]["cheat_vs_b1"]
    assert not saving["equal_service"] and saving["service_faults"]


def test_ledger_over_cooling_costs(site: Site) -> None:
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T12"), constant(0.6))
    cold = Constant({"hall1.sat_sp": 18.0, "chwst_sp": 8.0, "hall1.fan_speed_sp": 100.0, "chillers_on_sp": 3.0})
    ledger = evaluate(plant, {"b1": RuleController(site, "b1"), "cold": cold}, 1.5, site=site).as_dict()
    assert ledger["savings"]["cold_vs_b1"]["cooling_ratio"] < -0.3


def test_ledger_heat_put_aside_is_charged_and_cold_put_aside_is_not_credited(site: Site) -> None:
    base = {"stored_kwh": 5.0, "heat_kwh": 1005.0, "energy_kwh": {"cooling_total": 200.0}}
    warm, cold = base | {"stored_kwh": 105.0}, base | {"stored_kwh": -95.0}
    assert heat_left_charge_kwh(warm, base) == pytest.approx(20.0)  # 100 kWh of heat at the baseline's 0.2 kWh a kWh
    assert heat_left_charge_kwh(cold, base) == 0.0 == heat_left_charge_kwh(base, base)
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T12"), constant(0.6))
    lazy = Constant({"hall1.sat_sp": 22.0, "chwst_sp": 17.0, "chw_dp_sp": 140.0, "chillers_on_sp": 1.0})
    saving = evaluate(plant, {"b1": RuleController(site, "b1"), "lazy": lazy}, 1.0, site=site).as_dict()["savings"]["lazy_vs_b1"]
    assert saving["heat_left_charge_kwh"] > 5.0  # the buffer tank warmed by a few kelvin


def test_ledger_one_hot_rack_is_enough(site: Site) -> None:
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T12"), constant(0.6))
    plant.reset(1)
    base, mine = Account(site), Account(site)
    for k in range(600):
        t = plant.truth
        base.add(t, 1.0, sat_min_c=22.0, ride_through_s=2000.0)
        hot = t.rack_inlet_c.copy()
        hot[7] = 26.1 if k < 400 else hot[7]
        mine.add(t._replace(rack_inlet_c=hot), 1.0, sat_min_c=22.0, ride_through_s=2000.0)
        plant.step(None, 1.0)
    assert service_faults(site, base, base) == []
    assert any("K·min longer above" in f for f in service_faults(site, mine, base))


@pytest.mark.slow
def test_ai_uses_less_than_both_baselines_at_equal_service(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    from coolctl.controller import Controller

    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("04-20T00"), synthetic())
    runs = {"b1": RuleController(site, "b1"), "b2lite": RuleController(site, "b2lite"), "ai": Controller(site, policy)}
    ledger = evaluate(plant, runs, 8.0, site=site).as_dict()
    for base in ("b1", "b2lite"):
        saving = ledger["savings"][f"ai_vs_{base}"]
        assert saving["equal_service"], saving
    # Eight spring hours: measured 59 % and 34 %; the bounds leave room for another machine's rounding, not for a regression.
    assert ledger["savings"]["ai_vs_b1"]["cooling_ratio"] > 0.30
    assert ledger["savings"]["ai_vs_b2lite"]["cooling_ratio"] > 0.05
