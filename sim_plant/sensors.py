"""What the plant's instruments say: lag, noise and resolution between the physics and the wire."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coolctl.points import ROLES, U_CELLS
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
NOTHING = np.full(1, np.nan)
# Where a role's quantity stands in the plant: the array and the column there, a row for each hall where it is one of a hall.
HALL_PLACES = {
    "it_power": ("y", room.Y_IT), "rat": ("y", room.Y_RAT), "crah_fan_power": ("y", room.Y_CRAH),
    "server_fan_power": ("y", room.Y_SRV_FAN), "aisle_dp": ("y", room.Y_AISLE_DP), "crah_fan_speed": ("x", room.X_FAN),
    "sat": ("sat_c", 0), "valve": ("valve", 0),
}  # fmt: skip
PLANT_PLACES = {
    "chwst": ("water_c", physics.S_LEAVING), "chwrt": ("water_c", physics.S_RETURN2), "cwst": ("water_c", physics.S_BASIN),
    "cwrt": ("water_c", physics.S_CWRT), "chw_dp": ("s", physics.S_DP), "tower_speed": ("s", physics.S_TOWER),
    "tower_cells_on": ("u", U_CELLS), "chw_flow": ("out", physics.P_CHW_KGS), "cw_flow": ("out", physics.P_CW_KGS),
    "chillers_on": ("out", physics.P_RUNNING), "chillers_available": ("out", physics.P_AVAILABLE),
    "chiller_power": ("out", physics.P_CHILLER), "tower_power": ("out", physics.P_TOWER),
    "chw_pump_power": ("out", physics.P_CHW_PUMP), "cw_pump_power": ("out", physics.P_CW_PUMP),
    "oadb": ("weather", 0), "oawb": ("weather", 1),
    **{role: ("other", k) for k, role in enumerate(
        ("room_dewpoint", "economizer_on", "bms_remote", "hand", "energy_price", "energy_price_ahead", "carbon_factor")
    )},
}  # fmt: skip


class Sensors:
    """Lagged copies of the temperatures, and the table that turns the plant's state into readings."""

    def __init__(self, site: Site, starts: NDArray[np.int64]):
        self.points = site.table.points
        self._starts = starts
        suffix = [ROLES[p.role].suffix for p in self.points]
        resolution = np.array([RESOLUTION.get(s, 0.0) for s in suffix])
        resolution[np.array([p.role == "aisle_dp" for p in self.points])] = AISLE_RESOLUTION_PA
        self._fine = np.flatnonzero(resolution > 0.0)
        self._resolution = resolution[self._fine]
        self._noise_c = np.array([TEMPERATURE_NOISE_K if s == "c" else 0.0 for s in suffix])
        self._noise_w = np.array([POWER_NOISE_RATIO if s == "w" else 0.0 for s in suffix])
        self._low, self._high = site.table.low, site.table.high
        self._scale = np.array([UNITS[p.unit].scale for p in self.points])
        self._shift = np.array([UNITS[p.unit].offset for p in self.points])
        self._ids = [p.id for p in self.points]
        self._halls = list(site.halls)
        self._take: NDArray[np.int64] | None = None
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
        parts = self._quantities(plant)
        if self._take is None:
            self._take = self._places(parts)
        return np.concatenate([part.ravel() for part in parts.values()])[self._take]

    def _quantities(self, plant: SimPlant) -> dict[str, F64]:
        """The arrays that the places speak of; the first is of the racks, the last of what nobody can read."""
        assert self.inlet_c is not None and self.sat_c is not None and self.water_c is not None
        x, s = plant._x, plant._s
        other = (
            plant._dewpoint_c(), s[physics.S_HX] > 0.5, not plant.bms.local, 0.0, plant.energy_price(),
            plant.energy_price(LEAD_S), plant.site.file.carbon.factor_kg_per_kwh,
        )  # fmt: skip
        return {
            "racks": self.inlet_c, "y": plant._y, "x": x, "sat_c": self.sat_c, "water_c": self.water_c, "s": s,
            "valve": np.maximum(x[:, room.X_VALVE], x[:, room.X_VALVE_WORST]), "u": plant.bms.u, "out": plant._out,
            "weather": plant._weather_now, "other": np.array(other, dtype=np.float64), "none": NOTHING,
        }  # fmt: skip

    def _places(self, parts: dict[str, F64]) -> NDArray[np.int64]:
        """Position of each point's quantity in the parts laid end to end."""
        starts = dict(zip(parts, np.cumsum([0, *(part.size for part in parts.values())]).tolist(), strict=False))
        found = []
        for p in self.points:
            hall, _, rack = p.machine.partition(".rack")
            h = self._halls.index(hall) if hall in self._halls else 0
            name, column = HALL_PLACES.get(p.role) or PLANT_PLACES.get(p.role) or ("none", 0)
            if p.role == "rack_inlet":
                name, column = "racks", int(self._starts[h]) + int(rack) - 1
            elif p.role in HALL_PLACES:
                column += h * (parts[name].size // len(self._halls))
            found.append(starts[name] + column)
        return np.array(found, dtype=np.int64)

    def add_noise(self, values: F64, rng: np.random.Generator) -> None:
        """Noise and resolution, in place; readings stay inside their physical range."""
        noise = rng.normal(size=len(values))
        values += noise * (self._noise_c + self._noise_w * np.abs(values))
        values[self._fine] = np.round(values[self._fine] / self._resolution) * self._resolution
        np.clip(values, self._low, self._high, out=values)

    def to_wire(self, values: F64) -> dict[str, float]:
        """`{point id: value in the point's unit}`; NaN = the point sends nothing."""
        wire = np.round((values - self._shift) / self._scale, 6).tolist()
        return {name: v for name, v in zip(self._ids, wire, strict=True) if v == v}
