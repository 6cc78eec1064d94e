"""Whether the rows of a site file fit their dialects: the forms of topics and fields, and what a dialect needs beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from coolctl.dialects import dsx
from coolctl.dialects.neuron_out import parse_tag
from coolctl.dialects.sparkplug import parse_source
from coolctl.dialects.telegraf import parse_selector
from coolctl.errors import nearest
from coolctl.points import Point

if TYPE_CHECKING:
    from coolctl.site_schema import SiteFile

FIELD_FORMS = {
    "neuron": "group/tag or driver/group/tag",
    "telegraf": "measurement/field or measurement,tag=value/field",
    "thingsboard": "Device/key",
}
Faults = Iterator[tuple[tuple[str | int, ...], str]]
"""Path of the key and message."""

GATEWAY_DIALECTS = ("json", "dsx", "sparkplug-b", "neuron")


def row_fault(point: Point, field_given: bool) -> tuple[str, str] | None:
    """What does not fit in the row of a measured point: key and message."""
    if point.dialect == "dsx":
        message = _value_topic_fault(point.topic, "PUB")
        if message:
            return "topic", message
        if field_given:
            return "field", "a dsx topic carries one value and has no fields"
    elif point.dialect == "sparkplug-b" and parse_source(point.topic) is None:
        return "topic", f"{point.topic!r} is not spBv1.0/GROUP/NDATA/NODE or spBv1.0/GROUP/DDATA/NODE/DEVICE"
    elif point.dialect == "sparkplug-b" and not field_given:
        return "field", 'name the metric of the edge node: field = "…"'
    elif point.dialect in FIELD_FORMS and not (field_given and _fits(point.dialect, point.field)):
        given = f"{point.field!r} is not" if field_given else "needs a field:"
        return "field", f"{point.dialect}: {given} {FIELD_FORMS[point.dialect]}"
    return None


def _fits(dialect: str, field: str) -> bool:
    parts = field.split("/")
    if dialect == "neuron":
        return len(parts) in (2, 3) and all(parts)
    if dialect == "telegraf":
        return parse_selector(field) is not None
    return len(parts) >= 2 and bool(parts[0] and parts[-1])


def _value_topic_fault(text: str, publisher: str) -> str:
    """Why `text` is no Value topic of `publisher` whose metadata could be found, or nothing."""
    form = f"BMS/v1/{publisher}/Value/OBJECT_TYPE/POINT_TYPE/TAG_PATH"
    topic = dsx.parse_topic(text)
    if topic is None or topic.kind != "Value":
        return f"{text!r} is not {form}: its metadata cannot be found"
    if topic.publisher != publisher:
        return f"{text!r} is published by {topic.publisher!r}: expected {form}"
    if topic.object_type not in dsx.OBJECT_TYPES:
        return f"unknown object type {topic.object_type!r}" + nearest(topic.object_type, dsx.OBJECT_TYPES)
    return ""


def site_faults(file: SiteFile, points: list[Point]) -> Faults:
    """What the dialects of a site need beside the rows: path of the key and message."""
    if file.gateway.dialect not in GATEWAY_DIALECTS:
        known = nearest(file.gateway.dialect, GATEWAY_DIALECTS)
        yield ("gateway", "dialect"), f"unknown dialect {file.gateway.dialect!r}{known}; allowed: {', '.join(GATEWAY_DIALECTS)}"
    if any(p.dialect == "dsx" and not p.writable for p in points):
        yield from _heartbeat_faults("bms_heartbeat", file.dsx.bms_heartbeat, "PUB", (dsx.HEARTBEAT_BMS,))
    if file.gateway.dialect in OUTPUT_FAULTS:
        setpoints = [p for p in points if p.writable and p.role in file.plant.accepts]
        for p in setpoints:
            if p.dialect != file.gateway.dialect:
                yield ("gateway", "dialect"), f"setpoint {p.id!r} has the dialect {p.dialect!r}, not {file.gateway.dialect!r}"
        yield from OUTPUT_FAULTS[file.gateway.dialect](file, [p for p in setpoints if p.dialect == file.gateway.dialect])
    for key in ("host", "group", "node"):
        if any(c in getattr(file.sparkplug, key) for c in "/+#"):
            yield ("sparkplug", key), f"{getattr(file.sparkplug, key)!r} stands in a topic: without / + #"
    if file.sparkplug.group and not file.sparkplug.node:
        yield ("sparkplug", "node"), "an edge node has a name"


def _heartbeat_faults(key: str, text: str, publisher: str, types: tuple[str, ...]) -> Faults:
    topic = dsx.parse_topic(text)
    wanted = f"BMS/v1/{publisher}/Value/System/{types[0]}/TAG_PATH"
    if topic is None or topic[:3] != (publisher, "Value", "System") or topic.point_type not in types:
        yield ("dsx", key), f"the dialect 'dsx' needs this heartbeat: {text!r} is not {wanted}"
    elif any(c in text for c in "+#\0"):
        yield ("dsx", key), f"{text!r} is no topic: without + # and NUL"


def _dsx_faults(file: SiteFile, setpoints: list[Point]) -> Faults:
    name = file.dsx.integration
    if not name or name == "PUB" or any(c in name for c in "/+#"):
        yield ("dsx", "integration"), f"{name!r} stands in a topic: not empty, not PUB, without / + #"
    yield from _heartbeat_faults("heartbeat", file.dsx.heartbeat, name, dsx.HEARTBEATS_INTEGRATION)
    for p in setpoints:
        if message := _value_topic_fault(p.topic, name):
            yield ("gateway", "dialect"), f"setpoint {p.id!r}: {message}"


def _sparkplug_faults(file: SiteFile, setpoints: list[Point]) -> Faults:
    for key in ("host", "heartbeat"):
        if not getattr(file.sparkplug, key):
            yield ("sparkplug", key), f"the gateway's dialect 'sparkplug-b' needs it: {NEEDS[key]}"
    for p in setpoints:
        if parse_source(p.topic, "CMD") is None:
            form = "spBv1.0/GROUP/NCMD/NODE or spBv1.0/GROUP/DCMD/NODE/DEVICE"
            yield ("gateway", "dialect"), f"setpoint {p.id!r}: {p.topic!r} is not {form}"
    yield from _same_target(setpoints, lambda p: (p.topic, p.field), file.sparkplug.heartbeat)


def _neuron_faults(file: SiteFile, setpoints: list[Point]) -> Faults:
    for key in ("request_topic", "answer_topic"):
        text = getattr(file.neuron, key)
        if not text or any(c in text for c in "+#\0"):
            yield ("neuron", key), f"the gateway's dialect 'neuron' needs it: {text!r} is no topic"
    if not file.neuron.heartbeat:
        yield ("neuron", "heartbeat"), f"the gateway's dialect 'neuron' needs it: {NEEDS['heartbeat']}"
    for p in setpoints:
        if parse_tag(p.field) is None:
            yield ("gateway", "dialect"), f"setpoint {p.id!r}: field {p.field!r} is not driver/group/tag"
    yield from _same_target(setpoints, lambda p: p.field, "")
    for p in setpoints:
        tag = parse_tag(p.field)
        if tag is not None and tag[1] == file.neuron.heartbeat:
            yield ("neuron", "heartbeat"), f"{file.neuron.heartbeat!r} is the tag of setpoint {p.id!r}"


def _same_target(setpoints: list[Point], target: Callable[[Point], object], heartbeat: str) -> Faults:
    """Two setpoints that would write one another over, or the heartbeat."""
    first: dict[object, Point] = {}
    for p in setpoints:
        if first.setdefault(target(p), p) is not p:
            yield ("gateway", "dialect"), f"setpoint {p.id!r} is written to the same place as {first[target(p)].id!r}"
        if heartbeat and p.field == heartbeat:
            yield ("sparkplug", "heartbeat"), f"{heartbeat!r} is the metric of setpoint {p.id!r}"


OUTPUT_FAULTS: dict[str, Callable[[SiteFile, list[Point]], Faults]] = {
    "dsx": _dsx_faults,
    "sparkplug-b": _sparkplug_faults,
    "neuron": _neuron_faults,
}
NEEDS = {
    "host": "commands are a host application's, and only while its STATE is online",
    "heartbeat": "without it nothing would tell the plant that a lease has ended",
}
