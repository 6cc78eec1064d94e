"""Collects a tick's metrics view from the daemon: references only, nothing is rendered here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coolctl.control.decision import TERMS, Decision
from coolctl.control.mode import MODES
from coolctl.control.shield import LIMITS
from coolctl.edge.metrics import MetricsView
from coolctl.points import ROLES, Snapshot
from coolctl.site import Site

if TYPE_CHECKING:
    from coolctl.daemon import Daemon

TERM_GAUGES = {
    "coolctl_it_power_watts": "it_w",
    "coolctl_wetbulb_celsius": "oawb_c",
    "coolctl_ride_through_seconds": "ride_through_s",
    "coolctl_single_failure_capability_ratio": "weakest_ratio",
    "coolctl_cooling_power_watts": "measured_w",
    "coolctl_model_power_watts": "model_w",
    "coolctl_baseline_power_watts": "baseline_w",
    "coolctl_rack_inlet_max_celsius": "hottest_c",
    "coolctl_rack_inlet_foreseen_celsius": "then_fallback_c",
    "coolctl_inlet_bias_kelvin": "inlet_bias_k",
    "coolctl_clean_seconds": "clean_s",
    "coolctl_gateway_age_seconds": "gateway_age_s",
    "coolctl_policy_in_charge_ratio": "policy_used",
}
UNIT_NAMES = {"c": "celsius", "w": "watts", "kgs": "kilograms_per_second", "pa": "pascals"}


class ViewMaker:
    """Names and running counts that do not change from tick to tick."""

    def __init__(self, site: Site):
        self.site = site
        points = site.table.points
        self.points = tuple((p.id, p.role, _unit(p.role)) for p in points)
        self.setpoints = tuple((name, _unit(name.rsplit(".", 1)[-1])) for name in site.u_names)
        self._term = {name: TERMS.index(term) for name, term in TERM_GAUGES.items()}
        self._point_of = [points[i] if i >= 0 else None for i in site.u_point]
        self.binding = dict.fromkeys(LIMITS, 0)
        self.interventions = 0

    def make(self, daemon: Daemon, d: Decision, snap: Snapshot) -> MetricsView:
        """The view of one tick."""
        link, client = daemon.link, daemon.link.client
        bits = int(np.bitwise_or.reduce(d.bits))
        self.interventions += bits != 0
        for k, name in enumerate(LIMITS):
            self.binding[name] += bits >> k & 1
        gauges = {name: float(d.term_values[k]) for name, k in self._term.items()}
        gauges["coolctl_hall_suspect_ratio"] = float(d.suspect is not None)
        gauges["coolctl_loop_sick_ratio"] = float(bool(d.sick_loops))
        gauges["coolctl_setpoint_without_effect_ratio"] = float(bool(d.no_effect))
        gauges["coolctl_doubted_points_ratio"] = len(d.doubts) / max(len(self.points), 1)
        held = np.isfinite(d.u_override) if d.u_override is not None else np.zeros(1)
        gauges["coolctl_held_setpoints_ratio"] = float(held.mean())
        gauges["coolctl_rack_inlet_limit_celsius"] = self.site.file.limits.rack_inlet_limit_c
        gauges["coolctl_lease_remote_ratio"] = float(bool(link.gateway and not link.gateway.local))
        gauges["coolctl_broker_connected_ratio"] = float(client.ready)
        if client.expires_s:
            gauges["coolctl_broker_certificate_expiry_timestamp_seconds"] = client.expires_s
        if daemon.certificate_ends_s:
            gauges["coolctl_client_certificate_expiry_timestamp_seconds"] = daemon.certificate_ends_s
        gauges["coolctl_config_last_reload_successful_ratio"] = float(daemon.reload_ok)
        if daemon.recorder is not None:
            gauges["coolctl_recorder_ok_ratio"] = float(not daemon.recorder.failed)
        counters = {
            "coolctl_ticks_total": daemon.ticks,
            "coolctl_deadline_misses_total": daemon.deadline_misses,
            "coolctl_interventions_total": self.interventions,
            "coolctl_mqtt_messages_total": client.received,
            "coolctl_mqtt_dropped_total": client.dropped,
            "coolctl_mqtt_connects_total": client.connects,
        }
        rejects = {"retained": 0, **link.rejects, **link.decoder.rejects, **link.store.rejects}
        applied = np.array(
            [p.decode(link.applied[p.id]) if p is not None and p.id in link.applied else np.nan for p in self._point_of]
        )
        return MetricsView(
            self.site.name, d.mode, d.granted, MODES, self.setpoints, d.u_policy, d.u if d.published else d.u * np.nan,
            applied, self.points, snap.value, snap.age_s, snap.quality, gauges,
            {name: float(v) for name, v in counters.items()}, rejects, self.binding, d.limit_prices,
            daemon.violations,
            {g.name: (g.factor, g.sd_ratio) for g in daemon.controller.control.gains()}, daemon.model_hash, self.site.config_hash,
        )  # fmt: skip


def _unit(role: str) -> str:
    suffix = ROLES[role].suffix
    return UNIT_NAMES.get(suffix, suffix)
