"""The simulated plant as others meet it: points, `reset`, `step`, and the noise-free truth for the ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.points import ROLES, U_HALL, Batch, Point
from coolctl.psychro import dew_point_from_vapour_c, humidity_ratio_kgkg, saturation_humidity_ratio_kgkg
from coolctl.site import Site
from coolctl.tariff import price_per_kwh
from coolctl.units import UNITS
from sim_plant import params, physics, room
from sim_plant.bms import Bms, PlantView
from sim_plant.equipment import chiller as ch
from sim_plant.faults import Faults, well
from sim_plant.load import Load, synthetic
from sim_plant.mismatch import draw
from sim_plant.sensors import Sensors
from sim_plant.weather import Weather, from_statistics

F64 = NDArray[np.float64]

SUBSTEP_S = 1.0
COARSE_PIECE_S, COARSE_SUBSTEP_S = 60.0, 5.0
SETTLE_S, SETTLE_STEP_S = 3600, 1.0
SETTLED_KEPT = 64
# What a step of the physics changes; the oracle copies the same to run ahead.
STATES = ("_x", "_s", "_machines", "_inlet", "_health", "_chillers_ok", "_plant_ok", "_y", "_out", "_weather_now")


class PlantPoint(NamedTuple):
    """A point as the plant declares it; `min` and `max` in the point's own unit."""

    id: str
    role: str
    unit: str
    min: float
    max: float
    writable: bool
    machine: str


class Truth(NamedTuple):
    """Noise-free state of the last step: electric powers [W], temperatures [°C], running totals of wear."""

    it_w: float
    chiller_w: float
    tower_w: float
    chw_pump_w: float
    cw_pump_w: float
    crah_fan_w: float
    server_fan_w: float
    server_fan_idle_w: float
    rack_inlet_c: F64
    dewpoint_c: float
    chwst_c: float
    unmet_w: float
    water_kgs: float
    chiller_starts: float
    valve_travel: float
    fan_travel: float
    local: bool
    heat_w: float
    rejected_w: float
    oawb_c: float
    oadb_c: float
    stored_j: float
    energy_price: float  # of a kWh
    carbon_factor: float  # kg of CO2 a kWh


class Settled(NamedTuple):
    """A plant at rest, to start again from; holds its site, so that no other can take its identity."""

    site: Site
    states: tuple[F64, ...]
    bms: Bms
    sensors: Sensors


_settled: dict[tuple[object, ...], Settled] = {}


class SimPlant:
    """A plant built from a site file, driven by its own load and weather. Same seed, same run."""

    _settle_s = SETTLE_STEP_S

    def __init__(
        self, site: Site, weather: Weather | None = None, load: Load | None = None, *, noise: bool = True, coarse: bool = False,
        mismatch: float = 0.0, mismatch_seed: int = 0,
    ):  # fmt: skip
        """`coarse`: for years in long steps. Physics in steps of 5 s, BMS and load once a step; energies stay within a
        percent of the fine ones at steps of 5 s, peaks shorter than a step go unseen. `mismatch`: half-width of the
        distributions that the true plant is drawn from (see `mismatch.py`)."""
        self.site = site
        self.weather = weather or from_statistics(site.file.weather.station or "CHN_Guiyang")
        self.load = load or synthetic()
        self.noise = noise
        self._piece_s, self._substep_s = (COARSE_PIECE_S, COARSE_SUBSTEP_S) if coarse else (SUBSTEP_S, SUBSTEP_S)
        self.points = [_plant_point(p) for p in site.table.points]
        self._leasable = _leasable(site)
        true = draw(params.plant_record(site), params.hall_rows(site), site.table.points, mismatch, mismatch_seed)
        self._p, self._rows = true.record, true.rows
        self._bias, self._factor = true.offset, true.factor
        pattern = self._pattern()
        self._gain = np.concatenate([1.0 + (g - 1.0) * true.hot_spot_factor for g, _ in pattern])
        self._offset = np.concatenate([o for _, o in pattern])
        self._starts = np.concatenate([[0], np.cumsum([len(g) for g, _ in pattern])]).astype(np.int64)
        self._it_nom_w = self._rows[:, params.H_IT_NOM]
        ids = [p.id for p in site.table.points]
        self.faults = Faults(ids, site.halls, site.file.chillers.count)
        self.duration_s = np.inf
        self.reset(0)

    def reset(self, seed: int) -> dict[str, float]:
        """Start again at plant time zero, settled under local control; returns the first readings."""
        f = self.site.file
        self.rng = np.random.default_rng(seed)
        halls = len(self._rows)
        self.t_s = -float(SETTLE_S)
        self.bms = Bms(self.site)
        self.sensors = Sensors(self.site, self._starts)
        self._x = _initial_halls(self._rows, self.load.at(0.0))
        self._s = np.array([12.0, 12.0, 20.0, 20.0, 12.0, 22.0, 0.5, 0.4, 140e3, 1.0, 0.0, 26.0])
        self._machines = np.zeros((f.chillers.count, ch.CHILLER_COLUMNS))
        on = min(2, f.chillers.count)
        self._machines[:on, ch.C_MODE], self._machines[:on, ch.C_RAMP] = ch.RUNNING, 1.0
        self._inlet = np.full(len(self._gain), 23.0)
        self._health = well(halls)
        self._chillers_ok, self._plant_ok = np.ones(f.chillers.count), np.ones(3)
        self._y, self._out = np.zeros((halls, room.HALL_OUTPUTS)), np.zeros(physics.PLANT_OUTPUTS)
        self._weather_now = np.array([20.0, 15.0, self.site.pressure_pa, 0.008])
        self._settle()
        self.t_s = 0.0
        self._machines[:, ch.C_STARTS] = 0.0
        self._out[[physics.P_VALVE_TRAVEL, physics.P_FAN_TRAVEL]] = 0.0
        return self._readings()

    def _settle(self) -> None:
        """An hour under local control in the first moment's weather and load; the same plant is not settled twice."""
        kept = None if self.faults.items else _settled.get(key := self._settled_key())
        if kept is not None:
            for name, state in zip(STATES, kept.states, strict=True):
                setattr(self, name, state.copy())
            self.bms, self.sensors = kept.bms.copy(), kept.sensors.copy()
            return
        for _ in range(int(SETTLE_S / self._settle_s)):
            self._pass(None, self._settle_s)
        if not self.faults.items:
            if len(_settled) >= SETTLED_KEPT:
                _settled.pop(next(iter(_settled)))
            states = tuple(getattr(self, name).copy() for name in STATES)
            _settled[key] = Settled(self.site, states, self.bms.copy(), self.sensors.copy())

    def _settled_key(self) -> tuple[object, ...]:
        """All that the settled state depends on."""
        own = (self._p, self._rows.tobytes(), self._gain.tobytes(), self._offset.tobytes())
        return (
            type(self),
            id(self.site),
            self._settle_s,
            bytes(self.site.accepted),
            *own,
            self.weather.at(0.0),
            self.load.at(0.0),
        )

    def step(self, setpoints: Mapping[str, float] | None, dt_s: float) -> dict[str, float] | None:
        """Advance by `dt_s` under leased `setpoints` (by point id, in the site file's units); readings, or None at
        the end. Empty or None = the plant's own control; a missing id stays with the plant."""
        if self.t_s + dt_s > self.duration_s:
            return None
        self.advance(setpoints, dt_s)
        return self._readings()

    def advance(self, setpoints: Mapping[str, float] | None, dt_s: float) -> None:
        """As `step`, without a look at the instruments."""
        leased = self._decode(setpoints) if setpoints else None
        left = dt_s
        while left > 1e-9:
            piece = min(left, self._piece_s)
            self._pass(leased, piece)
            left -= piece

    def measure(self) -> Batch:
        """The readings as a controller's store takes them: positions in the point table, internal units."""
        values = self._measured()
        i = np.flatnonzero(values == values)
        return Batch(i, values[i], math.nan)

    def _decode(self, setpoints: Mapping[str, float]) -> F64:
        u = np.full(U_HALL + 2 * len(self._rows), np.nan)
        for k, name, scale, offset, low, high in self._leasable:
            wire = setpoints.get(name)
            if wire is not None and math.isfinite(wire):
                u[k] = min(max(float(wire) * scale + offset, low), high)
        return u

    def _pass(self, leased: F64 | None, dt_s: float) -> None:
        self._advance(leased, dt_s)
        self.sensors.follow(self._inlet, self._x, self._s, dt_s)

    def _advance(self, leased: F64 | None, dt_s: float) -> None:
        self.t_s += dt_s
        at_s = max(self.t_s, 0.0)
        db_c, wb_c, pressure_pa = self.weather.at(at_s)
        self._weather_now[0], self._weather_now[1], self._weather_now[2] = db_c, wb_c, pressure_pa
        self._weather_now[3] = _humidity(db_c, wb_c, pressure_pa)
        it_w = self.load.at(at_s) * self._it_nom_w / (1.0 + self._rows[:, params.H_FAN_SHARE])
        self.faults.on_machines(self.t_s, self._health, self._chillers_ok, self._plant_ok)
        u = self.bms.step(leased, self._view(), dt_s)
        self._integrate(max(math.ceil(dt_s / self._substep_s - 1e-9), 1), it_w, u, dt_s)

    def _integrate(self, count: int, it_w: F64, u: F64, dt_s: float) -> None:
        """The equations over `dt_s` in `count` steps."""
        physics.steps(
            count, self._x, self._s, self._machines, self._inlet, self._gain, self._offset, self._starts, it_w, u,
            self._weather_now, self._health, self._chillers_ok, self._plant_ok, self._rows, self._p, dt_s / count, self._y,
            self._out,
        )  # fmt: skip

    def _pattern(self) -> list[tuple[F64, F64]]:
        """Per hall, each rack's share of recirculation and its offset [K]."""
        return params.rack_pattern(self.site)

    def _view(self) -> PlantView:
        out, s = self._out, self._s
        capacity = out[physics.P_CAPACITY]
        fans = np.array(
            [
                physics.fan_speed_for(1.15, self._y[h, room.Y_DEMAND], self._x[h, room.X_SAT], self._weather_now[2], row)
                for h, row in enumerate(self._rows)
            ]
        )
        heat = out[physics.P_HX] + out[physics.P_CHILLER_HEAT]
        return PlantView(
            self.t_s,
            s[physics.S_LEAVING],
            s[physics.S_RETURN2],
            out[physics.P_CHILLER_HEAT] / capacity if capacity > 0.0 else 0.0,
            out[physics.P_RUNNING],
            out[physics.P_AVAILABLE],
            self._weather_now[1],
            fans,
            bool(out[physics.P_HX] > 0.97 * heat > 0.0),
        )

    @property
    def rack_inlet_c(self) -> F64:
        """Noise-free inlets of all racks now [°C]."""
        return self._inlet

    @property
    def truth(self) -> Truth:
        """Noise-free state of the last step."""
        y, out = self._y, self._out
        return Truth(
            float(y[:, room.Y_IT].sum()), float(out[physics.P_CHILLER]), float(out[physics.P_TOWER]),
            float(out[physics.P_CHW_PUMP]), float(out[physics.P_CW_PUMP]), float(y[:, room.Y_CRAH].sum()),
            float(y[:, room.Y_SRV_FAN].sum()), float(y[:, room.Y_SRV_FAN_IDLE].sum()), self._inlet.copy(),
            self._dewpoint_c(), float(self._s[physics.S_LEAVING]), self._unmet_w(),
            float(out[physics.P_WATER]), float(self._machines[:, ch.C_STARTS].sum()),
            float(out[physics.P_VALVE_TRAVEL]), float(out[physics.P_FAN_TRAVEL]), self.bms.local,
            float(out[physics.P_HX] + out[physics.P_CHILLER_HEAT]), float(out[physics.P_REJECTED]),
            float(self._weather_now[1]), float(self._weather_now[0]), self._stored_j(),
            self.energy_price(), self.site.file.carbon.factor_kg_per_kwh,
        )  # fmt: skip

    def energy_price(self, ahead_s: float = 0.0) -> float:
        """Price of a kilowatt-hour by the site's tariff `ahead_s` [s] from now."""
        tariff = self.site.file.tariff
        if not tariff.bands:
            return tariff.price_per_kwh
        return price_per_kwh(tariff, *self.weather.calendar(max(self.t_s, 0.0) + ahead_s))

    def _stored_j(self) -> float:
        """Heat in the loop, the halls and their structure, from 0 °C [J]: a run that ends warmer has not paid for it yet."""
        s, p = self._s, self._p
        water = s[physics.S_SUPPLY1] + s[physics.S_SUPPLY2] + s[physics.S_RETURN1] + s[physics.S_RETURN2]
        total = 4186.0 * (0.25 * p.loop_kg * water + p.buffer_kg * s[physics.S_SUPPLY1])
        total += 4186.0 * physics.EVAPORATOR_KG * s[physics.S_LEAVING]
        return float(total) + room.stored_j(self._x, self._rows)

    def readings_of(self, point_id: str) -> float:
        """Noise-free reading of one point in its own unit, NaN where the plant has none; for judges, not controllers."""
        value = self.sensors.read(self)[self.site.table.index[point_id]]
        return float(self.site.table.points[self.site.table.index[point_id]].encode(float(value)))

    def _dewpoint_c(self) -> float:
        w = float(self._x[:, room.X_HUMID].max())
        return float(dew_point_from_vapour_c(self._weather_now[2] * w / (0.62198 + w)))

    def _unmet_w(self) -> float:
        """Cooling asked for and not delivered: supply air over its setpoint by more than 1 K with the valve wide open.

        A setpoint that moves faster than the valve is no unmet load.
        """
        over_k = self._x[:, room.X_SAT] - self.bms.u[U_HALL::2] - 1.0
        full = self._x[:, room.X_VALVE] > 0.98
        return float(np.where(full, np.maximum(over_k, 0.0), 0.0) @ (self._y[:, room.Y_DEMAND] * 1006.0))

    def _readings(self) -> dict[str, float]:
        return self.sensors.to_wire(self._measured())

    def _measured(self) -> F64:
        """What the instruments say of every point, in internal units; NaN = nothing."""
        values = self.sensors.read(self) * self._factor + self._bias
        if self.noise:
            self.sensors.add_noise(values, self.rng)
        self.faults.on_sensors(values, self.t_s, self.rng)
        return values


def _leasable(site: Site) -> list[tuple[int, str, float, float, float, float]]:
    """Of each setpoint that the plant accepts: its place in the vector, its point, unit and range."""
    t = site.table
    found = []
    for k, i in enumerate(site.u_point):
        if i >= 0 and site.accepted[k]:
            unit = UNITS[t.points[i].unit]
            found.append((k, t.points[i].id, unit.scale, unit.offset, float(t.low[i]), float(t.high[i])))
    return found


def _plant_point(p: Point) -> PlantPoint:
    return PlantPoint(p.id, p.role, p.unit, p.encode(p.low), p.encode(p.high), ROLES[p.role].writable, p.machine)


def _humidity(db_c: float, wb_c: float, pressure_pa: float) -> float:
    """Outdoor humidity ratio from the wet-bulb balance [kg/kg]."""
    ws = saturation_humidity_ratio_kgkg(wb_c, pressure_pa)
    w = ((2.501e6 - 2326.0 * wb_c) * ws - 1006.0 * (db_c - wb_c)) / (2.501e6 + 1860.0 * db_c - 4186.0 * wb_c)
    return float(max(w, 1e-4))


def _initial_halls(rows: F64, ratio: float) -> F64:
    x = np.zeros((len(rows), room.HALL_STATES))
    x[:, room.X_COLD], x[:, room.X_HOT], x[:, room.X_SAT] = 22.5, 34.5, 22.0
    x[:, room.X_SINK], x[:, room.X_CHASSIS], x[:, room.X_STRUCT] = 22.5 + 12.0 * ratio, 28.5, 33.0
    x[:, room.X_FAN], x[:, room.X_VALVE], x[:, room.X_VALVE_I], x[:, room.X_SRV_FAN] = 0.7, 0.4, 0.4, 1.0
    x[:, room.X_ELEMENT] = x[:, room.X_SEEN] = x[:, room.X_SAT_OTHERS] = x[:, room.X_SAT_WORST] = x[:, room.X_SUPPLIED] = 22.0
    x[:, room.X_HUMID] = humidity_ratio_kgkg(22.0, 0.45, 90e3)
    return x
