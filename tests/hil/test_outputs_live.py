"""Commands to an edge node and requests to Neuron over a real broker; a node's own death as the broker tells it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from beside import REVERT_S, Adapter, EdgeNodeSim, NeuronSim, neuron_text, sparkplug_text
from conftest import SITE
from stack import Stack

from coolctl.daemon_node import NodeLink
from coolctl.dialects.sparkplug_payload import decode_payload
from coolctl.dialects.writers import setpoints_of
from coolctl.edge.broker import Broker, mosquitto_path
from coolctl.edge.mqtt import MqttClient, MqttSettings
from coolctl.points import Point
from coolctl.site import Site, load_site

pytestmark = [pytest.mark.hil, pytest.mark.skipif(mosquitto_path() is None, reason="mosquitto is not installed")]
STATE = "spBv1.0/STATE/cool"
KINDS: dict[str, tuple[Callable[[str], str], Callable[[list[Point]], EdgeNodeSim | NeuronSim]]] = {
    "sparkplug-b": (sparkplug_text, EdgeNodeSim),
    "neuron": (neuron_text, NeuronSim),
}


def client(port: int, topics: list[str], name: str = "test", **more: object) -> MqttClient:
    made = MqttClient(MqttSettings("127.0.0.1", port, name), topics, **more)  # type: ignore[arg-type]
    work([made], lambda: made.ready)
    return made


def work(clients: list[MqttClient], enough: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not enough():
        assert time.monotonic() < deadline_s, [c.last_error for c in clients]
        for c in clients:
            c.run_until(time.monotonic() + 0.02)


@contextmanager
def field(site: Site, port: int, kind: str) -> Iterator[Adapter]:
    """What stands beside the plant, on a thread of its own."""
    sim = KINDS[kind][1](setpoints_of(site))
    adapter = Adapter(site, client(port, Adapter.topics(site, sim), "beside"), sim)
    running = adapter.run()
    next(running)
    try:
        yield adapter
    finally:
        running.close()  # type: ignore[attr-defined]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_loop_closes_over_it_and_kill_9_of_the_gateway_gives_the_plant_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(KINDS[kind][0](SITE.read_text()))
    site = load_site(path)
    stack = Stack(path, tmp_path, kind="mosquitto")
    try:
        with field(site, stack.broker.port, kind) as adapter:
            stack.start("gateway")
            stack.start("daemon")
            stack.start_plant(8.0, "--load", "0.6", "--wait-for-controller", "30")
            follows = lambda lines: len(lines) > 150 and not any(x.local for x in lines[-20:])  # noqa: E731
            stack.wait("the plant follows what is written", follows, 150.0)
            assert adapter.sim.values.keys() == {p.id for p in setpoints_of(site)}  # type: ignore[attr-defined]
            if kind == "sparkplug-b":
                _state_is_put_right(stack)
            stack.kill("gateway")
            killed_s = stack.log()[-1].t_s
            stack.wait("own control", lambda lines: lines[-1].local and lines[-1].t_s > killed_s, 60.0)
            first_local_s = next(x.t_s for x in stack.log() if x.t_s > killed_s and x.local)
            assert first_local_s - killed_s <= REVERT_S + 3.0 + 10.0  # its watchdog, the lease it gives on, and the log's step
            assert max(x.hottest_c for x in stack.log()) < 27.0
            if kind == "sparkplug-b":
                watcher = client(stack.broker.port, [STATE], retained=[STATE])
                work([watcher], lambda: bool(watcher.inbox))
                assert json.loads(watcher.inbox[-1].payload)["online"] is False, "the will"
                watcher.close()
    finally:
        stack.close()


def _state_is_put_right(stack: Stack) -> None:
    """Somebody says that we are offline, as a broker does that tells an earlier connection's death late."""
    liar = client(stack.broker.port, [STATE], "liar", retained=[STATE])
    work([liar], lambda: bool(liar.inbox))
    assert json.loads(liar.inbox.pop().payload)["online"] is True
    liar.publish(STATE, b'{"online":false,"timestamp":1}', retain=True)
    work([liar], lambda: any(json.loads(m.payload)["online"] for m in liar.inbox))
    begun_s = stack.log()[-1].t_s
    stack.wait("it goes on", lambda lines: lines[-1].t_s > begun_s + 60.0 and not lines[-1].local, 60.0)
    liar.close()


def test_broker_tells_the_death_of_the_node_with_the_number_of_its_birth(
    edited_site: Callable[..., Path], tmp_path: Path
) -> None:
    """tck-id-payloads-ndeath-will-message, -retain; tck-id-payloads-nbirth-bdseq-repeat."""
    site = load_site(edited_site(("\n[telemetry]", '\n[sparkplug]\ngroup = "Plant"\n\n[telemetry]')))
    broker = Broker("mosquitto")
    try:
        kinds = ["spBv1.0/Plant/NBIRTH/coolctl", "spBv1.0/Plant/NDEATH/coolctl"]
        scada = client(broker.port, kinds, "scada", retained=kinds)
        node = NodeLink(site, f"127.0.0.1:{broker.port}", tmp_path / "bdseq")
        for connection in (0, 1):
            work([node.client, scada], lambda: node.client.ready)
            for topic, raw in node.source.data({}, {}, 1):
                node.client.publish(topic, raw)
            work([scada], lambda: bool(scada.inbox))
            birth = decode_payload(scada.inbox.popleft().payload, 999)
            assert (birth.bd_seq(), birth.seq) == (connection, 0)
            assert node.client._client is not None
            node.client._client.socket().close()  # the link breaks without a goodbye
            work([scada], lambda: bool(scada.inbox), 20.0)
            message = scada.inbox.popleft()
            death = decode_payload(message.payload, 999)
            assert message.topic == kinds[1] and (death.bd_seq(), death.seq) == (connection, None)
            work([node.client], lambda: not node.client.ready)
        late = client(broker.port, kinds, "late", retained=kinds)
        late.run_until(time.monotonic() + 0.3)
        assert not late.inbox, "neither birth nor death is kept"
        for c in (late, node.client, scada):
            c.close()
    finally:
        broker.close()
