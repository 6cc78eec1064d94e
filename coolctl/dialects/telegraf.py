"""The dialect `telegraf`: Telegraf's `outputs.mqtt` with `data_format = "json"` (one metric or a batch) or `"influx"`.

`field` is `measurement/field`, or `measurement,tag=value,tag=value/field` for the series with these tags. JSON stamps
are seconds and line protocol's are nanoseconds, as Telegraf has them by default; stamps in other units are refused by
their range, never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from coolctl.dialects.line_protocol import Metric, parse_lines
from coolctl.dialects.route import Route, Samples, timestamp_s
from coolctl.strict_json import Rejected, parse

if TYPE_CHECKING:
    from coolctl.dialects.decoder import Decoder

METRIC_KEYS = frozenset({"name", "tags", "fields", "timestamp"})
OLDEST_S = 1e9  # 2001: a stamp in a larger unit than agreed falls before it


class Selector(NamedTuple):
    """What a row's `field` selects."""

    measurement: str
    tags: frozenset[tuple[str, str]]
    field: str


def parse_selector(text: str) -> Selector | None:
    """`measurement[,tag=value…]/field` taken apart, or None where it is not of that form."""
    head, slash, field = text.rpartition("/")
    measurement, *pairs = head.split(",")
    tags = [pair.partition("=") for pair in pairs]
    if not (slash and measurement and field) or not all(k and eq and v for k, eq, v in tags):
        return None
    return Selector(measurement, frozenset((k, v) for k, _, v in tags), field)


def read_telegraf(d: Decoder, raw: bytes, route: Route) -> Samples:
    """Metrics as JSON or as lines. Raises `Rejected`."""
    if len(raw) > d.batch_max:
        raise Rejected("too_large")
    metrics = _metrics(parse(raw, d.batch_max)) if raw.lstrip()[:1] in (b"{", b"[") else parse_lines(raw, d.count)
    wanted = _selectors(route)
    samples: Samples = []
    for metric in metrics:
        for name, value in metric.fields.items():
            for tags, i in wanted.get((metric.name, name), ()):
                if not tags <= metric.tags:
                    continue
                if not route.is_of(i, metric.tags):
                    d.count("other_series")
                    continue
                sample = d.state(i, value, metric.t_source_s)
                if sample:
                    samples.append(sample)
    return samples


def _selectors(route: Route) -> dict[tuple[str, str], list[tuple[frozenset[tuple[str, str]], int]]]:
    """The route's points by measurement and field; made once."""
    if not route.selectors:
        for text, i in route.fields.items():
            s = parse_selector(text)
            if s is not None:
                route.selectors.setdefault((s.measurement, s.field), []).append((s.tags, i))
    return route.selectors


def _metrics(o: Any) -> Iterator[Metric]:
    """Metrics of a single or a batch message. Raises `Rejected`."""
    if not isinstance(o, dict):
        raise Rejected("not_an_object")
    if "metrics" in o:
        if o.keys() != {"metrics"} or not isinstance(o["metrics"], list):
            raise Rejected("keys")
        # All of them are looked at before any is used: a message is taken whole or not at all.
        return iter([_metric(m) for m in o["metrics"]])
    return iter([_metric(o)])


def _metric(o: Any) -> Metric:
    if not isinstance(o, dict) or o.keys() != METRIC_KEYS:
        raise Rejected("keys")
    name, tags, fields = o["name"], o["tags"], o["fields"]
    if not isinstance(name, str) or not isinstance(fields, dict):
        raise Rejected("keys")
    if not isinstance(tags, dict) or not all(isinstance(v, str) for v in tags.values()):
        raise Rejected("tags")
    return Metric(name, frozenset(tags.items()), fields, recent_s(timestamp_s(o["timestamp"], 1.0)))


def recent_s(t_s: float) -> float:
    """A source time [s], if it is of this century or not said. Raises `Rejected`."""
    if not math.isnan(t_s) and t_s < OLDEST_S:
        raise Rejected("timestamp_range")
    return t_s
