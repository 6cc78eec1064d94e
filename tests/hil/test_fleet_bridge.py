"""The bridge to a fleet: telemetry and decisions go out, and nothing comes in, not from a far end that means harm either."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from conftest import ROOT
from paho.mqtt.enums import CallbackAPIVersion

from coolctl.edge.broker import Broker, free_port, mosquitto_path

pytestmark = [pytest.mark.hil, pytest.mark.skipif(mosquitto_path() is None, reason="mosquitto is not installed")]
BRIDGE = (ROOT / "config/mosquitto/fleet-bridge.conf").read_text()
TREE = "coolctl/v1/site/"
OUT = ("tel", "decision", "status")
# What would move a plant, or a controller's idea of it: topics, with who of the site hears them.
HARM = {"sp": "coolctl-gateway", "cmd": "coolctl-daemon", "bms": "bms", "claim": "coolctl-gateway", "tel": "coolctl-daemon"}
CONNACK = b"\x20\x02\x00\x00"


class Far:
    """What a bridge meets that does not keep to the protocol: it takes the connection and publishes at once, unasked."""

    def __init__(self, topics: list[str]):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(5.0)
        self.port, self._topics = self._socket.getsockname()[1], topics

    def publish(self) -> socket.socket:
        link, _ = self._socket.accept()
        link.settimeout(5.0)
        assert link.recv(4096)[0] == 0x10, "CONNECT"
        link.sendall(CONNACK)
        for topic in self._topics:
            body = len(topic).to_bytes(2, "big") + topic.encode() + b"harm"
            link.sendall(bytes([0x30, len(body)]) + body)
        return link

    def close(self) -> None:
        self._socket.close()


class Ear:
    """A client under a name of the access list: hears, and speaks."""

    def __init__(self, port: int, user: str, *topics: str):
        self.heard: list[tuple[str, bytes]] = []
        subscribed: list[int] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(user)
        self._client.on_message = lambda _c, _d, m: self.heard.append((m.topic, m.payload))
        self._client.on_subscribe = lambda _c, _d, mid, *_: subscribed.append(mid)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        for topic in topics:
            self._client.subscribe(topic)
        until(lambda: len(subscribed) == len(topics))

    def say(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload).wait_for_publish(2.0)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def until(condition: Callable[[], bool], seconds: float = 4.0) -> bool:
    end_s = time.monotonic() + seconds
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.02)
    return condition()


def started(folder: Path, name: str, text: str, port: int) -> subprocess.Popen[bytes]:
    """A mosquitto, once it listens."""
    (folder / name).write_text(text + "user root\n")
    process = subprocess.Popen([str(mosquitto_path()), "-c", str(folder / name)], stderr=(folder / f"{name}.log").open("wb"))
    with_socket = lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0  # noqa: E731
    assert until(with_socket), (folder / f"{name}.log").read_text()
    return process


@pytest.fixture
def site(tmp_path: Path) -> Iterator[int]:
    """Port of the site's broker, with the access list that ships; names in place of certificates."""
    port = free_port()
    text = (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {ROOT / 'config/mosquitto/coolctl.acl'}\npersistence false\n"
    )
    process = started(tmp_path, "site.conf", text, port)
    yield port
    process.terminate()
    process.wait(5.0)


def bridge(folder: Path, site: int, fleet: int) -> subprocess.Popen[bytes]:
    """The bridge as it ships, on loopback and without its certificates."""
    port = free_port()
    text = re.sub(r"^bridge_(?:ca|cert|key)file .*\n", "", BRIDGE, flags=re.MULTILINE)
    for old, new in (
        ("listener 1886", f"listener {port}"),
        ("address 127.0.0.1:8883\n", f"address 127.0.0.1:{site}\nremote_username coolctl-fleet\n"),
        ("address fleet.example.org:8883", f"address 127.0.0.1:{fleet}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    return started(folder, "bridge.conf", text, port)


def test_telemetry_and_decisions_go_out_and_nothing_comes_in(site: int, tmp_path: Path) -> None:
    fleet = Broker("mosquitto")
    ears = [Ear(site, user, TREE + topic) for topic, user in HARM.items()]
    far = Ear(fleet.port, "anybody", "#")
    sensors, daemon = Ear(site, "sensors"), Ear(site, "coolctl-daemon")
    process = bridge(tmp_path, site, fleet.port)
    try:

        def arrived() -> bool:
            sensors.say(TREE + "tel", b"1")
            daemon.say(TREE + "decision", b"2")
            daemon.say(TREE + "status", b"3")
            return {topic for topic, _ in far.heard} >= {TREE + topic for topic in OUT}

        assert until(arrived), (tmp_path / "bridge.conf.log").read_text()
        daemon.say(TREE + "sp", b"4")
        for topic in HARM:
            far.say(TREE + topic, b"harm")
        assert until(lambda: (TREE + "sp", b"harm") in far.heard), "it was said"
        sensors.say(TREE + "tel", b"last")
        assert until(lambda: (TREE + "tel", b"last") in far.heard and ears[0].heard == [(TREE + "sp", b"4")])
        assert not [ear.heard for ear in ears if any(payload == b"harm" for _, payload in ear.heard)]
        assert (TREE + "sp", b"4") not in far.heard, "setpoints stay at the site"
    finally:
        for ear in (*ears, far, sensors, daemon):
            ear.close()
        process.terminate()
        process.wait(5.0)
        fleet.close()


@pytest.mark.parametrize("between", [True, False], ids=["as it ships", "in the site's own broker"])
def test_a_far_end_that_publishes_unasked_reaches_nobody(between: bool, site: int, tmp_path: Path) -> None:
    """And the reason why the bridge is a process of its own: into a broker's own bridge it does come in."""
    far = Far([TREE + topic for topic in HARM])
    if between:
        port, process = site, bridge(tmp_path, site, far.port)
    else:
        port, own = (
            free_port(),
            BRIDGE[BRIDGE.index("connection fleet") :].replace("fleet.example.org:8883", f"127.0.0.1:{far.port}"),
        )
        text = f"listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {ROOT / 'config/mosquitto/coolctl.acl'}\n"
        process = started(tmp_path, "own.conf", text + re.sub(r"bridge_(?:ca|cert|key)file .*\n", "", own), port)
    ears = [Ear(port, user, TREE + topic) for topic, user in HARM.items()]
    try:
        with far.publish():
            heard = until(lambda: any(ear.heard for ear in ears), 0.7)
        assert heard != between
    finally:
        for ear in ears:
            ear.close()
        far.close()
        process.terminate()
        process.wait(5.0)


def test_the_access_list_gives_the_bridge_nothing_to_write() -> None:
    text = (ROOT / "config/mosquitto/coolctl.acl").read_text()
    block = text.split("user coolctl-fleet\n")[1].split("\nuser ")[0]
    assert sorted(re.findall(r"^topic (.*)$", block, re.M)) == sorted(f"read coolctl/v1/+/{topic}" for topic in OUT)
    towards = BRIDGE.split("connection fleet")[0], BRIDGE.split("connection fleet")[1]
    for part, direction in zip(towards, ("in", "out"), strict=True):
        assert re.findall(r"^topic (.*)$", part, re.M) == [f"coolctl/v1/+/{topic} {direction} 0" for topic in OUT]
