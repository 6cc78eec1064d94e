"""The simulated plant's end of the BMS Event Bus: describes its points, says their values, beats, follows requests.

It follows an integration's requests while that one's heartbeat arrives, on its own clock, and forgets them all when it
stops; a heartbeat that comes back brings nothing of before back with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from coolctl.dialects.dsx import ENG_UNITS, REPEAT_S, STATE_UNITS, VALUE_KEYS, encode_value, metadata_topic, parse_topic
from coolctl.points import Point
from coolctl.site import Site
from coolctl.strict_json import Rejected, parse_object

HEARTBEAT_S = 10.0
TEXT_OF = {unit: text for text, unit in reversed(ENG_UNITS.items())}
PACKET = tuple[str, bytes, bool]
"""Topic, payload, and whether the broker is to keep it."""


class EventBusBms:
    """Publishes and listens for a site whose points, setpoints or both are on the event bus."""

    def __init__(self, site: Site):
        f = site.file
        self._dsx = f.dsx
        self._points = [p for p in site.table.points if p.dialect == "dsx" and not p.writable]
        accepted = [site.table.points[i] for k, i in enumerate(site.u_point) if i >= 0 and site.accepted[k]]
        self._requests = {p.topic: p for p in accepted} if f.gateway.dialect == "dsx" else {}
        self._said: dict[str, tuple[float, float]] = {}
        self._beat_s = self._described_s = -math.inf
        self._heard_s = -math.inf
        self._heard_stamp: float | None = None
        self.values: dict[str, float] = {}
        self.rejects: dict[str, int] = {}

    @property
    def topics(self) -> list[str]:
        """What it listens to."""
        return [*self._requests, self._dsx.heartbeat] if self._requests else []

    # -- out

    def say(self, readings: Mapping[str, float], now_s: float, timestamp_ms: int) -> Iterator[PACKET]:
        """Descriptions at the start and every 100 s, then values that changed or are due, then the heartbeat."""
        if not 0.0 <= now_s - self._described_s < REPEAT_S:
            self._described_s = now_s
            yield from self.descriptions()
        for p in self._points:
            value = readings.get(p.id)
            last, at_s = self._said.get(p.id, (math.nan, -math.inf))
            if value is not None and (value != last or not 0.0 <= now_s - at_s < REPEAT_S):
                self._said[p.id] = value, now_s
                yield p.topic, encode_value(float(value), timestamp_ms), False
        if self._points and not 0.0 <= now_s - self._beat_s < HEARTBEAT_S:
            self._beat_s = now_s
            yield self._dsx.bms_heartbeat, encode_value(float(timestamp_ms), timestamp_ms), False

    def say_anew(self) -> None:
        """The broker is another, or has lost what it kept."""
        self._said.clear()
        self._beat_s = self._described_s = -math.inf

    def descriptions(self) -> Iterator[PACKET]:
        """The Metadata messages of all points, requests and heartbeats."""
        for p in (*self._points, *self._requests.values()):
            yield metadata_topic(p.topic), self._describe(p.topic, unit_of(p), p.topic in self._requests), True
        if self._points:
            yield metadata_topic(self._dsx.bms_heartbeat), self._describe(self._dsx.bms_heartbeat, {}, False), True
        if self._requests:
            yield metadata_topic(self._dsx.heartbeat), self._describe(self._dsx.heartbeat, {}, True), True

    def _describe(self, topic: str, unit: dict[str, Any], theirs: bool) -> bytes:
        t = parse_topic(topic)
        assert t is not None
        fields = {
            "objectType": t.object_type,
            "pointType": t.point_type,
            "objectName": t.tag_path,
            "objectId": t.tag_path,
            **unit,
        }
        return json.dumps({**fields, "integration": self._dsx.integration} if theirs else fields).encode()

    # -- in

    def take(self, topic: str, raw: bytes, retained: bool, now_s: float) -> None:
        """A request or a heartbeat of the integration; what may not be used is counted."""
        try:
            if retained:
                raise Rejected("retained")
            value = _value(raw)
            if topic == self._dsx.heartbeat:
                if value != self._heard_stamp:
                    self._heard_stamp, self._heard_s = value, now_s
                return
            p = self._requests[topic]
            if not p.low - 1e-6 <= p.decode(value) <= p.high + 1e-6:
                raise Rejected("outside_limits")
            self.values[p.id] = value
        except Rejected as rejected:
            self.rejects[rejected.reason] = self.rejects.get(rejected.reason, 0) + 1

    def setpoints(self, now_s: float) -> dict[str, float] | None:
        """The requests that are followed, or None: then the plant has itself."""
        if 0.0 <= now_s - self._heard_s <= self._dsx.revert_s:
            return self.values or None
        if self._heard_s > -math.inf:
            self.values, self._heard_s = {}, -math.inf
        return None


def unit_of(point: Point) -> dict[str, Any]:
    """How a point's unit stands in its metadata."""
    if point.unit in STATE_UNITS and point.unit not in TEXT_OF:
        return {"stateText": [{"value": 0, "text": "Off"}, {"value": 1, "text": "On"}]}
    return {"engUnit": TEXT_OF["percent" if point.unit == "%" else "degK" if point.unit == "K" else point.unit]}


def _value(raw: bytes) -> float:
    o = parse_object(raw, 4096)
    if set(o) != VALUE_KEYS or o["quality"] != 1:
        raise Rejected("keys")
    value = o["value"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Rejected("value_type")
    return float(value)
