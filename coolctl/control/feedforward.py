"""Airflow feed-forward: CRAH fans follow IT power, not the temperature that rises after it.

A 60 % load step is over in 2 s; feedback on rack inlets overshoots by 2–4 K, feed-forward within 15 s by 0.6 K. The
attack is immediate, the release slow: heat stored in heat sinks keeps coming for a minute after the load has gone.
Where the cold aisle is seen to lose its over-pressure (a CRAH down, containment open), demand grows until it is back.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel
from coolctl.num import first_order
from coolctl.psychro import PRESSURE_SEA_PA
from coolctl.thermal import room
from coolctl.thermal.air import airflow_speed
from coolctl.thermal.plant import W_HALL, W_PRESSURE

F64 = NDArray[np.float64]

RELEASE_TAU_S = 90.0
# A load that was much higher moments ago may be back: synchronised training swings every few seconds.
FALL_RATIO, WAIT_S = 0.9, 20.0
UNKNOWN_INLET_C = 25.0
AISLE_TAU_S = 4.0
AISLE_SHORT_PA, AISLE_ENOUGH_PA = -0.5, 1.5  # between them the demand stays: fans that hunt for the edge wear out
AISLE_FULL_PA = 3.0  # with more than this the factor goes the faster
SHORT_RISE_PER_S, SHORT_RELEASE_PER_S, SHORT_MAX = 0.02, 0.0005, 4.0
# An aisle that sucks while its fans have what was asked for does not get what its servers draw: the load is not what it is
# said to be, and the racks tell half a minute later. The faster, the further it is below.
STARVED_PA, STARVED_RISE_PER_PAS, ARRIVED_RATIO = -2.0, 0.03, 0.02


# Columns of a hall's state: what is held, how long the load has been down, over-pressure, the factor that it makes, and what
# was demanded last.
D_HELD, D_FALLEN_S, D_AISLE_PA, D_SHORT, D_LAST = range(5)


@kernel
def released(s: F64, now: float, dt_s: float) -> float:
    """Speed of a hall in state `s` that asks for `now` [ratio]: up at once, down slowly, and only after a wait where the load
    fell deep; the wait begins anew whenever the load has been back."""
    held = s[D_HELD]
    if not now < held:
        return now
    fell = now < FALL_RATIO * held
    s[D_FALLEN_S] = s[D_FALLEN_S] + dt_s if fell else 0.0
    if fell and s[D_FALLEN_S] < WAIT_S:
        return held
    return first_order(held, now, RELEASE_TAU_S, dt_s)


@kernel
def follow_aisle(s: F64, seen_pa: float, fan: float, dt_s: float) -> None:
    """The factor by which measured over-pressure [Pa] says that fans at the speed `fan` deliver less than they should, into
    `s`."""
    if math.isnan(seen_pa):
        return
    s[D_AISLE_PA] = first_order(s[D_AISLE_PA], seen_pa, AISLE_TAU_S, dt_s)
    rate = 0.0
    if s[D_AISLE_PA] < AISLE_SHORT_PA:
        rate = SHORT_RISE_PER_S
        if fan >= min(s[D_LAST], 1.0) - ARRIVED_RATIO:
            rate += STARVED_RISE_PER_PAS * max(STARVED_PA - s[D_AISLE_PA], 0.0)
    elif s[D_AISLE_PA] > AISLE_ENOUGH_PA:
        rate = -SHORT_RELEASE_PER_S * max(s[D_AISLE_PA] / AISLE_FULL_PA, 1.0)
    s[D_SHORT] = min(max(s[D_SHORT] + rate * dt_s, 1.0), SHORT_MAX)


@kernel
def follow_demand(
    w: F64, sat_c: F64, inlet_mean_c: F64, aisle_dp_pa: F64, fan: F64, halls: F64, dt_s: float, s: F64, demand: F64
) -> None:
    """Every hall's airflow demand [ratio] into `demand`; `s` [halls, 5] is held from call to call."""
    pressure_pa = PRESSURE_SEA_PA if math.isnan(w[W_PRESSURE]) else w[W_PRESSURE]
    for h in range(halls.shape[0]):
        inlet_c = UNKNOWN_INLET_C if math.isnan(inlet_mean_c[h]) else inlet_mean_c[h]
        supply_c = inlet_c if math.isnan(sat_c[h]) else sat_c[h]
        now = airflow_speed(w[W_HALL + h], supply_c, inlet_c, 1.0, pressure_pa, room.hall_params(halls[h]))
        s[h, D_HELD] = released(s[h], now, dt_s)
        follow_aisle(s[h], aisle_dp_pa[h], fan[h], dt_s)
        demand[h] = s[h, D_LAST] = s[h, D_HELD] * s[h, D_SHORT]


class AirflowDemand:
    """Per hall, the CRAH speed at which supplied air equals what the servers draw: fast up, slow down."""

    def __init__(self, halls: F64):
        self._halls = halls
        self._state = np.tile([np.nan, 0.0, 0.0, 1.0, np.nan], (len(halls), 1))

    def forget(self) -> None:
        """What was held counts no longer."""
        self._state[:, D_HELD] = np.nan

    def step(self, w: F64, sat_c: F64, inlet_mean_c: F64, aisle_dp_pa: F64, fan_speed: F64, dt_s: float) -> F64:
        """Speed [ratio] for an airflow ratio of one, after the slow release; the caller multiplies its margin."""
        demand = np.empty(len(self._halls))
        follow_demand(w, sat_c, inlet_mean_c, aisle_dp_pa, fan_speed, self._halls, dt_s, self._state, demand)
        return demand
