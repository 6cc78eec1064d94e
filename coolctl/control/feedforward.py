"""Airflow feed-forward: CRAH fans follow IT power, not the temperature that rises after it.

A 60 % load step is over in 2 s; feedback on rack inlets overshoots by 2–4 K, feed-forward within 15 s by 0.6 K. The
attack is immediate, the release slow: heat stored in heat sinks keeps coming for a minute after the load has gone.
Where the cold aisle is seen to lose its over-pressure (a CRAH down, containment open), demand grows until it is back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.num import first_order
from coolctl.psychro import PRESSURE_SEA_PA
from coolctl.thermal.plant import W_HALL, W_PRESSURE, airflow_speed
from coolctl.thermal.room import HallParams

F64 = NDArray[np.float64]

RELEASE_TAU_S = 90.0
# A load that was much higher moments ago may be back: synchronised training swings every few seconds.
FALL_RATIO, WAIT_S = 0.9, 20.0
UNKNOWN_INLET_C = 25.0
AISLE_TAU_S = 4.0
AISLE_SHORT_PA, AISLE_ENOUGH_PA = -0.5, 1.5  # between them the demand stays: fans that hunt for the edge wear out
SHORT_RISE_PER_S, SHORT_RELEASE_PER_S, SHORT_MAX = 0.02, 0.0005, 2.0


class AirflowDemand:
    """Per hall, the CRAH speed at which supplied air equals what the servers draw: fast up, slow down."""

    def __init__(self, halls: F64):
        self._halls = [HallParams(*row.tolist()) for row in halls]
        self.held_speed = np.full(len(halls), np.nan)
        self._fallen_s = np.zeros(len(halls))
        self._aisle_pa, self._short = np.zeros(len(halls)), np.ones(len(halls))

    def step(self, w: F64, sat_c: F64, inlet_mean_c: F64, aisle_dp_pa: F64, dt_s: float) -> F64:
        """Speed [ratio] for an airflow ratio of one, after the slow release; the caller multiplies its margin."""
        pressure_pa = w[W_PRESSURE] if w[W_PRESSURE] == w[W_PRESSURE] else PRESSURE_SEA_PA
        for h, hall in enumerate(self._halls):
            inlet_c = inlet_mean_c[h] if inlet_mean_c[h] == inlet_mean_c[h] else UNKNOWN_INLET_C
            supply_c = sat_c[h] if sat_c[h] == sat_c[h] else inlet_c
            now = airflow_speed(w[W_HALL + h], supply_c, inlet_c, 1.0, pressure_pa, hall)
            held = self.held_speed[h]
            if held == held and now < held:
                now = held if self._waits(h, now < FALL_RATIO * held, dt_s) else first_order(held, now, RELEASE_TAU_S, dt_s)
            self.held_speed[h] = now
            self._follow_aisle(h, aisle_dp_pa[h], dt_s)
        return self.held_speed * self._short

    def _waits(self, h: int, fell: bool, dt_s: float) -> bool:
        """Whether the release waits: for a while after a deep fall, and anew whenever the load has been back."""
        self._fallen_s[h] = self._fallen_s[h] + dt_s if fell else 0.0
        return fell and self._fallen_s[h] < WAIT_S

    def _follow_aisle(self, h: int, seen_pa: float, dt_s: float) -> None:
        """The factor by which measured over-pressure says that the fans deliver less than they should."""
        if seen_pa == seen_pa:
            self._aisle_pa[h] = first_order(self._aisle_pa[h], seen_pa, AISLE_TAU_S, dt_s)
            aisle_pa, rate = self._aisle_pa[h], 0.0
            if aisle_pa < AISLE_SHORT_PA:
                rate = SHORT_RISE_PER_S
            elif aisle_pa > AISLE_ENOUGH_PA:
                rate = -SHORT_RELEASE_PER_S
            self._short[h] = min(max(self._short[h] + rate * dt_s, 1.0), SHORT_MAX)
