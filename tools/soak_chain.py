"""The whole control of a site in one thread on virtual time: plant, gateway, leases, controller, and a judge beside them.

Controller, shield, modes, lease messages, link, gateway, proof test and BMS are the real ones, invariants included; what
is made up are the plant's equations, the faults, and a network that can cut, delay, repeat, damage and play back.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import coolctl.daemon_link
from coolctl import lease
from coolctl.audit import Audit
from coolctl.control.mode import PUBLISHING
from coolctl.control.tick import Tick
from coolctl.controller import Controller
from coolctl.daemon_link import Link
from coolctl.edge.mqtt import Message
from coolctl.gateway import EpochFile, GatewayCore
from coolctl.points import Batch
from coolctl.proof import ProofTest, Seen
from coolctl.site import Site
from sim_plant.bms import LeaseReceiver
from sim_plant.plant import SimPlant

TTL_S, REVERT_SLACK_S, AGE_MAX_S = 15.0, 2.0, 5.0
INLET_MAX_C, WARM_C, WARM_MAX_S = 32.0, 27.0, 120.0
AFTER_PLANT_FAULT_S, AFTER_OWN_DOING_S = 7200.0, 900.0
TEL, TICK, ACK, SP, BMS = "tel", "tick", "ack", "sp", "bms"

Copies = list[tuple[float, Any]]  # delay [s], payload
Rule = Callable[[str, Any, float], Copies]  # kind, payload, now [s] → copies
MakeTick = Callable[[Site, str], Tick]


class Flaw(NamedTuple):
    """Something that must never be: when [s], which invariant or judgement, what was seen."""

    t_s: float
    id: str
    text: str


class _Client:
    """Stands where the MQTT client would: what is published is handed to the chain."""

    def __init__(self, *_args: Any):
        self.inbox: deque[Message] = deque()
        self.connects, self.linked = 1, True
        self.sent: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes, *_more: Any) -> bool:
        self.sent.append((topic, payload))
        return True


@contextmanager
def in_one_process() -> Iterator[None]:
    """The link of a controller without a broker, and without the decision messages that nobody reads here."""
    module: Any = coolctl.daemon_link
    before = module.MqttClient, module.encode_decision
    module.MqttClient, module.encode_decision = _Client, lambda *_: b""
    try:
        yield
    finally:
        module.MqttClient, module.encode_decision = before


class Chain:
    """One site from the plant's water to the controller's decision; `step` is `dt_s` of all of it."""

    def __init__(self, plant: SimPlant, make_tick: MakeTick, mode: str, dt_s: float):
        self.plant, self.site, self.dt_s, self._make_tick = plant, plant.site, dt_s, make_tick
        self.epochs = EpochFile(None)
        self.receiver = LeaseReceiver("bms")
        self.rules: list[Rule] = []
        self.flaws: list[Flaw] = []
        self.granted, self.paused, self.hand = mode, False, False
        self.ticks = self.policy_ticks = self.leased_ticks = self.touched = 0
        self.hottest_c = 0.0
        self.modes: list[str] = []
        self._queue: list[tuple[float, int, str, Any]] = []
        self._order = itertools.count()
        self._sent_s: dict[bytes, float] = {}
        self.sent: deque[bytes] = deque(maxlen=400)
        self._leased_s = self._plant_fault_s = self._own_doing_s = -math.inf
        self.warm_s = self.warm_most_s = 0.0
        self._operator = False
        points = self.site.table.points
        self._ranges = {p.id: GatewayCore.range_of(self.site.file.gateway, p) for p in points if p.writable}
        self._points = {p.id: p for p in points}
        self._topics = {self.site.topic(k): k for k in ("sp", "claim")}
        self._hand, self._remote = self.site.table.one("hand"), self.site.table.one("bms_remote")
        self._units = [i for i, p in enumerate(points) if p.role in ("crah_fan_speed", "chillers_on")]
        self.restart_gateway()
        self.restart_controller()

    # -- processes

    def restart_gateway(self) -> None:
        """As after a crash: the epoch from its file, all else forgotten."""
        f = self.site.file.gateway
        self.core = GatewayCore(self.site, self.epochs, proof=ProofTest(f.bms_ttl_s) if f.proof_test else None)
        self.core.tick(self.plant.t_s)

    def restart_controller(self) -> None:
        """As after a crash: nothing remembered but what was granted."""
        self.controller = Controller(self.site, None, self.granted)
        self.controller.control = self._make_tick(self.site, self.granted)
        self.link = Link(self.site, "")
        self.link.instance, self.link.may_claim = "one", self.granted in PUBLISHING
        self.audit = Audit(self.site, self.controller.control)

    def grant(self, mode: str) -> None:
        """An operator's command."""
        self.granted, self._operator = mode, True
        self.controller.grant(mode, "soak")
        self.link.may_claim = mode in PUBLISHING

    def inject(self, payload: bytes) -> None:
        """A lease from somebody who is not the controller."""
        self.touched += 1
        self._to_gateway(payload, self.plant.t_s)

    @property
    def rejects(self) -> dict[str, int]:
        """What the gateway has refused since its start, by reason."""
        return self.core.rejects

    # -- time

    def step(self, plant_fault: bool, load_step: bool = False) -> None:
        """Plant, then telemetry, gateway, controller, gateway again, BMS. `plant_fault` and `load_step` say what happens in
        the plant in this very step."""
        self.plant.advance(self.receiver.setpoints(self.plant.t_s), self.dt_s)
        now_s = self.plant.t_s
        if plant_fault:
            self._plant_fault_s = now_s
        if load_step or self.plant.bms.local:
            self._own_doing_s = now_s
        batch = self.plant.measure()
        self._gateway_sees(batch, now_s)
        self._send(TEL, batch)
        self.core.bms_tick(lease.encode_bms_tick(lease.BmsTick(now_s, self.receiver.clock_nonce)), False)
        self._from_gateway(self.core.tick(now_s))
        self._deliver(now_s)
        if not self.paused:
            self._tick(now_s)
        self._deliver(now_s)
        self._judge(now_s)

    def _gateway_sees(self, batch: Batch, now_s: float) -> None:
        seen = dict(zip(batch.i.tolist(), batch.value.tolist(), strict=True))
        if self._hand in seen:
            self.core.set_hand(seen[self._hand] > 0.5)
        if self.core.proof is not None and self._remote in seen:
            units = {self.site.table.points[i].id: seen[i] for i in self._units if i in seen}
            self.core.proof.see(Seen(now_s, seen[self._remote], units))

    def _send(self, kind: str, payload: Any) -> None:
        now_s = self.plant.t_s
        copies: Copies = [(0.0, payload)]
        for rule in self.rules:
            copies = [(d + more_s, p) for d, one in copies for more_s, p in rule(kind, one, now_s)]
        self.touched += len(copies) != 1 or copies[0][0] != 0.0 or copies[0][1] is not payload
        for delay_s, changed in copies:
            heapq.heappush(self._queue, (now_s + delay_s, next(self._order), kind, changed))

    def _deliver(self, now_s: float) -> None:
        while self._queue and self._queue[0][0] <= now_s:
            _due, _n, kind, payload = heapq.heappop(self._queue)
            if kind == TEL:
                self.link.store.put([payload], now_s)
            elif kind in (TICK, ACK):
                topic = self.link.topics["gw_tick" if kind == TICK else "ack"]
                self.link._take(Message(topic, payload, False, 0.0))
                self._publish()
            elif kind == SP:
                self._to_gateway(payload, now_s)
            elif kind == BMS:
                self._to_bms(payload, now_s)

    def _from_gateway(self, out: Iterable[Any]) -> None:
        for kind, payload in out:
            self._send({"gw_tick": TICK, "ack": ACK, "bms": BMS}[kind], payload)

    def _publish(self) -> None:
        sent, self.link.client.sent = self.link.client.sent, []  # type: ignore[attr-defined]
        for topic, payload in sent:
            kind = self._topics.get(topic)
            if kind == "claim":
                self._from_gateway(self.core.claim(payload, False))
            elif kind == "sp":
                self._sent_s.setdefault(payload, self.plant.t_s)
                self.sent.append(payload)
                self._send(SP, payload)

    def _to_gateway(self, payload: bytes, now_s: float) -> None:
        accepted = self.core.accepted
        out, _k = self.core.setpoints(payload, False)
        if self.core.accepted > accepted:
            age_s = now_s - self._sent_s.get(payload, -math.inf)
            self._expect(age_s <= AGE_MAX_S, "R6", f"a lease of {age_s:.0f} s ago was accepted")
        self._from_gateway(out)

    def _to_bms(self, payload: bytes, now_s: float) -> None:
        message = lease.decode_bms_lease(payload)
        if not self.receiver.offer(message._asdict(), False, now_s):
            return
        self._leased_s = now_s
        for name, wire in message.sp.items():
            low, high = self._ranges[name]
            value = self._points[name].decode(wire)
            slack = 1e-6 * max(abs(low), abs(high), 1.0)
            self._expect(low - slack <= value <= high + slack, "BMS", f"{name} = {value} outside {low} … {high}")

    def _tick(self, now_s: float) -> None:
        snap, view, _command = self.link.collect(now_s, False)
        d = self.controller.tick_snapshot(snap, view)
        inlet_c = float(self.plant.rack_inlet_c.max())
        found = self.audit.look(
            d, snap, gateway=view, operator=self._operator, inlet_c=inlet_c,
            plant_fault=self._excused(now_s) or now_s - self._own_doing_s < AFTER_OWN_DOING_S,
        )  # fmt: skip
        self._operator = False
        self.flaws += [Flaw(now_s, v.id, v.text) for v in found]
        self.link.publish(d)
        self._publish()
        self.ticks += 1
        self.policy_ticks += d.mode in ("auto", "bounded")
        self.leased_ticks += self.core.leased
        if not self.modes or self.modes[-1] != d.mode:
            self.modes.append(d.mode)

    # -- judgement

    def _excused(self, now_s: float) -> bool:
        """Whether what the racks feel may be a broken machine's doing; how fast they warm may also be
        the load's, or the plant's own control's, which takes over from a cold hall at 2 K a minute."""
        return now_s - self._plant_fault_s < AFTER_PLANT_FAULT_S

    def _expect(self, holds: bool, name: str, text: str) -> None:
        if not holds:
            self.flaws.append(Flaw(self.plant.t_s, name, text))

    def _judge(self, now_s: float) -> None:
        inlets = self.plant.rack_inlet_c
        hottest_c = float(inlets.max())
        self.hottest_c = max(self.hottest_c, hottest_c)
        self._expect(bool(np.isfinite(inlets).all()), "plant", "the plant's state is no number")
        self._expect(hottest_c <= INLET_MAX_C or self._excused(now_s), "R2", f"a rack inlet at {hottest_c:.1f} °C")
        self.warm_s = self.warm_s + self.dt_s if hottest_c > WARM_C and not self._excused(now_s) else 0.0
        self.warm_most_s = max(self.warm_most_s, self.warm_s)
        self._expect(self.warm_s <= WARM_MAX_S, "R2", f"{hottest_c:.1f} °C for {self.warm_s:.0f} s")
        silent_s = now_s - self._leased_s
        late = silent_s > TTL_S + REVERT_SLACK_S + self.dt_s and not self.plant.bms.local
        self._expect(not late, "R4", f"leased on {silent_s:.0f} s after the last lease")
