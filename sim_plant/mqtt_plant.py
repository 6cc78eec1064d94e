"""The simulated plant on a broker: master of virtual time, telemetry out, the BMS's end of the second lease in.

Each step: the plant moves under the lease it holds, publishes its telemetry and then `clock{k, t_s}`, and waits for
the gateway's `done{k}`, but never longer than its patience: a plant does not stop because its supervisor has.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from coolctl import lease
from coolctl.dialects import encode_batch, encode_single
from coolctl.edge.mqtt import Message, MqttClient, settings_for
from coolctl.errors import ConfigError, Fault
from coolctl.site import Site
from coolctl.strict_json import Rejected
from sim_plant.bms import LeaseReceiver
from sim_plant.dsx_bms import EventBusBms
from sim_plant.plant import SimPlant

PATIENCE_S = 1.0
PATIENCE_AFTER_MISS_S = 0.25
EPOCH_MS = 1_735_689_600_000  # plant time zero on the wire: 2025-01-01T00:00Z, plus the start hour
BATCH_POINTS = 2000
STEP_S = 1.0
SPOKEN = ("json", "scalar", "dsx")


class RunSettings(NamedTuple):
    """`speed` is plant seconds per wall second, 0 = unpaced; the run ends after whichever bound comes first."""

    broker: str = ""
    speed: float = 1.0
    wall_s: float = float("inf")
    steps: int = 1 << 62
    wait_for_controller_s: float = 0.0


class PlantServer:
    """Runs a plant over MQTT until a bound is reached or `stop` is called."""

    def __init__(self, site: Site, plant: SimPlant, seed: int, settings: RunSettings):
        self.site, self.plant, self.settings = site, plant, settings
        self._bms_topic = site.file.gateway.bms_topic.replace("{site}", site.name)
        self._done_topic, self._clock_topic = site.topic("done"), site.topic("clock")
        self._bms_tick_topic, self.says_clock = site.topic("bms_tick"), True
        mqtt = settings_for(site, settings.broker, "plant")
        self._event_bus, self._connects = EventBusBms(site), 0
        self.client = MqttClient(mqtt, [self._bms_topic, self._done_topic, *self._event_bus.topics])
        own = LeaseReceiver(secrets.token_hex(4))
        self.receiver: LeaseReceiver | EventBusBms = self._event_bus if self._event_bus.topics else own
        self.readings: dict[str, float] | None = plant.reset(seed)
        self.k = 0
        self.late_steps = self.missed = self.leased_steps = 0
        self._done_k = -1
        self._stopping = False
        self._by_topic = self._group_points()

    def stop(self) -> None:
        """End after this step."""
        self._stopping = True

    def _group_points(self) -> list[tuple[str, str, list[str]]]:
        """Topic, dialect and point ids of the telemetry."""
        groups: dict[tuple[str, str], list[str]] = {}
        for p in self.site.table.points:
            if not p.writable and p.dialect not in SPOKEN:
                said = f"the simulated plant speaks {', '.join(SPOKEN)}"
                raise ConfigError([Fault(str(self.site.name), None, p.id, f"dialect {p.dialect!r}: {said}")])
            if not p.writable and p.dialect != "dsx":
                groups.setdefault((p.topic, p.dialect), []).append(p.id)
        return [(topic, dialect, ids) for (topic, dialect), ids in groups.items()]

    def run(self, each: Callable[[PlantServer], None] | None = None) -> None:
        """The loop; `each` is called after every step."""
        self._wait_for_controller()
        started_s = time.monotonic()
        paced_from_s, paced_k = started_s, self.k
        while not self._stopping and self.k < self.settings.steps:
            if time.monotonic() - started_s >= self.settings.wall_s:
                break
            if not self.advance():
                break
            if each:
                each(self)
            self._wait_for_done()
            if self.settings.speed > 0.0:
                due_s = paced_from_s + (self.k - paced_k) / self.settings.speed
                if time.monotonic() > due_s + 1.0:
                    self.late_steps += 1
                    paced_from_s, paced_k = time.monotonic(), self.k  # too far behind to catch up in a burst
                else:
                    self._work_until(due_s, lambda: self._stopping)
        self.client.close()

    def advance(self) -> bool:
        """One step under the lease that is held, its telemetry and the clock published; False at the end."""
        leased = self.receiver.setpoints(self.plant.t_s)
        self.leased_steps += leased is not None
        self.readings = self.plant.step(leased, STEP_S)
        if self.readings is None:
            return False
        self.k += 1
        self._publish()
        return True

    def work(self) -> None:
        """Take what has arrived."""
        while self.client.inbox:
            self._take(self.client.inbox.popleft())

    def _wait_for_controller(self) -> None:
        """Give the other processes their start: nobody is judged on the seconds before they were there."""
        deadline_s = time.monotonic() + self.settings.wait_for_controller_s
        while not self._stopping and time.monotonic() < deadline_s:
            self._publish()
            until_s = min(time.monotonic() + 0.5, deadline_s)
            self._work_until(until_s, lambda: bool(self.receiver.values) or self._stopping)
            if self.receiver.values:
                return

    def _publish(self) -> None:
        assert self.readings is not None
        stamp = EPOCH_MS + 3_600_000 * self.plant.weather.start_hour + round(1000.0 * self.plant.t_s)
        points = self.site.table
        for topic, dialect, ids in self._by_topic:
            present = {i: self.readings[i] for i in ids if i in self.readings}
            if dialect == "json" and len(ids) > 1:
                names = list(present)
                for start in range(0, len(names), BATCH_POINTS):
                    part = {n: present[n] for n in names[start : start + BATCH_POINTS]}
                    self.client.publish(topic, encode_batch(part, stamp))
            else:
                for name, value in present.items():
                    point = points.points[points.index[name]]
                    self.client.publish(topic, encode_single(point, value, stamp))
        if self.client.ready:
            self._say_on_event_bus(self.readings, stamp)
        if isinstance(self.receiver, LeaseReceiver) and self.says_clock:
            tick = lease.BmsTick(self.plant.t_s, self.receiver.clock_nonce)
            self.client.publish(self._bms_tick_topic, lease.encode_bms_tick(tick))
        if self.site.file.site.simulated:
            self.client.publish(self._clock_topic, lease.encode_clock(self.k, self.plant.t_s))

    def _say_on_event_bus(self, readings: dict[str, float], stamp: int) -> None:
        if self.client.connects != self._connects:
            self._connects = self.client.connects
            self._event_bus.say_anew()
        for topic, payload, retain in self._event_bus.say(readings, self.plant.t_s, stamp):
            self.client.publish(topic, payload, retain=retain)

    def _wait_for_done(self) -> None:
        if not self.site.file.site.simulated:
            return
        patience_s = PATIENCE_S if not self.missed else PATIENCE_AFTER_MISS_S
        if self.settings.speed > 0.0:
            patience_s = min(patience_s, max(1.0 / self.settings.speed, PATIENCE_AFTER_MISS_S))
        self._work_until(time.monotonic() + patience_s, lambda: self._done_k >= self.k or self._stopping)
        self.missed = 0 if self._done_k >= self.k else self.missed + 1

    def _work_until(self, deadline_s: float, enough: Callable[[], bool]) -> None:
        """Work the link and take what arrives until `enough` or the deadline."""
        while not enough():
            self.client.run_until(deadline_s, lambda: bool(self.client.inbox) or enough())
            self.work()
            if time.monotonic() >= deadline_s:
                return

    def _take(self, m: Message) -> None:
        try:
            if m.topic in self._event_bus.topics:
                self._event_bus.take(m.topic, m.payload, m.retained, self.plant.t_s)
            elif m.topic == self._bms_topic and isinstance(self.receiver, LeaseReceiver):
                message = lease.decode_bms_lease(m.payload)
                self.receiver.offer(message._asdict(), m.retained, self.plant.t_s)
            elif m.topic == self._done_topic and not m.retained:
                self._done_k = max(self._done_k, lease.decode_done(m.payload))
        except Rejected as rejected:
            self.receiver.rejects[rejected.reason] = self.receiver.rejects.get(rejected.reason, 0) + 1


class TruthLog:
    """The noise-free trace of a run, one line a step: survives whatever ends the process."""

    def __init__(self, path: Path):
        self._stream = path.open("w", encoding="utf-8", buffering=1 << 16)

    def __call__(self, server: PlantServer) -> None:
        t = server.plant.truth
        local = int(t.local)
        self._stream.write(f"{server.plant.t_s:.0f},{local},{t.rack_inlet_c.max():.3f},{server.plant.bms.u.round(3).tolist()}\n")
        if server.k % 10 == 0 or server.settings.speed == 1.0:
            self._stream.flush()
