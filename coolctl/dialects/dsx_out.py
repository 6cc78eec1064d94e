"""The dialect `dsx`, written: setpoint requests and the integration's heartbeat, beside the BMS.

A request goes to the topic that the BMS's own metadata of it leads to, and only where that metadata names this
integration and the unit of the site file. The heartbeat is what the BMS waits for: it takes its own setpoints the time
agreed with it after the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from coolctl.dialects.dsx import decode_metadata, encode_value, metadata_topic, unit_fault
from coolctl.dialects.output import Output
from coolctl.points import Point
from coolctl.strict_json import Rejected


class DsxWriter(Output):
    """What has been said to the BMS, and what may be; every method is told the time."""

    def __init__(self, setpoints: Iterable[Point], integration: str, heartbeat: str, size_max: int):
        super().__init__(setpoints)
        self._integration, self._heartbeat, self._size_max = integration, heartbeat, size_max
        self._id_of = {metadata_topic(p.topic): p.id for p in self.points.values()}
        self._heartbeat_of = metadata_topic(heartbeat)
        self.faults = dict.fromkeys((*self.points, "heartbeat"), "no metadata yet")

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
                point = self.points.get(name)
                self.faults[name] = "" if point is None else unit_fault(metadata, point)
                if metadata.integration != self._integration:
                    self.faults[name] = f"the BMS expects integration {metadata.integration[:40]!r} here"
        if not self.faults[name]:
            del self.faults[name]

    def lease(self, wire: Mapping[str, float], now_s: float, timestamp_ms: int) -> list[tuple[str, bytes]]:
        """Topics and payloads of a lease in the site file's units: changed values, and the heartbeat when it is due."""
        if not self.can_write(wire):
            return []
        names, beat = self.schedule.due(wire, now_s)
        out = [(self.points[name].topic, encode_value(float(wire[name]), timestamp_ms)) for name in names]
        if beat:
            out.append((self._heartbeat, encode_value(float(timestamp_ms), timestamp_ms)))
        return out
