"""Health of the plant's own loops: what hunts, winds up or is in hand is found; a sound loop under load is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coolctl.control.estimate import Estimate
from coolctl.control.loops import MOVE_EVERY_S, Loops, Sickness
from coolctl.controller import Controller, RuleController
from coolctl.points import U_CHW_DP, U_CWST, U_HALL, u_size
from coolctl.site import Site
from sim_plant import physics, room
from sim_plant.faults import parse
from sim_plant.load import constant, synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

HOUR = 3600
U = np.array([16.0, 80e3, 1.0, 24.0, 2.0, 0.8, 0.0, 22.0, 0.7])


def seen(now_s: float, sat_c: float, valve: float, cwst_c: float = 24.0, tower: float = 0.6, load_w: float = 5e5) -> Estimate:
    one = np.full(1, np.nan)
    w = np.array([20.0, 15.0, 9e4, load_w])
    plant = {"cwst": cwst_c, "tower_speed": tower}
    return Estimate(
        now_s, w, one, one, one, np.array([sat_c]), one, np.array([valve]), one, np.nan, np.nan, True, plant, np.nan, ()
    )


def kinds_after(signal, seconds: int = HOUR) -> tuple[list[Sickness], int]:  # type: ignore[no-untyped-def]
    """What is found of `signal(t) → Estimate` after so many seconds, and when something was found first [s]."""
    loops, first = Loops(1, 0.1), -1
    for t in range(seconds):
        loops.observe(signal(float(t)), U, 1.0)
        if first < 0 and loops.sick(float(t)):
            first = t
    return loops.sick(float(seconds)), first


@pytest.mark.parametrize(("amplitude_k", "period_s"), [(0.5, 180), (0.3, 480), (4.0, 90)])
def test_an_error_that_swings_is_hunting(amplitude_k: float, period_s: float) -> None:
    found, first = kinds_after(lambda t: seen(t, 22.0 + amplitude_k * math.sin(2 * math.pi * t / period_s), 0.5))
    assert found == [Sickness(0, "hunts")] and first < 2 * HOUR


def test_noise_load_steps_and_silence_are_not() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0.0, 0.05, 4 * HOUR)
    assert kinds_after(lambda t: seen(t, 22.0 + noise[int(t)], 0.5), 4 * HOUR) == ([], -1)
    # A load step every ten minutes, up and down in turn, gone after two.
    steps = lambda t: 22.0 + noise[int(t)] + (-1) ** (t // 600) * 0.8 * math.exp(-(t % 600) / 60.0)  # noqa: E731
    assert kinds_after(lambda t: seen(t, steps(t), 0.5), 4 * HOUR)[1] == -1
    assert kinds_after(lambda t: seen(t, np.nan, np.nan, np.nan, np.nan)) == ([], -1)


def test_errors_that_a_wild_load_makes_are_not_the_loops() -> None:
    """Load that swings by a tenth every three minutes, and supply air with it."""
    swing = lambda t: math.sin(2 * math.pi * t / 180)  # noqa: E731
    assert kinds_after(lambda t: seen(t, 22.0 + swing(t), 0.5, load_w=5e5 * (1.0 + 0.1 * swing(t + 20))), 3 * HOUR)[1] == -1


def test_errors_that_its_own_setpoint_makes_are_not_the_loops() -> None:
    """A setpoint that is moved to and fro by a kelvin, and air that follows a minute later."""
    loops, u = Loops(1, 0.1), U.copy()
    for t in range(3 * HOUR):
        u[U_HALL] = 22.0 + math.sin(2 * math.pi * t / 400)
        loops.observe(seen(float(t), 22.0 + math.sin(2 * math.pi * (t - 60) / 400), 0.5), u, 1.0)
        assert not loops.sick(float(t))


def test_a_loop_is_well_again_when_it_is_calm() -> None:
    loops = Loops(1, 0.1)
    for t in range(5 * HOUR):
        swing = math.sin(2 * math.pi * t / 180) if t < HOUR else 0.0
        loops.observe(seen(float(t), 22.0 + swing, 0.5), U, 1.0)
        if t == HOUR:
            assert loops.sick(float(t))
    assert not loops.sick(5.0 * HOUR)


def test_a_tower_in_hand_is_told_from_one_at_its_end() -> None:
    assert kinds_after(lambda t: seen(t, 22.0, 0.5, cwst_c=26.0, tower=0.5))[0] == [Sickness(1, "in_hand")]
    assert kinds_after(lambda t: seen(t, 22.0, 0.5, cwst_c=26.0, tower=1.0))[0] == []
    assert kinds_after(lambda t: seen(t, 22.0, 0.5, cwst_c=21.0, tower=0.1))[0] == [], "fans at their slowest on a cold day"
    assert kinds_after(lambda t: seen(t, 22.0, 0.5, cwst_c=24.3, tower=0.5))[0] == []


def test_a_sick_loops_setpoint_moves_once_in_a_while_and_always_to_the_cold_side() -> None:
    loops, last, sick = Loops(1, 0.1), np.zeros(u_size(1)), [Sickness(0, "hunts")]
    last[U_HALL], set_to = 22.0, []
    for t in range(int(3 * MOVE_EVERY_S) + 1):
        wish = last.copy()
        wish[U_HALL] = 22.0 + 0.001 * t
        loops.hold(wish, last, sick, float(t))
        set_to.append(float(wish[U_HALL]))
    assert sorted(set(set_to)) == pytest.approx([22.0, 22.9, 23.8, 24.7]), "where it stood, then one value every quarter hour"
    wish[U_HALL], wish[U_CWST] = 20.0, 25.0
    loops.hold(wish, last, sick, 10.0 + 3 * MOVE_EVERY_S)
    assert (wish[U_HALL], wish[U_CWST]) == (20.0, 25.0), "colder air passes, other loops are not touched"
    wish[U_HALL] = 23.5
    loops.hold(wish, last, sick, 20.0 + 3 * MOVE_EVERY_S)
    assert wish[U_HALL] == 23.5, "and the way back to where it may stand is free"


def closed_loop(site: Site, name: str, fault: str, hours: float, load=None):  # type: ignore[no-untyped-def]
    """Plant and controller after some hours; when a sick loop was first named [s], and gains before and after."""
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("05-10T06"), load or constant(0.6))
    readings = plant.reset(1)
    controller = Controller(site, None) if name == "ai" else RuleController(site, name)
    first, hottest_c, gains = -1, 0.0, []
    for k in range(int(hours * HOUR)):
        if k == 1800 and fault:
            plant.faults.add(parse(fault))
        decision = controller.tick(readings, float(k))
        readings = plant.step(getattr(decision, "setpoints", decision), 1.0)
        hottest_c = max(hottest_c, float(plant.truth.rack_inlet_c.max()))
        if name == "ai" and first < 0 and decision.sick_loops:
            first, gains = k, [g.factor for g in controller.control.gains()]
    end = [g.factor for g in controller.control.gains()] if name == "ai" else []
    return plant, first, hottest_c, gains, end


@pytest.mark.parametrize("fault", ["wrong:hall1.valve:5", "intermittent:hall1.valve:0.05"])
def test_a_sick_valve_is_named_and_nothing_is_learnt_from_it(site: Site, fault: str) -> None:
    mine, first, hottest_c, before, after = closed_loop(site, "ai", fault, 1.75)
    theirs, _, their_hottest_c, _, _ = closed_loop(site, "b2", fault, 1.75)
    assert 1800 < first < 1800 + HOUR
    assert np.allclose(before, after, rtol=0.05)
    assert mine._out[physics.P_VALVE_TRAVEL] <= 1.02 * theirs._out[physics.P_VALVE_TRAVEL]
    assert hottest_c <= max(their_hottest_c, site.file.limits.rack_inlet_limit_c) + 0.05


def test_a_controller_that_winds_up_is_named(site: Site) -> None:
    """Supply air asked for colder than the water can make it, then warm again: the valve stays open for minutes."""
    for fault, expected in (("delayed:hall1.valve", [Sickness(0, "winds_up")]), ("", [])):
        plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T06"), constant(0.6))
        plant.reset(1)
        if fault:
            plant.faults.add(parse(fault))
        loops, u = Loops(1, 0.1), U.copy()
        for k in range(2 * HOUR):
            u[U_HALL] = 16.0 if k < HOUR else 23.0
            leased = {p.id: p.encode(float(u[i])) for i, n in enumerate(site.u_point) for p in [site.table.points[n]]}
            plant.step(leased, 1.0)
            valve = float(plant._x[0, room.X_VALVE])
            loops.observe(seen(float(k), float(plant._x[0, room.X_SAT]), valve, 24.0), u, 1.0)
        assert loops.sick(float(k)) == expected


def test_sound_loops_under_a_restless_load_are_left_alone(site: Site) -> None:
    _, first, _, _, _ = closed_loop(site, "ai", "", 2.0, synthetic())
    assert first == -1


@pytest.mark.parametrize(
    ("sat_c", "valve", "then"),
    [
        (19.0, lambda t: 0.39, True), (26.0, lambda t: 0.05, True), (22.5, lambda t: 0.39, False),
        (26.0, lambda t: 1.0, False), (19.0, lambda t: 0.0, False), (26.0, lambda t: 0.3 + 0.001 * t, False),
        (24.0, lambda t: 0.39 + 0.006 * (t // 160 % 2), True),  # a sensor that is off, before a loop that is well
    ],
)  # fmt: skip
def test_a_valve_that_ceases_to_follow_is_astray_for_half_an_hour(sat_c: float, valve, then: bool) -> None:  # type: ignore[no-untyped-def]
    loops, astray = Loops(1, 0.1), []
    for t in range(HOUR):
        loops.observe(seen(float(t), sat_c, valve(t), cwst_c=30.0), U, 1.0)
        astray.append(loops.astray())
    assert astray[100] is astray[1700] is then and not astray[30] and not astray[-1]


@pytest.mark.slow
def test_nothing_gets_warmer_behind_a_valve_that_does_not_follow(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    """It was stuck open, the hall got cold, the water's pressure was let go; when it stuck shut there was none in hand."""
    plant = SimPlant(site, load=constant(0.3), coarse=True)
    controller, readings, dp_pa = Controller(site, policy, "auto"), plant.reset(1), []
    for k in range(560):
        if k == 60:
            plant.faults.add(parse("stuck:hall1.valve:0.39"))
        decision = controller.tick(readings, 5.0 * k)
        readings = plant.step(decision.setpoints, 5.0)  # type: ignore[assignment]
        dp_pa.append(float(decision.u[U_CHW_DP]))
        if 80 < k < 400:
            assert dp_pa[-1] >= dp_pa[-2], f"at {5 * k} s"
    assert readings["hall1.sat"] < decision.u[U_HALL] - 1.0
    assert dp_pa[-1] < dp_pa[80], "after half an hour it is a state like any other"
