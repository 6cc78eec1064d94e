"""The loop over a real broker: it closes by itself, survives kill -9 of each part, and never leaves a rack to heat up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stack import ROOT, Line, Stack

from coolctl import replay
from coolctl.edge.broker import Broker, mosquitto_path, path_of
from coolctl.edge.mqtt import MqttClient, MqttSettings
from coolctl.recording import Recording

pytestmark = [pytest.mark.hil, pytest.mark.alone]
needs_mosquitto = pytest.mark.skipif(mosquitto_path() is None, reason="mosquitto is not installed")

TTL_S = 6.0
START_S = 60.0


@pytest.fixture
def stack(edited_site: Callable[..., Path], tmp_path: Path) -> Iterator[Stack]:
    """A stack whose leases are as short as is allowed to be useful: 6 s instead of 15."""
    path = edited_site(("[weather]", f"[gateway]\nttl_s = {TTL_S}\nbms_ttl_s = {TTL_S}\n\n[weather]"))
    made = Stack(path, tmp_path)
    yield made
    made.close()


def leased(lines: list[Line]) -> bool:
    return len(lines) > 3 and not any(line.local for line in lines[-3:])


def went_local(after_s: float) -> Callable[[list[Line]], bool]:
    return lambda lines: bool(lines) and lines[-1].t_s > after_s and lines[-1].local


def begin(stack: Stack) -> None:
    stack.start("gateway")
    stack.start("daemon")
    stack.start_plant(1.0, "--load", "0.6")
    stack.wait("the plant follows a lease", leased, START_S)


@needs_mosquitto
@pytest.mark.parametrize("victim", ["daemon", "gateway", "broker"])
def test_kill_9_gives_the_plant_its_own_control_and_the_rest_recovers(stack: Stack, victim: str) -> None:
    begin(stack)
    if victim == "broker":
        stack.broker.kill()
    else:
        stack.kill(victim)
    killed_s = stack.log()[-1].t_s
    stack.wait(f"own control after kill -9 of the {victim}", went_local(killed_s), TTL_S + 10.0)
    first_local = next(line.t_s for line in stack.log() if line.t_s > killed_s and line.local)
    assert first_local - killed_s <= TTL_S + 2.0
    if victim == "broker":
        stack.broker.restart()
    else:
        stack.start(victim)  # what systemd would do
    stack.wait("the lease is taken up again", lambda lines: leased(lines) and lines[-3].t_s > first_local, 40.0)
    lines = stack.log()
    assert max(line.hottest_c for line in lines) < 26.0
    others = {"daemon", "gateway", "plant"} - {victim}
    assert all(stack.processes[name].poll() is None for name in others)


@needs_mosquitto
def test_daemon_with_a_broken_policy_says_so_and_leases_the_rules(stack: Stack, tmp_path: Path) -> None:
    broken = shutil.copytree(ROOT / "models" / "default", tmp_path / "broken")
    raw = bytearray((broken / "policy.onnx").read_bytes())
    raw[len(raw) // 2] ^= 1
    (broken / "policy.onnx").write_bytes(raw)
    stack.start("gateway")
    stack.start("daemon", "--policy", str(broken))
    stack.start_plant(20.0, "--load", "0.6")
    stack.wait("the rules are leased", lambda lines: leased(lines) and len(lines) > 400, START_S)
    said = (stack.folder / "daemon.log").read_text()
    assert "policy refused" in said and "sha256" in said and "Traceback" not in said
    decision = hear(client(stack.broker, "coolctl/v1/hall1mw/decision"))
    assert decision is not None and json.loads(decision)["mode"] == "fallback"
    assert (broken / "policy.onnx").read_bytes() == bytes(raw)  # nothing is mended behind anybody's back


@needs_mosquitto
def test_recording_of_a_run_over_the_broker_replays_bit_for_bit(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.start("gateway")
    stack.start("daemon")
    stack.start_plant(0.0, "--steps", "600", "--wait-for-controller", "60")
    stack.processes["plant"].wait(120.0)
    stack.kill("daemon")
    rows = Recording(stack.folder / "rec").read()
    assert len(rows) >= 599 and sum(not line.local for line in stack.log()) > 500
    import argparse

    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    assert replay.main(parser.parse_args([str(stack.folder / "rec"), "--verify"])) == 0
    assert "bit for bit" in capsys.readouterr().out


@pytest.mark.nightly
@pytest.mark.skipif(path_of("nats-server") is None, reason="nats-server is not installed")
def test_the_whole_loop_on_nats_server_and_after_its_death(edited_site: Callable[..., Path], tmp_path: Path) -> None:
    path = edited_site(("[weather]", f"[gateway]\nttl_s = {TTL_S}\nbms_ttl_s = {TTL_S}\n\n[weather]"))
    stack = Stack(path, tmp_path, kind="nats")
    try:
        begin(stack)
        stack.broker.kill()
        killed_s = stack.log()[-1].t_s
        stack.wait("own control after the broker's death", went_local(killed_s), TTL_S + 10.0)
        first_local = next(line.t_s for line in stack.log() if line.t_s > killed_s and line.local)
        assert first_local - killed_s <= TTL_S + 2.0
        stack.broker.restart()
        back_s = stack.log()[-1].t_s
        stack.wait("a lease again", lambda lines: lines[-1].t_s > back_s and leased(lines), START_S)
        assert max(line.hottest_c for line in stack.log()) < 26.0
    finally:
        stack.close()


def client(broker: Broker, *topics: str, protocol: str = "auto") -> MqttClient:
    made = MqttClient(MqttSettings("127.0.0.1", broker.port, "test", protocol), list(topics))
    made.run_until(time.monotonic() + 15.0, lambda: made.ready)
    assert made.ready, made.last_error
    return made


def hear(made: MqttClient, seconds: float = 5.0) -> bytes | None:
    made.run_until(time.monotonic() + seconds, lambda: bool(made.inbox))
    return made.inbox.popleft().payload if made.inbox else None


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt", "nats"])
def test_client_speaks_with_every_broker(kind: str) -> None:
    daemon = {"mosquitto": "mosquitto", "nats": "nats-server"}.get(kind)
    if daemon and path_of(daemon) is None:
        pytest.skip(f"{daemon} is not installed")
    broker = Broker(kind)
    try:
        listener, speaker = client(broker, "t/#"), client(broker)
        assert speaker.publish("t/x", b"hello") and hear(listener, 10.0) == b"hello"
        listener.close()
        speaker.close()
    finally:
        broker.close()


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_client_reconnects_hears_again_and_sends_nothing_old(protocol: str) -> None:
    broker = Broker()
    try:
        listener, speaker = client(broker, "t/#", protocol=protocol), client(broker, protocol=protocol)
        broker.kill()
        for made in (listener, speaker):
            made.run_until(time.monotonic() + 5.0, lambda made=made: not made.ready)
            assert not made.ready
        assert not any(speaker.publish("t/x", b"old") for _ in range(5))
        broker.restart()
        back_s = time.monotonic()
        for made in (listener, speaker):
            made.run_until(back_s + 8.0, lambda made=made: made.ready)
        assert listener.ready and speaker.ready and time.monotonic() - back_s <= 6.5
        assert speaker.publish("t/x", b"new") and hear(listener) == b"new" and not listener.inbox
        listener.close()
        speaker.close()
    finally:
        broker.close()


@needs_mosquitto
def test_client_marks_retained_messages_and_survives_nonsense_topics() -> None:
    broker = Broker()
    try:
        speaker = client(broker, protocol="3.1.1")
        assert speaker._client is not None
        speaker._client.publish("t/x", b"old", 0, True)
        speaker.run_until(time.monotonic() + 0.3)
        listener = client(broker, "t/#", protocol="3.1.1")
        listener.run_until(time.monotonic() + 2.0, lambda: bool(listener.inbox))
        assert [m.retained for m in listener.inbox] == [True]
        listener.inbox.clear()
        speaker.publish("t/\u00e9\u4e2d", json.dumps({"a": 1}).encode())
        assert hear(listener) == b'{"a": 1}'
        fresh = client(broker, "t/#", protocol="5")  # version 5 asks the broker not to send them at all
        assert hear(fresh, 1.0) is None
    finally:
        broker.close()


STARVED_S, HOGS_A_CORE, UNIT_NICE = 45.0, 3, -5


@needs_mosquitto
@pytest.mark.nightly
def test_a_starved_processor_costs_no_lease(stack: Stack) -> None:
    """Three busy processes a core beside it, and the services no nicer than their units make them: ticks may be late, but never
    by a lease."""
    begin(stack)
    first_s = stack.log()[-1].t_s
    stack.wait("the gateway falls silent for its proof", went_local(first_s), START_S)
    stack.wait("it leases again", leased, START_S)
    for name in ("gateway", "daemon"):
        with contextlib.suppress(PermissionError):  # without the right to it the test is only harder
            os.setpriority(os.PRIO_PROCESS, stack.processes[name].pid, UNIT_NICE)
    busy = [sys.executable, "-c", "while True: pass"]
    hogs = [subprocess.Popen(busy, start_new_session=True) for _ in range(HOGS_A_CORE * (os.cpu_count() or 1))]
    try:
        from_s = stack.log()[-1].t_s
        stack.wait("time passes in the plant", lambda lines: lines[-1].t_s >= from_s + STARVED_S, 3.0 * STARVED_S)
        assert all(hog.poll() is None for hog in hogs)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    starved = [line for line in stack.log() if line.t_s > from_s]
    assert not any(line.local for line in starved), "a lease ran out"
    assert max(line.hottest_c for line in starved) < 26.0
    assert all(p.poll() is None for p in stack.processes.values())
