"""The oracle: setpoints found by looking ahead on the true plant, with the load and weather that will come.

No controller can do this; what is left between it and one is what knowledge could still buy. Every quarter of an hour
each candidate is run for half an hour on a copy of the plant, and costs what it draws plus what the heat it leaves
behind will draw. Limits are those of the site. It is a search, not a proof: the true optimum may lie a little lower.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL, u_size
from coolctl.site_schema import CELL_FLOW_MIN_RATIO
from sim_plant import params, physics, room
from sim_plant.equipment import chiller as ch
from sim_plant.plant import STATES, SimPlant

F64 = NDArray[np.float64]

PERIOD_S, HORIZON_S, PIECE_S = 900.0, 1800.0, 60.0
LIMIT_PRICE_J_PER_KS = 2e6  # a rack one kelvin over its limit for a second
UNMET_PRICE_J_PER_J = 5.0  # of heat that a coil at its end leaves in the air
START_PRICE_J = 3.6e6
INLET_RESERVE_K, DEWPOINT_RESERVE_K = 0.05, 0.1
SWEEPS_OTHERS, SWEEPS_BEST, FINEST_RATIO = 1, 4, 0.15
# Variables: chilled water, tower water [°C], condenser flow, pump pressure, supply air [°C], airflow ratio, cells.
V_CHWST, V_CWST, V_CW_FLOW, V_DP, V_SAT, V_AIRFLOW, V_CELLS = range(7)
STEPS = np.array([1.0, 1.5, 0.1, 15e3, 0.5, 0.04, 1.0])
JOINT = ((V_CHWST, V_CWST), (V_CHWST, V_SAT), (V_CHWST, V_CWST, V_SAT), (V_CHWST, V_DP), (V_CWST, V_CW_FLOW), (V_SAT, V_AIRFLOW))


class Choice(NamedTuple):
    """Variables `V_*`, and the machines with them."""

    v: F64
    chillers: float
    economizer: float


class Oracle:
    """Controls `plant` with knowledge of it; the readings are not looked at.

    `ride_through_s` judges setpoints `u` under conditions `w` with chilled water supply and return [°C], as the ledger does.
    """

    def __init__(self, plant: SimPlant, ride_through_s: Callable[[F64, F64, float, float], float]):
        self.plant, self.site = plant, plant.site
        self._ride_through_s = ride_through_s
        lim = self.site.file.limits
        self._lo = np.array(
            [lim.chwst_sp_min_c, lim.cwst_sp_min_c, lim.cw_flow_sp_min_ratio, lim.chw_dp_sp_min_pa, lim.sat_sp_min_c,
             lim.airflow_ratio_min, 1.0]
        )  # fmt: skip
        self._hi = np.array(
            [lim.chwst_sp_max_c, lim.cwst_sp_max_c, lim.cw_flow_sp_max_ratio, lim.chw_dp_sp_max_pa, lim.sat_sp_max_c,
             1.35, float(self.site.file.towers.cells)]
        )  # fmt: skip
        self._limit_c = lim.rack_inlet_limit_c - INLET_RESERVE_K
        self._required_s = self.site.chiller.restart_s + lim.ride_through_margin_s
        self._chillers, self._has_economizer = float(self.site.file.chillers.count), self.site.economizer is not None
        self._choice: Choice | None = None
        self._planned_s = -np.inf

    def tick(self, readings: Mapping[str, float], now_s: float) -> dict[str, float]:
        """Setpoints `{point id: value}` for the plant's present state."""
        if not 0.0 <= now_s - self._planned_s < PERIOD_S:
            self._planned_s = now_s
            self._choice = self._search()
        assert self._choice is not None
        u, points = self._vector(self.plant, self._choice), self.site.table.points
        return {points[i].id: points[i].encode(float(u[k])) for k, i in enumerate(self.site.u_point) if self.site.accepted[k]}

    def _vector(self, plant: SimPlant, c: Choice) -> F64:
        """The setpoint vector of a choice; fans follow what the servers draw at this moment."""
        v = c.v
        u = np.empty(u_size(len(plant._rows)))
        u[[U_CHWST, U_CHW_DP, U_CHILLERS, U_CWST]] = v[V_CHWST], v[V_DP], c.chillers, v[V_CWST]
        u[[U_CELLS, U_CW_FLOW, U_ECONOMIZER]] = min(v[V_CELLS], self._wetted_cells(c)), v[V_CW_FLOW], c.economizer
        for h, row in enumerate(plant._rows):
            drawn_kgs, sat_c = plant._y[h, room.Y_DEMAND], plant._x[h, room.X_SAT]
            u[U_HALL + 2 * h] = v[V_SAT]
            speed = physics.fan_speed_for(v[V_AIRFLOW], drawn_kgs, sat_c, plant._weather_now[2], row)
            u[U_HALL + 2 * h + 1] = min(max(speed, self.site.file.limits.fan_speed_sp_min_ratio), 1.0)
        return u

    def _wetted_cells(self, c: Choice) -> float:
        """How many cells the condenser water keeps wet: no plan of the controller may spread it thinner."""
        units = max(physics.condenser_pumps(c.chillers, c.economizer, self.plant._p), 1.0)
        water_kgs = c.v[V_CW_FLOW] * units * self.plant._p.chiller.condenser_flow_nom_kgs
        return max(float(np.floor(water_kgs / (CELL_FLOW_MIN_RATIO * self.site.tower.water_flow_nom_kgs))), 1.0)

    def _search(self) -> Choice:
        if self._choice is None:
            s = self.plant._s
            running = float((self.plant._machines[:, ch.C_MODE] == ch.RUNNING).sum())
            v = np.array([12.0, s[physics.S_BASIN], 0.9, 80e3, 22.0, 1.06, 2.0])
            self._choice = Choice(v, running, 1.0 if s[physics.S_HX] > 0.5 else 0.0)
        best, best_j = self._choice, self._cost_j(self._choice)
        for other in list(self._others(best)):
            # Other machines are judged with setpoints that suit them, or the better ones would never win.
            found, cost_j = self._descend(other, self._cost_j(other), SWEEPS_OTHERS)
            if cost_j < best_j:
                best, best_j = found, cost_j
        return self._descend(best, best_j, SWEEPS_BEST)[0]

    def _others(self, now: Choice) -> Iterator[Choice]:
        n, e = now.chillers, now.economizer
        yield now
        for k, f in ((n + 1.0, e), (n - 1.0, e), (n, 1.0 - e), (0.0, 1.0)):
            if 0.0 <= k <= self._chillers and (k > 0.5 or f > 0.5) and (f < 0.5 or self._has_economizer) and (k, f) != (n, e):
                yield Choice(now.v.copy(), k, f)
                if f > 0.5:
                    v = now.v.copy()
                    v[V_CWST] = self.plant._weather_now[1] + 3.5
                    yield Choice(v, k, f)

    def _descend(self, c: Choice, cost_j: float, sweeps: int) -> tuple[Choice, float]:
        moves = [(k,) for k in range(len(STEPS))] + list(JOINT)
        scale = 1.0
        for _ in range(sweeps):
            improved = False
            for move in moves:
                for sign in (1.0, -1.0):
                    v = c.v.copy()
                    for k in move:
                        v[k] += sign * STEPS[k] * (1.0 if k == V_CELLS else scale)
                    v = np.clip(v, self._lo, self._hi)
                    if (v == c.v).all():
                        continue
                    trial_j = self._cost_j(c._replace(v=v))
                    if trial_j < cost_j:
                        c, cost_j, improved = c._replace(v=v), trial_j, True
                        break
            if not improved:
                scale *= 0.5
                if scale < FINEST_RATIO:
                    break
        return c, cost_j

    def _cost_j(self, c: Choice) -> float:
        """Electricity over the horizon [J], with prices for crossed limits and for heat left behind."""
        twin = _fork(self.plant)
        started, stored_j = float(twin._machines[:, ch.C_STARTS].sum()), twin._stored_j()
        total_j = heat_j = price_j = 0.0
        dewpoint_c = twin._dewpoint_c() + self.site.file.limits.dewpoint_margin_k + DEWPOINT_RESERVE_K
        for _ in range(int(HORIZON_S / PIECE_S)):
            twin._advance(self._vector(twin, c), PIECE_S)
            out, y = twin._out, twin._y
            power_w = out[physics.P_CHILLER] + out[physics.P_TOWER] + out[physics.P_CHW_PUMP] + out[physics.P_CW_PUMP]
            power_w += y[:, room.Y_CRAH].sum() + y[:, room.Y_SRV_FAN].sum() - y[:, room.Y_SRV_FAN_IDLE].sum()
            total_j += float(power_w) * PIECE_S
            heat_j += float(out[physics.P_HX] + out[physics.P_CHILLER_HEAT]) * PIECE_S
            over_k = max(float(twin._inlet.max()) - self._limit_c, 0.0)
            over_k += max(dewpoint_c - float(twin._x[:, room.X_SAT].min()), 0.0)
            price_j += (LIMIT_PRICE_J_PER_KS * over_k + UNMET_PRICE_J_PER_J * twin._unmet_w()) * PIECE_S
        starts = float(twin._machines[:, ch.C_STARTS].sum()) - started
        left_j = (twin._stored_j() - stored_j) * total_j / max(heat_j, 1.0)
        return total_j + left_j + price_j + START_PRICE_J * starts + self._ride_price_j(twin, c)

    def _ride_price_j(self, twin: SimPlant, c: Choice) -> float:
        """Price of too little cooling in hand when every machine stops: judged as the ledger judges it."""
        w = np.array([*twin._weather_now[:3], *(twin._y[:, room.Y_IT] / (1.0 + twin._rows[:, params.H_FAN_SHARE]))])
        chwst_c, chwrt_c = twin._s[physics.S_LEAVING], twin._s[physics.S_RETURN2]
        seconds = self._ride_through_s(self._vector(twin, c), w, float(chwst_c), float(chwrt_c))
        return LIMIT_PRICE_J_PER_KS * max(self._required_s - seconds, 0.0) * 10.0


def _fork(plant: SimPlant) -> SimPlant:
    """A copy of the plant that can run ahead; load, weather, parameters and sensors are shared."""
    twin = copy.copy(plant)
    for name in STATES:
        setattr(twin, name, getattr(plant, name).copy())
    twin.bms = plant.bms.copy()
    return twin
