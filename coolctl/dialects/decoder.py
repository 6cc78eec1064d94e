"""Telemetry dialects as pure functions: topic and bytes in, samples and reject reasons out. Never raises.

`json` is `{"value", "timestamp", "quality"}` for one point or `{"timestamp", "values": {…}}` for many; `scalar` a bare
number. Timestamps are milliseconds since 1970, quality 1 is good. Values are converted to internal units here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.points import Batch, Point, PointTable, Quality, Sample
from coolctl.strict_json import Rejected, parse, parse_batch

SINGLE_KEYS = frozenset({"value", "timestamp", "quality"})
BATCH_KEYS = frozenset({"timestamp", "values"})
INTEGER_MAX = 10**15
NUMBERS = frozenset({int, float})
SKEW_MAX_S = 4e9


class Route:
    """What comes by one topic: its dialect, the points by name, and the names of the latest batches."""

    def __init__(self, dialect: str):
        self.dialect = dialect
        self.fields: dict[str, int] = {}
        self._seen: dict[str, tuple[list[str], NDArray[np.int64]]] = {}

    def positions(self, names: list[str]) -> NDArray[np.int64]:
        """Where the points stand, -1 for those that are not known. A sender repeats its names in the same order."""
        before, i = self._seen.get(names[0], (None, None)) if names else (None, None)
        if i is None or before != names:
            i = np.array([self.fields.get(name, -1) for name in names], dtype=np.int64)
            if names and names[0] in self.fields:  # what is remembered is bounded by the points that there are
                self._seen[names[0]] = names, i
        return i


class Decoder:
    """Routes messages of one site to its points; counts what it refuses by reason."""

    def __init__(self, table: PointTable, single_max_bytes: int, batch_max_bytes: int):
        self.table = table
        self._single_max, self._batch_max = single_max_bytes, batch_max_bytes
        self.rejects: dict[str, int] = {}
        self._routes: dict[str, Route] = {}
        for i, point in enumerate(table.points):
            if not point.writable:
                route = self._routes.setdefault(point.topic, Route(point.dialect))
                if route.dialect == point.dialect:
                    route.fields[point.field] = i

    @property
    def topics(self) -> list[str]:
        """Topics to subscribe to."""
        return sorted(self._routes)

    def decode(self, topic: str, raw: bytes) -> list[Sample | Batch]:
        """Samples of one message; refused ones are counted and left out."""
        route = self._routes.get(topic)
        if route is None:
            self._count("unknown_topic")
            return []
        try:
            return DIALECTS[route.dialect](self, raw, route)
        except Rejected as rejected:
            self._count(rejected.reason)
            return []

    def _count(self, reason: str) -> None:
        self.rejects[reason] = self.rejects.get(reason, 0) + 1

    def _sample(self, i: int, value: Any, t_source_s: float, quality: int) -> Sample | None:
        """A sample in internal units, or None (counted) when the value is no usable number."""
        kind = type(value)
        if kind is float:
            number = value
        elif kind is int and abs(value) <= INTEGER_MAX:
            number = float(value)
        else:
            self._count("value_type" if kind is not int else "value_range")
            return None
        internal = self.table.points[i].decode(number)
        if not math.isfinite(internal):
            self._count("not_finite")
            return None
        return Sample(i, internal, t_source_s, quality)

    def _json(self, raw: bytes, route: Route) -> list[Sample | Batch]:
        # Only an envelope with many points may be large: see the check of the single form below.
        o = parse(raw, self._single_max) if len(raw) <= self._single_max else parse_batch(raw, self._batch_max)
        if not isinstance(o, dict):
            raise Rejected("not_an_object")
        if "values" in o:
            return self._batch(o, route)
        if len(raw) > self._single_max:
            raise Rejected("too_large")
        if not o.keys() <= SINGLE_KEYS or "value" not in o:
            raise Rejected("keys")
        if len(route.fields) != 1:
            raise Rejected("single_value_on_shared_topic")
        quality = o.get("quality", 1)
        if type(quality) is not int:
            raise Rejected("quality_type")
        good = Quality.GOOD if quality == 1 else Quality.SOURCE_BAD
        if good != Quality.GOOD:
            self._count("source_bad")
            return []
        sample = self._sample(next(iter(route.fields.values())), o["value"], _timestamp_s(o), good)
        return [sample] if sample else []

    def _batch(self, o: dict[str, Any], route: Route) -> list[Sample | Batch]:
        values = o["values"]
        if not o.keys() <= BATCH_KEYS or not isinstance(values, dict):
            raise Rejected("keys")
        t_source_s = _timestamp_s(o)
        if set(map(type, values.values())) <= NUMBERS:
            wire = np.array(list(values.values()), dtype=np.float64)
            if len(wire) and np.abs(wire).max() <= INTEGER_MAX:
                return self._all_numbers(values, wire, t_source_s, route)
        samples: list[Sample | Batch] = []
        for name, value in values.items():
            i = route.fields.get(name)
            if i is None:
                self._count("unknown_point")
                continue
            sample = self._sample(i, value, t_source_s, Quality.GOOD)
            if sample:
                samples.append(sample)
        return samples

    def _all_numbers(
        self, values: dict[str, Any], wire: NDArray[np.float64], t_source_s: float, route: Route
    ) -> list[Sample | Batch]:
        """The ordinary batch, at once: every value is a finite number of reasonable size."""
        i = route.positions(list(values))
        known = i >= 0
        if not known.all():
            for _ in range(int((~known).sum())):
                self._count("unknown_point")
            i, wire = i[known], wire[known]
        return [Batch(i, self.table.decode(i, wire), t_source_s)] if len(i) else []

    def _scalar(self, raw: bytes, route: Route) -> list[Sample | Batch]:
        value = parse(raw.strip(), 64)
        if len(route.fields) != 1:
            raise Rejected("single_value_on_shared_topic")
        sample = self._sample(next(iter(route.fields.values())), value, math.nan, Quality.GOOD)
        return [sample] if sample else []


def _timestamp_s(o: dict[str, Any]) -> float:
    """Source time [s], NaN where the message has none. Raises `Rejected`."""
    stamp = o.get("timestamp")
    if stamp is None:
        return math.nan
    if isinstance(stamp, bool) or not isinstance(stamp, int | float):
        raise Rejected("timestamp_type")
    if not 0.0 <= stamp <= 1e3 * SKEW_MAX_S:
        raise Rejected("timestamp_range")
    return float(stamp) / 1e3


DIALECTS: dict[str, Callable[[Decoder, bytes, Route], list[Sample | Batch]]] = {
    "json": Decoder._json,
    "scalar": Decoder._scalar,
}


def encode_batch(values: dict[str, float], timestamp_ms: int) -> bytes:
    """A native batch message."""
    return json.dumps({"timestamp": timestamp_ms, "values": values}, allow_nan=False, separators=(",", ":")).encode()


def encode_single(point: Point, value: float, timestamp_ms: int) -> bytes:
    """One point's message in its dialect; `value` in the point's unit."""
    if point.dialect == "scalar":
        return repr(float(value)).encode()
    return b'{"value":%s,"timestamp":%d,"quality":1}' % (repr(float(value)).encode(), timestamp_ms)
