"""Routes the messages of a site to its points and counts what it refuses, by reason. Never raises.

Values are converted to internal units here. Dialects with a memory (what a source has said of itself before) keep it in
an object of their own; they learn the time by `watch` and say what they have to say by `outgoing`.
"""

from __future__ import annotations

import math
from typing import Any

from coolctl.dialects.native import read_json, read_scalar
from coolctl.dialects.route import INTEGER_MAX, Reader, Route, Samples
from coolctl.points import PointTable, Quality, Sample
from coolctl.strict_json import Rejected

DIALECTS: dict[str, Reader] = {
    "json": read_json,
    "scalar": read_scalar,
}


class Decoder:
    """Routes messages of one site to its points; counts what it refuses by reason."""

    def __init__(self, table: PointTable, single_max_bytes: int, batch_max_bytes: int):
        self.table = table
        self.single_max, self.batch_max = single_max_bytes, batch_max_bytes
        self.rejects: dict[str, int] = {}
        self._routes: dict[str, Route] = {}
        for i, point in enumerate(table.points):
            if not point.writable:
                route = self._routes.setdefault(point.topic, Route(point.topic, point.dialect, DIALECTS[point.dialect]))
                if route.dialect == point.dialect:
                    route.fields[point.field] = i

    @property
    def topics(self) -> list[str]:
        """Topics to subscribe to."""
        return sorted(self._routes)

    def decode(self, topic: str, raw: bytes) -> Samples:
        """Samples of one message; refused ones are counted and left out."""
        route = self._routes.get(topic)
        if route is None:
            self.count("unknown_topic")
            return []
        try:
            return route.read(self, raw, route)
        except Rejected as rejected:
            self.count(rejected.reason)
            return []

    # -- for the dialects

    def count(self, reason: str, times: int = 1) -> None:
        """Note what is refused."""
        self.rejects[reason] = self.rejects.get(reason, 0) + times

    def sample(self, i: int, value: Any, t_source_s: float) -> Sample | None:
        """A good sample in internal units, or None (counted) when the value is no usable number."""
        kind = type(value)
        if kind is float:
            number = value
        elif kind is int and abs(value) <= INTEGER_MAX:
            number = float(value)
        else:
            self.count("value_type" if kind is not int else "value_range")
            return None
        internal = self.table.points[i].decode(number)
        if not math.isfinite(internal):
            self.count("not_finite")
            return None
        return Sample(i, internal, t_source_s, Quality.GOOD)
