"""A trace made from meter readings, for plants that offer no noise-free truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.site import Site

F64 = NDArray[np.float64]


class MeteredTrace(NamedTuple):
    """See `ledger.Trace`; what is not metered counts as zero, server fans as at idle where they have no meter."""

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
    unmet_w: float
    water_kgs: float
    chiller_starts: float
    valve_travel: float
    fan_travel: float
    local: bool
    stored_j: float
    heat_w: float
    energy_price: float
    carbon_factor: float

    @classmethod
    def of(cls, site: Site, readings: Mapping[str, float]) -> MeteredTrace:
        """The trace of one step's readings (in the site file's units)."""
        totals: dict[str, float] = {}
        inlets, dewpoints = [], []
        for point in site.table.points:
            wire = readings.get(point.id)
            if wire is None or wire != wire:
                continue
            value = point.decode(wire)
            totals[point.role] = totals.get(point.role, 0.0) + value
            if point.role == "rack_inlet":
                inlets.append(value)
            elif point.role == "room_dewpoint":
                dewpoints.append(value)
        it_w, fans_w = totals.get("it_power", 0.0), totals.get("server_fan_power", 0.0)
        share = site.servers[0].fan_power_ratio
        idle_w = (it_w - fans_w) * share if fans_w else 0.0
        return cls(
            it_w, totals.get("chiller_power", 0.0), totals.get("tower_power", 0.0), totals.get("chw_pump_power", 0.0),
            totals.get("cw_pump_power", 0.0), totals.get("crah_fan_power", 0.0), fans_w, idle_w,
            np.array(inlets or [np.nan]), max(dewpoints, default=np.nan), 0.0, 0.0, 0.0, 0.0, 0.0,
            totals.get("bms_remote", 1.0) < 0.5, 0.0, 0.0,
            totals.get("energy_price", site.file.tariff.price_per_kwh),
            totals.get("carbon_factor", site.file.carbon.factor_kg_per_kwh),
        )  # fmt: skip
