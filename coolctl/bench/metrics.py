"""P10: what metrics cost a tick and a scrape at 5,000 series, beside one Gauge child a series."""

from __future__ import annotations

import math
import urllib.request
from collections.abc import Iterator

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from coolctl.bench.pairs import interleave, repeated, sized
from coolctl.bench.rows import Curve, Row, ratio_row
from coolctl.bench.sites import of_points, of_text
from coolctl.bench.tick import view_of
from coolctl.edge.metrics import MetricsServer, MetricsView
from coolctl.points import Snapshot
from coolctl.site import Site

SERIES = (500, 2_000, 5_000)
FAMILIES = ("coolctl_point_value", "coolctl_point_age_seconds", "coolctl_point_quality_code")
ROUNDS = 15


def snapshot(site: Site, seed: int = 10) -> Snapshot:
    """Values as sensors give them, some unknown."""
    rng = np.random.default_rng(seed)
    value = np.round(rng.uniform(10.0, 30.0, len(site.table)), 2)
    value[:: len(value) // 7] = np.nan
    age_s = rng.uniform(0.0, 2.0, len(value))
    return Snapshot(0.0, value, age_s, np.where(np.isnan(value), 3, 1).astype(np.int8))


class Gauges:
    """The library's own way: one Gauge a family, one child a point, all set in a tick."""

    def __init__(self, view: MetricsView):
        self.registry = CollectorRegistry()
        labels = (["site", "point", "role", "unit"], ["site", "point"], ["site", "point"])
        families = [Gauge(n, n, names, registry=self.registry) for n, names in zip(FAMILIES, labels, strict=True)]
        self._values = [families[0].labels(view.site, *row) for row in view.points]
        self._ages = [families[1].labels(view.site, row[0]) for row in view.points]
        self._qualities = [families[2].labels(view.site, row[0]) for row in view.points]

    def set(self, view: MetricsView) -> None:
        """A tick."""
        for children, values in ((self._values, view.values), (self._ages, view.ages_s), (self._qualities, view.qualities)):
            for child, value in zip(children, values.tolist(), strict=True):
                child.set(value)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The points' samples of an exposition: name and labels to value, NaN as None would be."""
    found = {}
    for family in text_string_to_metric_families(text):
        for s in family.samples:
            if s.name in FAMILIES:
                found[s.name, tuple(sorted(s.labels.items()))] = -1e99 if math.isnan(s.value) else s.value
    return found


def one_size(series: int) -> tuple[MetricsServer, Gauges, MetricsView]:
    """Both ways for a site with `series` series of points."""
    site = of_text(of_points(max(series // len(FAMILIES), 150)))
    view = view_of(site, snapshot(site))
    server, gauges = MetricsServer("127.0.0.1", 0), Gauges(view)
    server.publish(view, {})
    gauges.set(view)
    return server, gauges, view


def p10() -> Iterator[Row | Curve]:
    """Rows of P10."""
    costs: dict[str, list[float]] = {"product, a scrape": [], "one Gauge child a series, a scrape": []}
    counts = []
    for series in SERIES:
        server, gauges, view = one_size(series)
        pairs = interleave(server.render, lambda gauges=gauges: generate_latest(gauges.registry), ROUNDS)  # type: ignore[misc]
        counts.append(float(len(FAMILIES) * len(view.points)))
        for name, cost_s in zip(costs, (pairs.a_s, pairs.b_s), strict=True):
            costs[name].append(1e3 * cost_s)
        if series == SERIES[-1]:
            yield from _rows(server, gauges, view, pairs)
        server.close()
    yield Curve("scrape", "series", "ms a scrape", counts, costs)


def _rows(server: MetricsServer, gauges: Gauges, view: MetricsView, pairs) -> Iterator[Row]:  # type: ignore[no-untyped-def]
    count = sized(lambda: server.publish(view, {"compute": 1e-3}))
    tick = interleave(repeated(lambda: server.publish(view, {"compute": 1e-3}), count), lambda: gauges.set(view), ROUNDS)
    number = len(FAMILIES) * len(view.points)
    what = f"metrics of {number:,} series: processor time to hand a tick's view over"
    yield Row("P10", "tick", what, 1e6 * tick.a_s / count, "µs", 50.0, reference="child.set in a loop",
              figures={"reference_us": 1e6 * tick.b_s})  # fmt: skip
    what = f"scrape of {number:,} series over generate_latest with one Gauge child a series"
    yield ratio_row("P10", "scrape", what, pairs, 0.25, "≤", "prometheus_client.generate_latest")
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10.0) as answer:
        mine, theirs = samples(answer.read().decode()), samples(generate_latest(gauges.registry).decode())
    different = float(len(mine.items() ^ theirs.items()))
    yield Row("P10", "same", f"samples that differ, of {len(theirs):,}", different, "samples", 0.0)
