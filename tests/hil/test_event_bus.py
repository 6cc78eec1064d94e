"""Event bus and Sparkplug over a real broker: kept descriptions, the host's state, and the loop that closes over dsx."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import SITE
from stack import Stack
from test_dsx import dsx_text

from coolctl.dialects.sparkplug import state_message
from coolctl.edge.broker import Broker, mosquitto_path
from coolctl.edge.mqtt import MqttClient, MqttSettings

pytestmark = [pytest.mark.hil, pytest.mark.skipif(mosquitto_path() is None, reason="mosquitto is not installed")]


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker("mosquitto")
    yield made
    made.close()


def client(broker: Broker, topics: list[str], protocol: str = "auto", **more: object) -> MqttClient:
    made = MqttClient(MqttSettings("127.0.0.1", broker.port, "test", protocol), topics, **more)  # type: ignore[arg-type]
    work([made], lambda: made.ready)
    return made


def work(clients: list[MqttClient], enough: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not enough():
        assert time.monotonic() < deadline_s, [c.last_error for c in clients]
        for c in clients:
            c.run_until(time.monotonic() + 0.02)


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_kept_descriptions_arrive_and_other_kept_messages_are_told_apart(broker: Broker, protocol: str) -> None:
    described = [f"BMS/v1/PUB/Metadata/CDU/LiquidTemperature/{k}" for k in range(250)]
    bms = client(broker, [])
    for topic in [*described, "kept/value"]:
        assert bms.publish(topic, b"{}", retain=True)
    bms.run_until(time.monotonic() + 0.2)
    hears = client(broker, [*described, "kept/value", "live"], protocol, retained=described)
    work([hears, bms], lambda: len(hears.inbox) >= 250)
    bms.publish("live", b"1")
    work([hears, bms], lambda: hears.inbox[-1].topic == "live")
    seen = {m.topic: m.retained for m in hears.inbox}
    assert all(seen[topic] for topic in described) and not seen["live"]
    assert seen.get("kept/value", True)  # 5 leaves it out, 3.1.1 marks it
    bms.close()
    hears.close()


def test_state_of_a_host_is_born_with_the_stamp_of_its_will_and_dies_by_it(broker: Broker) -> None:
    stamps = [1_700_000_000_000]

    def state(online: bool) -> tuple[str, bytes]:
        stamps[0] += 0 if online else 1
        return state_message("coolctl", online, stamps[0])

    topic = state(True)[0]
    watcher = client(broker, [topic], retained=[topic])
    host = client(broker, [], will=("s", b"off", b"on"), state=state)
    work([watcher, host], lambda: len(watcher.inbox) == 1)
    assert json.loads(watcher.inbox.pop().payload) == {"online": True, "timestamp": stamps[0]}
    assert host._client is not None
    host._client.socket().close()  # the link breaks without a goodbye
    work([watcher], lambda: len(watcher.inbox) == 1, 20.0)
    assert json.loads(watcher.inbox.pop().payload) == {"online": False, "timestamp": stamps[0]}
    late = client(broker, [topic], retained=[topic])
    work([late], lambda: len(late.inbox) == 1)
    assert json.loads(late.inbox[0].payload)["online"] is False and late.inbox[0].retained


def test_loop_closes_over_the_event_bus_and_kill_9_of_the_gateway_gives_the_plant_back(
    edited_site: Callable[..., Path], tmp_path: Path
) -> None:
    text = SITE.read_text()
    stack = Stack(edited_site((text, dsx_text(text))), tmp_path, kind="mosquitto")
    try:
        stack.start("gateway")
        stack.start("daemon")
        stack.start_plant(8.0, "--load", "0.6", "--wait-for-controller", "30")
        # The proof test takes its silence, so the plant follows, lets go and follows again.
        stack.wait("the plant follows requests", lambda lines: len(lines) > 120 and not any(x.local for x in lines[-20:]), 120.0)
        stack.kill("gateway")
        killed_s = stack.log()[-1].t_s
        stack.wait("own control", lambda lines: lines[-1].local and lines[-1].t_s > killed_s, 60.0)
        first_local_s = next(x.t_s for x in stack.log() if x.t_s > killed_s and x.local)
        assert first_local_s - killed_s <= 30.0 + 10.0  # what the BMS waits for a heartbeat, and the log's step
        assert max(x.hottest_c for x in stack.log()) < 27.0
    finally:
        stack.close()
