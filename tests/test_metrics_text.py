"""The per-point metrics, written by hand for speed, are byte for byte what the library would write."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from coolctl.edge import metrics_text
from coolctl.edge.metrics_text import FAMILIES, FamiliesText, PointsText

POINTS = (("hall1.sat", "sat", "celsius"), ('odd "name"\\ of\na person', "valve", "ratio"), ("plant.it", "it_power", "watts"))


class _Families(Collector):
    def __init__(self, site: str, columns: tuple[np.ndarray, ...]):  # type: ignore[type-arg]
        self.site, self.columns = site, columns

    def collect(self):  # type: ignore[no-untyped-def]
        for (name, text), column, wide in zip(FAMILIES, self.columns, (True, False, False), strict=True):
            family = GaugeMetricFamily(name, text, labels=["site", "point", *(["role", "unit"] if wide else [])])
            for (point, role, unit), value in zip(POINTS, column.tolist(), strict=True):
                family.add_metric([self.site, point, *([role, unit] if wide else [])], float(value))
            yield family


@pytest.mark.parametrize(
    "values",
    [
        (21.5, 0.25, 999_999.0), (np.nan, -3.0, 1e6), (1_234_567.0, 1e-7, 123_456_789.125), (np.inf, -np.inf, 0.0),
        (-2e6, 1e300, 5e-324), (1e6 - 0.1, 1e22, -0.0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("site", ["hall1mw", 'a "site"'])
def test_text_is_the_librarys(site: str, values: tuple[float, ...]) -> None:
    columns = (np.array(values), np.array([0.0, 1.5, np.inf]), np.array([1, 3, 0], dtype=np.int8))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(site, columns))
    assert PointsText(site, POINTS).render(*columns).encode() == generate_latest(registry)


def families(site: str, values: tuple[float, ...]) -> list[Metric]:
    """One of each kind that there is, names and labels as they come."""
    gauge = GaugeMetricFamily("some_ratio", "with a \\ and\na line", labels=["site", "mode"])
    bare = GaugeMetricFamily("bare_seconds", "no label", value=values[0])
    counter = CounterMetricFamily("refused_total", "counted", labels=["site", "reason"])
    histogram = HistogramMetricFamily("took_seconds", "in buckets", labels=["site"])
    for k, value in enumerate(values):
        gauge.add_metric([site, f"mode {k}"], value)
        counter.add_metric([site, f'"{k}"'], value)
    histogram.add_metric([site], [("0.1", 1.0), ("+Inf", 3.0)], values[0])
    return [gauge, bare, counter, histogram, GaugeMetricFamily("empty_ratio", "without a sample", labels=["site"])]


class _Kept(Collector):
    def __init__(self, found: list[Metric]):
        self.found = found

    def collect(self) -> list[Metric]:
        return self.found


def test_families_are_the_librarys_whatever_changes_from_scrape_to_scrape() -> None:
    text = FamiliesText()
    for site in ("hall1mw", 'a "site"\\'):
        for values in ((1.0, 0.25), (2e6, np.nan), (3.0,), (np.inf, -0.0, 7.0)):
            found = families(site, values)
            registry = CollectorRegistry(auto_describe=False)
            registry.register(_Kept(found))
            samples = [list(family.samples) for family in found]
            assert text.render(found).encode() == generate_latest(registry)
            assert [family.samples for family in found] == samples  # what is not ours is not changed


def test_names_and_labels_are_written_by_the_library_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text, asked = FamiliesText(), []
    monkeypatch.setattr(metrics_text, "generate_latest", lambda one: asked.append(one) or generate_latest(one))
    text.render(families("a", (1.0, 2.0)))
    first = len(asked)
    text.render(families("a", (3.0, 4.0)))
    assert first > 10 and len(asked) == first


def test_names_are_written_anew_only_for_other_points() -> None:
    text = PointsText("a", POINTS)
    assert text.fits("a", POINTS) and not text.fits("b", POINTS) and not text.fits("a", POINTS[:2])


def test_another_number_of_values_is_refused() -> None:
    with pytest.raises(ValueError):
        PointsText("a", POINTS).render(np.zeros(2), np.zeros(3), np.zeros(3, dtype=np.int8))
