"""Closed-loop comparison on virtual time: the same plant, seed, load and weather under one controller after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimator
from coolctl.points import U_CHW_DP, U_HALL, SampleStore
from coolctl.savings.ledger import Account, savings
from coolctl.savings.meters import MeteredTrace
from coolctl.savings.profile import Profile
from coolctl.site import Site
from coolctl.thermal.dynamics import HORIZON_S, ride_through_s
from coolctl.thermal.params import hall_array, plant_params

F64 = NDArray[np.float64]

SKIP_S = 1800.0
RIDE_THROUGH_EVERY_S = 60.0


class Plant(Protocol):
    """Any plant that steps on demand: see CONTRACT.md §3."""

    def reset(self, seed: int) -> Mapping[str, float]: ...

    def step(self, setpoints: Mapping[str, float] | None, dt_s: float) -> Mapping[str, float] | None: ...


class Controls(Protocol):
    """A controller: returns a Decision, or setpoints by point id."""

    def tick(self, readings: Mapping[str, float], now_s: float) -> Any: ...


@dataclass
class Ledger:
    """Result of a comparison."""

    site: Site
    hours: float
    seed: int
    accounts: dict[str, Account]
    labels: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The ledger's stable form (CONTRACT.md §5)."""
        return {
            "site": self.site.name,
            "weather": self.labels.get("weather", ""),
            "load": self.labels.get("load", ""),
            "hours": round(self.hours, 4),
            "seed": self.seed,
            "config_hash": self.site.config_hash,
            "model_hash": self.labels.get("model_hash", ""),
            "controllers": {name: account.entry() for name, account in self.accounts.items()},
            "savings": savings(self.site, self.accounts),
        }


class Auditor:
    """Judges a run from outside: reads the plant, never the controller's state."""

    def __init__(self, site: Site):
        self.site = site
        self.store = SampleStore(site.table)
        self.halls, self.p = hall_array(site), plant_params(site)
        self.estimator = Estimator(site, self.halls)
        self._scratch = np.zeros(2 * len(self.halls))
        self.last_s = -np.inf
        self.ride_s = np.nan
        table = site.table
        self._sat = [table.points[i] for hall in site.halls if (i := table.one("sat", hall)) >= 0]
        self._since: dict[str, float] = {}

    def look(self, readings: Mapping[str, float], now_s: float) -> tuple[float, float]:
        """Coldest supply air [°C] now, and ride-through [s] once a minute (NaN between)."""
        sats = [(p, p.decode(readings.get(p.id, math.nan))) for p in self._sat]
        sat_c = min((c for p, c in sats if p.low <= c <= p.high), default=math.nan)
        self._since.update((name, value) for name, value in readings.items() if value == value)
        if now_s - self.last_s < RIDE_THROUGH_EVERY_S:
            return sat_c, np.nan
        # What a sensor said within the minute counts, if it is silent in this very moment.
        self.store.put_readings(self._since, now_s)
        self._since = {}
        snap = self.store.snapshot(now_s)
        self.last_s = now_s
        est = self.estimator.assess(snap)
        u = np.zeros(U_HALL + 2 * len(self.halls))
        dp = est.plant["chw_dp"]
        u[U_CHW_DP] = dp if dp == dp else self.p.chw_pump.head_static_pa
        u[U_HALL::2] = np.where(np.isfinite(est.sat_c), est.sat_c, 22.0)
        u[U_HALL + 1 :: 2] = np.where(np.isfinite(est.fan_speed), np.maximum(est.fan_speed, 0.1), 0.7)
        return sat_c, self.ride_through_s(u, est.w, est.plant["chwst"], est.plant["chwrt"])

    def ride_through_s(self, u: F64, w: F64, chwst_c: float, chwrt_c: float) -> float:
        """Seconds until a rack passes its allowable limit if every machine stopped now."""
        limit_c = self.site.file.limits.rack_inlet_allowable_c
        return float(ride_through_s(u, w, chwst_c, chwrt_c, limit_c, HORIZON_S, self.halls, self.p.row, self._scratch))


def run(
    site: Site, plant: Plant, controller: Controls | None, hours: float, seed: int, dt_s: float = 1.0,
    observe: Callable[[Any, float], None] | None = None, profile: Profile | None = None,
) -> Account:  # fmt: skip
    """One controller's run (None = the plant's own control), the first half hour not counted; `profile` gathers more."""
    account, auditor = Account(site), Auditor(site)
    readings: Mapping[str, float] | None = plant.reset(seed)
    steps = round(hours * 3600.0 / dt_s)
    for k in range(steps):
        assert readings is not None
        now_s = k * dt_s
        decision = controller.tick(readings, now_s) if controller else None
        setpoints = getattr(decision, "setpoints", decision)
        if observe:
            observe(decision, now_s)
        readings = plant.step(setpoints, dt_s)
        if readings is None:
            break
        if now_s >= SKIP_S:
            sat_c, ride_s = auditor.look(readings, now_s)
            trace: Any = getattr(plant, "truth", None) or MeteredTrace.of(site, readings)
            fallback = getattr(decision, "mode", "") in ("fallback", "release", "emergency")
            account.add(trace, dt_s, fallback=fallback, sat_min_c=sat_c, ride_through_s=ride_s)
            if profile is not None:
                profile.add(trace, readings, setpoints, now_s, dt_s)
    return account


def evaluate(
    plant: Plant, controllers: Mapping[str, Controls | None], hours: float, *, site: Site, seed: int = 1,
    dt_s: float = 1.0, labels: dict[str, str] | None = None,
) -> Ledger:  # fmt: skip
    """Run every controller on `plant` for `hours` from the same initial state; the comparison as a `Ledger`."""
    accounts = {name: run(site, plant, c, hours, seed, dt_s) for name, c in controllers.items()}
    return Ledger(site, hours, seed, accounts, labels or {})
