"""A plant to drive otherwise: the calibrated model with the record's load and weather, and the lags that control feels.

Steady machines behind first-order lags (loop, towers, supply air, fans), a chiller that takes its time to start, racks that
warm with heat that is not met. What is measured of it carries the record's own holes and ages; what the model does not know
(pressures over the aisle, server fan meters) is not known here either. It is no simulation of a building: it has the
model's own errors, and that is what its figures are given with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.num import first_order
from coolctl.points import ROLES, U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL, Snapshot
from coolctl.savings.measurement.gather import METERS
from coolctl.savings.measurement.recorded import Model
from coolctl.site import Site
from coolctl.thermal import room
from coolctl.thermal.air import crah_air_kgs
from coolctl.thermal.dynamics import HEATSINK_JK_PER_W, RACK_JK_PER_W
from coolctl.thermal.plant import (
    CP_WATER_JKGK,
    ECONOMIZER_PULL_K,
    O_CHW_FLOW,
    O_CHWRT,
    O_CHWST,
    O_CW_FLOW,
    O_CWRT,
    O_CWST,
    O_HEAT,
    O_TOWER_SPEED,
    O_UNMET,
    O_VALVE,
    W_HALL,
    W_PRESSURE,
)
from coolctl.thermal.room import HallParams

F64 = NDArray[np.float64]

CWST_TAU_S, SAT_TAU_S, FAN_TAU_S, DP_TAU_S, RACK_TAU_S = 300.0, 90.0, 20.0, 15.0, 60.0
CHWST_TAU_MIN_S, CHWST_TAU_MAX_S = 60.0, 900.0
UNMET_TAU_S = 600.0
# Chassis of 18 J/K and heat sinks of 2.5 J/K a watt, through which a watt leaves over about 12 K, give 250 s; the air drawn
# follows the chips, which are faster: between the two. Without it every job's start would be felt at once.
HEAT_TAU_S = 150.0
NOT_KNOWN = ("aisle_dp", "server_fan_power")
# A model has no noise, and a figure that never moves is a sensor that has frozen: a trace of the record's own is left on it.
TRACE_RATIO = 1e-4
WATER_KG_M3 = 998.0


class Twin:
    """State of the plant that is driven otherwise; `step` moves it, `seen` is what its sensors say."""

    def __init__(self, site: Site, model: Model):
        self.site, self.model = site, model
        self.u = np.full(U_HALL + 2 * len(site.halls), np.nan)
        self.watts: F64 = np.full(len(METERS), np.nan)
        self.starts = 0
        self.hottest_c = np.full(len(site.halls), np.nan)
        self._mean_c, self._warm_k = self.hottest_c.copy(), np.zeros(len(site.halls))
        self._starting_s = 0.0
        self._heat_w = np.full(len(site.halls), np.nan)
        self._halls = [HallParams(*row.tolist()) for row in model.halls]
        self._it_w, self._cwst_c = np.zeros(len(site.halls)), np.nan
        self._index = {role: site.table.by_role(role) for role in ROLES}
        self._hall_of = {h: k for k, h in enumerate(site.halls)}

    def settle(self, u: F64, w: F64, dewpoint_c: float) -> None:
        """Begin where the record begins."""
        self.u[:] = u
        self.u[U_CHILLERS] = round(float(u[U_CHILLERS]))
        self._look(w, dewpoint_c, 0.0)

    def step(self, target_u: F64, w: F64, dewpoint_c: float, dt_s: float) -> None:
        """Move towards `target_u` for `dt_s` [s] under the record's `w`; an unknown target leaves things as they are."""
        u, p = self.u, self.model.p
        target = np.where(np.isfinite(target_u), target_u, u)
        flow_kgs = max(float(self.model.out[O_CHW_FLOW]), 0.1)
        loop_s = (0.5 * p.loop_volume_m3 + p.buffer_m3) * WATER_KG_M3 / flow_kgs
        tau_s = min(max(loop_s, CHWST_TAU_MIN_S), CHWST_TAU_MAX_S)
        short_k = max(float(self.model.out[O_CHWST] - u[U_CHWST]), 0.0)
        u[U_CHWST] = first_order(u[U_CHWST], target[U_CHWST] + short_k, tau_s, dt_s)
        u[U_CHW_DP] = first_order(u[U_CHW_DP], target[U_CHW_DP], DP_TAU_S, dt_s)
        self._stage(float(round(target[U_CHILLERS])), dt_s)
        for k in (U_CWST, U_CELLS, U_CW_FLOW, U_ECONOMIZER):
            u[k] = target[k]
        for k in range(U_HALL, len(u), 2):
            u[k] = first_order(u[k], target[k], SAT_TAU_S, dt_s)
            u[k + 1] = max(first_order(u[k + 1], target[k + 1], FAN_TAU_S, dt_s), 0.05)
        self._look(w, dewpoint_c, dt_s)

    def _stage(self, wanted: float, dt_s: float) -> None:
        """Machines stop at once; one that starts carries load when its record says so, one after the other."""
        running = self.u[U_CHILLERS]
        if wanted <= running:
            self.u[U_CHILLERS], self._starting_s = wanted, 0.0
            return
        self._starting_s += dt_s
        if self._starting_s >= self.site.chiller.start_s:
            self.u[U_CHILLERS], self._starting_s = running + 1.0, 0.0
            self.starts += 1

    def _look(self, w: F64, dewpoint_c: float, dt_s: float) -> None:
        model, asked_w = self.model, w[W_HALL:]
        w = w.copy()
        w[W_HALL:] = self._heat_w = np.array(
            [first_order(a, b, HEAT_TAU_S, dt_s) for a, b in zip(self._heat_w, asked_w, strict=True)]
        )
        self.watts = model.look(self.u, w, dewpoint_c)
        made_c = float(model.out[O_CWST])
        self._cwst_c = first_order(self._cwst_c, made_c, CWST_TAU_S, dt_s) if self._cwst_c == self._cwst_c else made_c
        # Water that arrives too warm is left in the loop (`step`); only what the coils cannot take warms the racks.
        short_k = float(model.out[O_CHWST] - self.u[U_CHWST])
        loop_w = short_k * float(model.out[O_CHW_FLOW]) * CP_WATER_JKGK if short_k > ECONOMIZER_PULL_K else 0.0
        unmet_w = max(float(model.out[O_UNMET]) - loop_w, 0.0)
        base_w = w[W_HALL:]
        for h, hall in enumerate(self._halls):
            sat_c, speed = self.u[U_HALL + 2 * h], self.u[U_HALL + 2 * h + 1]
            mass_jk = (RACK_JK_PER_W + HEATSINK_JK_PER_W) * hall.it_power_nom_w
            warmed_k = dt_s * unmet_w * base_w[h] / max(float(base_w.sum()), 1.0) / mass_jk
            self._warm_k[h] = (
                self._warm_k[h] + warmed_k if unmet_w > 0.0 else first_order(self._warm_k[h], 0.0, UNMET_TAU_S, dt_s)
            )
            air_kgs = crah_air_kgs(speed, sat_c, w[W_PRESSURE], hall)
            mean_c, _hot_c, _ratio = room.inlets_c(base_w[h], sat_c, air_kgs, hall)
            hot_c = model.inlets_c[h]
            known = self.hottest_c[h] == self.hottest_c[h]
            for array, now_c in ((self._mean_c, mean_c), (self.hottest_c, hot_c)):
                array[h] = first_order(array[h], now_c + self._warm_k[h], RACK_TAU_S, dt_s) if known else now_c
            self._it_w[h] = room.server_power_w(asked_w[h], self._mean_c[h], hall)

    def seen(self, snap: Snapshot) -> Snapshot:
        """The record's snapshot with the plant's values in place of those that the other way of driving changes."""
        value, out, u = snap.value.copy(), self.model.out, self.u
        plant = {
            "chwst": u[U_CHWST], "chwrt": u[U_CHWST] + out[O_CHWRT] - out[O_CHWST], "chw_flow": out[O_CHW_FLOW],
            "chw_dp": u[U_CHW_DP], "cwst": self._cwst_c, "cwrt": self._cwst_c + out[O_CWRT] - out[O_CWST],
            "cw_flow": out[O_CW_FLOW], "tower_speed": out[O_TOWER_SPEED], "tower_cells_on": u[U_CELLS],
            "chillers_on": u[U_CHILLERS], "economizer_on": u[U_ECONOMIZER], "bms_remote": 1.0,
        }  # fmt: skip
        for role, now in plant.items():
            value[self._index[role]] = now
        for role, watt in zip(METERS, self.watts, strict=True):
            if len(i := self._index[role]):
                value[i] = watt / len(i)
        for name, h in self._hall_of.items():
            self._see_hall(name, h, value, snap.value)
        for role, i in self._index.items():
            if role in NOT_KNOWN or ROLES[role].writable:
                value[i] = np.nan
        trace = np.where(np.isfinite(snap.value), TRACE_RATIO * (snap.value - np.trunc(snap.value)), 0.0)
        moved = np.isfinite(value) & (value != snap.value)
        value = np.where(moved, value + trace, value)
        return snap._replace(value=np.where(np.isfinite(snap.value), value, np.nan))  # a hole in the record stays one

    def _see_hall(self, name: str, h: int, value: F64, was: F64) -> None:
        table, u = self.site.table, self.u
        it, racks = table.by_role("it_power", name), table.by_role("rack_inlet", name)
        if len(it):
            value[it] = self._it_w[h] / len(it)
        per_hall = {
            "sat": u[U_HALL + 2 * h], "crah_fan_speed": u[U_HALL + 2 * h + 1], "valve": min(float(self.model.out[O_VALVE]), 1.0),
            "rat": u[U_HALL + 2 * h] + self.model.out[O_HEAT] / max(self._air_w_per_k(), 1.0),
        }  # fmt: skip
        for role, now in per_hall.items():
            value[table.by_role(role, name)] = now
        if len(racks) and np.isfinite(was[racks]).any():
            # Each rack keeps its place between the hall's mean and its hottest.
            mean_c = float(np.nanmean(was[racks]))
            spread_k = max(float(np.nanmax(was[racks])) - mean_c, 1e-6)
            share = (was[racks] - mean_c) / spread_k
            value[racks] = self._mean_c[h] + share * (self.hottest_c[h] - self._mean_c[h])

    def _air_w_per_k(self) -> float:
        return sum(1006.0 * h.air_flow_nom_kgs * self.u[U_HALL + 2 * k + 1] for k, h in enumerate(self._halls))
