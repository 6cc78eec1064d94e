"""Sparkplug B, as an edge node: births, data on change, deaths. It publishes and is never commanded but to be born again.

The sequence number counts every message but the death, 0 with the node's birth; `bdSeq` counts connections and ties a
death to its birth. Metrics are said by name: no alias is given, so none can be mistaken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from coolctl.dialects.sparkplug import NAMESPACE
from coolctl.dialects.sparkplug_payload import BOOLEAN, DOUBLE, INT64, STRING, Metric, Payload, decode_payload, encode_payload
from coolctl.strict_json import Rejected

REBIRTH = "Node Control/Rebirth"
BD_SEQ = "bdSeq"
CYCLE = 256
COMMAND_MAX_BYTES = 65536

Value = float | bool | int | str
Packet = tuple[str, bytes]


class Reading(NamedTuple):
    """What a metric says now. A number that is not known is NaN; `dead_band`: smaller moves are not told."""

    value: Value
    unit: str = ""
    dead_band: float = 0.0


def metric(name: str, reading: Reading, timestamp_ms: int, born: bool) -> Metric:
    """A metric of a birth, with its unit, or of data."""
    v, unit = reading.value, reading.unit if born else ""
    if isinstance(v, bool):
        return Metric(name, None, timestamp_ms, BOOLEAN, slot=14, value=v, unit=unit)
    if isinstance(v, str):
        return Metric(name, None, timestamp_ms, STRING, slot=15, value=v.encode(), unit=unit)
    if isinstance(v, int):
        return Metric(name, None, timestamp_ms, INT64, slot=11, value=v % (1 << 64), unit=unit)
    if not math.isfinite(v):
        return Metric(name, None, timestamp_ms, DOUBLE, null=True, unit=unit)
    return Metric(name, None, timestamp_ms, DOUBLE, slot=13, value=v, unit=unit)


def moved(before: Reading, now: Reading) -> bool:
    """Whether there is something to tell."""
    a, b = before.value, now.value
    if isinstance(a, float) and isinstance(b, float):
        if a != a or b != b:
            return (a != a) != (b != b)
        return abs(b - a) > now.dead_band
    return a != b


class NodeSource:
    """One edge node and its devices."""

    def __init__(self, group: str, node: str, bd_seq: int = -1):
        """`bd_seq` is that of the last connection, of an earlier process too."""
        self._group, self._node = group, node
        self.bd_seq = bd_seq
        self._seq = 0
        self._said: dict[str, dict[str, Reading]] = {}
        self.born = False
        self.asks = False
        self.rejects: dict[str, int] = {}

    @property
    def command_topic(self) -> str:
        """Where the node is asked to be born again."""
        return self._topic("NCMD")

    def _topic(self, kind: str, device: str = "") -> str:
        return f"{NAMESPACE}/{self._group}/{kind}/{self._node}" + (f"/{device}" if device else "")

    def will(self) -> Packet:
        """The death of the connection that is about to be made."""
        self.bd_seq = (self.bd_seq + 1) % CYCLE
        self.born = False
        return self.death()

    def death(self) -> Packet:
        """The death of this connection: its `bdSeq` alone, and no sequence number."""
        return self._topic("NDEATH"), encode_payload(
            Payload(None, None, [Metric(BD_SEQ, None, None, INT64, slot=11, value=self.bd_seq)])
        )

    def take(self, topic: str, raw: bytes) -> None:
        """A command to the node: a rebirth is granted, all else is counted and passed over."""
        try:
            if topic != self.command_topic:
                raise Rejected("topic")
            metrics = decode_payload(raw, COMMAND_MAX_BYTES).metrics
            for m in metrics:
                if m.name != REBIRTH:
                    raise Rejected("command")
                self.asks |= m.slot == 14 and bool(m.value)
        except Rejected as rejected:
            self.rejects[rejected.reason] = self.rejects.get(rejected.reason, 0) + 1

    def _message(self, kind: str, device: str, metrics: Iterable[Metric], timestamp_ms: int) -> Packet:
        self._seq = 0 if kind == "NBIRTH" else (self._seq + 1) % CYCLE
        return self._topic(kind, device), encode_payload(Payload(timestamp_ms, self._seq, list(metrics)))

    def birth(self, node: Mapping[str, Reading], devices: Mapping[str, Mapping[str, Reading]], timestamp_ms: int) -> list[Packet]:
        """Everything anew: the node, then its devices that are there."""
        self.born, self.asks = True, False
        self._said = {"": dict(node)}
        own = [
            Metric(BD_SEQ, None, timestamp_ms, INT64, slot=11, value=self.bd_seq),
            Metric(REBIRTH, None, timestamp_ms, BOOLEAN, slot=14, value=False),
        ]
        own += [metric(name, reading, timestamp_ms, True) for name, reading in node.items()]
        return [self._message("NBIRTH", "", own, timestamp_ms), *self._device_births(devices, timestamp_ms)]

    def _device_births(self, devices: Mapping[str, Mapping[str, Reading]], timestamp_ms: int) -> list[Packet]:
        out = []
        for device, readings in devices.items():
            if device not in self._said:
                self._said[device] = dict(readings)
                metrics = [metric(name, reading, timestamp_ms, True) for name, reading in readings.items()]
                out.append(self._message("DBIRTH", device, metrics, timestamp_ms))
        return out

    def data(self, node: Mapping[str, Reading], devices: Mapping[str, Mapping[str, Reading]], timestamp_ms: int) -> list[Packet]:
        """What has changed since it was last told; a birth where one is due, or where there is a metric that none has named."""
        known = all(now.keys() <= self._said.get(d, now).keys() for d, now in ({"": node} | dict(devices)).items())
        if self.asks or not self.born or not known:
            return self.birth(node, devices, timestamp_ms)
        out = []
        for device in [d for d in self._said if d and d not in devices]:
            del self._said[device]
            out.append(self._message("DDEATH", device, (), timestamp_ms))
        for device, readings in ({"": node} | dict(devices)).items():
            said = self._said.get(device)
            if said is None:
                continue
            new = {name: reading for name, reading in readings.items() if moved(said[name], reading)}
            said.update(new)
            if new:
                metrics = [metric(name, reading, timestamp_ms, False) for name, reading in new.items()]
                out.append(self._message("DDATA" if device else "NDATA", device, metrics, timestamp_ms))
        return out + self._device_births(devices, timestamp_ms)
