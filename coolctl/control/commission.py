"""Commissioning: small supervised steps of one setpoint after the other, and what each of them moved.

A plant under steady control tells little: everything follows the load together. Here one setpoint moves at a time, a
little, to the cold side, from a moment when the rest stands still, and back. What answers, by how much, is the
influence matrix; an answer in the wrong place is a swapped sensor, none at all a loop in hand or a point that is not wired.

The shield stays in force: a step is a wish like any other. It is given up, and the setpoint goes home, when racks come
near their limit, when too few sensors are left, or when the load moves so much that the answer would mean nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.control.shield import BIT
from coolctl.points import (
    ROLES,
    U_CELLS,
    U_CHILLERS,
    U_CHW_DP,
    U_CHWST,
    U_CW_FLOW,
    U_CWST,
    U_ECONOMIZER,
    U_HALL,
    Snapshot,
)  # fmt: skip

if TYPE_CHECKING:
    from coolctl.site import Site

F64 = NDArray[np.float64]

# By how much each setpoint is moved, to the cold side. Supply air and fans are a hall's own.
STEP = {U_CHWST: -1.0, U_CHW_DP: 15e3, U_CWST: -1.5, U_CW_FLOW: 0.1}
STEP_SAT_K, STEP_FAN = -0.8, 0.06
MACHINES = (U_CHILLERS, U_CELLS, U_ECONOMIZER)
QUIET_S, HOLD_S, MEAN_S = 600.0, 900.0, 180.0
NEAR_LIMIT_K, LOAD_MOVED_RATIO, TRIES = 0.05, 0.05, 3
ANSWERS, ANSWERS_WELL = 4.0, (0.6, 1.5)  # standard errors; measured over commanded
OWN = {"chwst_sp": "chwst", "chw_dp_sp": "chw_dp", "cwst_sp": "cwst", "sat_sp": "sat", "fan_speed_sp": "crah_fan_speed"}


class Response(NamedTuple):
    """What one step did: setpoint, by how much it moved, and per point the change and its standard error, internal units."""

    name: str
    k: int
    moved: float
    change: F64
    error: F64
    why_not: str


class Excitation:
    """Runs the steps; `wish` takes its place between plan and shield."""

    def __init__(self, site: Site):
        self.site = site
        accepted = [k for k in (*STEP, *range(U_HALL, len(site.u_names))) if site.accepted[k]]
        self.queue = [(k, 1) for k in accepted]
        self.responses: list[Response] = []
        self._limit_c = site.file.limits.rack_inlet_limit_c
        self._measured = np.array([not ROLES[p.role].writable for p in site.table.points])
        self._base: F64 | None = None
        self._since_s = self._load_w = np.nan
        self._means: list[tuple[F64, F64]] = []  # before the step, and while it is held; what drifts is known from after it
        self._went, self._rest_until_s = 0.0, -np.inf
        self._samples: list[F64] = []
        self._moved: list[float] = []

    @property
    def done(self) -> bool:
        """Whether every step has been tried."""
        return not self.queue

    @property
    def duration_s(self) -> float:
        """How long what is left takes at least [s]."""
        return (2.0 * QUIET_S + HOLD_S) * len(self.queue)

    def wish(self, wish: F64, last: F64, bits: NDArray[np.int64], est: Estimate, snap: Snapshot, in_charge: bool = True) -> F64:
        """The setpoints for this tick; `last` is what was published, `bits` the limits that changed it."""
        if self.done or est.now_s < self._rest_until_s:
            return wish
        load_w = float(est.it_w.sum())
        if self._base is None:
            self._base, self._since_s, self._load_w = last.copy(), est.now_s, load_w
            self._samples, self._moved, self._means = [], [], []
        k, _ = self.queue[0]
        why_not = self._trouble(est, load_w) if in_charge else "the policy is not in charge"
        if why_not:
            self._give_up(why_not, est.now_s)
            return wish
        age_s = est.now_s - self._since_s
        u = np.where(np.isin(np.arange(len(wish)), MACHINES), last, self._base)
        held = len(self._means) == 1
        if held:
            u[k] += self.size(k)
        length_s = HOLD_S if held else QUIET_S
        self._sample(snap, last[k], age_s, length_s)
        if age_s >= length_s:
            self._next_phase(k, bits, held, est.now_s)
        return u

    def size(self, k: int) -> float:
        """How far setpoint `k` is moved."""
        return STEP[k] if k < U_HALL else STEP_SAT_K if (k - U_HALL) % 2 == 0 else STEP_FAN

    def _trouble(self, est: Estimate, load_w: float) -> str:
        if not est.hottest_c < self._limit_c - NEAR_LIMIT_K:
            return "a rack is near its limit"
        if not est.quorum:
            return "too few sensors"
        if abs(load_w - self._load_w) > LOAD_MOVED_RATIO * self._load_w:
            return "the load moved"
        return ""

    def _give_up(self, why_not: str, now_s: float) -> None:
        """Leave the plant to the controller for a while and try again, a few times; then say why there is no answer."""
        self._rest_until_s = now_s + QUIET_S
        k, tries = self.queue.pop(0)
        if tries < TRIES:
            self.queue.append((k, tries + 1))
        else:
            nothing = np.full(len(self._measured), np.nan)
            self.responses.append(Response(self.site.u_names[k], k, 0.0, nothing, nothing, why_not))
        self._base = None

    def _sample(self, snap: Snapshot, now: float, age_s: float, length_s: float) -> None:
        if age_s >= length_s - MEAN_S:
            self._samples.append(snap.value)
            self._moved.append(now)

    def _mean(self) -> tuple[F64, F64]:
        """Mean and its standard error of every point over the last samples; errors are alike from one to the next, so a
        tenth of them count as independent."""
        seen = np.array(self._samples)
        known = np.isfinite(seen)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, seen, 0.0).sum(axis=0) / count
        spread = np.sqrt(np.where(known, (seen - mean) ** 2, 0.0).sum(axis=0) / count)
        error = spread / np.sqrt(np.maximum(count / 10.0, 1.0))
        return np.where(known.any(axis=0), mean, np.nan), error

    def _next_phase(self, k: int, bits: NDArray[np.int64], held: bool, now_s: float) -> None:
        """Before, held, after: three means make an answer."""
        assert self._base is not None
        self._means.append(self._mean())
        if held:
            self._went = float(np.mean(self._moved) - self._base[k])
            if abs(self._went) < 0.5 * abs(self.size(k)):
                names = [name for name, b in BIT.items() if int(bits[k]) & b]
                self._give_up("held by " + (", ".join(names) or "the plant"), now_s)
                return
        self._samples, self._moved, self._since_s = [], [], now_s
        if len(self._means) == 3:
            (before, e0), (during, e1), (after, e2) = self._means
            change = np.where(self._measured, during - 0.5 * (before + after), np.nan)
            error = np.sqrt(e1**2 + 0.25 * (e0**2 + e2**2))
            self.responses.append(Response(self.site.u_names[k], k, self._went, change, error, ""))
            self.queue.pop(0)
            self._base = None


class Finding(NamedTuple):
    """Something that an operator should look at."""

    setpoint: str
    text: str


def influence(r: Response) -> F64:
    """Change of every point per unit of the setpoint; NaN where it did not answer beyond its noise."""
    sure = np.abs(r.change) > ANSWERS * np.maximum(r.error, 1e-9)
    return np.where(sure, r.change / r.moved, np.nan) if r.moved else np.full(len(r.change), np.nan)


def findings(site: Site, responses: list[Response]) -> list[Finding]:
    """What does not answer as it should: swapped sensors, loops in hand, points that are not wired."""
    found = []
    for r in responses:
        if r.why_not:
            found.append(Finding(r.name, f"not tried: {r.why_not}"))
            continue
        hall, _, role = r.name.rpartition(".")
        own = OWN.get(role or r.name)
        if own is None:
            continue
        per_unit = {p.id: float(v) for p, v in zip(site.table.points, influence(r), strict=True)}
        i = site.table.one(own, hall or "plant")
        if i < 0:
            continue
        answer = per_unit[site.table.points[i].id]
        elsewhere = [h for h in site.halls if h != hall and _follows(site, per_unit, own, h)] if hall else []
        if elsewhere and not _well(answer):
            found.append(Finding(r.name, f"{own} of {', '.join(elsewhere)} answered instead of {hall}'s: swapped?"))
        elif not _well(answer):
            seen = "did not answer" if answer != answer else f"moved {answer:.2f} of what was asked"
            found.append(Finding(r.name, f"{own} {seen}: in hand, at its end, or not wired to this point"))
        if role == "sat_sp" and len(site.halls) > 1:
            found += _racks(site, per_unit, r.name, hall)
    return found


def _well(answer: float) -> bool:
    return ANSWERS_WELL[0] <= answer <= ANSWERS_WELL[1]


def _follows(site: Site, per_unit: dict[str, float], role: str, hall: str) -> bool:
    i = site.table.one(role, hall)
    return i >= 0 and _well(per_unit[site.table.points[i].id])


def _racks(site: Site, per_unit: dict[str, float], name: str, hall: str) -> list[Finding]:
    """Rack sensors that follow another hall's supply air, or not their own."""
    found = []
    for p in site.table.points:
        if p.role == "rack_inlet":
            own = p.machine.split(".")[0] == hall
            if own != _well(per_unit[p.id]):
                found.append(
                    Finding(name, f"{p.id} " + ("does not follow its hall's supply air" if own else "follows it: swapped?"))
                )
    return found
