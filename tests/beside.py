"""What stands between the gateway and a plant in the field: a Sparkplug edge node, and EMQX Neuron with its machines.

Each holds setpoints only while its heartbeat is counted up, forgets them all when it stands still, and hands what it
holds to the simulated plant as a lease of three seconds. Both are written after the documents, not after our writers.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from coolctl import lease
from coolctl.dialects.sparkplug_payload import (
    BOOLEAN,
    DOUBLE,
    INT16,
    INT64,
    Metric,
    Payload,
    decode_payload,
    encode_payload,
)
from coolctl.points import Point
from coolctl.site import Site

GROUP, NODE, BEAT = "Hall", "Edge", "coolctl/Heartbeat"
REQUEST, ANSWER, TAG_BEAT = "/neuron/coolctl/write/req", "/neuron/coolctl/write/resp", "beat"
REVERT_S, LEASE_S = 30.0, 3.0
UNIT_TEXTS = {"degC": "°C", "kPa": "kPa", "percent": "%", "count": "", "bool": ""}
Packet = tuple[str, bytes]


def on_outputs(text: str, rows: str, tables: str) -> str:
    """The default site with `rows` in each of its setpoints."""
    text = re.sub(r'(role = "\w+_sp"\n(?:machine = "[^"]*"\n)?unit = "[^"]*"\n)', lambda m: m[1] + rows, text)
    return text.replace("\n[telemetry]", "\n" + tables + "\n[telemetry]")


def sparkplug_text(text: str) -> str:
    rows = f'dialect = "sparkplug-b"\ntopic = "spBv1.0/{GROUP}/DCMD/{NODE}/{{machine}}"\nfield = "SP/{{point}}"\n'
    return on_outputs(
        text,
        rows,
        f'[gateway]\ndialect = "sparkplug-b"\n\n[sparkplug]\nhost = "cool"\nheartbeat = "{BEAT}"\nrevert_s = {REVERT_S}\n',
    )


def neuron_text(text: str) -> str:
    rows = 'dialect = "neuron"\ntopic = "/neuron/coolctl/bacnet/{machine}"\nfield = "bacnet/{machine}/{point}"\n'
    table = f'[neuron]\nrequest_topic = "{REQUEST}"\nanswer_topic = "{ANSWER}"\nheartbeat = "{TAG_BEAT}"\nrevert_s = {REVERT_S}\n'
    return on_outputs(text, rows, f'[gateway]\ndialect = "neuron"\n\n{table}')


class Beside(Protocol):
    """One of the two."""

    @property
    def topics(self) -> list[str]: ...

    def take(self, topic: str, raw: bytes, now_s: float) -> list[Packet]: ...

    def tick(self, now_s: float) -> list[Packet]: ...

    def setpoints(self, now_s: float) -> dict[str, float] | None: ...


class Held:
    """Setpoints by machine, each with a watchdog on its heartbeat."""

    def __init__(self, points: list[Point]):
        self.points = {p.id: p for p in points}
        self.machines = sorted({p.machine for p in points})
        self.values: dict[str, float] = {}
        self.beats: dict[str, tuple[float, float]] = {}

    def beat(self, machine: str, count: float, now_s: float) -> None:
        if self.beats.get(machine, (math.nan, 0.0))[0] != count:
            self.beats[machine] = count, now_s

    def setpoints(self, now_s: float) -> dict[str, float] | None:
        alive = all(0.0 <= now_s - self.beats.get(m, (0.0, -math.inf))[1] <= REVERT_S for m in self.machines)
        if not alive:
            self.values.clear()
            self.beats.clear()
        return dict(self.values) or None


class EdgeNodeSim(Held):
    """An edge node with a device for each machine; `types` overrides the type of a setpoint's metric."""

    def __init__(self, points: list[Point], types: dict[str, int] | None = None):
        super().__init__(points)
        self._types, self._seq, self._bd, self._ms = types or {}, 0, 0, 0
        self._alias = {name: 10 + k for k, name in enumerate(self.points)}
        self._name_of = {alias: name for name, alias in self._alias.items()}
        self._beat_alias = {machine: 1000 + k for k, machine in enumerate(self.machines)}
        self.born = False
        self.stuck: set[str] = set()
        self.commands: list[tuple[str, Payload]] = []

    @property
    def topics(self) -> list[str]:
        return [f"spBv1.0/{GROUP}/NCMD/{NODE}", *(f"spBv1.0/{GROUP}/DCMD/{NODE}/{m}" for m in self.machines)]

    def _say(self, kind: str, device: str, *metrics: Metric) -> Packet:
        seq = self._seq
        self._seq = (self._seq + 1) % 256
        self._ms += 1
        where = f"spBv1.0/{GROUP}/{kind}/{NODE}" + (f"/{device}" if device else "")
        return where, encode_payload(Payload(self._ms, seq, list(metrics)))

    def births(self) -> list[Packet]:
        self._seq, self.born = 0, True
        out = [
            self._say(
                "NBIRTH", "", Metric("bdSeq", None, 1, INT64, slot=11, value=self._bd),
                Metric("Node Control/Rebirth", None, 1, BOOLEAN, slot=14, value=False),
            )
        ]  # fmt: skip
        for machine in self.machines:
            metrics = [self._metric(p) for p in self.points.values() if p.machine == machine]
            beat = Metric(BEAT, self._beat_alias[machine], 1, INT16, slot=10, value=0)
            out.append(self._say("DBIRTH", machine, *metrics, beat))
        return out

    def _metric(self, p: Point) -> Metric:
        datatype = self._types.get(p.id, BOOLEAN if p.unit == "bool" else DOUBLE)
        slot = {DOUBLE: 13, BOOLEAN: 14}.get(datatype, 10)
        value: Any = {13: 0.0, 14: False, 10: 0}[slot]
        return Metric(f"SP/{p.id}", self._alias[p.id], 1, datatype, slot=slot, value=value, unit=UNIT_TEXTS[p.unit])

    def death(self) -> Packet:
        self.born = False
        raw = encode_payload(Payload(None, None, [Metric("bdSeq", None, 1, INT64, slot=11, value=self._bd)]))
        return f"spBv1.0/{GROUP}/NDEATH/{NODE}", raw

    def take(self, topic: str, raw: bytes, now_s: float) -> list[Packet]:
        p = decode_payload(raw, 1 << 20)
        if "/NCMD/" in topic:
            return self.births() if any(m.name == "Node Control/Rebirth" and m.value for m in p.metrics) else []
        machine = topic.rsplit("/", 1)[1]
        self.commands.append((topic, p))
        echo = []
        for m in p.metrics:
            assert m.alias is not None and not m.name
            if m.alias == self._beat_alias[machine]:
                self.beat(machine, float(m.value), now_s)  # type: ignore[arg-type]
                continue
            name = self._name_of[m.alias]
            assert self.points[name].machine == machine
            if name not in self.stuck:
                self.values[name] = float(m.number(m.datatype))
                echo.append(Metric("", m.alias, 1, 0, slot=m.slot, value=m.value))
        return [self._say("DDATA", machine, *echo)] if echo else []

    def tick(self, now_s: float) -> list[Packet]:
        return [] if self.born else self.births()


class NeuronSim(Held):
    """Neuron and a driver `bacnet` with a group for each machine; `errors` are codes by tag, `dumb` gives no answers."""

    def __init__(self, points: list[Point]):
        super().__init__(points)
        self.errors: dict[str, int] = {}
        self.dumb = False
        self.stuck: set[str] = set()
        self.requests: list[dict[str, Any]] = []

    @property
    def topics(self) -> list[str]:
        return [REQUEST]

    def take(self, topic: str, raw: bytes, now_s: float) -> list[Packet]:
        o = json.loads(raw)
        self.requests.append(o)
        if self.dumb:
            return []
        assert o["node"] == "bacnet" and o["group"] in self.machines
        tags = {t["tag"]: t["value"] for t in o["tags"]} if "tags" in o else {o["tag"]: o["value"]}
        code = next((self.errors[t] for t in tags if t in self.errors), 0)
        if not code:
            for tag, value in tags.items():
                if tag == TAG_BEAT:
                    self.beat(o["group"], value, now_s)
                elif tag not in self.stuck:
                    assert self.points[tag].machine == o["group"]
                    self.values[tag] = value
        return [(ANSWER, json.dumps({"uuid": o["uuid"], "error": code}).encode())]

    def tick(self, now_s: float) -> list[Packet]:
        """What each group uploads."""
        out = []
        for machine in self.machines:
            read = {n: v for n, v in self.values.items() if self.points[n].machine == machine}
            o = {"node": "bacnet", "group": machine, "timestamp": round(1e3 * now_s), "values": read, "errors": {}}
            out.append((f"/neuron/coolctl/bacnet/{machine}", json.dumps(o).encode()))
        return out


class Adapter:
    """Runs one of them on a client, on the plant's clock, and hands what it holds to the plant."""

    def __init__(self, site: Site, client: Any, sim: Beside):
        self.client, self.sim = client, sim
        self._clock, self._bms = site.topic("clock"), site.file.gateway.bms_topic.replace("{site}", site.name)
        self._bms_tick, self._echo = site.topic("bms_tick"), lease.BmsTick(-1.0, "")
        self.now_s = 0.0
        self._seq = 0
        self.online = True
        self._stop = threading.Event()

    @staticmethod
    def topics(site: Site, sim: Beside) -> list[str]:
        return [site.topic("clock"), site.topic("bms_tick"), *sim.topics]

    def work(self) -> None:
        while self.client.inbox:
            m = self.client.inbox.popleft()
            if not self.online or m.retained:
                continue
            if m.topic == self._clock:
                self.now_s = lease.decode_clock(m.payload)[1]
                self._publish(self.sim.tick(self.now_s))
                self._hand_over()
            elif m.topic == self._bms_tick:
                self._echo = lease.decode_bms_tick(m.payload)
            else:
                self._publish(self.sim.take(m.topic, m.payload, self.now_s))

    def _publish(self, packets: list[Packet]) -> None:
        for topic, raw in packets:
            self.client.publish(topic, raw)

    def _hand_over(self) -> None:
        held = self.sim.setpoints(self.now_s)
        if held:
            self._seq += 1
            said = lease.BmsLease("beside", self._seq, LEASE_S, held, self.now_s, *self._echo)
            self.client.publish(self._bms, lease.encode_bms_lease(said))

    def run(self) -> Iterator[None]:
        """On a thread, over a real broker, until the generator is closed."""

        def loop() -> None:
            while not self._stop.is_set():
                self.client.run_until(time.monotonic() + 0.02, lambda: bool(self.client.inbox))
                self.work()

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(5.0)
            self.client.close()
