"""Machines that fall out and commands without effect, told from what is measured."""

from __future__ import annotations

import numpy as np
import pytest
from test_shield import CALM, changed, estimate

from coolctl.control.machines import DP_MOVES_S, FAN_MOVES_S, NOTICED_S, VALVES_MOVE_S, Effects, Lost, Machines
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


def after(
    effects: Effects, measured: np.ndarray, asked: np.ndarray, seconds: float, followed: bool = True, **plant: float
) -> list[int]:
    for _ in range(round(seconds / 10.0)):
        effects.observe(estimate(plant=plant), measured, asked, followed, 10.0)
    return effects.missing()


@pytest.mark.parametrize(
    ("k", "patience_s", "measured"),
    [
        (U_CHILLERS, START_S, changed(chillers=0.0)),
        (U_CELLS, VALVES_MOVE_S, changed(cells=3.0)),
        (U_ECONOMIZER, VALVES_MOVE_S, changed(plates=1.0)),
        (U_CHW_DP, DP_MOVES_S, changed(dp=45e3)),
        (FAN, FAN_MOVES_S, changed(fan=0.66)),
        (FAN, FAN_MOVES_S, changed(fan=0.54)),
    ],
)
def test_a_command_without_effect_is_named_once_the_plant_has_had_its_time(
    k: int, patience_s: float, measured: np.ndarray
) -> None:
    effects = Effects(1, START_S)
    assert after(effects, measured, CALM, patience_s + NOTICED_S) == []
    assert after(effects, measured, CALM, 10.0) == [k]
    assert after(effects, CALM, CALM, 10.0) == []


def test_what_the_plant_adds_or_does_not_follow_or_does_not_say_is_no_missing_effect() -> None:
    more = changed(chillers=2.0, dp=90e3)
    assert after(Effects(1, START_S), more, CALM, 1000.0) == []
    assert after(Effects(1, START_S), changed(fan=0.9), CALM, 1000.0, followed=False) == []
    assert after(Effects(1, START_S), np.full(9, np.nan), CALM, 1000.0) == []
    # A chiller that is not available is said as such.
    assert after(Effects(1, START_S), CALM, changed(chillers=2.0), 1000.0, chillers_available=1.0) == []
    assert after(Effects(1, START_S), CALM, changed(chillers=2.0), 1000.0, chillers_available=2.0) == [U_CHILLERS]
