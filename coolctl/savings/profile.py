"""What a run looked like beside its totals: inlets as a distribution, energy by wet bulb and load, setpoints over time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from coolctl.points import U_CHW_DP, U_CHWST, U_CWST, U_HALL, u_size
from coolctl.savings.ledger import Trace
from coolctl.site import Site

F64 = NDArray[np.float64]

INLET_C = np.arange(15.0, 35.01, 0.1)
WETBULB_C = np.arange(-20.0, 32.1, 4.0)
LOAD_RATIO = np.linspace(0.0, 1.0, 11)
SETPOINT_EVERY_S = 300.0
SHOWN = {
    "chilled water °C": U_CHWST,
    "tower water °C": U_CWST,
    "supply air °C": U_HALL,
    "fans %": U_HALL + 1,
    "pump kPa": U_CHW_DP,
}
SHOWN_FACTOR = {"fans %": 100.0, "pump kPa": 1e-3}


class Profile:
    """Gathers one controller's run; several runs of it add up with `absorb`."""

    def __init__(self, site: Site):
        self._it_nom_w = sum(h.it_power_nom_w for h in site.file.halls)
        self._oawb = site.table.one("oawb")
        self._points = [site.table.points[i] if i >= 0 else None for i in site.u_point]
        self._names = [p.id for p in site.table.points]
        self.inlet_s = np.zeros(len(INLET_C) + 1)
        self.cooling_j = np.zeros((len(WETBULB_C) + 1, len(LOAD_RATIO) + 1))
        self.seconds = np.zeros_like(self.cooling_j)
        self.setpoints: list[F64] = []
        self._sampled_s = -np.inf

    def add(
        self, trace: Trace, readings: Mapping[str, float], setpoints: Mapping[str, float] | None, now_s: float, dt_s: float
    ) -> None:
        """Count one step of `dt_s` [s]."""
        hottest_c = float(trace.rack_inlet_c.max())
        self.inlet_s[int(np.searchsorted(INLET_C, hottest_c))] += dt_s
        wetbulb_c = readings.get(self._names[self._oawb], np.nan) if self._oawb >= 0 else np.nan
        if wetbulb_c == wetbulb_c:
            powers = (trace.chiller_w, trace.tower_w, trace.chw_pump_w, trace.cw_pump_w, trace.crah_fan_w)
            cooling_w = sum(powers) + trace.server_fan_w - trace.server_fan_idle_w
            at = (int(np.searchsorted(WETBULB_C, wetbulb_c)), int(np.searchsorted(LOAD_RATIO, trace.it_w / self._it_nom_w)))
            self.cooling_j[at] += cooling_w * dt_s
            self.seconds[at] += dt_s
        if setpoints and not 0.0 <= now_s - self._sampled_s < SETPOINT_EVERY_S:
            self._sampled_s = now_s
            self.setpoints.append(self._vector(setpoints, now_s))

    def _vector(self, setpoints: Mapping[str, float], now_s: float) -> F64:
        u = np.full(1 + u_size(1), np.nan)
        u[0] = now_s
        for k, point in enumerate(self._points[: u_size(1)]):
            if point is not None and point.id in setpoints:
                u[1 + k] = point.decode(setpoints[point.id])
        return u

    def absorb(self, other: Profile) -> None:
        """Take in another run of the same controller; its setpoints follow on in time."""
        self.inlet_s += other.inlet_s
        self.cooling_j += other.cooling_j
        self.seconds += other.seconds
        after_s = self.setpoints[-1][0] + SETPOINT_EVERY_S if self.setpoints else 0.0
        for u in other.setpoints:
            moved = u.copy()
            moved[0] += after_s
            self.setpoints.append(moved)

    def traces(self) -> tuple[F64, dict[str, F64]]:
        """Times [h] and the setpoints shown, in the units of their names; the first hall's air."""
        rows = np.array(self.setpoints) if self.setpoints else np.zeros((0, 1 + u_size(1)))
        return rows[:, 0] / 3600.0, {name: rows[:, 1 + k] * SHOWN_FACTOR.get(name, 1.0) for name, k in SHOWN.items()}


def saving_by_bin(mine: Profile, base: Profile) -> F64:
    """Saving of `mine` against `base` per bin of wet bulb and load [ratio]; NaN where either was there for under ten minutes."""
    enough = (mine.seconds >= 600.0) & (base.seconds >= 600.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 1.0 - (mine.cooling_j / mine.seconds) / (base.cooling_j / base.seconds)
    return np.where(enough, ratio, np.nan)
