"""Routes the messages of a site to its points and counts what it refuses, by reason. Never raises.

Values are converted to internal units here. Dialects with a memory (what a source has said of itself before) keep it in
an object of their own; they learn the time by `watch` and say what they have to say by `outgoing`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.dialects import dsx
from coolctl.dialects.native import read_json, read_scalar
from coolctl.dialects.neuron import read_neuron
from coolctl.dialects.route import INTEGER_MAX, Reader, Route, Samples
from coolctl.dialects.sparkplug import SparkplugHost, parse_source
from coolctl.dialects.telegraf import read_telegraf
from coolctl.dialects.thingsboard import read_thingsboard
from coolctl.points import PointTable, Quality, Sample
from coolctl.strict_json import Rejected

if TYPE_CHECKING:
    from coolctl.site import Site

DIALECTS: dict[str, Reader] = {
    "json": read_json,
    "scalar": read_scalar,
    "dsx": dsx.read_value,
    "neuron": read_neuron,
    "telegraf": read_telegraf,
    "thingsboard": read_thingsboard,
}
SPARKPLUG = "sparkplug-b"
NAMES = (*DIALECTS, SPARKPLUG)


class Sources(NamedTuple):
    """What the dialects with a memory need to know of a site."""

    bms_heartbeat: str = ""
    bms_silent_max_s: float = 30.0
    reorder_s: float = 2.0


class Decoder:
    """Routes messages of one site to its points; counts what it refuses by reason."""

    def __init__(self, table: PointTable, single_max_bytes: int, batch_max_bytes: int, sources: Sources | None = None):
        sources = sources or Sources()
        self.table = table
        self.single_max, self.batch_max = single_max_bytes, batch_max_bytes
        self.rejects: dict[str, int] = {}
        self._routes: dict[str, Route] = {}
        self.dsx = dsx.DsxSource(sources.bms_silent_max_s)
        self.host = SparkplugHost(sources.reorder_s)
        self.retained: list[str] = []
        for i, point in enumerate(table.points):
            if not point.writable:
                self._add(i, point.topic, point.dialect, point.field)
        if self.dsx.points and sources.bms_heartbeat:
            self._routes[sources.bms_heartbeat] = Route(sources.bms_heartbeat, "dsx", dsx.read_heartbeat)
        self._connects = 0

    def read_back(self, i: int) -> None:
        """Hear what the plant says that setpoint `i` is, where its dialect says so."""
        point = self.table.points[i]
        source = parse_source(point.topic, "CMD")
        if point.dialect == SPARKPLUG and source is not None:
            self.host.add(source, point.field, i)
        elif point.dialect == "neuron":
            self._add(i, point.topic, point.dialect, point.field)

    @property
    def _has_memory(self) -> bool:
        return bool(self.dsx.points or self.host.nodes)

    def _add(self, i: int, topic: str, dialect: str, field: str) -> None:
        if dialect == SPARKPLUG:
            source = parse_source(topic)
            if source is not None:
                self.host.add(source, field, i)
            return
        route = self._routes.setdefault(topic, Route(topic, dialect, DIALECTS[dialect]))
        if route.dialect == dialect:
            route.fields[field] = i
            if dialect == "dsx":
                self.dsx.points.append(i)
                described = dsx.metadata_topic(topic)
                self._routes.setdefault(described, Route(described, dialect, dsx.read_metadata)).fields[field] = i
                self.retained.append(described)

    @property
    def topics(self) -> list[str]:
        """Topics to subscribe to: those first whose retained messages are wanted (`retained`)."""
        first = sorted(set(self.retained))
        return first + sorted(self._routes.keys() - set(first)) + self.host.topics

    def decode(self, topic: str, raw: bytes) -> Samples:
        """Samples of one message; refused ones are counted and left out."""
        route = self._routes.get(topic)
        try:
            if route is None:
                return self.host.read(self, topic, raw)
            return route.read(self, raw, route)
        except Rejected as rejected:
            self.count(rejected.reason)
            return []

    # -- what sources say of themselves

    def watch(self, now_s: float) -> NDArray[np.int64]:
        """Points that may no longer be believed although nobody said so: told the caller's clock, once a tick."""
        if not self._has_memory:
            return _NONE
        silent = self.dsx.watch(now_s) if self.dsx.points else _NONE
        if len(silent):
            self.count("heartbeat_lost")
        return np.concatenate((silent, self.host.watch(now_s)))

    def outgoing(self, now_s: float, timestamp_ms: int) -> list[tuple[str, bytes]]:
        """Messages that a dialect has to send, topic and payload."""
        return self.host.outgoing(now_s, timestamp_ms)

    def reconnected(self, connects: int) -> NDArray[np.int64]:
        """Points that may no longer be believed because the link was down, if `connects` has grown since the last call.

        What speaks on change only may have spoken unheard meanwhile.
        """
        before, self._connects = self._connects, connects
        if not self._has_memory or before in (0, connects):
            return _NONE
        return np.array(self.dsx.points + self.host.restart(), dtype=np.int64)

    @property
    def faults(self) -> dict[str, str]:
        """Points whose source describes them otherwise than the site file, and how."""
        found = {self.table.points[i].id: text for i, text in self.dsx.faults.items()}
        return found if self.dsx.alive else {**found, "BMS": "no heartbeat on the event bus"}

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

    def state(self, i: int, value: Any, t_source_s: float) -> Sample | None:
        """As `sample`, but null is bad at once, and true and false are 1 and 0 for a point whose unit is `bool`."""
        if value is None:
            return self.bad(i, t_source_s)
        if type(value) is bool and self.table.points[i].unit == "bool":
            value = int(value)
        return self.sample(i, value, t_source_s)

    def bad(self, i: int, t_source_s: float = math.nan) -> Sample:
        """The source itself says that it does not know the value: it is bad at once, not when it has grown old."""
        self.count("source_bad")
        return Sample(i, math.nan, t_source_s, Quality.SOURCE_BAD)


_NONE = np.array((), dtype=np.int64)


def decoder_for(site: Site, table: PointTable | None = None) -> Decoder:
    """A decoder of a site's points, or of those in `table`."""
    m, f = site.file.mqtt, site.file
    sources = Sources(f.dsx.bms_heartbeat, f.dsx.bms_silent_max_s, f.sparkplug.reorder_s)
    return Decoder(site.table if table is None else table, m.payload_max_bytes, m.batch_max_bytes, sources)
