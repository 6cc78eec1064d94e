"""The dialect `sparkplug-b`, written: setpoints as commands to the metrics that edge nodes have declared at birth.

A command goes to a device (DCMD) or to a node itself (NCMD), by the alias, with the type and only in the unit that its
birth gives, while that birth is in force and our own STATE is online. Beside the setpoints each device gets a metric
that counts, its heartbeat: what it does when the count stands still is what ends a lease.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from coolctl.dialects.dsx import eng_unit_fault
from coolctl.dialects.output import BEATS, Output
from coolctl.dialects.sparkplug import NAMESPACE, NODE, EdgeNode, Source, SparkplugHost, parse_source, state_message
from coolctl.dialects.sparkplug_payload import BOOLEAN, TYPE_NAMES, WHOLE, Metric, Payload, encode_payload, wire_number
from coolctl.points import Point
from coolctl.strict_json import Rejected, parse_object

COARSE_MAX = 0.005  # of a setpoint's range: what rounding to a whole number may change
STATE_MAX_BYTES = 256


class HostState:
    """Birth and will of a host application: both bear the time at which the connection was begun."""

    def __init__(self, host: str, clock_ms: Callable[[], int]):
        self.host, self._clock_ms = host, clock_ms
        self.stamp_ms = 0

    def __call__(self, online: bool) -> tuple[str, bytes]:
        """Topic and payload; the will is made before each connection, and sets the time."""
        if not online:
            self.stamp_ms = self._clock_ms()
        return state_message(self.host, online, self.stamp_ms)


class Target(NamedTuple):
    """Where a setpoint goes."""

    source: Source
    metric: str


def parse_command(topic: str) -> Source | None:
    """Node and device of an NCMD or DCMD topic, or None where it is none."""
    return parse_source(topic, "CMD")


def command_topic(source: Source) -> str:
    """Where commands for a device, or for the node itself, go."""
    if source.device == NODE:
        return f"{NAMESPACE}/{source.group}/NCMD/{source.node}"
    return f"{NAMESPACE}/{source.group}/DCMD/{source.node}/{source.device}"


class SparkplugWriter(Output):
    """Commands for the nodes that `host` listens to; `state` is our own STATE."""

    def __init__(
        self, setpoints: Iterable[Point], host: SparkplugHost, heartbeat: str, state: HostState, patience_s: float = math.inf
    ):
        super().__init__(setpoints, patience_s)
        self._host, self._heartbeat, self._state = host, heartbeat, state
        self._targets = {p.id: Target(_source(p), p.field) for p in self.points.values()}
        self._sources = tuple(dict.fromkeys(t.source for t in self._targets.values()))
        self._online = "our STATE has not been heard yet"
        self.watch(-math.inf)

    @property
    def topics(self) -> list[str]:
        """Our own STATE, as others hear it."""
        return [f"{NAMESPACE}/STATE/{self._state.host}"]

    def take(self, topic: str, raw: bytes) -> None:
        """What is kept of our STATE. A death of an earlier connection that is told late must be put right: `asks`."""
        try:
            o = parse_object(raw, STATE_MAX_BYTES)
        except Rejected as rejected:
            self._online = f"our STATE is garbled: {rejected.reason}"
            self.asks = True
            return
        online, stamp = o.get("online"), o.get("timestamp")
        ours = type(stamp) is int and stamp == self._state.stamp_ms
        self.asks = online is not True
        self._online = "our STATE is not online"
        if online is True:
            self._online = "" if ours else f"another host application is online as {self._state.host!r}"

    def watch(self, now_s: float) -> None:
        """What is in the way now."""
        faults = {"STATE": self._online} if self._online else {}
        for source in self._sources:
            fault = self._source_fault(source) or self._heartbeat_fault(source)
            if fault:
                faults[command_topic(source)] = fault
        coarse = {}
        for name, (source, metric) in self._targets.items():
            if command_topic(source) in faults:
                continue
            birth = self._node(source).births.get((source.device, metric))
            fault = "the birth does not name it" if birth is None else metric_fault(birth, self.points[name])
            if fault:
                faults[name] = fault
            elif birth is not None and birth.datatype in WHOLE:
                coarse[name] = 0.5
        self._compare(now_s, coarse)
        self.faults = {**faults, **self.refused}

    def lease(self, wire: Mapping[str, float], now_s: float, timestamp_ms: int) -> list[tuple[str, bytes]]:
        """One command for each device with something new: changed values, and its heartbeat when that is due."""
        self.watch(now_s)
        if not self.can_write(wire):
            self.schedule.restart()
            return []
        ready = {}
        for name, value in wire.items():
            try:
                ready[name] = self._command(self._targets[name], value, timestamp_ms)
            except Rejected:
                self.refuse(name, f"{value:g} does not fit the metric's type")
                return []
        names, beat = self.schedule.due(wire, now_s)
        self._note(wire, now_s)
        commands: dict[Source, list[Metric]] = {}
        for name in names:
            commands.setdefault(self._targets[name].source, []).append(ready[name])
        if beat:
            self.beats = (self.beats + 1) % BEATS
            for source in dict.fromkeys(self._targets[name].source for name in wire):
                birth = self._node(source).births[source.device, self._heartbeat]
                count = self.beats % 2 if birth.datatype == BOOLEAN else self.beats
                commands.setdefault(source, []).append(self._command(Target(source, self._heartbeat), count, timestamp_ms))
        return [(command_topic(s), encode_payload(Payload(timestamp_ms, None, metrics))) for s, metrics in commands.items()]

    def _node(self, source: Source) -> EdgeNode:
        return self._host.nodes[source.group, source.node]

    def _source_fault(self, source: Source) -> str:
        node = self._node(source)
        if not node.born:
            return "no birth of the node"
        return "" if source.device in node.devices else "no birth of the device"

    def _heartbeat_fault(self, source: Source) -> str:
        birth = self._node(source).births.get((source.device, self._heartbeat))
        if birth is None:
            return f"the birth does not name the heartbeat {self._heartbeat!r}"
        return "" if birth.datatype in TYPE_NAMES else "the heartbeat is no number"

    def _command(self, target: Target, value: float, timestamp_ms: int) -> Metric:
        """A metric of a command. Raises `Rejected` where its type cannot hold the value."""
        birth = self._node(target.source).births[target.source.device, target.metric]
        slot, number = wire_number(birth.datatype, value)
        name = birth.name if birth.alias is None else ""  # where there is an alias, it alone is said
        return Metric(name, birth.alias, timestamp_ms, birth.datatype, slot=slot, value=number)


def _source(point: Point) -> Source:
    source = parse_command(point.topic)
    assert source is not None, point.topic  # the site check has seen to it
    return source


def metric_fault(birth: Metric, point: Point) -> str:
    """Why a setpoint may not be written to the metric of that birth, or nothing. A birth need not give a unit."""
    if birth.datatype not in TYPE_NAMES:
        return f"the birth gives type {birth.datatype}, which is no number"
    if birth.unit and (fault := eng_unit_fault(birth.unit, point, "the birth")):
        return fault
    step = abs(point.decode(1.0) - point.decode(0.0))
    if point.unit in ("bool", "count"):
        return "" if birth.datatype != BOOLEAN or point.unit == "bool" else "the birth gives Boolean for a count"
    if birth.datatype == BOOLEAN or (birth.datatype in WHOLE and 0.5 * step > COARSE_MAX * (point.high - point.low) + 1e-12):
        return f"the birth gives {TYPE_NAMES[birth.datatype]}, which is too coarse for {point.unit!r}"
    return ""
