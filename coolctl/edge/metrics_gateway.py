"""The gateway's own metrics: few, and under names of their own, so that no sum mixes the two processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from coolctl.edge.metrics import Served, labelled

# name, help; a gauge of the view's `gauges`, base unit last
GATEWAY_GAUGES = (
    ("coolctl_gateway_leased_ratio", "1 while the gateway passes a lease on"),
    ("coolctl_gateway_hand_ratio", "1 while a person holds the plant at the BMS, or nobody says that none does"),
    ("coolctl_gateway_proven_ratio", "1 while it is proven that silence gives the plant its own control, or nobody asks for it"),
    ("coolctl_gateway_broker_connected_ratio", "1 while the gateway's broker link is up (no evidence of liveness)"),
    ("coolctl_gateway_output_blocked_ratio", "1 while something is in the way of writing setpoints; the journal says what"),
    ("coolctl_gateway_write_refused_ratio", "1 while a refused write waits for a person; the journal says which"),
    ("coolctl_gateway_certificate_expiry_timestamp_seconds", "end of the gateway's own certificate; absent without one"),
)
GATEWAY_COUNTERS = (
    ("coolctl_gateway_leases_total", "leases passed on"),
    ("coolctl_gateway_refused_writes_total", "writes that the plant refused or did not hold"),
    ("coolctl_gateway_connects_total", "connections made by the gateway"),
)
REJECTS = ("coolctl_gateway_rejects_total", "leases, claims and messages that the gateway refused")


class GatewayView(NamedTuple):
    """Everything a scrape of the gateway shows, as plain data of one tick."""

    site: str
    gauges: dict[str, float]
    counters: dict[str, int]
    rejects: dict[str, int]


class GatewayMetrics(Served, Collector):
    """Holds the newest view and serves it."""

    def __init__(self, host: str, port: int):
        self.view: GatewayView | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        super().__init__(host, port)

    def publish(self, view: GatewayView) -> None:
        """Make `view` the one that scrapes see."""
        self.view = view

    def render(self) -> bytes:
        """The exposition of the newest view; empty before the first tick."""
        return bytes(generate_latest(self._registry))

    def collect(self) -> Iterator[Any]:
        """The families of the newest view."""
        view = self.view
        if view is None:
            return
        for name, text in GATEWAY_GAUGES:
            if name in view.gauges:
                family = GaugeMetricFamily(name, text, labels=["site"])
                family.add_metric([view.site], view.gauges[name])
                yield family
        for name, text in GATEWAY_COUNTERS:
            counter = CounterMetricFamily(name, text, labels=["site"])
            counter.add_metric([view.site], float(view.counters[name]))
            yield counter
        yield labelled(*REJECTS, "reason", view.site, view.rejects)
