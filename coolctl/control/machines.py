"""What the machines do of what they are told: one that trips, all that trip, and commands that have no effect.

A chiller that falls out is told by the count of those available; commands without effect are told by comparing what was
published with what is measured, once the plant has had its time. Both are facts about the plant, whoever is in charge of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.jit import kernel
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_ECONOMIZER, U_HALL

F64 = NDArray[np.float64]

CONFIRMED_TICKS = 2  # a count may be read wrong once
NOTICED_S = 60.0  # by so much longer than a machine needs may a command stay without effect
FAN_OFF_RATIO, FAN_MOVES_S = 0.05, 90.0
DP_OFF_RATIO, DP_MOVES_S = 0.2, 60.0
VALVES_MOVE_S = 240.0


class Lost(NamedTuple):
    """A chiller has fallen out in this tick; and: chillers are asked for, none runs, none is available."""

    one: bool
    every: bool


class Machines:
    """Follows the chillers of one site; `observe` every tick."""

    def __init__(self) -> None:
        self._available, self._fewer, self._dark = np.nan, 0, 0

    def observe(self, est: Estimate, asked: float, plates_carry: Callable[[], bool]) -> Lost:
        """`asked` is how many chillers were published last, NaN at the start; `plates_carry` says whether the economizer alone
        carries the load, and is only asked when it must."""
        plant = est.plant
        available, running, plates = plant["chillers_available"], plant["chillers_on"], plant["economizer_on"]
        self._fewer = self._fewer + 1 if available < self._available - 0.5 else 0
        one = self._fewer >= CONFIRMED_TICKS
        if one or not available < self._available:
            self._available = available if available == available else self._available
        dark = asked > 0.5 and running < 0.5 and available < 0.5 and not (plates > 0.5 and plates_carry())
        self._dark = self._dark + 1 if dark else 0
        return Lost(one, self._dark >= CONFIRMED_TICKS)


@kernel
def follow_effects(
    asked_u: F64, measured_u: F64, tolerance: F64, patience_s: F64, available: float, followed: bool, dt_s: float, apart_s: F64
) -> bool:
    """For how long each entry of `measured_u` has been apart from what was asked, into `apart_s` [s]; whether any has for
    longer than its patience. What is not measured is not apart."""
    any_missing = False
    for k in range(asked_u.shape[0]):
        short = asked_u[k] - measured_u[k]
        one_way = k in (U_CHILLERS, U_CHW_DP)
        allowed = DP_OFF_RATIO * asked_u[k] if k == U_CHW_DP else tolerance[k]
        apart = (short if one_way else abs(short)) > allowed
        if k == U_CHILLERS and available < asked_u[k]:
            apart = False
        apart_s[k] = apart_s[k] + dt_s if apart and followed else 0.0
        any_missing = any_missing or apart_s[k] > patience_s[k]
    return any_missing


class Effects:
    """Compares what was published with what is measured; `observe` every tick."""

    def __init__(self, halls: int, start_s: float):
        size = U_HALL + 2 * halls
        self._patience_s = np.full(size, np.inf)
        self._patience_s[[U_CHILLERS, U_CELLS, U_ECONOMIZER]] = start_s, VALVES_MOVE_S, VALVES_MOVE_S
        self._patience_s[U_CHW_DP], self._patience_s[U_HALL + 1 :: 2] = DP_MOVES_S, FAN_MOVES_S
        self._patience_s += NOTICED_S
        self._apart_s = np.zeros(size)
        self._tolerance = np.full(size, 0.5)
        self._tolerance[U_HALL + 1 :: 2] = FAN_OFF_RATIO
        self._any = False

    def observe(self, est: Estimate, measured_u: F64, asked_u: F64, followed: bool, dt_s: float) -> None:
        """`followed`: the plant says that it follows what was published. Only what gives less cooling than asked counts for
        chillers and pressure: the plant may add to them by itself, and a chiller that is not available is said elsewhere."""
        available = est.plant["chillers_available"]
        self._any = follow_effects(
            asked_u, measured_u, self._tolerance, self._patience_s, available, bool(followed), dt_s, self._apart_s
        )  # fmt: skip

    def missing(self) -> list[int]:
        """Entries of the setpoint vector whose command has no effect."""
        return [int(k) for k in np.flatnonzero(self._apart_s > self._patience_s)] if self._any else []
