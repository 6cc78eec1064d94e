"""The real daemon, gateway and plant server on a broker that is a queue, in virtual time and one thread.

Everything between them can be cut, delayed, repeated, reordered and rewritten; controllers can be stopped, killed,
started again and doubled. One `step` is one second of the plant; what a wall clock would have to wait for is over at once.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import coolctl.daemon
import coolctl.daemon_link
import coolctl.gateway_main
import sim_plant.mqtt_plant
from coolctl.audit import Audit
from coolctl.control.decision import Decision
from coolctl.daemon import Daemon
from coolctl.edge.mqtt import QUEUE_MAX, Message, MqttSettings
from coolctl.gateway_main import GatewayService
from coolctl.site import Site
from sim_plant.load import Load, constant
from sim_plant.mqtt_plant import PlantServer, RunSettings
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

ROUNDS_MAX = 50
MODULES = (coolctl.daemon_link, coolctl.gateway_main, sim_plant.mqtt_plant)

Copy = tuple[float, bytes]  # delay [s], payload
Rule = Callable[[str, str, str, bytes], Iterable[Copy]]
"""What becomes of a message: (sender, receiver, topic, payload) → copies to deliver; `[(0.0, payload)]` leaves it alone."""


class Bus:
    """A broker without a network."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.now_s = 0.0
        self.rules: list[Rule] = []
        self.changed = 0
        self.log: list[tuple[float, str, str, bytes]] = []
        self.kept: dict[str, bytes] = {}
        self._queue: list[tuple[float, int, Client, Message]] = []
        self._order = itertools.count()

    def publish(self, sender: str, topic: str, payload: bytes, retained: bool = False) -> None:
        """Hand a message to everyone who listens, as the rules have it."""
        for client in self.clients:
            if not client.hears(topic) or not client.linked:
                continue
            copies: list[Copy] = [(0.0, payload)]
            for rule in self.rules:
                made: list[Copy] = []
                for delay_s, text in copies:
                    made += [(delay_s + more_s, changed) for more_s, changed in rule(sender, client.name, topic, text)]
                copies = made
            self.changed += copies != [(0.0, payload)]
            for delay_s, text in copies:
                message = Message(topic, text, retained, time.monotonic())
                heapq.heappush(self._queue, (self.now_s + delay_s, next(self._order), client, message))

    def keep(self, topic: str, payload: bytes) -> None:
        """What a broker retains for those who come later."""
        self.kept[topic] = payload
        if not payload:
            del self.kept[topic]

    def deliver(self) -> bool:
        """Everything that is due into the inboxes; whether there was anything."""
        any_due = False
        while self._queue and self._queue[0][0] <= self.now_s:
            _due, _n, client, message = heapq.heappop(self._queue)
            client.inbox.append(message)
            any_due = True
        return any_due


class Client:
    """Stands in for `MqttClient`; its name is the role in the client id."""

    bus: Bus

    def __init__(
        self, settings: MqttSettings, topics: list[str], will: Any = None, retained: Iterable[str] = (), state: Any = None,
        death: Any = None, qos: int = 0,
    ):  # fmt: skip
        self.name = settings.client_id.split("-")[1]
        self.topics = frozenset(topics)
        self.inbox: deque[Message] = deque(maxlen=QUEUE_MAX)
        self.received = self.dropped = self.connects = self.failed = 0
        self.expires_s = 0.0
        self.last_error, self.ready, self.linked = "", True, True
        self._bus = Client.bus
        self._bus.clients.append(self)
        self._patterns = [t.removesuffix("+") for t in topics if t.endswith("/+")]
        for topic in sorted(self._bus.kept.keys() & set(retained)):
            self.inbox.append(Message(topic, self._bus.kept[topic], True, time.monotonic()))
        self._state, self._death = state, death
        self.connect()

    def connect(self) -> None:
        """What a connection begins with: the will is made, then a host says its birth."""
        self.connects += self._death is not None or self._state is not None
        if self._death is not None:
            self.last_will = self._death()
        if self._state is not None:
            self._state(False)
            self.say_state()

    def say_state(self) -> None:
        self.publish(*self._state(True), retain=True)

    def hears(self, topic: str) -> bool:
        """Whether it has subscribed to `topic`."""
        return topic in self.topics or any(topic.startswith(p) and "/" not in topic[len(p) :] for p in self._patterns)

    def publish(self, topic: str, payload: bytes, expiry_s: int = 0, retain: bool = False) -> bool:
        if self.linked:
            self._bus.publish(self.name, topic, payload)
            if retain:
                self._bus.keep(topic, payload)
        return self.linked

    def run_until(self, deadline_s: float, stop: Callable[[], bool] | None = None) -> None:
        self._bus.deliver()

    def close(self, parting: bytes | None = None) -> None:
        self.linked = False


class ControllerProcess:
    """A daemon that can be stopped, continued and killed; its decisions are audited as they are made."""

    def __init__(self, stack: VirtualStack, name: str, more: dict[str, Any]):
        state = stack.folder / name
        args = {
            "site": str(stack.site_path),
            "broker": "",
            "state": str(state),
            "record": "",
            "policy": "",
            "metrics_port": -1,
            "ingest_process": False,
            **more,
        }
        self.daemon = Daemon(stack.site, argparse.Namespace(**args))
        self.daemon.link.instance = self.name = name
        self.daemon.link.client.name = name  # type: ignore[attr-defined]
        self.audit = Audit(stack.site, self.daemon.controller.control)
        self.decision: Decision | None = None
        self.paused = self.operator = False
        self.modes: list[tuple[float, str, str]] = []
        self._stack = stack
        self._listen()

    def _listen(self) -> None:
        self._step_tick = self.daemon.controller.tick_snapshot
        self.daemon.controller.tick_snapshot = self._tick  # type: ignore[method-assign]

    def _tick(self, snap: Any, gateway: Any) -> Decision:
        d = self.decision = self._step_tick(snap, gateway)
        inlet_c = float(self._stack.plant.truth.rack_inlet_c.max())
        granted = d.granted != (self.modes[-1][2] if self.modes else d.granted)
        fault = self._stack.plant_fault or self.name != self._stack.in_charge()
        self.audit.look(d, snap, gateway=gateway, operator=granted, inlet_c=inlet_c, plant_fault=fault)
        if not self.modes or self.modes[-1][1:] != (d.mode, d.granted):
            self.modes.append((d.now_s, d.mode, d.granted))
        return d

    def work(self) -> None:
        """Every tick that the messages in hand call for, as the daemon's own loop has it."""
        while not self.paused:
            woken = self.daemon.link.wait(0.0, lambda: True)
            if woken is None:
                return
            self.daemon._tick(woken, time.monotonic())

    def reload(self) -> None:
        """What SIGHUP sets in motion, waited for."""
        before = self.daemon.controller
        self.daemon.reloader.ask()
        while self.daemon.reloader.busy:
            self.daemon._reload()
            time.sleep(0.005)
        if self.daemon.controller is not before:
            self.audit = Audit(self.daemon.site, self.daemon.controller.control)
            self._listen()

    def kill(self) -> None:
        """As a crash would: no goodbye."""
        self.paused, self.daemon.link.client.linked = True, False  # type: ignore[attr-defined]

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class VirtualStack:
    """A site's whole control on virtual time. `monkeypatch` gives the real processes the queue for a broker."""

    def __init__(
        self, monkeypatch: Any, site: Site, folder: Path, *, load: Load | None = None, start: str = "07-15T06", seed: int = 1,
        mode: str = "auto", gateway: type[GatewayService] = GatewayService, plant: SimPlant | None = None, **more: Any,
    ):  # fmt: skip
        self.site, self.folder, self._gateway_class, self._more = site, folder, gateway, more
        folder.mkdir(parents=True, exist_ok=True)
        self.site_path = folder / "site.toml"
        self.site_path.write_text(site.text, encoding="utf-8")
        self.bus = Client.bus = Bus()
        for module in MODULES:
            monkeypatch.setattr(module, "MqttClient", Client)
        monkeypatch.setattr(coolctl.daemon, "warm_up", lambda *_: None)
        weather = from_statistics(site.file.weather.station).starting(start)
        self.plant = plant or SimPlant(site, weather, load or constant(0.6))
        self.server = PlantServer(site, self.plant, seed, RunSettings())
        self.gateway = gateway(site, "", folder / "gateway")
        self.controllers: list[ControllerProcess] = []
        self.plant_fault = False
        self.hottest_c = self.over_27_s = 0.0
        self.applied_by: dict[int, set[str]] = {}
        self.add_controller("one", mode)

    # -- who is there

    def add_controller(self, name: str, mode: str = "auto") -> ControllerProcess:
        """Start a daemon under `name`, or start it again."""
        state = self.folder / name
        state.mkdir(parents=True, exist_ok=True)
        grant = state / self.site.name / "grant.json"
        if not grant.exists():
            grant.parent.mkdir(parents=True, exist_ok=True)
            grant.write_text(f'{{"mode": "{mode}", "reason": "test", "until_s": 0.0}}')
        self.controllers = [c for c in self.controllers if c.name != name]
        made = ControllerProcess(self, name, self._more)
        self.controllers.append(made)
        return made

    @property
    def one(self) -> ControllerProcess:
        return next(c for c in self.controllers if c.name == "one")

    def restart_gateway(self) -> None:
        """As after a crash: another process, the same state folder."""
        self.gateway.client.linked = False  # type: ignore[attr-defined]
        self.gateway = self._gateway_class(self.site, "", self.folder / "gateway")

    def in_charge(self) -> str:
        """The controller that the gateway has granted its epoch to."""
        return self.gateway.core.holder

    # -- time

    def run(self, seconds: int, each: Callable[[VirtualStack], None] | None = None) -> VirtualStack:
        for _ in range(seconds):
            self.step()
            if each:
                each(self)
        return self

    def step(self) -> None:
        """One second of the plant and everything that it sets in motion."""
        assert self.server.advance()
        self.bus.now_s = self.plant.t_s
        for _ in range(ROUNDS_MAX):
            if not self.bus.deliver() and not self._inboxes():
                break
            self.gateway.work()
            for controller in self.controllers:
                controller.work()
            self.server.work()
        hottest_c = float(self.plant.truth.rack_inlet_c.max())
        self.hottest_c = max(self.hottest_c, hottest_c)
        self.over_27_s += hottest_c > 27.0

    def _inboxes(self) -> bool:
        busy = [self.gateway.client, self.server.client]
        busy += [c.daemon.link.client for c in self.controllers if not c.paused]
        return any(c.inbox for c in busy)

    # -- what is seen

    @property
    def local(self) -> bool:
        """Whether the plant has itself."""
        return self.plant.bms.local

    def violations(self) -> list[Any]:
        return [v for c in self.controllers for v in c.audit.violations]

    def command(self, mode: str, reason: str = "test", for_s: float = 0.0) -> None:
        """What an operator sends."""
        text = f'{{"v":1,"mode":"{mode}","reason":"{reason}","for_s":{for_s}}}'
        self.bus.publish("ops", self.site.topic("cmd"), text.encode())


# -- rules


def to(receiver: str, rule: Callable[[bytes], Iterable[Copy]], topics: Iterable[str] | None = None) -> Rule:
    """A rule for messages to one receiver, on some topics only or on all."""
    only = frozenset(topics) if topics is not None else None

    def apply(_sender: str, client: str, topic: str, payload: bytes) -> Iterable[Copy]:
        if client != receiver or (only is not None and topic not in only):
            return [(0.0, payload)]
        return rule(payload)

    return apply


def cut(_payload: bytes) -> list[Copy]:
    return []


def late(delay_s: float) -> Callable[[bytes], list[Copy]]:
    return lambda payload: [(delay_s, payload)]


def repeated(count: int) -> Callable[[bytes], list[Copy]]:
    return lambda payload: [(0.0, payload)] * count
