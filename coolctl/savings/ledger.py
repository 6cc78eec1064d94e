"""The ledger: energy, service and wear of one run, counted by a third party from the plant's trace.

Knows neither controller nor plant internals: it is fed the true (noise-free) quantities of each step where a plant
offers them, else what its meters read. Energies in kWh, temperatures in °C.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coolctl.site import Site

F64 = NDArray[np.float64]

ENERGIES = ("chillers", "towers", "chw_pumps", "cw_pumps", "crah_fans", "cdu_pumps", "server_fan_increase")
RUNNING_TOTALS = ("stored_j", "chiller_starts", "valve_travel", "fan_travel")
SUMS = ("_it_j", "_heat_j", "_water_kg", "_unmet_j", "seconds", "_fallback_s", "_allowable_s", "_cost", "_carbon_kg")
SIDES = (("cost", "cost"), ("carbon", "carbon_kg"), ("water", "water_m3"))  # saved beside energy
RATE_SAMPLE_S, RATE_WINDOW_S = 10.0, 900.0
J_PER_KWH = 3.6e6
# Fixed setpoints are nobody's challenger, optimised ones nobody's baseline.
FIXED, OPTIMISED = ("b0", "b1", "b1int", "b1hi", "b1nw"), ("ai", "oracle")
DEGREE_MINUTES_SLACK = 0.5  # K·min a rack, the contract's allowance for sensor-grade differences


class Trace(Protocol):
    """Quantities of one step; electric powers [W], temperatures [°C], wear as running totals."""

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


class Account:
    """Running totals of one controller's run."""

    def __init__(self, site: Site):
        self._site = site
        self._limit_c = site.file.limits.rack_inlet_limit_c
        self._allowable_c = site.file.limits.rack_inlet_allowable_c
        self._joules = np.zeros(len(ENERGIES))
        self._it_j = self._heat_j = self._water_kg = self._unmet_j = 0.0
        self._cost = self._carbon_kg = 0.0
        self.seconds = self._fallback_s = self._allowable_s = 0.0
        self.degree_minutes: F64 | None = None
        self._inlet_max_c = -np.inf
        self._dewpoint_margin_k = np.inf
        self._ride_through_s = np.inf
        self._rate_max_k = 0.0
        self._window: deque[F64] = deque(maxlen=int(RATE_WINDOW_S / RATE_SAMPLE_S))
        self._since_sample_s = np.inf
        self._first: Trace | None = None
        self._last: Trace | None = None
        self._ended = np.zeros(len(RUNNING_TOTALS))  # what runs that were taken in had moved from their first step to their last

    def add(
        self, t: Trace, dt_s: float, *, fallback: bool = False, sat_min_c: float = np.nan, ride_through_s: float = np.nan
    ) -> None:
        """Count one step of `dt_s` [s]."""
        if self._first is None:
            self._first = t
            self.degree_minutes = np.zeros(len(t.rack_inlet_c))
        self._last = t
        increase_w = t.server_fan_w - t.server_fan_idle_w
        powers = (t.chiller_w, t.tower_w, t.chw_pump_w, t.cw_pump_w, t.crah_fan_w, 0.0, increase_w)
        joules = np.array(powers) * dt_s
        self._joules += joules
        kwh = float(joules.sum()) / J_PER_KWH
        self._cost += kwh * t.energy_price
        self._carbon_kg += kwh * t.carbon_factor
        self._it_j += t.it_w * dt_s
        self._heat_j += t.heat_w * dt_s
        self._water_kg += t.water_kgs * dt_s
        self._unmet_j += t.unmet_w * dt_s
        self.seconds += dt_s
        self._fallback_s += dt_s if fallback else 0.0
        self._service(t, dt_s)
        if sat_min_c == sat_min_c:
            self._dewpoint_margin_k = min(self._dewpoint_margin_k, sat_min_c - t.dewpoint_c)
        if ride_through_s == ride_through_s:
            self._ride_through_s = min(self._ride_through_s, ride_through_s)

    def absorb(self, other: Account) -> None:
        """Take in another run of the same controller (another day, another season): sums add, extremes widen."""
        if other.degree_minutes is None:
            return
        mine = np.zeros_like(other.degree_minutes) if self.degree_minutes is None else self.degree_minutes
        self.degree_minutes = mine + other.degree_minutes
        self._joules = self._joules + other._joules
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._ended = self._ended + other._moved()
        self._inlet_max_c = max(self._inlet_max_c, other._inlet_max_c)
        self._rate_max_k = max(self._rate_max_k, other._rate_max_k)
        self._dewpoint_margin_k = min(self._dewpoint_margin_k, other._dewpoint_margin_k)
        self._ride_through_s = min(self._ride_through_s, other._ride_through_s)

    def _moved(self) -> F64:
        """How far the running totals have moved, in the order of `RUNNING_TOTALS`."""
        if self._first is None or self._last is None:
            return self._ended
        moved = [getattr(self._last, n) - getattr(self._first, n) for n in RUNNING_TOTALS]
        return self._ended + np.array(moved)

    def _service(self, t: Trace, dt_s: float) -> None:
        assert self.degree_minutes is not None
        inlet = t.rack_inlet_c
        hottest = float(inlet.max())
        self._inlet_max_c = max(self._inlet_max_c, hottest)
        if hottest > self._limit_c:
            self.degree_minutes += np.maximum(inlet - self._limit_c, 0.0) * dt_s / 60.0
        self._allowable_s += dt_s if hottest > self._allowable_c else 0.0
        self._since_sample_s += dt_s
        if self._since_sample_s >= RATE_SAMPLE_S:
            self._since_sample_s = 0.0
            if self._window:
                self._rate_max_k = max(self._rate_max_k, float((inlet - np.min(self._window, axis=0)).max()))
            self._window.append(inlet.copy())

    def entry(self) -> dict[str, Any]:
        """The controller's entry of the ledger."""
        f = self._site.file
        assert self.degree_minutes is not None, "nothing has been counted"
        stored_j, starts, valve, fan = self._moved().tolist()
        kwh = {name: float(v) / J_PER_KWH for name, v in zip(ENERGIES, self._joules, strict=True)}
        total = sum(kwh.values())
        kwh["cooling_total"] = total
        it_kwh = self._it_j / J_PER_KWH
        return {
            "energy_kwh": {k: round(v, 4) for k, v in kwh.items()},
            "it_kwh": round(it_kwh, 4),
            "heat_kwh": round(self._heat_j / J_PER_KWH, 3),
            "stored_kwh": round(stored_j / J_PER_KWH, 3),
            "water_m3": round(self._water_kg / 998.0, 4),
            "carbon_kg": round(self._carbon_kg, 3),
            "cost": round(self._cost + self._water_kg / 998.0 * f.tariff.water_price_per_m3, 3),
            "service": {
                "rack_inlet_max_c": _finite(self._inlet_max_c, 3),
                "degree_minutes_above_limit": round(float(self.degree_minutes.max()), 4),
                "minutes_above_allowable": round(self._allowable_s / 60.0, 3),
                "inlet_rate_max_k_per_15min": round(self._rate_max_k, 3),
                "dewpoint_margin_min_k": _finite(self._dewpoint_margin_k, 3),
                "ride_through_min_s": _finite(self._ride_through_s, 0),
                "unmet_kwh": round(self._unmet_j / J_PER_KWH, 3),
            },
            "wear": {
                "chiller_starts": round(starts, 2),
                "valve_travel": round(valve, 2),
                "fan_travel": round(fan, 2),
            },
            "fallback_hours": round(self._fallback_s / 3600.0, 4),
            "ppue": round(1.0 + (total - kwh["server_fan_increase"]) / it_kwh, 4) if it_kwh else None,
        }


def _finite(value: float, digits: int) -> float | None:
    """Rounded, or None where nothing was observed: JSON has no infinity."""
    return round(value, digits) if np.isfinite(value) else None


def service_faults(site: Site, mine: Account, base: Account) -> list[str]:
    """Why `mine` did not give the same service as `base`; empty when it did (CONTRACT: equal service)."""
    limits = site.file.limits
    entry, faults = mine.entry()["service"], []
    assert mine.degree_minutes is not None and base.degree_minutes is not None
    extra = float((mine.degree_minutes - base.degree_minutes).max())
    required_s = site.chiller.restart_s + limits.ride_through_margin_s
    if extra > DEGREE_MINUTES_SLACK:
        faults.append(f"a rack was {extra:.1f} K·min longer above its limit")
    if entry["minutes_above_allowable"] > 0.0:
        faults.append(f"{entry['minutes_above_allowable']} min above allowable")
    if entry["inlet_rate_max_k_per_15min"] > limits.inlet_rate_max_k_per_15min:
        faults.append(f"inlet rose {entry['inlet_rate_max_k_per_15min']} K within 15 min")
    if (entry["dewpoint_margin_min_k"] or 0.0) < limits.dewpoint_margin_k:
        faults.append(f"dew-point margin fell to {entry['dewpoint_margin_min_k']} K")
    if (entry["ride_through_min_s"] or 0.0) < required_s:
        faults.append(f"ride-through fell to {entry['ride_through_min_s'] or 0.0:.0f} s of {required_s:.0f}")
    if entry["unmet_kwh"] > base.entry()["service"]["unmet_kwh"] + 1.0:
        faults.append(f"{entry['unmet_kwh']} kWh of cooling not delivered")
    return faults


def heat_left_charge_kwh(mine: dict[str, Any], base: dict[str, Any]) -> float:
    """Electricity [kWh] that the heat still in loop and hall would have cost the baseline: what a run put aside is no
    saving. Charged where `mine` left more than `base`, never credited."""
    return float(heat_left_ratio(mine, base) * base["energy_kwh"]["cooling_total"])


def heat_left_ratio(mine: dict[str, Any], base: dict[str, Any]) -> float:
    """Heat [ratio of what the baseline removed] that `mine` left in loop and hall beyond what the baseline left."""
    left = mine["stored_kwh"] - base["stored_kwh"]
    removed = base["heat_kwh"] - base["stored_kwh"]
    return float(left / removed) if left > 0.0 and removed > 0.0 else 0.0


def savings(site: Site, accounts: dict[str, Account]) -> dict[str, Any]:
    """Paired savings of every run against every other baseline, with the verdict on equal service; and, where the
    three have run, how much of the way from `b2` to `oracle` was gone."""
    result: dict[str, Any] = {}
    for name, account in accounts.items():
        for base_name, base in accounts.items():
            if base_name != name and name not in FIXED and base_name not in OPTIMISED:
                result[f"{name}_vs_{base_name}"] = _saving(site, account, base)
    if {"b2", "ai", "oracle"} <= accounts.keys():
        mine, most = (result[f"{name}_vs_b2"]["cooling_ratio"] for name in ("ai", "oracle"))
        result["gap_closed_b2_to_oracle"] = round(mine / most, 4) if mine is not None and most and most > 0.0 else None
    return result


def _less(mine: float, theirs: float) -> float | None:
    """By what share of `theirs` `mine` is less."""
    return round(1.0 - mine / theirs, 4) if theirs else None


def _saving(site: Site, account: Account, base: Account) -> dict[str, Any]:
    mine, theirs = account.entry(), base.entry()
    a, b = mine["energy_kwh"]["cooling_total"], theirs["energy_kwh"]["cooling_total"]
    it_idle_a = mine["it_kwh"] - mine["energy_kwh"]["server_fan_increase"]
    it_idle_b = theirs["it_kwh"] - theirs["energy_kwh"]["server_fan_increase"]
    faults = service_faults(site, account, base)
    left, charge = heat_left_ratio(mine, theirs), heat_left_charge_kwh(mine, theirs)
    a += charge
    return {
        "cooling_ratio": round(1.0 - a / b, 4) if b else None,
        "facility_ratio": round(1.0 - (a + it_idle_a) / (b + it_idle_b), 4) if b else None,
        **{f"{key}_ratio": _less(mine[name] + left * theirs[name], theirs[name]) for key, name in SIDES},
        "heat_left_charge_kwh": round(charge, 3),
        "equal_service": not faults,
        "service_faults": faults,
    }
