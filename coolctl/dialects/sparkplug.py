"""The dialect `sparkplug-b`, heard as a host application: who is born, in what order they speak, and who has died.

A row's topic is the DATA topic of its node or device, `field` the metric's name. Nothing is believed of a node before
its birth, after its death, and after a gap in its sequence that does not close in time; then a rebirth is asked for.
Every message of a mapped node is listened to, because all of them count in its sequence.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.dialects.route import Samples, timestamp_s
from coolctl.dialects.sparkplug_payload import BOOLEAN, GOOD, Metric, Payload, decode_payload, encode_payload
from coolctl.points import Quality, Sample
from coolctl.strict_json import Rejected

if TYPE_CHECKING:
    from coolctl.dialects.decoder import Decoder

NAMESPACE = "spBv1.0"
KINDS = ("NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH")
REBIRTH_EVERY_S = 10.0
PENDING_MAX = 32
NODE = ""  # stands for the device of a node's own metrics


class Source(NamedTuple):
    """Where a metric comes from; `device` is empty for the node's own."""

    group: str
    node: str
    device: str


def parse_source(topic: str, kind: str = "DATA") -> Source | None:
    """Node and device of a DATA topic (or of one of another kind), or None where it is none."""
    parts = topic.split("/")
    if parts[0] != NAMESPACE or not all(parts) or any(c in topic for c in "+#"):
        return None
    if len(parts) == 4 and parts[2] == f"N{kind}":
        return Source(parts[1], parts[3], NODE)
    if len(parts) == 5 and parts[2] == f"D{kind}":
        return Source(parts[1], parts[3], parts[4])
    return None


def state_message(host: str, online: bool, timestamp_ms: int) -> tuple[str, bytes]:
    """The host's own state, to be retained: as birth, and with the same stamp as will."""
    return f"{NAMESPACE}/STATE/{host}", json.dumps({"online": online, "timestamp": timestamp_ms}).encode()


def rebirth_request(group: str, node: str, timestamp_ms: int) -> tuple[str, bytes]:
    """Asks a node to say everything anew."""
    metric = Metric("Node Control/Rebirth", None, timestamp_ms, BOOLEAN, slot=14, value=True)
    return f"{NAMESPACE}/{group}/NCMD/{node}", encode_payload(Payload(timestamp_ms, None, [metric]))


class Message(NamedTuple):
    """One message of a node that counts in its sequence."""

    kind: str
    device: str
    payload: Payload


class EdgeNode:
    """What is known of one edge node."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, str], int] = {}
        self.born = False
        self.bd_seq: int | None = None
        self.next_seq = 0
        self.devices: set[str] = set()
        self.aliases: dict[int, tuple[str, str]] = {}
        self.births: dict[tuple[str, str], Metric] = {}  # each metric as its birth declared it
        self.pending: dict[int, Message] = {}
        self.gap_s = math.nan
        self.asks = True
        self.asked_s = -math.inf

    def forget(self) -> list[int]:
        """Back to before its birth; the points that are not known any more."""
        self.born, self.gap_s = False, math.nan
        self.pending.clear()
        self.devices.clear()
        self.aliases.clear()
        self.births.clear()
        return list(self.points.values())


class SparkplugHost:
    """The edge nodes of a site, by group and name."""

    def __init__(self, reorder_s: float):
        self.nodes: dict[tuple[str, str], EdgeNode] = {}
        self._reorder_s = reorder_s

    def add(self, source: Source, metric: str, i: int) -> None:
        """Point `i` is the metric of that name."""
        self.nodes.setdefault((source.group, source.node), EdgeNode()).points[source.device, metric] = i

    @property
    def topics(self) -> list[str]:
        """Everything that the mapped nodes say."""
        own = [f"{NAMESPACE}/{g}/{kind}/{n}" for g, n in self.nodes for kind in KINDS[:3]]
        return own + [f"{NAMESPACE}/{g}/{kind}/{n}/+" for g, n in self.nodes for kind in KINDS[3:]]

    def restart(self) -> list[int]:
        """The link to the broker was down: who died or was born meanwhile is not known, of none of these points."""
        gone = []
        for node in self.nodes.values():
            gone += node.forget()
            node.asks, node.asked_s = True, -math.inf
        return gone

    def watch(self, now_s: float) -> NDArray[np.int64]:
        """Points that are no longer believed: of nodes whose gap in the sequence did not close in time."""
        gone: list[int] = []
        for node in self.nodes.values():
            if not node.pending:
                node.gap_s = math.nan
            elif not now_s - node.gap_s >= 0.0:
                node.gap_s = now_s
            elif now_s - node.gap_s > self._reorder_s:
                gone += node.forget()
                node.asks = True
        return np.array(gone, dtype=np.int64)

    def outgoing(self, now_s: float, timestamp_ms: int) -> list[tuple[str, bytes]]:
        """Requests for rebirth that are due."""
        out = []
        for (group, name), node in self.nodes.items():
            if node.asks and not 0.0 <= now_s - node.asked_s < REBIRTH_EVERY_S:
                node.asked_s = now_s
                out.append(rebirth_request(group, name, timestamp_ms))
        return out

    def read(self, d: Decoder, topic: str, raw: bytes) -> Samples:
        """A message of an edge node. Raises `Rejected`."""
        parts = topic.split("/")
        node = self.nodes.get((parts[1], parts[3])) if len(parts) in (4, 5) else None
        if node is None or parts[0] != NAMESPACE or parts[2] not in KINDS[3 * (len(parts) == 5) :][:3]:
            raise Rejected("unknown_topic")
        message = Message(parts[2], parts[4] if len(parts) == 5 else NODE, decode_payload(raw, d.batch_max))
        if message.kind == "NDEATH":
            return self._death(d, node, message.payload)
        seq = message.payload.seq
        if seq is None:
            raise Rejected("seq")
        if message.kind == "NBIRTH":
            return self._birth(d, node, message, seq)
        if not node.born:
            node.asks = True
            raise Rejected("no_birth")
        ahead = (seq - node.next_seq) % 256
        if ahead >= 256 - PENDING_MAX:
            raise Rejected("seq_old")
        if ahead and len(node.pending) < PENDING_MAX:
            node.pending[seq] = message  # in its turn, or with the next birth
            return []
        if ahead:
            raise Rejected("seq_gap")
        samples = self._take(d, node, message)
        while (waiting := node.pending.pop(node.next_seq, None)) is not None:
            samples += self._take(d, node, waiting)
        return samples

    def _death(self, d: Decoder, node: EdgeNode, payload: Payload) -> Samples:
        if not node.born or payload.bd_seq() != node.bd_seq:
            raise Rejected("bd_seq")  # of an earlier connection, told late
        d.count("node_death")
        return _unknown(node.forget())

    def _birth(self, d: Decoder, node: EdgeNode, message: Message, seq: int) -> Samples:
        lost = node.forget()
        node.bd_seq, node.next_seq = message.payload.bd_seq(), seq
        samples = _unknown(lost) + self._take(d, node, message)
        node.born, node.asks = True, False
        return samples

    def _take(self, d: Decoder, node: EdgeNode, message: Message) -> Samples:
        """A message in its turn."""
        kind, device, payload = message
        node.next_seq = ((payload.seq or 0) + 1) % 256
        mine = [i for (of, _), i in node.points.items() if of == device]
        if kind == "DDEATH":
            node.devices.discard(device)
            d.count("device_death")
            return _unknown(mine)
        if kind.endswith("BIRTH"):
            node.devices.add(device)
            self._register(node, device, payload)
            samples = _unknown(mine)  # what a birth does not name is not there any more
        elif device in node.devices:
            samples = []
        else:
            node.asks = True
            d.count("no_birth")
            return []
        for metric in payload.metrics:
            try:
                samples += self._metric(d, node, device, metric, payload.timestamp_ms)
            except Rejected as rejected:
                d.count(rejected.reason)
        return samples

    @staticmethod
    def _register(node: EdgeNode, device: str, payload: Payload) -> None:
        node.aliases = {alias: of for alias, of in node.aliases.items() if of[0] != device}
        node.births = {of: m for of, m in node.births.items() if of[0] != device}
        for m in payload.metrics:
            if m.name:
                node.births[device, m.name] = m
                if m.alias is not None:
                    node.aliases[m.alias] = device, m.name

    @staticmethod
    def _metric(d: Decoder, node: EdgeNode, device: str, m: Metric, sent_ms: int | None) -> Samples:
        """The sample of a metric, if it is mapped. Raises `Rejected`."""
        of = (device, m.name) if m.name else node.aliases.get(-1 if m.alias is None else m.alias)
        if of is None or of[0] != device:
            node.asks = True
            raise Rejected("unknown_alias")
        i = node.points.get(of)
        if i is None:
            return []
        if m.historical:
            raise Rejected("historical")
        stamp = m.timestamp_ms if m.timestamp_ms is not None else sent_ms
        t_source_s = timestamp_s(stamp)
        if m.null or m.quality != GOOD:
            return [d.bad(i, t_source_s)]
        born = node.births.get(of)
        sample = d.state(i, m.number(m.datatype or (born.datatype if born else 0)), t_source_s)
        return [sample] if sample else []


def _unknown(points: list[int]) -> Samples:
    return [Sample(i, math.nan, math.nan, Quality.SOURCE_BAD) for i in points]
