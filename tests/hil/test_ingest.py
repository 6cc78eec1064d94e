"""`coolctl run --ingest-process`: values come through shared memory, and the death of the child is a silence like any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stack import Stack

from coolctl.children import environment_of_child
from coolctl.daemon_link import Link
from coolctl.edge.broker import Broker
from coolctl.edge.mqtt import MqttClient, MqttSettings
from coolctl.errors import ConfigError
from coolctl.ingest import Ingest
from coolctl.site import Site, load_site

pytestmark = pytest.mark.hil


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker("auto")
    yield made
    made.close()


@pytest.fixture
def real(site: Site, tmp_path: Path) -> Site:
    path = tmp_path / "real.toml"
    path.write_text(site.text.replace("simulated = true", "simulated = false", 1))
    return load_site(path)


def until(what: Callable[[], bool], turn: Callable[[], object], seconds: float = 20.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline_s
        turn()


def test_values_come_from_the_child_and_come_back_after_its_death(real: Site, broker: Broker) -> None:
    address = f"127.0.0.1:{broker.port}"
    plant = MqttClient(MqttSettings("127.0.0.1", broker.port, "plant"), [])
    link, ingest = Link(real, address), Ingest(real, address)
    ingest.join(link)
    table, i = real.table, real.table.one("chwst")
    topic = table.points[i].topic

    def turn(value: float = 14.0) -> None:
        plant.publish(topic, json.dumps({"timestamp": round(1e3 * time.time()), "values": {table.points[i].id: value}}).encode())
        plant.run_until(time.monotonic() + 0.05)
        link.client.run_until(time.monotonic() + 0.05)

    def now() -> float:
        return float(link.collect(time.monotonic(), False)[0].value[i])

    try:
        assert topic not in link.client.topics and real.topic("ack") in link.client.topics
        until(lambda: now() == 14.0, turn)
        assert ingest.look_after(link, time.monotonic()) == "" and link.client.received > 0
        os.kill(ingest.pid, signal.SIGKILL)
        ingest._process.wait()
        assert now() == 14.0, "what was heard is still fresh"
        assert "started again" in ingest.look_after(link, time.monotonic())
        until(lambda: now() == 15.0, lambda: turn(15.0))
        until(lambda: now() != now(), lambda: time.sleep(0.2), float(table.age_max_s[i]) + 5.0)
    finally:
        ingest.close()
        link.client.close()
        plant.close()


def test_child_ends_with_its_parent_however_that_ends(real: Site, broker: Broker) -> None:
    code = f"from coolctl import ingest, site; import time; i = ingest.Ingest(site.load_site({real.path!r}), '127.0.0.1:{broker.port}'); print(i.pid, flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment_of_child())
    assert parent.stdout
    child = Path(f"/proc/{int(parent.stdout.readline())}/cmdline")
    until(lambda: b"coolctl.ingest" in child.read_bytes(), lambda: time.sleep(0.05))
    parent.kill()
    parent.wait()
    until(lambda: not child.exists() or not child.read_bytes(), lambda: time.sleep(0.1))


def test_daemon_leases_with_telemetry_from_its_child(site: Site, tmp_path: Path) -> None:
    """A plant with a clock of its own; the child is killed, and nothing is lost by it."""
    path = tmp_path / "real.toml"
    path.write_text(site.text.replace("simulated = true", "simulated = false", 1) + "\n[promotion]\nrequired = false\n")
    stack = Stack(path, tmp_path)
    try:
        stack.start("gateway")
        stack.start_plant(1.0)
        stack.start("daemon", "--ingest-process")
        stack.wait("a lease", lambda log: bool(log) and not log[-1].local, 60.0)
        children = Path(f"/proc/{stack.processes['daemon'].pid}/task/{stack.processes['daemon'].pid}/children")
        (first,) = children.read_text().split()
        os.kill(int(first), signal.SIGKILL)
        until(lambda: first not in (found := children.read_text().split()) and len(found) == 1, lambda: time.sleep(0.1))
        at = len(stack.log())
        stack.wait("five seconds more", lambda log: len(log) > at + 5, 20.0)
        assert not any(line.local for line in stack.log()[at:])
        assert "started again" in (tmp_path / "daemon.log").read_text()
    finally:
        stack.close()


def test_a_simulated_plant_is_refused(site: Site) -> None:
    with pytest.raises(ConfigError, match="simulated"):
        Ingest(site, "")


def test_daemon_says_so(site: Site, tmp_path: Path) -> None:
    stack = Stack(Path(site.path), tmp_path)
    try:
        stack.start("daemon", "--ingest-process")
        assert stack.processes["daemon"].wait(30.0) == ConfigError.exit_code
        assert "simulated" in (tmp_path / "daemon.log").read_text()
    finally:
        stack.close()
