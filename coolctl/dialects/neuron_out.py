"""The dialect `neuron`, written: requests to EMQX Neuron's MQTT application, each with its answer.

The tags of one group go in one request. While an answer is awaited nothing else is asked for: newest wins. An error
code is a refusal of the machine behind it. No answer is none: after a pause it is tried again.
"""

from __future__ import annotations

import json
import math
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from coolctl.dialects.output import BEATS, Output
from coolctl.points import Point
from coolctl.strict_json import Rejected, parse_object

ANSWER_MAX_S = 3.0
PAUSE_S = 10.0
REMEMBERED_MAX = 64  # requests whose answer may still come, late
WHOLE_UNITS = ("bool", "count")  # written as whole numbers; all else with a decimal point


class Group(NamedTuple):
    """A group of tags of a south device."""

    node: str
    group: str

    def __str__(self) -> str:
        return f"{self.node}/{self.group}"


def parse_tag(field: str) -> tuple[Group, str] | None:
    """`driver/group/tag`, or None where it is none."""
    parts = field.split("/")
    return (Group(parts[0], parts[1]), parts[2]) if len(parts) == 3 and all(parts) else None


def encode_request(request: str, group: Group, tags: Mapping[str, float]) -> bytes:
    """A write request: one tag in the form that all versions know, several in that of 2.6."""
    head = {"uuid": request, "node": group.node, "group": group.group}
    if len(tags) == 1:
        (tag, value), *_ = tags.items()
        return json.dumps({**head, "tag": tag, "value": value}, allow_nan=False).encode()
    several = [{"tag": tag, "value": value} for tag, value in tags.items()]
    return json.dumps({**head, "tags": several}, allow_nan=False).encode()


def decode_answer(raw: bytes, size_max: int) -> tuple[str, int]:
    """The request that is answered, and its error code. Raises `Rejected`."""
    o = parse_object(raw, size_max)
    request, code = o.get("uuid"), o.get("error")
    if not isinstance(request, str) or type(code) is not int:
        raise Rejected("keys")
    return request, code


class NeuronWriter(Output):
    """Requests on `request_topic`, answers on `answer_topic`."""

    def __init__(
        self, setpoints: Iterable[Point], request_topic: str, answer_topic: str, heartbeat: str, size_max: int,
        patience_s: float = math.inf, new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ):  # fmt: skip
        super().__init__(setpoints, patience_s)
        self._request_topic, self._answer_topic, self._size_max = request_topic, answer_topic, size_max
        self._heartbeat, self._new_id = heartbeat, new_id
        self._tags = {p.id: _tag(p) for p in self.points.values()}
        self._awaited: dict[str, float] = {}
        self._asked: OrderedDict[str, Group] = OrderedDict()
        self._silent = ""
        self._again_s = -math.inf
        self.rejects: dict[str, int] = {}

    @property
    def topics(self) -> list[str]:
        """Where answers come."""
        return [self._answer_topic]

    def take(self, topic: str, raw: bytes) -> None:
        """An answer. Other clients of the same Neuron have theirs on this topic too: those are passed over."""
        try:
            request, code = decode_answer(raw, self._size_max)
        except Rejected as rejected:
            self.rejects[rejected.reason] = self.rejects.get(rejected.reason, 0) + 1
            return
        group = self._asked.pop(request, None)
        if group is None:
            return
        self._awaited.pop(request, None)
        if code:
            self.refuse(str(group), f"Neuron answers error {code}")
            self.faults = self._faults()

    def watch(self, now_s: float) -> None:
        """Give up on answers that do not come; try again after a pause."""
        ages = [now_s - since_s for since_s in self._awaited.values()]
        if any(not 0.0 <= age_s <= ANSWER_MAX_S for age_s in ages):
            late = self._asked.get(next(iter(self._awaited)))
            self._awaited.clear()
            self._silent, self._again_s = f"no answer to a write of {late}", now_s + PAUSE_S
        elif self._silent and not 0.0 < self._again_s - now_s <= PAUSE_S:
            self._silent = ""
        self._compare(now_s, {})
        self.faults = self._faults()

    def _faults(self) -> dict[str, str]:
        return {**({"Neuron": self._silent} if self._silent else {}), **self.refused}

    def lease(self, wire: Mapping[str, float], now_s: float, timestamp_ms: int) -> list[tuple[str, bytes]]:
        """One request for each group with something new: changed values, and its heartbeat when that is due."""
        self.watch(now_s)
        if not self.can_write(wire):
            self.schedule.restart()
            return []
        if self._awaited:
            self._note({}, now_s)
            return []
        names, beat = self.schedule.due(wire, now_s)
        self._note(wire, now_s)
        groups: dict[Group, dict[str, float]] = {}
        for name in names:
            group, tag = self._tags[name]
            value = float(wire[name])
            groups.setdefault(group, {})[tag] = round(value) if self.points[name].unit in WHOLE_UNITS else value
        if beat:
            self.beats = (self.beats + 1) % BEATS
            for group in dict.fromkeys(self._tags[name][0] for name in wire):
                groups.setdefault(group, {})[self._heartbeat] = self.beats
        return [(self._request_topic, self._request(group, tags, now_s)) for group, tags in groups.items()]

    def _request(self, group: Group, tags: Mapping[str, float], now_s: float) -> bytes:
        request = self._new_id()
        self._awaited[request], self._asked[request] = now_s, group
        while len(self._asked) > max(REMEMBERED_MAX, len(self._awaited)):
            self._asked.popitem(last=False)
        return encode_request(request, group, tags)


def _tag(point: Point) -> tuple[Group, str]:
    tag = parse_tag(point.field)
    assert tag is not None, point.field  # the site check has seen to it
    return tag
