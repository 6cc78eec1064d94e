"""The MQTT client behind a network that misbehaves: data flows again within ten seconds of the end of any fault."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import FaultProxy

from coolctl.edge.broker import Broker
from coolctl.edge.mqtt import AGAIN_S, MqttClient, MqttSettings

pytestmark = [pytest.mark.hil]
HEALED_MAX_S = 10.0
CYCLES = int(os.environ.get("COOLCTL_CHAOS_CYCLES", "8"))  # `make chaos` asks for 200
FAULTS = ("blackhole", "reset", "refuse", "drip", "flip", "half_close", "restart", "slow")
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")


class Source:
    """Publishes a counter five times a second straight to the broker, whatever happens to others."""

    def __init__(self, port: int):
        self.sent = 0
        self._client = MqttClient(MqttSettings("127.0.0.1", port, "source"), [])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._client.run_until(time.monotonic() + 0.2)
            if self._client.publish("chaos/tel", str(self.sent).encode()):
                self.sent += 1

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self._client.close()


class Mosquitto:
    """A broker that can be restarted on its port."""

    def __init__(self, folder: Path, *more: str):
        from coolctl.edge.broker import free_port

        self.port, self._folder = free_port(), folder
        (folder / "conf").write_text(
            "\n".join([f"listener {self.port} 127.0.0.1", "allow_anonymous true", "user root", *more]) + "\n"
        )
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen([str(MOSQUITTO), "-c", str(self._folder / "conf")], stdout=log, stderr=log)

    def restart(self, down_s: float = 0.5) -> None:
        self.stop()
        time.sleep(down_s)
        self.process = self._start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if not MOSQUITTO:
        pytest.skip("mosquitto is not installed")
    made = Mosquitto(tmp_path)
    yield made
    made.stop()


def flows(client: MqttClient, within_s: float) -> float:
    """Seconds until a new message comes; more than `within_s` = none came."""
    client.inbox.clear()
    begun_s = time.monotonic()
    client.run_until(begun_s + within_s, lambda: bool(client.inbox))
    return time.monotonic() - begun_s if client.inbox else within_s + 1.0


def named(client: MqttClient, name: bytes) -> Callable[[], Any]:
    """`client`'s way to a connection, under another's name."""
    make = client._new_client

    def same() -> Any:
        other = make()
        other._client_id = name
        return other

    return same


@pytest.mark.slow
@pytest.mark.timeout(60 + 30 * CYCLES)
def test_after_each_fault_data_flows_again_within_ten_seconds(broker: Mosquitto) -> None:
    rng = random.Random(int(os.environ.get("COOLCTL_CHAOS_SEED", "1")))
    proxy, source = FaultProxy(broker.port), Source(broker.port)
    client = MqttClient(MqttSettings("127.0.0.1", proxy.port, "chaos", keepalive_s=2), ["chaos/tel"])
    worst: dict[str, float] = {}
    try:
        assert flows(client, 10.0) <= 10.0
        order = [FAULTS[k % len(FAULTS)] for k in range(CYCLES)]
        for kind in order:
            felt, dropped = proxy.felt, client.connects
            if kind == "restart":
                broker.restart(rng.uniform(0.0, 1.5))
            elif kind == "slow":
                proxy.set(delay_s=rng.uniform(0.5, 2.0), rate_bytes_s=1000.0)
            else:
                proxy.set(kind)
            client.run_until(time.monotonic() + rng.uniform(0.5, 4.0))
            proxy.set()
            took_s = flows(client, HEALED_MAX_S)
            worst[kind] = max(worst.get(kind, 0.0), took_s)
            assert took_s <= HEALED_MAX_S, f"{kind}: connected but deaf: {client.ready=} {client.last_error!r}"
            assert kind in ("restart", "refuse") or proxy.felt > felt, f"{kind} was not felt"
            assert client.connects >= dropped
    finally:
        client.close()
        source.close()
        proxy.close()
    print({kind: round(s, 1) for kind, s in worst.items()}, f"{CYCLES} cycles")


def test_a_subscription_that_was_garbled_on_its_way_is_said_again(broker: Mosquitto) -> None:
    """The broker grants what it understood: another topic. Nothing of that is to be seen but silence."""
    source = Source(broker.port)
    client = MqttClient(MqttSettings("127.0.0.1", broker.port, "garbled"), ["chaos/tem"])
    try:
        client.run_until(time.monotonic() + 10.0, lambda: client.ready)
        client.topics = ["chaos/tel"]  # as it was meant
        assert client.ready and flows(client, HEALED_MAX_S) <= HEALED_MAX_S
        connects, asked = client.connects, []
        subscribe = client._subscribe
        client._subscribe = lambda c: (asked.append(c), subscribe(c))  # type: ignore[method-assign, assignment, func-returns-value]
        client.run_until(time.monotonic() + 2.5 * AGAIN_S)
        assert not asked and client.connects == connects, "while something comes it is left alone"
    finally:
        client.close()
        source.close()


def test_on_a_link_of_8_kbit_a_second_the_newest_wins(broker: Mosquitto) -> None:
    """Setpoints that cannot go out in time are not sent late: nothing piles up in the client."""
    proxy = FaultProxy(broker.port)
    proxy.set(rate_bytes_s=1000.0)
    sender = MqttClient(MqttSettings("127.0.0.1", proxy.port, "sender"), [])
    hearer = MqttClient(MqttSettings("127.0.0.1", broker.port, "hearer"), ["narrow/sp"])
    try:
        for client in (sender, hearer):
            client.run_until(time.monotonic() + 10.0, lambda c=client: c.ready)  # type: ignore[misc]
        for k in range(8):  # a second of setpoints each: 400 bytes fit into the link, barely
            sender.publish("narrow/sp", b"%03d" % k + b"x" * 400)
            sender.run_until(time.monotonic() + 0.5)
            hearer.run_until(time.monotonic() + 0.01)
        hearer.run_until(time.monotonic() + 1.0)
        last = int(hearer.inbox[-1].payload[:3])
        assert last >= 6, "what was sent last has arrived"
        assert sender._client is not None and len(sender._client._out_packet) == 0
    finally:
        sender.close()
        hearer.close()
        proxy.close()
    assert proxy.felt


def test_an_intruder_with_the_same_name_makes_no_storm(broker: Mosquitto) -> None:
    """A broker throws the older of two equal names out. Names carry a random part, new at each connection."""
    client = MqttClient(MqttSettings("127.0.0.1", broker.port, "coolctl-daemon-x"), ["chaos/tel"])
    source = Source(broker.port)
    try:
        assert flows(client, 10.0) <= 10.0
        for _ in range(5):
            assert client._client is not None
            name = client._client._client_id
            intruder = MqttClient(MqttSettings("127.0.0.1", broker.port, "intruder"), [])
            intruder._new_client = named(intruder, name)  # type: ignore[method-assign]
            intruder.run_until(time.monotonic() + 3.0, lambda i=intruder: i.ready)  # type: ignore[misc]
            assert intruder.ready
            client.run_until(time.monotonic() + 0.3)
            assert flows(client, HEALED_MAX_S) <= HEALED_MAX_S
            assert client._client is not None and client._client._client_id != name
            intruder.close()
        assert client.connects == 6, "thrown out five times, back five times, and seen in the metric"
    finally:
        client.close()
        source.close()


def test_a_name_that_cannot_be_resolved_is_tried_again_for_ever(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MqttClient(MqttSettings("no-such-host.invalid", broker.port, "lost"), ["chaos/tel"])
    source = Source(broker.port)
    begun_s = time.monotonic()
    client.run_until(begun_s + 6.0)
    assert not client.ready and client.last_error and client.failed >= 3
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: resolve("127.0.0.1" if "invalid" in str(host) else host, *a, **k)
    )
    assert flows(client, HEALED_MAX_S) <= HEALED_MAX_S
    client.close()
    source.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root")
def test_a_broker_whose_disk_is_full_serves_again_after_a_restart(tmp_path: Path) -> None:
    if not MOSQUITTO:
        pytest.skip("mosquitto is not installed")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    broker = Mosquitto(tmp_path, "persistence true", f"persistence_location {disk}/", "autosave_interval 1")
    client = MqttClient(MqttSettings("127.0.0.1", broker.port, "full"), ["chaos/tel"])
    source = Source(broker.port)
    try:
        (disk / "filler").write_bytes(b"x" * 60_000)
        keep = MqttClient(
            MqttSettings("127.0.0.1", broker.port, "keeper", "3.1.1"), [], ("chaos/status", b"x" * 20_000, b"y" * 20_000)
        )
        keep.run_until(time.monotonic() + 2.5, lambda: False)
        assert flows(client, HEALED_MAX_S) <= HEALED_MAX_S, "what goes through memory goes on"
        broker.restart()
        assert flows(client, HEALED_MAX_S) <= HEALED_MAX_S
        keep.close()
    finally:
        client.close()
        source.close()
        broker.stop()
        subprocess.run(["umount", str(disk)], check=True)


def test_without_descriptors_the_link_comes_back_when_there_are_some(broker: Mosquitto) -> None:
    """In a process of its own: at its limit of open files a reconnection fails, is said, and is made later."""
    program = f"""
import os, resource, sys, time
from coolctl.edge.mqtt import MqttClient, MqttSettings
client = MqttClient(MqttSettings("127.0.0.1", {broker.port}, "poor"), ["chaos/tel"])
client.run_until(time.monotonic() + 10.0, lambda: client.ready)
assert client.ready
used = max(int(n) for n in os.listdir("/proc/self/fd")) + 1
client._drop("cut")
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 4096))
client.run_until(time.monotonic() + 3.0)
assert not client.ready and "open files" in client.last_error, client.last_error
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
begun_s = time.monotonic()
client.run_until(begun_s + 10.0, lambda: client.ready)
assert client.ready
print("back")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "back", done.stderr[-800:]


def test_the_embedded_broker_does_as_well() -> None:
    made = Broker("amqtt")
    client = MqttClient(MqttSettings("127.0.0.1", made.port, "plain"), ["chaos/tel"])
    source = Source(made.port)
    try:
        assert flows(client, HEALED_MAX_S) <= HEALED_MAX_S
    finally:
        client.close()
        source.close()
        made.close()
