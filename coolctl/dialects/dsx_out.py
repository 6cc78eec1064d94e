"""The dialect `dsx`, written: setpoint requests and the integration's heartbeat, beside the BMS.

A request goes to the topic that the BMS's own metadata of it leads to, and only where that metadata names this
integration and the unit of the site file. All leased setpoints are written or none. Silence is how a lease ends: the
heartbeat stops, and the BMS takes its own setpoints after the time agreed with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from coolctl.dialects.dsx import decode_metadata, encode_value, metadata_topic, unit_fault
from coolctl.points import Point
from coolctl.strict_json import Rejected

HEARTBEAT_S = 10.0
REFRESH_S = 5.0  # a BMS that was restarted, or that missed a change, hears it again
GAP_S = 2.5  # the gateway says a lease every second: after this it is another one


class DsxWriter:
    """What has been said to the BMS, and what may be; every method is told the time."""

    def __init__(self, setpoints: Iterable[Point], integration: str, heartbeat: str, size_max: int):
        self._integration, self._heartbeat, self._size_max = integration, heartbeat, size_max
        self._points = {p.id: p for p in setpoints}
        self._id_of = {metadata_topic(p.topic): p.id for p in self._points.values()}
        self._heartbeat_of = metadata_topic(heartbeat)
        self._described: set[str] = set()
        self.faults: dict[str, str] = dict.fromkeys((*self._points, "heartbeat"), "no metadata yet")
        self._last: dict[str, tuple[float, float]] = {}
        self._lease_s = self._beat_s = -math.inf

    @property
    def topics(self) -> list[str]:
        """Metadata topics to subscribe to, retained messages too."""
        return [*self._id_of, self._heartbeat_of]

    def take(self, topic: str, raw: bytes) -> None:
        """A Metadata message of one of the setpoints, or of the heartbeat."""
        name = "heartbeat" if topic == self._heartbeat_of else self._id_of[topic]
        self.faults[name] = "metadata was withdrawn"
        if raw:
            try:
                metadata = decode_metadata(raw, self._size_max, topic)
            except Rejected as rejected:
                self.faults[name] = f"metadata refused: {rejected.reason}"
            else:
                point = self._points.get(name)
                self.faults[name] = "" if point is None else unit_fault(metadata, point)
                if metadata.integration != self._integration:
                    self.faults[name] = f"the BMS expects integration {metadata.integration[:40]!r} here"
        if not self.faults[name]:
            del self.faults[name]

    def lease(self, wire: Mapping[str, float], now_s: float, timestamp_ms: int) -> list[tuple[str, bytes]]:
        """Topics and payloads of a lease in the site file's units: changed values, and the heartbeat when it is due."""
        if not 0.0 <= now_s - self._lease_s <= GAP_S:
            self._last, self._beat_s = {}, -math.inf
        if self.faults.keys() & {*wire, "heartbeat"}:
            return []
        self._lease_s = now_s
        out = []
        for name, value in wire.items():
            last, said_s = self._last.get(name, (math.nan, -math.inf))
            if value != last or now_s - said_s >= REFRESH_S:
                self._last[name] = value, now_s
                out.append((self._points[name].topic, encode_value(float(value), timestamp_ms)))
        if now_s - self._beat_s >= HEARTBEAT_S - 1e-6:
            self._beat_s = now_s
            out.append((self._heartbeat, encode_value(float(timestamp_ms), timestamp_ms)))
        return out
