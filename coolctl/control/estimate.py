"""From a snapshot to what the controller believes: measured where measured, a stated substitute where not.

Substitutes lean to the safe side (warm weather, full load, no spare machine). What was substituted is named, so that
the mode machine can judge the evidence and the operator can see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.points import Snapshot
from coolctl.thermal import room
from coolctl.thermal.plant import W_HALL, W_OADB, W_OAWB, W_PRESSURE
from coolctl.thermal.room import HallParams

if TYPE_CHECKING:
    from coolctl.site import Site

F64 = NDArray[np.float64]

WEATHER_HOLD_S = 3600.0
POWER_HOLD_S = 30.0
LATEST_ROLES = (
    "chwst", "chwrt", "chw_flow", "chw_dp", "cwst", "cwrt", "cw_flow", "tower_speed", "tower_cells_on",
    "chillers_on", "chillers_available", "economizer_on", "hand", "bms_remote",
    "energy_price", "energy_price_ahead", "carbon_factor",
)  # fmt: skip
POWER_ROLES = ("chiller_power", "tower_power", "chw_pump_power", "cw_pump_power", "crah_fan_power")


class Estimate(NamedTuple):
    """What is believed at `now_s`. Arrays have one entry per hall; NaN = not known and not substituted."""

    now_s: float
    w: F64
    it_w: F64
    inlet_mean_c: F64
    inlet_max_c: F64
    sat_c: F64
    fan_speed: F64
    valve: F64
    aisle_dp_pa: F64
    dewpoint_c: float
    hottest_c: float
    quorum: bool
    plant: dict[str, float]
    measured_w: float
    substituted: tuple[str, ...]


class Estimator:
    """Holds the last good values that substitutes are made of, and the point indices of each role."""

    def __init__(self, site: Site, halls: F64):
        table = site.table
        self._halls = [HallParams(*row.tolist()) for row in halls]
        self._pressure_pa = site.pressure_pa
        self._design_wb_c = site.file.weather.wetbulb_design_c
        self._quorum_ratio = site.file.control.quorum_ratio
        self._latest = {role: table.one(role) for role in LATEST_ROLES}
        self._oadb, self._oawb = table.one("oadb"), table.one("oawb")
        names = site.halls
        self._it = [table.by_role("it_power", hall) for hall in names]
        self._racks = [table.by_role("rack_inlet", hall) for hall in names]
        self._sat = [table.one("sat", hall) for hall in names]
        self._fan = [table.one("crah_fan_speed", hall) for hall in names]
        self._valve = [table.one("valve", hall) for hall in names]
        self._aisle = [table.one("aisle_dp", hall) for hall in names]
        self._dewpoints = table.by_role("room_dewpoint")
        power = [table.by_role(role) for role in POWER_ROLES]
        self._power = np.concatenate(power) if all(len(p) for p in power) else np.zeros(0, dtype=np.int64)
        count = len(names)
        self._it_last_w = np.array([h.it_power_nom_w for h in self._halls])
        self._it_seen_s = np.full(count, -np.inf)
        self._weather = np.array([self._design_wb_c + 8.0, self._design_wb_c])
        self._weather_seen_s = np.full(2, -np.inf)

    def assess(self, snap: Snapshot) -> Estimate:
        """The estimate of this snapshot. Never raises for any values."""
        substituted: list[str] = []
        # An infinity is no measurement: from here on there are numbers and NaN only.
        snap = snap._replace(value=np.where(np.isfinite(snap.value), snap.value, np.nan))
        value = snap.value
        it_w = self._it_power(snap, substituted)
        inlet_mean_c, inlet_max_c, quorum = self._inlets(value)
        oadb_c, oawb_c = self._outdoor(snap, substituted)
        w = np.empty(W_HALL + len(self._halls))
        w[W_OADB], w[W_OAWB], w[W_PRESSURE] = oadb_c, oawb_c, self._pressure_pa
        for h, hall in enumerate(self._halls):
            mean_c = inlet_mean_c[h] if inlet_mean_c[h] == inlet_mean_c[h] else hall.server_fan_knee_c
            w[W_HALL + h] = max(room.it_base_w(it_w[h], mean_c, hall), 1.0)
        return Estimate(
            snap.now_s,
            w,
            it_w,
            inlet_mean_c,
            inlet_max_c,
            _pick(value, self._sat),
            _pick(value, self._fan),
            _pick(value, self._valve),
            _pick(value, self._aisle),
            largest_known(value[self._dewpoints], float("nan")),
            largest_known(inlet_max_c, float("nan")),
            quorum,
            {role: float(value[i]) if i >= 0 else float("nan") for role, i in self._latest.items()},
            float(value[self._power].sum()) if len(self._power) else float("nan"),
            tuple(substituted),
        )

    def _it_power(self, snap: Snapshot, substituted: list[str]) -> F64:
        """IT power per hall; a silent meter holds for a while, then counts as the design load."""
        for h, indices in enumerate(self._it):
            total = float(snap.value[indices].sum()) if len(indices) else float("nan")
            if total == total and total > 0.0:
                self._it_last_w[h], self._it_seen_s[h] = total, snap.now_s
            elif snap.now_s - self._it_seen_s[h] > POWER_HOLD_S:
                self._it_last_w[h] = self._halls[h].it_power_nom_w
                substituted.append(f"it_power[{h}]")
        return self._it_last_w.copy()

    def _inlets(self, value: F64) -> tuple[F64, F64, bool]:
        count = len(self._racks)
        mean_c, max_c = np.full(count, np.nan), np.full(count, np.nan)
        quorum = True
        for h, indices in enumerate(self._racks):
            inlets = value[indices]
            known = inlets[inlets == inlets]
            if len(known):
                mean_c[h], max_c[h] = known.mean(), known.max()
            quorum = quorum and len(known) >= max(2, self._quorum_ratio * len(indices))
        return mean_c, max_c, quorum

    def _outdoor(self, snap: Snapshot, substituted: list[str]) -> tuple[float, float]:
        """Dry and wet bulb; stale weather is held for an hour, then the design day is assumed."""
        for k, (name, index) in enumerate((("oadb", self._oadb), ("oawb", self._oawb))):
            now = snap.value[index] if index >= 0 else np.nan
            if now == now:
                self._weather[k], self._weather_seen_s[k] = now, snap.now_s
            elif snap.now_s - self._weather_seen_s[k] > WEATHER_HOLD_S:
                self._weather[k] = self._design_wb_c + (8.0 if name == "oadb" else 0.0)
                substituted.append(name)
        return float(self._weather[0]), float(min(self._weather[1], self._weather[0]))


def largest_known(values: F64, otherwise: float) -> float:
    """The largest of the values that are known; `otherwise` when none is."""
    known = values[values == values]
    return float(known.max()) if len(known) else otherwise


def _pick(value: F64, indices: list[int]) -> F64:
    return np.array([value[i] if i >= 0 else np.nan for i in indices])
