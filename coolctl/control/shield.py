"""The last word on every setpoint: limits, interlocks, machines that must keep running, dwell and slew.

Knows nothing of the policy: whoever asked, the answer obeys the same list. Each limit that changed a setpoint is
named. Warm-direction moves need evidence (quorum, inlets below their limit, a confirming plant); cooling moves do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.control.context import Context
from coolctl.control.estimate import Estimate, largest_known
from coolctl.control.foresight import Foresight
from coolctl.control.ranges import limit_vectors, rate_vectors
from coolctl.control.rolling import RollingMin
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL
from coolctl.site_schema import DwellTable, LimitsTable, RatesTable
from coolctl.thermal.plant import (
    O_CHWST,
    O_EVAPORATOR,
    O_PLR,
    O_UNMET,
    O_VALVE,
    OUTPUTS,
    W_HALL,
    PlantParams,
    evaluate_air,
    evaluate_plant,
)  # fmt: skip

F64 = NDArray[np.float64]

LIMITS = (
    "not_a_number", "site_limit", "authority", "airflow", "inlet", "dew_point", "coil", "ride_through", "evidence",
    "capacity", "remaining_capacity", "dwell", "available", "rate", "emergency", "mode_change",
    "load_step", "one_crah_fewer", "then_fallback",
)  # fmt: skip
BIT = {name: 1 << k for k, name in enumerate(LIMITS)}

# +1: a higher value means less cooling; -1: more.
PLANT_WARM_SIGN = (1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0)
DEWPOINT_UNKNOWN_C = 14.0
SUPPLY_FLOOR_C = 15.0
COIL_VALVE_MAX = 0.97
EVAPORATOR_MAX, PLR_MAX = 1.25, 1.0
WINDOW_SHORT_S, WINDOW_LONG_S = 900.0, 3600.0
WINDOW_SHARE = 0.6  # of the rates of warming that setpoints may use up: the rest is for what a load step adds on top
MODE_CHANGE_FAN_RATIO, MODE_CHANGE_TEMPERATURE_K = 0.019, 0.19
WARM_CHWST_K = 1.5
# Above the limit every setpoint that cools is driven towards its end: from here on, wholly so a little later.
RESCUE_FROM_K, RESCUE_SPAN_K = 0.5, 1.5
STANDING_RATIO = 0.05  # of the design flow and of the lowest pressure setpoint: below both no coil gets water
EVALUATE_AGAIN = 8
LOST_S = 17.0  # from the last word to the plant's own control: a lease, and the second that it takes to notice


class Shield:
    """Holds what was published last and the machines' timers; `limit` turns a wish into what may be published."""

    def __init__(
        self, halls: F64, p: PlantParams, lim: LimitsTable, rates: RatesTable, dwell: DwellTable,
        authority: tuple[float, float], required_s: float, lost_s: float = LOST_S,
    ):  # fmt: skip
        self._halls, self._p, self._lim, self._dwell, self._required_s = halls, p, lim, dwell, required_s
        count = len(halls)
        self.lo, self.hi = limit_vectors(lim, count, p)
        self.down, self.up = rate_vectors(rates, count)
        self._is_fan = np.isin(np.arange(U_HALL + 2 * count), np.arange(U_HALL + 1, U_HALL + 2 * count, 2))
        self._is_count = np.isin(np.arange(U_HALL + 2 * count), (U_CHILLERS, U_CELLS, U_ECONOMIZER))
        self.warm_sign = np.array(PLANT_WARM_SIGN + (1.0, -1.0) * count)
        k, ratio = authority
        dp_band = ratio * lim.chw_dp_sp_max_pa * 4.0
        self.authority = np.array([k, dp_band, 1.0, k, p.cells, ratio * 3.0, 1.0] + [k, ratio] * count)
        self.last: F64 | None = None
        self._changed_s = {U_CHILLERS: -np.inf, U_CELLS: -np.inf, U_ECONOMIZER: -np.inf}
        self._started_s = -np.inf
        self._short, self._long = RollingMin(WINDOW_SHORT_S), RollingMin(WINDOW_LONG_S)
        self._out = np.zeros(len(OUTPUTS))
        # Nobody is there to rescue once the controller is lost: what is foreseen stays below where it would have to.
        self.foresight = Foresight(halls, p, lim.rack_inlet_limit_c + RESCUE_FROM_K, lost_s)

    def limit(self, wish: F64, c: Context, dt_s: float) -> tuple[F64, NDArray[np.int64]]:
        """Setpoints that may be published, and per setpoint the bits of the limits that changed it."""
        if self.last is None:
            self.last = self._first(c)
        theirs = c.own_u == c.own_u
        u = wish.copy()
        self.last = np.where(theirs, c.own_u, self.last)
        bits = np.zeros(len(u), dtype=np.int64)
        last = self.last
        self._set(u, np.where(np.isfinite(u), u, c.baseline_u), bits, "not_a_number")
        self._set(u, np.where(np.isfinite(u), u, last), bits, "not_a_number")
        if c.bounded:
            band = self.authority
            self._set(u, np.clip(u, c.baseline_u - band, c.baseline_u + band), bits, "authority")
        self._set(u, np.clip(u, self.lo, self.hi), bits, "site_limit")
        self._set(u, np.where(self._is_count, np.round(u), u), bits, "site_limit")
        self._cap(u, bits, U_CHWST, max(c.chwst_cap_c, self.lo[U_CHWST]), c.chwst_cap_name)
        self._rescue(u, c, bits)
        self._air(u, c, bits)
        self._machines(u, c, bits)
        self._coil(u, c, bits)
        if c.emergency:
            if self._water_moves(c.est):
                self._set(u, np.where(self._is_fan, self.hi, u), bits, "emergency")
            colder = np.where(self.warm_sign > 0.0, np.minimum(u, last), np.maximum(u, last))
            self._set(u, colder, bits, "emergency")
        self._evidence(u, c, bits)
        self._slew(u, c, bits, dt_s)
        self._remaining(u, c, bits)
        # Nothing that is not a number may leave here or be remembered, whatever came in.
        self._set(u, np.where(np.isfinite(u), u, last), bits, "not_a_number")
        u[theirs], bits[theirs] = c.own_u[theirs], 0
        self._then_fallback(u, c, bits, dt_s)
        bits[u == wish] = 0  # two limits may undo each other: one machine more is asked for, and may not start yet
        self._note_changes(u, c.est.now_s)
        self.last = u.copy()
        return u, bits

    def memory(self) -> dict[str, Any]:
        """What was published last, the machines' timers and the windows of warming, as JSON can carry them."""
        timers = [*self._changed_s.values(), self._started_s]
        return {
            "last": None if self.last is None else self.last.tolist(),
            "timers_s": [t if t > -np.inf else None for t in timers],
            "windows": [self._short.memory(), self._long.memory()],
        }

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on from another shield's `memory` of the same setpoints: no step, no dwell or window begun anew."""
        self.last = None if memory["last"] is None else np.array(memory["last"], dtype=np.float64)
        timers = [-np.inf if t is None else float(t) for t in memory["timers_s"]]
        self._changed_s = dict(zip(self._changed_s, timers[:-1], strict=True))
        self._started_s = timers[-1]
        self._short.recall(memory["windows"][0])
        self._long.recall(memory["windows"][1])

    def _first(self, c: Context) -> F64:
        """Where to move from at the start: the plant as it is found, else the baseline."""
        coldest = np.where(self.warm_sign > 0.0, self.lo, self.hi)
        plant, u = c.est.plant, np.clip(np.where(np.isfinite(c.baseline_u), c.baseline_u, coldest), self.lo, self.hi)
        found = (plant["chwst"], plant["chw_dp"], plant["chillers_on"], plant["cwst"], plant["tower_cells_on"])
        for k, value in zip((U_CHWST, U_CHW_DP, U_CHILLERS, U_CWST, U_CELLS), found, strict=True):
            if value == value:
                u[k] = min(max(value, self.lo[k]), self.hi[k])
        u[[U_CHILLERS, U_CELLS]] = np.round(u[[U_CHILLERS, U_CELLS]])
        if plant["economizer_on"] == plant["economizer_on"]:
            u[U_ECONOMIZER] = round(min(max(plant["economizer_on"], 0.0), self.hi[U_ECONOMIZER]))
        for h in range(len(self._halls)):
            for k, value in ((U_HALL + 2 * h, c.est.sat_c[h]), (U_HALL + 2 * h + 1, c.est.fan_speed[h])):
                if value == value:
                    u[k] = min(max(value, self.lo[k]), self.hi[k])
        return u

    @staticmethod
    def _set(u: F64, new: F64, bits: NDArray[np.int64], name: str) -> None:
        bits[(new != u) & ~(np.isnan(new) & np.isnan(u))] |= BIT[name]
        u[:] = new

    @staticmethod
    def _cap(u: F64, bits: NDArray[np.int64], k: int, most: float, name: str) -> None:
        if u[k] > most:
            u[k] = most
            bits[k] |= BIT[name]

    @staticmethod
    def _floor(u: F64, bits: NDArray[np.int64], k: int, least: float, name: str) -> None:
        if u[k] < least:
            u[k] = least
            bits[k] |= BIT[name]

    def _air(self, u: F64, c: Context, bits: NDArray[np.int64]) -> None:
        """Fans never below what the servers draw; supply air never below its dew-point margin."""
        driest = self._driest_c(c)
        for h, demand in enumerate(c.demand_speed):
            least = self._lim.airflow_ratio_min * demand if demand == demand else self.hi[U_HALL + 2 * h + 1]
            self._floor(u, bits, U_HALL + 2 * h + 1, min(least, self.hi[U_HALL + 2 * h + 1]), "airflow")
            self._floor(u, bits, U_HALL + 2 * h, min(driest, self.hi[U_HALL + 2 * h]), "dew_point")

    def _driest_c(self, c: Context) -> float:
        """Coldest supply air that stays clear of the room's dew point [°C]."""
        dewpoint = c.est.dewpoint_c if c.est.dewpoint_c == c.est.dewpoint_c else DEWPOINT_UNKNOWN_C
        return max(SUPPLY_FLOOR_C, dewpoint + self._lim.dewpoint_margin_k)

    def _rescue(self, u: F64, c: Context, bits: NDArray[np.int64]) -> None:
        """Racks above their limit: water, air and pressure go to the cold end, whatever valves or a model say of the load.

        A valve that is stuck half closed looks like a small load; only the racks tell that it is not.
        """
        over_k = c.est.hottest_c - self._lim.rack_inlet_limit_c
        share = min(max((over_k - RESCUE_FROM_K) / RESCUE_SPAN_K, 0.0), 1.0)
        if c.emergency and over_k > 0.0:
            share = 1.0
        if not share > 0.0:
            return
        target, moves = u.copy(), self._water_moves(c.est)
        for k in [U_CHWST, U_CHW_DP, *range(U_HALL, len(u))]:
            if self._is_fan[k] and not moves:
                continue
            coldest = self.lo[k] if self.warm_sign[k] > 0.0 else self.hi[k]
            target[k] += share * (coldest - u[k])
        self._set(u, target, bits, "inlet")

    def _water_moves(self, est: Estimate) -> bool:
        """Whether any coil may have water; only flow and pressure together say that none has, and then a fan only heats.

        A coil with a little water gives more with more air, so a valve that is nearly shut is none of this.
        """
        flow_kgs, dp_pa = est.plant["chw_flow"], est.plant["chw_dp"]
        stands = flow_kgs < STANDING_RATIO * self._p.chw_flow_nom_kgs and dp_pa < STANDING_RATIO * self._lim.chw_dp_sp_min_pa
        return not stands

    def _coil(self, u: F64, c: Context, bits: NDArray[np.int64]) -> None:
        """Pressure up, then water colder, until the coils carry the load in the model with the valve in range."""
        widest = largest_known(c.est.valve, 0.0)
        if widest > COIL_VALVE_MAX:
            assert self.last is not None
            self._floor(u, bits, U_CHW_DP, min(self.last[U_CHW_DP] * 1.02, self.hi[U_CHW_DP]), "coil")
        # The water that is there now counts: after a load step it is minutes behind a setpoint that has fallen.
        there_c, there = c.est.plant["chwst"], u.copy()
        for _ in range(EVALUATE_AGAIN):
            there[:] = u
            there[U_CHWST] = max(u[U_CHWST], there_c) if u[U_CHW_DP] < self.hi[U_CHW_DP] else u[U_CHWST]
            evaluate_air(there, c.est.w, self._halls, self._p.row, self._out)
            if not (self._out[O_VALVE] > COIL_VALVE_MAX or self._out[O_UNMET] > 0.0):
                return
            if u[U_CHW_DP] < self.hi[U_CHW_DP] and np.isnan(c.own_u[U_CHW_DP]):
                ratio = min(self._out[O_VALVE] / 0.9, 1.6) ** 2
                u[U_CHW_DP] = min(u[U_CHW_DP] * ratio, self.hi[U_CHW_DP])
                bits[U_CHW_DP] |= BIT["coil"]
            elif u[U_CHWST] > self.lo[U_CHWST]:
                u[U_CHWST] = max(u[U_CHWST] - 1.0, self.lo[U_CHWST])
                bits[U_CHWST] |= BIT["coil"]
            else:
                return

    def carries(self, u: F64, w: F64, chillers: float, economizer: float, ratio: float) -> bool:
        """Whether these machines carry `ratio` times the present load at `u` in the model."""
        trial, more = u.copy(), w.copy()
        trial[U_CHILLERS], trial[U_ECONOMIZER] = chillers, economizer
        more[W_HALL:] *= ratio
        if chillers < 0.5 and economizer < 0.5:
            return False
        trial[U_CWST] = self.lo[U_CWST]  # the towers may work as hard as they can
        trial[U_CHW_DP] = self.hi[U_CHW_DP]
        trial[U_HALL + 1 :: 2] = np.minimum(trial[U_HALL + 1 :: 2] * ratio, 1.0)
        evaluate_plant(trial, more, self._halls, self._p.row, self._out)
        fits = self._out[O_PLR] <= PLR_MAX and self._out[O_EVAPORATOR] <= EVAPORATOR_MAX
        return bool(fits and self._out[O_UNMET] <= 0.0 and self._out[O_CHWST] <= trial[U_CHWST] + 0.3)

    def _machines(self, u: F64, c: Context, bits: NDArray[np.int64]) -> None:
        """Counts: available, dwelling, and one more where the running ones do not hold their water."""
        assert self.last is not None
        last = self.last
        # A machine that trips stays asked for: a count that falls would stop one more where the sensor lies.
        self._cap(u, bits, U_CHILLERS, max(c.available, last[U_CHILLERS]), "available")
        if c.available <= u[U_CHILLERS] < last[U_CHILLERS]:
            self._floor(u, bits, U_CHILLERS, last[U_CHILLERS], "available")
        held = min(last[U_CHILLERS], c.available)
        if self.short_of_cold(c.est, c.available):
            self._floor(u, bits, U_CHILLERS, min(held + 1.0, c.available), "capacity")
        self._dwelling(u, c, bits, held)

    def short_of_cold(self, est: Estimate, available: float) -> bool:
        """Whether the machines that were asked for do not hold their water, long enough after a start, and the model says why."""
        last = self.last
        if last is None or not est.plant["chwst"] > last[U_CHWST] + WARM_CHWST_K:
            return False
        settled = est.now_s - self._started_s > self._dwell.chiller_between_starts_s
        return settled and not self.carries(last, est.w, min(last[U_CHILLERS], available), last[U_ECONOMIZER], 1.0)

    def _remaining(self, u: F64, c: Context, bits: NDArray[np.int64]) -> None:
        """Nothing that makes cold is stopped unless the rest, at what is published, carries 105 % and the loop rides.

        Only what is seen to run counts as the rest: a chiller that was asked a second ago needs minutes to start.
        """
        assert self.last is not None
        held, economizer = min(self.last[U_CHILLERS], c.available), self.last[U_ECONOMIZER]
        if u[U_CHILLERS] < held or u[U_ECONOMIZER] < economizer:
            chillers, plates = (
                running(c.est.plant["chillers_on"], u[U_CHILLERS]),
                running(c.est.plant["economizer_on"], u[U_ECONOMIZER]),
            )
            rest_ok = self.carries(u, c.est.w, chillers, plates, self._lim.remaining_capacity_ratio)
            if not (rest_ok and c.ride_through_s >= self._required_s and c.est.quorum):
                self._floor(u, bits, U_CHILLERS, self.last[U_CHILLERS], "remaining_capacity")
                self._floor(u, bits, U_ECONOMIZER, economizer, "remaining_capacity")

    def _dwelling(self, u: F64, c: Context, bits: NDArray[np.int64], held: float) -> None:
        assert self.last is not None
        last, now_s, d = self.last, c.est.now_s, self._dwell
        since = now_s - self._changed_s[U_CHILLERS]
        if u[U_CHILLERS] < held and since < d.chiller_on_s:
            u[U_CHILLERS] = last[U_CHILLERS]
            bits[U_CHILLERS] |= BIT["dwell"]
        if u[U_CHILLERS] > last[U_CHILLERS] and not c.emergency:
            overloaded = not self.carries(last, c.est.w, held, last[U_ECONOMIZER], 1.0)
            wait_s = d.chiller_between_starts_s if overloaded else max(d.chiller_off_s, d.chiller_between_starts_s)
            if now_s - self._started_s < d.chiller_between_starts_s or since < wait_s:
                u[U_CHILLERS] = last[U_CHILLERS]
                bits[U_CHILLERS] |= BIT["dwell"]
        for k, dwell_s in ((U_CELLS, d.tower_cell_s), (U_ECONOMIZER, d.economizer_s)):
            if u[k] != last[k] and now_s - self._changed_s[k] < dwell_s:
                u[k] = last[k]
                bits[k] |= BIT["dwell"]

    def _evidence(self, u: F64, c: Context, bits: NDArray[np.int64]) -> None:
        """No warm-direction move without quorum, inlets below their limit, room in the window and a confirming plant."""
        assert self.last is not None
        hottest = c.est.hottest_c
        below = hottest <= self._lim.rack_inlet_limit_c - self._lim.rack_inlet_margin_k
        room = self._window_open(c.est.now_s, hottest)
        if c.est.quorum and below and c.confirmed and room:
            return
        name = "evidence" if not (c.est.quorum and c.confirmed) else "inlet"
        held = np.where(self.warm_sign > 0.0, np.minimum(u, self.last), np.maximum(u, self.last))
        # Condenser water and its flow do not reach the racks while the chilled water setpoint is held.
        held[[U_CWST, U_CW_FLOW, U_CELLS]] = u[[U_CWST, U_CW_FLOW, U_CELLS]]
        self._set(u, held, bits, name)

    def _window_open(self, now_s: float, hottest_c: float) -> bool:
        """Rolling warming of the hottest inlet within 15 min and 1 h, with a share of it in hand."""
        lim = self._lim
        short_k = hottest_c - self._short.push(now_s, hottest_c)
        long_k = hottest_c - self._long.push(now_s, hottest_c)
        short_ok = short_k <= WINDOW_SHARE * lim.inlet_rate_max_k_per_15min
        return short_ok and long_k <= WINDOW_SHARE * lim.inlet_rate_max_k_per_h

    def _slew(self, u: F64, c: Context, bits: NDArray[np.int64], dt_s: float) -> None:
        """Rates, warm and cool apart; at a change of mode nothing jumps, however long ago the last tick was, but fans where
        the airflow limit asks."""
        assert self.last is not None
        slewed = np.clip(u, self.last - self.down * dt_s, self.last + self.up * dt_s)
        self._set(u, slewed, bits, "rate")
        if c.mode_changed and not c.emergency:
            for k in range(U_HALL + 1, len(u), 2):
                if not bits[k] & BIT["airflow"]:
                    near = min(max(u[k], self.last[k] - MODE_CHANGE_FAN_RATIO), self.last[k] + MODE_CHANGE_FAN_RATIO)
                    if near != u[k]:
                        u[k] = near
                        bits[k] |= BIT["mode_change"]
            for k in (U_CHWST, *range(U_HALL, len(u), 2)):
                near = min(max(u[k], self.last[k] - MODE_CHANGE_TEMPERATURE_K), self.last[k] + MODE_CHANGE_TEMPERATURE_K)
                if near != u[k]:
                    u[k] = near
                    bits[k] |= BIT["mode_change"]

    def _then_fallback(self, u: F64, c: Context, bits: NDArray[np.int64], dt_s: float) -> None:
        """A command after which the plant's own rules would come too late goes towards them until they would not."""
        assert self.last is not None
        if not self.foresight.look(u, self.last, c.est, c.demand_speed):
            return
        k = [U_CHWST, U_CHW_DP, *range(U_HALL, len(u))]
        colder, own = u.copy(), np.clip(self.foresight.own, self.lo, self.hi)
        own[U_HALL::2] = np.maximum(own[U_HALL::2], min(self._driest_c(c), self.hi[U_HALL]))
        colder[k] = own[k]
        if c.bounded:
            np.clip(colder, c.baseline_u - self.authority, c.baseline_u + self.authority, out=colder)
        self._slew(colder, c, bits.copy(), dt_s)
        colder = np.where(self.warm_sign > 0.0, np.minimum(u, colder), np.maximum(u, colder))
        colder[[U_CHILLERS, U_ECONOMIZER]] = np.maximum(u, self.last)[[U_CHILLERS, U_ECONOMIZER]]
        colder[[U_CWST, U_CW_FLOW, U_CELLS]] = u[[U_CWST, U_CW_FLOW, U_CELLS]]
        colder = np.where(c.own_u == c.own_u, u, colder)
        self._set(u, self.foresight.nearest(u, colder, self.last, c.est), bits, "then_fallback")

    def _note_changes(self, u: F64, now_s: float) -> None:
        assert self.last is not None
        for k in self._changed_s:
            if u[k] != self.last[k]:
                self._changed_s[k] = now_s
        if u[U_CHILLERS] > self.last[U_CHILLERS]:
            self._started_s = now_s


def running(seen: float, asked: float) -> float:
    """Machines of those asked for that run; where that is not measured, as asked."""
    return min(seen, asked) if seen == seen else asked
