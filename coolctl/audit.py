"""Turns decisions into records for the invariants: the one place that knows both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from coolctl.control.decision import TERMS, Decision
from coolctl.control.ranges import rate_vectors
from coolctl.control.shield import BIT, Shield, running
from coolctl.control.tick import IN_PROCESS, GatewayView, Tick
from coolctl.gateway import GatewayCore
from coolctl.invariants import TickRecord, Violation, Watch
from coolctl.jit import signatures_when_ready
from coolctl.points import U_CHILLERS, U_ECONOMIZER, Quality, Snapshot
from coolctl.site import Site

KEPT = 1000  # violations: a daemon lives for months
_TERM = {name: k for k, name in enumerate(TERMS)}


class Audit:
    """Watches one controller; `look` is called with each decision and what it was made from."""

    def __init__(self, site: Site, tick: Tick):
        self.site, self.watch = site, Watch()
        f, names = site.file, site.u_names
        points = site.table.points
        limits = {p.id: GatewayCore.range_of(f.gateway, p) for p in points if p.writable}
        self._limits = {n: limits[points[i].id] for n, i in zip(names, site.u_point, strict=True) if i >= 0}
        down, up = rate_vectors(f.rates, len(site.halls))
        self._rates = {n: (float(d), float(u)) for n, d, u in zip(names, down, up, strict=True)}
        self._authority = dict(zip(names, tick.shield.authority.tolist(), strict=True))
        self._tick = tick
        self._judge = Shield(
            tick.halls, tick.p, f.limits, f.rates, f.dwell, (f.control.authority_k, f.control.authority_ratio), tick.required_s
        )
        self._racks = site.table.by_role("rack_inlet")
        seen = (site.table.one("chillers_on"), site.table.one("economizer_on"))
        self._machines = list(zip(seen, (U_CHILLERS, U_ECONOMIZER), strict=True))
        self._last_s = float("nan")
        self._before: np.ndarray | None = None
        self.violations: list[tuple[float, Violation]] = []

    def look(
        self,
        d: Decision,
        snap: Snapshot,
        *,
        gateway: GatewayView = IN_PROCESS,
        operator: bool = False,
        inlet_c: float = float("nan"),
        plant_fault: bool = False,
        powers_w: tuple[float, ...] = (),
        lateness_s: float = float("nan"),
        compute_s: float = float("nan"),
    ) -> list[Violation]:
        """Violations of this tick; they are kept in `violations` too."""
        record = replace(
            self._record(d, snap), hand=gateway.hand, confirmed=gateway.confirmed, operator_command=operator,
            lateness_s=lateness_s, compute_s=compute_s, true_inlet_c=inlet_c, plant_fault=plant_fault,
            total_w=powers_w[0] if powers_w else float("nan"), parts_w=powers_w[1:],
        )  # fmt: skip
        self._last_s, self._before = d.now_s, d.u
        found = self.watch.look(record)
        self.violations = [*self.violations, *((d.now_s, v) for v in found)][-KEPT:] if found else self.violations
        return found

    def _record(self, d: Decision, snap: Snapshot) -> TickRecord:
        """What follows from the decision and its snapshot alone."""
        names, site = self.site.u_names, self.site
        term = d.term_values
        dt_s = d.now_s - self._last_s if self._last_s == self._last_s else 0.0
        lim = site.file.limits
        stale = (snap.quality != Quality.GOOD) & ~np.isnan(snap.value)
        return TickRecord(
            now_s=d.now_s,
            dt_s=min(max(dt_s, 0.0), 60.0),
            seq=d.seq,
            mode=d.mode,
            granted=d.granted,
            published={n: v for n, v, ours in zip(names, d.u.tolist(), site.accepted, strict=True) if ours}
            if d.published
            else {},
            gateway_limits=self._limits,
            rates_per_s=self._rates,
            baseline=dict(zip(names, d.u_baseline.tolist(), strict=True)),
            authority=self._authority,
            airflow_forced=frozenset(n for n, b in zip(names, d.bits.tolist(), strict=True) if b & BIT["airflow"]),
            clean_s=float(term[_TERM["clean_s"]]),
            quorum=bool(term[_TERM["quorum"]] > 0.5),
            hottest_c=float(term[_TERM["hottest_c"]]),
            hottest_believed_c=self._believed(d, snap),
            warm_limit_c=lim.rack_inlet_limit_c - lim.rack_inlet_margin_k,
            dewpoint_c=float(term[_TERM["dewpoint_c"]]),
            fan_min_ratio=lim.fan_speed_sp_min_ratio,
            dwell_on_s=site.file.dwell.chiller_on_s,
            between_starts_s=site.file.dwell.chiller_between_starts_s,
            carries_without=self._carries(d, snap),
            ride_through_s=float(term[_TERM["ride_through_s"]]),
            ride_through_needed_s=self._tick.required_s,
            stale_used=int(stale.sum()),
            model_admitted=self._tick.policy is not None,
            policy_used=d.policy_used,
            changed_by_shield=bool((d.u != d.u_wish)[np.isfinite(d.u_wish)].any()),
            intervention_flag=bool(d.bits.any()),
            signatures=signatures_when_ready(),
        )

    def _believed(self, d: Decision, snap: Snapshot) -> float:
        """The hottest rack sensor that is fresh, in range and not doubted [°C]; NaN where there is none."""
        inlet_c = np.where(snap.quality == Quality.GOOD, snap.value, np.nan)
        inlet_c[[doubt.i for doubt in d.doubts]] = np.nan
        return float(np.fmax.reduce(inlet_c[self._racks], initial=np.nan))

    def _carries(self, d: Decision, snap: Snapshot) -> bool | None:
        """Whether what is left running carries 105 %; only asked when a chiller or the economizer is to stop."""
        machines = [k for k in (U_CHILLERS, U_ECONOMIZER) if self.site.accepted[k]]
        if self._before is None or not any(d.u[k] < self._before[k] for k in machines):
            return None
        w = self._tick.conditions
        ratio = self.site.file.limits.remaining_capacity_ratio
        left = [running(float(snap.value[i]) if i >= 0 else np.nan, float(d.u[k])) for i, k in self._machines]
        return self._judge.carries(d.u, w, left[0], left[1], ratio)
