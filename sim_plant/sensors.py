"""What the plant's instruments say: lag, noise and resolution between the physics and the wire."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coolctl.points import ROLES
from coolctl.site import Site
from coolctl.tariff import LEAD_S
from coolctl.units import UNITS
from sim_plant import physics, room

if TYPE_CHECKING:
    from sim_plant.plant import SimPlant

F64 = NDArray[np.float64]

TEMPERATURE_TAU_S = 15.0
TEMPERATURE_NOISE_K, POWER_NOISE_RATIO = 0.05, 0.005
RESOLUTION = {"c": 0.01, "w": 100.0, "kgs": 0.01, "ratio": 0.001, "pa": 10.0}
AISLE_RESOLUTION_PA = 0.1
NOISY_SUFFIXES = ("c", "w")
WATER_STATES = {
    "chwst": physics.S_LEAVING,
    "chwrt": physics.S_RETURN2,
    "cwst": physics.S_BASIN,
    "cwrt": physics.S_CWRT,
}


class Sensors:
    """Lagged copies of the temperatures, and the table that turns the plant's state into readings."""

    def __init__(self, site: Site, starts: NDArray[np.int64]):
        self.points = site.table.points
        self._starts = starts
        halls = list(site.halls)
        suffix = [ROLES[p.role].suffix for p in self.points]
        self._resolution = np.array([RESOLUTION.get(s, 0.0) for s in suffix])
        self._resolution[np.array([p.role == "aisle_dp" for p in self.points])] = AISLE_RESOLUTION_PA
        self._noise_c = np.array([TEMPERATURE_NOISE_K if s == "c" else 0.0 for s in suffix])
        self._noise_w = np.array([POWER_NOISE_RATIO if s == "w" else 0.0 for s in suffix])
        self._low, self._high = site.table.low, site.table.high
        self._scale = np.array([UNITS[p.unit].scale for p in self.points])
        self._shift = np.array([UNITS[p.unit].offset for p in self.points])
        self._place = [_place(p.role, p.machine, halls, starts) for p in self.points]
        self._rack_points = np.array([i for i, p in enumerate(self.points) if p.role == "rack_inlet"], dtype=np.int64)
        self._rack_of = np.array([self._place[i][1] for i in self._rack_points], dtype=np.int64)
        self._others = [(i, *self._place[i]) for i, p in enumerate(self.points) if p.role != "rack_inlet"]
        self.inlet_c: F64 | None = None
        self.water_c: F64 | None = None
        self.sat_c: F64 | None = None

    def copy(self) -> Sensors:
        """Another of the same plant in the same state."""
        twin = copy.copy(self)
        for name in ("inlet_c", "water_c", "sat_c"):
            lagged = getattr(self, name)
            setattr(twin, name, None if lagged is None else lagged.copy())
        return twin

    def follow(self, inlet_c: F64, x: F64, s: F64, dt_s: float) -> None:
        """Let the temperature sensors follow for `dt_s`."""
        if self.inlet_c is None or self.water_c is None or self.sat_c is None:
            self.inlet_c, self.water_c, self.sat_c = inlet_c.copy(), s.copy(), x[:, room.X_SAT].copy()
        share = 1.0 - math.exp(-dt_s / TEMPERATURE_TAU_S)
        self.inlet_c += share * (inlet_c - self.inlet_c)
        self.water_c += share * (s - self.water_c)
        self.sat_c += share * (x[:, room.X_SAT] - self.sat_c)

    def read(self, plant: SimPlant) -> F64:
        """Noise-free readings of all points in internal units; NaN where this plant has no such quantity."""
        assert self.inlet_c is not None
        values = np.full(len(self.points), np.nan)
        values[self._rack_points] = self.inlet_c[self._rack_of]
        table = self._quantities(plant)
        for i, role, h in self._others:
            entry = table.get(role)
            if entry is not None:
                values[i] = entry[h] if h >= 0 else entry
        return values

    def _quantities(self, plant: SimPlant) -> dict[str, Any]:
        y, x, s, out, u = plant._y, plant._x, plant._s, plant._out, plant.bms.u
        assert self.water_c is not None
        dewpoint = np.full(len(x), plant._dewpoint_c())
        return {
            "it_power": y[:, room.Y_IT], "sat": self.sat_c, "rat": y[:, room.Y_RAT], "room_dewpoint": dewpoint,
            "crah_fan_speed": x[:, room.X_FAN], "crah_fan_power": y[:, room.Y_CRAH],
            "server_fan_power": y[:, room.Y_SRV_FAN], "aisle_dp": y[:, room.Y_AISLE_DP],
            "valve": np.maximum(x[:, room.X_VALVE], x[:, room.X_VALVE_WORST]),
            "oadb": plant._weather_now[0], "oawb": plant._weather_now[1],
            **{role: self.water_c[k] for role, k in WATER_STATES.items()},
            "chw_flow": out[physics.P_CHW_KGS], "chw_dp": s[physics.S_DP], "cw_flow": out[physics.P_CW_KGS],
            "tower_speed": s[physics.S_TOWER], "tower_cells_on": u[4], "chillers_on": out[physics.P_RUNNING],
            "chillers_available": out[physics.P_AVAILABLE], "economizer_on": float(s[physics.S_HX] > 0.5),
            "chiller_power": out[physics.P_CHILLER], "tower_power": out[physics.P_TOWER],
            "chw_pump_power": out[physics.P_CHW_PUMP], "cw_pump_power": out[physics.P_CW_PUMP],
            "bms_remote": float(not plant.bms.local), "hand": 0.0,
            "energy_price": plant.energy_price(), "energy_price_ahead": plant.energy_price(LEAD_S),
            "carbon_factor": plant.site.file.carbon.factor_kg_per_kwh,
        }  # fmt: skip

    def add_noise(self, values: F64, rng: np.random.Generator) -> None:
        """Noise and resolution, in place; readings stay inside their physical range."""
        noise = rng.normal(size=len(values))
        values += noise * (self._noise_c + self._noise_w * np.abs(values))
        fine = self._resolution > 0.0
        values[fine] = np.round(values[fine] / self._resolution[fine]) * self._resolution[fine]
        np.clip(values, self._low, self._high, out=values)

    def to_wire(self, values: F64) -> dict[str, float]:
        """`{point id: value in the point's unit}`; NaN = the point sends nothing."""
        wire = np.round((values - self._shift) / self._scale, 6).tolist()
        return {p.id: v for p, v in zip(self.points, wire, strict=True) if v == v}


def _place(role: str, machine: str, halls: list[str], starts: NDArray[np.int64]) -> tuple[str, int]:
    """Role and position of a point: hall index, or index among all racks; -1 for the plant's own."""
    hall, _, rack = machine.partition(".rack")
    if rack:
        return role, int(starts[halls.index(hall)]) + int(rack) - 1
    return role, halls.index(hall) if hall in halls else -1
