"""Prometheus metrics from one snapshot: the tick swaps a reference, the scrape does all the work in its own thread.

Served on the loopback by default, to a bounded number of connections; a taken port is a warning, not an exit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from coolctl import __version__
from coolctl.edge.metrics_http import Served
from coolctl.edge.metrics_text import FamiliesText, PointsText

F64 = NDArray[np.float64]

BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
STAGES = ("compute", "publish")


class MetricsView(NamedTuple):
    """Everything a scrape shows, as plain data of one tick. Arrays are not changed after they are handed over."""

    site: str
    mode: str
    granted: str
    modes: tuple[str, ...]
    setpoints: tuple[tuple[str, str], ...]
    proposed: F64
    shielded: F64
    applied: F64
    points: tuple[tuple[str, str, str], ...]
    values: F64
    ages_s: F64
    qualities: NDArray[np.int8]
    gauges: dict[str, float]
    counters: dict[str, float]
    rejects: dict[str, int]
    binding: dict[str, int]
    prices: dict[str, tuple[float, str]]
    violations: dict[str, int]
    gains: dict[str, tuple[float, float]]
    model_hash: str
    config_hash: str


# name, help; a gauge of the view's `gauges`, base unit last
GAUGES = (
    ("coolctl_single_failure_capability_ratio", "what the worst single machine failure leaves over what is needed now"),
    ("coolctl_ride_through_seconds", "time to the allowable inlet if every chiller stopped now"),
    ("coolctl_cooling_power_watts", "measured electric power of cooling"),
    ("coolctl_it_power_watts", "measured or assumed IT power"),
    ("coolctl_wetbulb_celsius", "outdoor wet bulb that the decision worked with"),
    ("coolctl_model_power_watts", "the model's power at the measured state"),
    ("coolctl_baseline_power_watts", "the model's power under the rule baseline"),
    ("coolctl_rack_inlet_max_celsius", "hottest valid rack inlet"),
    ("coolctl_rack_inlet_limit_celsius", "limit of the rack inlets"),
    (
        "coolctl_rack_inlet_foreseen_celsius",
        "hottest inlet soon, were the controller lost now and the plant's own rules to follow",
    ),
    ("coolctl_doubted_points_ratio", "share of the site's points that are not believed; the decision says which and why"),
    ("coolctl_loop_sick_ratio", "1 while a local control loop hunts, winds up or is in hand; the decision says which"),
    (
        "coolctl_setpoint_without_effect_ratio",
        "1 while the plant says that it follows a setpoint and does not; the decision says which",
    ),
    ("coolctl_hall_suspect_ratio", "1 while a hall's coil, valve, supply or fan sensor stands out; the decision says which"),
    ("coolctl_inlet_bias_kelvin", "measured minus modelled hottest inlet"),
    ("coolctl_clean_seconds", "how long the evidence has been clean"),
    ("coolctl_gateway_age_seconds", "since the gateway was last heard"),
    ("coolctl_lease_remote_ratio", "1 while the plant follows the lease"),
    ("coolctl_policy_in_charge_ratio", "1 while the policy sets the wish"),
    ("coolctl_broker_connected_ratio", "1 while the broker link is up (no evidence of liveness)"),
    ("coolctl_broker_certificate_expiry_timestamp_seconds", "end of the broker's certificate; absent without encryption"),
    ("coolctl_client_certificate_expiry_timestamp_seconds", "end of the controller's own certificate; absent without one"),
    ("coolctl_held_setpoints_ratio", "share of the setpoints that operators hold at values of their own"),
    ("coolctl_config_last_reload_successful_ratio", "0 while the newest site file was refused and the old one is in force"),
    ("coolctl_recorder_ok_ratio", "1 while the recorder writes; absent without one"),
)
COUNTERS = (
    ("coolctl_ticks_total", "ticks since the start"),
    ("coolctl_deadline_misses_total", "ticks that started late or took too long"),
    ("coolctl_interventions_total", "ticks in which the shield changed a setpoint"),
    ("coolctl_mqtt_messages_total", "messages received"),
    ("coolctl_mqtt_dropped_total", "messages dropped from a full inbox"),
    ("coolctl_mqtt_connects_total", "connections made"),
)


class _Collector(Collector):
    """Turns the newest view into metric families at scrape time."""

    def __init__(self, server: MetricsServer):
        self._server = server

    def collect(self) -> Iterator[Any]:
        view = self._server.view
        build = GaugeMetricFamily("coolctl_build_info", "version and hashes", labels=["version", "model", "config"])
        if view is None:
            build.add_metric([__version__, "", ""], 1.0)
            yield build
            return
        build.add_metric([__version__, view.model_hash[:12], view.config_hash[:12]], 1.0)
        yield build
        yield from _modes(view)
        yield from _setpoints(view)
        for name, text in GAUGES:
            if name in view.gauges:
                family = GaugeMetricFamily(name, text, labels=["site"])
                family.add_metric([view.site], view.gauges[name])
                yield family
        for name, text in COUNTERS:
            counter = CounterMetricFamily(name, text, labels=["site"])
            counter.add_metric([view.site], view.counters.get(name, 0.0))
            yield counter
        yield labelled("coolctl_rejects_total", "messages and samples refused", "reason", view.site, view.rejects)
        yield labelled("coolctl_binding_limits_total", "setpoints changed by a limit", "limit", view.site, view.binding)
        yield labelled("coolctl_invariant_violations_total", "broken safety invariants", "invariant", view.site, view.violations)
        price = GaugeMetricFamily("coolctl_limit_price_watts", "power that more room would save", labels=["site", "limit", "per"])
        for name, (watts, per) in view.prices.items():
            price.add_metric([view.site, name, per], watts)
        yield price
        factor = GaugeMetricFamily(
            "coolctl_calibration_factor_ratio", "machine's power over the record's", labels=["site", "gain"]
        )
        spread = GaugeMetricFamily("coolctl_calibration_sd_ratio", "uncertainty of the factor", labels=["site", "gain"])
        for name, (value, sd) in view.gains.items():
            factor.add_metric([view.site, name], value)
            spread.add_metric([view.site, name], sd)
        yield from (factor, spread)
        yield self._server.histogram(view.site)


def labelled(name: str, text: str, label: str, site: str, counts: dict[str, int]) -> CounterMetricFamily:
    """A counter with a sample for each value of a label."""
    family = CounterMetricFamily(name, text, labels=["site", label])
    for key, count in sorted(counts.copy().items()):
        family.add_metric([site, key], float(count))
    return family


def _modes(view: MetricsView) -> Iterator[GaugeMetricFamily]:
    for name, current in (("coolctl_mode", view.mode), ("coolctl_granted_mode", view.granted)):
        family = GaugeMetricFamily(name, "1 for the present mode", labels=["site", "mode"])
        for mode in view.modes:
            family.add_metric([view.site, mode], float(mode == current))
        yield family


def _setpoints(view: MetricsView) -> Iterator[GaugeMetricFamily]:
    """Setpoints in internal (base) units; the unit is a label because one family holds several quantities."""
    stages = (("proposed", view.proposed), ("shielded", view.shielded), ("applied", view.applied))
    family = GaugeMetricFamily("coolctl_setpoint", "setpoints by stage", labels=["site", "point", "unit", "stage"])
    for stage, values in stages:
        for (name, unit), value in zip(view.setpoints, values.tolist(), strict=True):
            family.add_metric([view.site, name, unit, stage], value)
    yield family


class MetricsServer(Served):
    """Holds the newest view and serves it. `publish` costs a few microseconds."""

    def __init__(self, host: str, port: int):
        self.view: MetricsView | None = None
        self._counts = {stage: np.zeros(len(BUCKETS_S) + 1) for stage in STAGES}
        self._sums = dict.fromkeys(STAGES, 0.0)
        self._edges = np.array(BUCKETS_S)
        self._families = FamiliesText()
        self._points: PointsText | None = None
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Collector(self))
        ProcessCollector(registry=self.registry)
        super().__init__(host, port)

    def publish(self, view: MetricsView, stages: dict[str, float]) -> None:
        """Make `view` the one that scrapes see, and count the tick's stage times [s]."""
        for stage, seconds in stages.items():
            self._counts[stage][int(self._edges.searchsorted(seconds))] += 1.0
            self._sums[stage] += seconds
        self.view = view

    def render(self) -> bytes:
        """The exposition of the newest view."""
        view = self.view
        text = self._families.render(self.registry.collect())
        if view is None:
            return text.encode()
        points = self._points
        if points is None or not points.fits(view.site, view.points):
            points = self._points = PointsText(view.site, view.points)
        return (text + points.render(view.values, view.ages_s, view.qualities)).encode()

    def histogram(self, site: str) -> HistogramMetricFamily:
        """Tick duration by stage, cumulative buckets."""
        family = HistogramMetricFamily("coolctl_tick_duration_seconds", "time spent in a tick", labels=["site", "stage"])
        for stage in STAGES:
            cumulative = np.cumsum(self._counts[stage]).tolist()
            edges: Iterable[str] = [*(repr(b) for b in BUCKETS_S), "+Inf"]
            family.add_metric([site, stage], list(zip(edges, cumulative, strict=True)), self._sums[stage])
        return family
