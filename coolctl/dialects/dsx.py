"""The dialect `dsx`: the BMS Event Bus 1.0, read.

A point has a Value topic (`{"value", "timestamp", "quality"}`) and a retained Metadata topic that says its unit
(`engUnit`) or its states (`stateText`); a value means nothing before its metadata is known. The BMS beats every ten
seconds; while it does not, nothing that it said before is believed. Values come on change and every 100 seconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.dialects.route import Route, Samples, timestamp_s
from coolctl.points import Point
from coolctl.strict_json import Rejected, parse_flat, parse_object
from coolctl.units import UNITS

if TYPE_CHECKING:
    from coolctl.dialects.decoder import Decoder

VALUE_KEYS = frozenset({"value", "timestamp", "quality"})
REPEAT_S = 100.0
AGE_MAX_S = 110.0  # a value is repeated every 100 s when it does not change
OBJECT_TYPES = (
    "System", "Rack", "PowerMeter", "ATS", "BESS", "Breaker", "Generator", "Shunt", "UPS", "AHU", "CDU", "Chiller",
    "CoolingTower", "CRAC", "CRAH", "Damper", "Fan", "HX", "Pump", "Sensor", "Tank", "Valve", "GenericObject",
)  # fmt: skip
HEARTBEAT_BMS = "HeartbeatTimestampBms"
# The published contract has spelled this one both ways; the BMS's metadata topic decides.
HEARTBEATS_INTEGRATION = ("HeartbeatTimestampIntegration", "HearbeatTimestampIntegration")
# Texts of `engUnit`, to the units of a site file that mean the same. Case counts: mW is not MW.
ENG_UNITS: dict[str, str] = {
    **dict.fromkeys(("C", "°C", "ºC", "℃", "degC", "deg C", "Celsius", "DEG_C"), "degC"),
    **dict.fromkeys(("F", "°F", "ºF", "℉", "degF", "deg F", "Fahrenheit", "DEG_F"), "degF"),
    **dict.fromkeys(("K", "degK", "Kelvin"), "degK"),
    **dict.fromkeys(("%", "percent", "Percent", "%RH", "% RH", "%rh", "pct"), "percent"),
    **dict.fromkeys(("kW", "KW"), "kW"), "W": "W", "MW": "MW", "kWh": "kWh", "J": "J",
    **dict.fromkeys(("ton", "tons", "TR", "RT"), "ton"), **dict.fromkeys(("Btu/h", "BTU/h", "BTU/hr"), "Btu/h"),
    "Pa": "Pa", **dict.fromkeys(("kPa", "KPa", "kpa"), "kPa"), "bar": "bar", "hPa": "hPa", "mbar": "hPa",
    **dict.fromkeys(("psi", "PSI", "psid"), "psi"), **dict.fromkeys(("inWC", "in WC", "inH2O", "inWG", '"WC', "in.w.c."), "inWC"),
    **dict.fromkeys(("LPM", "lpm", "L/min", "l/min"), "L/min"), **dict.fromkeys(("L/s", "l/s", "LPS"), "L/s"), "kg/s": "kg/s",
    **dict.fromkeys(("GPM", "gpm"), "gpm"), **dict.fromkeys(("m3/h", "m³/h", "CMH"), "m3/h"),
    **dict.fromkeys(("CFM", "cfm"), "cfm"), **dict.fromkeys(("m3/s", "m³/s"), "m3/s"),
    "ratio": "ratio", "count": "count", "s": "s", "min": "min",
}  # fmt: skip
STATE_UNITS = ("bool", "count")


class Topic(NamedTuple):
    """`BMS/v1/{publisher}/{kind}/{object_type}/{point_type}/{tag_path}`; the tag path is opaque and may have slashes."""

    publisher: str
    kind: str
    object_type: str
    point_type: str
    tag_path: str

    def __str__(self) -> str:
        return "/".join(("BMS/v1", *self))


class Metadata(NamedTuple):
    """What the BMS says that a point is. Either a unit or states; heartbeats have neither."""

    eng_unit: str
    states: frozenset[float] | None
    integration: str


def parse_topic(text: str) -> Topic | None:
    """The parts of a topic of the event bus, or None where it is none."""
    parts = text.split("/", 6)
    if len(parts) != 7 or parts[:2] != ["BMS", "v1"] or not all(parts) or parts[3] not in ("Value", "Metadata"):
        return None
    return Topic(*parts[2:])


def metadata_topic(value_topic: str) -> str:
    """Where the BMS describes the point of a Value topic, whoever publishes its value."""
    topic = parse_topic(value_topic)
    assert topic is not None, value_topic  # the site check has seen to it
    return str(topic._replace(publisher="PUB", kind="Metadata"))


def decode_metadata(raw: bytes, size_max: int, topic: str) -> Metadata:
    """Read strictly what matters; what else a BMS says of a point is its own business. Raises `Rejected`."""
    o, of = parse_object(raw, size_max), parse_topic(topic)
    assert of is not None
    if o.get("objectType", of.object_type) != of.object_type or o.get("pointType", of.point_type) != of.point_type:
        raise Rejected("metadata_of_another")
    unit, integration = o.get("engUnit", ""), o.get("integration", "")
    if not isinstance(unit, str) or not isinstance(integration, str) or ("engUnit" in o and not unit):
        raise Rejected("metadata_keys")
    if "stateText" not in o:
        return Metadata(unit, None, integration)
    if unit:
        raise Rejected("metadata_keys")
    return Metadata("", _states(o["stateText"]), integration)


def _states(entries: Any) -> frozenset[float]:
    if not isinstance(entries, list) or not entries:
        raise Rejected("metadata_keys")
    values = []
    for entry in entries:
        value = entry.get("value") if isinstance(entry, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not isinstance(entry.get("text"), str):
            raise Rejected("metadata_keys")
        values.append(float(value))
    return frozenset(values)


def unit_fault(metadata: Metadata, point: Point) -> str:
    """Why the point's values may not be read as the site file says, or nothing."""
    if metadata.states is not None:
        return "" if point.unit in STATE_UNITS else f"metadata gives states, the site file unit {point.unit!r}"
    if not metadata.eng_unit:
        return "" if point.unit in STATE_UNITS else "metadata gives neither engUnit nor stateText"
    return eng_unit_fault(metadata.eng_unit, point, "metadata")


def eng_unit_fault(text: str, point: Point, who: str) -> str:
    """Why values in the unit of that text are not what the site file says, or nothing; `who` says so."""
    known = ENG_UNITS.get(text)
    if known is None:
        return f"{who} gives engUnit {text[:20]!r}, which is not known"
    if UNITS[known] != UNITS[point.unit] and not (known == "degK" and point.unit == "K"):
        return f"{who} gives engUnit {text!r}, the site file unit {point.unit!r}"
    return ""


class DsxSource:
    """What the BMS has said of its points and of itself."""

    def __init__(self, silent_max_s: float):
        self.points: list[int] = []
        self.metadata: dict[int, Metadata] = {}
        self.faults: dict[int, str] = {}
        self.alive = True
        self._silent_max_s = silent_max_s
        self._beat: float | None = None
        self._heard = False
        self._heard_s = math.nan

    def beat(self, stamp: float) -> bool:
        """A heartbeat; one that repeats its stamp is no sign of life."""
        moves = stamp != self._beat
        self._beat = stamp
        self._heard |= moves
        return moves

    def watch(self, now_s: float) -> NDArray[np.int64]:
        """Points that are no longer believed, on the clock of the caller. A start counts as a beat."""
        if self._heard or not now_s - self._heard_s >= 0.0:
            self._heard, self._heard_s = False, now_s
            self.alive = True
        if self.alive and now_s - self._heard_s > self._silent_max_s:
            self.alive = False
            return np.array(self.points, dtype=np.int64)
        return np.array((), dtype=np.int64)


def read_value(d: Decoder, raw: bytes, route: Route) -> Samples:
    """A Value message. Raises `Rejected`."""
    o, i, source = parse_flat(raw, d.single_max), route.only(), d.dsx
    if not isinstance(o, dict):
        raise Rejected("not_an_object")
    if o.keys() != VALUE_KEYS:
        raise Rejected("keys")
    if type(o["quality"]) is not int:
        raise Rejected("quality_type")
    t_source_s = timestamp_s(o["timestamp"])
    if t_source_s != t_source_s:
        raise Rejected("timestamp_type")
    if not source.alive:
        raise Rejected("no_heartbeat")
    metadata = source.metadata.get(i)
    if metadata is None:
        raise Rejected("metadata_unit" if i in source.faults else "no_metadata")
    value = o["value"]
    if value is None or o["quality"] != 1:
        return [d.bad(i, t_source_s)]
    if metadata.states is not None and type(value) in (int, float) and value not in metadata.states:
        d.count("state_unknown")
        return [d.bad(i, t_source_s)]
    sample = d.sample(i, value, t_source_s)
    return [sample] if sample else []


def read_metadata(d: Decoder, raw: bytes, route: Route) -> Samples:
    """A Metadata message; where it takes a point's meaning away, the point is bad at once. Raises `Rejected`."""
    i, source = route.only(), d.dsx
    fault = "metadata was withdrawn"
    if raw:
        metadata = decode_metadata(raw, d.single_max, route.topic)
        fault = unit_fault(metadata, d.table.points[i])
        if not fault:
            source.metadata[i] = metadata
            source.faults.pop(i, None)
            return []
        d.count("metadata_unit")
    source.faults[i] = fault
    return [d.bad(i)] if source.metadata.pop(i, None) else []


def read_heartbeat(d: Decoder, raw: bytes, route: Route) -> Samples:
    """The BMS's heartbeat: a stamp that moves. Raises `Rejected`."""
    o = parse_object(raw, d.single_max)
    if o.keys() != VALUE_KEYS:
        raise Rejected("keys")
    value = o["value"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Rejected("value_type")
    if o["quality"] == 1 and not d.dsx.beat(float(value)):
        d.count("heartbeat_stuck")
    return []


def encode_value(value: float, timestamp_ms: int) -> bytes:
    """A Value message of good quality."""
    return b'{"value":%s,"timestamp":%d,"quality":1}' % (repr(value).encode(), timestamp_ms)
