"""Machines that fall out and commands without effect, told from what is measured."""

from __future__ import annotations

import numpy as np
import pytest
from test_shield import CALM, changed, estimate

from coolctl.control.machines import Effects, Lost, Machines
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_ECONOMIZER, U_HALL

START_S = 420.0
FAN = U_HALL + 1


def told(m: Machines, available: float, running: float, asked: float = 1.0, plates: float = 0.0, carries: bool = False) -> Lost:
    plant = {"chillers_available": available, "chillers_on": running, "economizer_on": plates}
    return m.observe(estimate(plant=plant), asked, lambda: carries)


def test_a_chiller_that_falls_out_is_told_once_and_only_when_seen_twice() -> None:
    m = Machines()
    assert told(m, 3.0, 2.0) == told(m, 2.0, 2.0) == told(m, 3.0, 2.0) == Lost(False, False)  # read wrong once
    assert not told(m, 2.0, 1.0).one and told(m, 2.0, 1.0).one and not told(m, 2.0, 1.0).one
    assert not told(m, 3.0, 1.0).one and not told(m, np.nan, 1.0).one and not told(m, 3.0, 1.0).one  # back, silent, back


def test_all_out_is_told_while_it_lasts_unless_the_plates_carry() -> None:
    m = Machines()
    assert told(m, 2.0, 2.0) == Lost(False, False) and not told(m, 0.0, 0.0).every
    assert told(m, 0.0, 0.0).every and told(m, 0.0, 0.0, plates=1.0).every
    assert not told(m, 0.0, 0.0, plates=1.0, carries=True).every
    for good in ({"asked": 0.0}, {"running": 1.0}, {"available": 1.0}, {"running": np.nan}, {"asked": np.nan}):
        args = {"available": 0.0, "running": 0.0, **good}
        assert not told(m, **args).every and not told(m, **args).every


def test_all_out_must_be_seen_twice_from_the_start_on_and_idle_plates_are_not_asked() -> None:
    m = Machines()
    assert not told(m, 0.0, 0.0).every and told(m, 0.0, 0.0, plates=0.0, carries=True).every


@pytest.mark.parametrize(
    ("seen", "every"),
    [
        ({"asked": 0.5}, False), ({"asked": 0.52}, True), ({"running": 0.5}, False), ({"running": 0.48}, True),
        ({"running": 0.52}, False), ({"available": 0.5}, False), ({"available": 0.48}, True), ({"available": 0.52}, False),
        ({"plates": 0.5, "carries": True}, True), ({"plates": 0.52, "carries": True}, False),
    ],
)  # fmt: skip
def test_a_count_between_two_machines_counts_as_the_nearer(seen: dict[str, float], every: bool) -> None:
    """A count may come as a mean over a scan; in the middle nothing is asked for, and something runs."""
    m = Machines()
    args = {"available": 0.0, "running": 0.0, **seen}
    assert not told(m, **args).every and told(m, **args).every is every  # type: ignore[arg-type]


def test_less_than_half_a_machine_has_not_fallen_out() -> None:
    for available, one in ((2.5, False), (2.47, True)):
        m = Machines()
        told(m, 3.0, 2.0)
        assert not told(m, available, 2.0).one and told(m, available, 2.0).one is one


def after(
    effects: Effects, measured: np.ndarray, asked: np.ndarray, seconds: float, followed: bool = True, **plant: float
) -> list[int]:
    for _ in range(round(seconds / 10.0)):
        effects.observe(estimate(plant=plant), measured, asked, followed, 10.0)
    return effects.missing()


@pytest.mark.parametrize(
    ("k", "patience_s", "measured"),
    [
        (U_CHILLERS, START_S, changed(chillers=0.48)),
        (U_CELLS, 240.0, changed(cells=2.52)),
        (U_ECONOMIZER, 240.0, changed(plates=0.52)),
        (U_CHW_DP, 60.0, changed(dp=47.9e3)),
        (FAN, 90.0, changed(fan=0.653)),
        (FAN, 90.0, changed(fan=0.547)),
    ],
)
def test_a_command_without_effect_is_named_once_the_plant_has_had_its_time(
    k: int, patience_s: float, measured: np.ndarray
) -> None:
    effects = Effects(1, START_S)
    assert after(effects, CALM, CALM, 10.0) == []
    assert after(effects, measured, CALM, patience_s + 60.0) == []
    effects.observe(estimate(), measured, CALM, True, 1.0)
    assert effects.missing() == [k]
    assert after(effects, CALM, CALM, 10.0) == []


@pytest.mark.parametrize(
    ("asked", "measured"),
    [
        (CALM, changed(chillers=0.5)), (CALM, changed(cells=2.5)), (CALM, changed(plates=0.5)), (CALM, changed(dp=48e3)),
        (changed(fan=0.05), changed(fan=0.0)),
    ],
)  # fmt: skip
def test_what_is_off_by_no_more_than_it_may_has_its_effect(asked: np.ndarray, measured: np.ndarray) -> None:
    """Half a machine, a fifth of the pressure, a twentieth of a fan's speed."""
    assert after(Effects(1, START_S), measured, asked, 1000.0) == []


def test_pressure_is_missed_however_many_chillers_there_are_and_nothing_before_the_first_look() -> None:
    assert Effects(1, START_S).missing() == []
    assert after(Effects(1, START_S), changed(dp=30e3), CALM, 1000.0, chillers_available=3.0) == [U_CHW_DP]


def test_fans_of_every_hall_are_compared() -> None:
    asked, measured = np.append(CALM, [22.0, 0.6]), np.append(CALM, [22.0, 0.66])
    effects = Effects(2, START_S)
    assert after(effects, measured, asked, 150.0) == [] and after(effects, measured, asked, 10.0) == [FAN + 2]


def test_what_the_plant_adds_or_does_not_follow_or_does_not_say_is_no_missing_effect() -> None:
    more = changed(chillers=2.0, dp=90e3)
    assert after(Effects(1, START_S), more, CALM, 1000.0) == []
    assert after(Effects(1, START_S), changed(fan=0.9), CALM, 1000.0, followed=False) == []
    assert after(Effects(1, START_S), np.full(9, np.nan), CALM, 1000.0) == []
    # A chiller that is not available is said as such.
    assert after(Effects(1, START_S), CALM, changed(chillers=2.0), 1000.0, chillers_available=1.0) == []
    assert after(Effects(1, START_S), CALM, changed(chillers=2.0), 1000.0, chillers_available=2.0) == [U_CHILLERS]
