"""coolctl as an edge node: births, data on change, deaths; test names give the assertions of the specification's TCK."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutate import mutations
from virtual import Bus, Client, VirtualStack

import coolctl.daemon_node
from coolctl.daemon_node import NodeLink, bd_seq_of, node_readings
from coolctl.dialects import Decoder
from coolctl.dialects.sparkplug_node import NodeSource, Reading
from coolctl.dialects.sparkplug_payload import BOOLEAN, DOUBLE, INT64, STRING, Metric, Payload, decode_payload, encode_payload
from coolctl.edge.mqtt import MqttSettings
from coolctl.points import Point, PointTable, Quality, each
from coolctl.site import load_site

T_MS = 1_700_000_000_000
NBIRTH, NDATA, NDEATH, NCMD = (f"spBv1.0/Plant/{kind}/coolctl" for kind in ("NBIRTH", "NDATA", "NDEATH", "NCMD"))
DBIRTH, DDATA, DDEATH = (f"spBv1.0/Plant/{kind}/coolctl/Gateway" for kind in ("DBIRTH", "DDATA", "DDEATH"))
READINGS = {
    "Mode/Now": Reading("auto"),
    "KPI/IT Power": Reading(612400.0, "W", 500.0),
    "On": Reading(True),
    "N": Reading(-3),
    "X": Reading(math.nan, "degC"),
}
GATEWAY = {"Gateway": {"Remote": Reading(True), "Epoch": Reading(7)}}
REBIRTH = encode_payload(Payload(T_MS, None, [Metric("Node Control/Rebirth", None, T_MS, BOOLEAN, slot=14, value=True)]))


def connected() -> NodeSource:
    s = NodeSource("Plant", "coolctl")
    s.will()
    return s


def told(packets: list[tuple[str, bytes]]) -> list[tuple[str, int | None, dict[str, Metric]]]:
    """Topic, sequence number and metrics by name."""
    payloads = [(topic, decode_payload(raw, 1 << 20)) for topic, raw in packets]
    assert all(p.timestamp_ms == T_MS for topic, p in payloads if "NDEATH" not in topic)
    return [(topic, p.seq, {m.name: m for m in p.metrics}) for topic, p in payloads]


def test_tck_id_payloads_nbirth_bdseq_and_rebirth_req_and_metrics_are_named_typed_and_valued() -> None:
    (topic, seq, metrics), (device_topic, device_seq, device) = told(connected().data(READINGS, GATEWAY, T_MS))
    assert (topic, seq, device_topic, device_seq) == (NBIRTH, 0, DBIRTH, 1)  # …-nbirth-seq, …-dbirth-seq-inc, …-dbirth-order
    bd_seq, rebirth = metrics.pop("bdSeq"), metrics.pop("Node Control/Rebirth")
    assert (bd_seq.datatype, bd_seq.value) == (INT64, 0) and (rebirth.datatype, rebirth.value) == (BOOLEAN, False)
    assert {n: (m.datatype, m.value) for n, m in metrics.items()} == {
        "Mode/Now": (STRING, b"auto"), "KPI/IT Power": (DOUBLE, 612400.0), "On": (BOOLEAN, True), "N": (INT64, (1 << 64) - 3), "X": (DOUBLE, 0),
    }  # fmt: skip
    assert metrics["X"].null and metrics["X"].unit == "degC" and metrics["KPI/IT Power"].unit == "W"
    assert metrics["N"].number(INT64) == -3 and device["Epoch"].value == 7
    assert all(m.timestamp_ms == T_MS and m.alias is None for m in (*metrics.values(), *device.values()))


def test_tck_id_topics_ndata_payload_tells_what_changed_and_only_that() -> None:
    s = connected()
    s.data(READINGS, GATEWAY, T_MS)
    assert s.data(READINGS, GATEWAY, T_MS) == []
    close = {**READINGS, "KPI/IT Power": Reading(612900.0, "W", 500.0)}
    assert s.data(close, GATEWAY, T_MS) == []
    far = {**READINGS, "KPI/IT Power": Reading(612900.1, "W", 500.0), "Mode/Now": Reading("fallback"), "X": Reading(12.0, "degC")}
    ((topic, seq, metrics),) = told(s.data(far, GATEWAY, T_MS))
    assert (topic, seq) == (NDATA, 2) and metrics.keys() == {"KPI/IT Power", "Mode/Now", "X"}
    assert not metrics["X"].null and not metrics["X"].unit
    ((_, _, metrics),) = told(
        s.data(READINGS | {"KPI/IT Power": far["KPI/IT Power"], "Mode/Now": far["Mode/Now"]}, GATEWAY, T_MS)
    )
    assert metrics.keys() == {"X"} and metrics["X"].null  # known no more


def test_tck_id_payloads_ndata_seq_inc_counts_every_message_modulo_256() -> None:
    s = connected()
    s.data(READINGS, GATEWAY, T_MS)
    seqs = []
    for k in range(600):
        now = {**READINGS, "N": Reading(k)}
        gateway = {"Gateway": {"Remote": Reading(k % 2 == 0), "Epoch": Reading(7)}}
        seqs += [seq for _, seq, _ in told(s.data(now, gateway, T_MS))]
    assert (
        seqs[:3] == [2, 3, 4]
        and all((b - a) % 256 == 1 for a, b in itertools.pairwise(seqs))
        and max(s or 0 for s in seqs) == 255
    )


def test_tck_id_operational_behavior_data_commands_rebirth_action_keeps_bdseq_and_starts_seq_anew() -> None:
    s = connected()
    s.data(READINGS, GATEWAY, T_MS)
    s.data({**READINGS, "N": Reading(1)}, GATEWAY, T_MS)
    s.take(NCMD, REBIRTH)
    (topic, seq, metrics), (device_topic, device_seq, _) = told(s.data(READINGS, GATEWAY, T_MS))
    assert (topic, seq, metrics["bdSeq"].value, device_topic, device_seq) == (NBIRTH, 0, 0, DBIRTH, 1)
    assert s.data(READINGS, GATEWAY, T_MS) == []  # once is enough


def test_tck_id_payloads_ndeath_bdseq_counts_connections_and_has_no_seq() -> None:
    s = NodeSource("Plant", "coolctl", 254)
    numbers = []
    for _ in range(3):
        topic, raw = s.will()
        p = decode_payload(raw, 999)
        assert topic == NDEATH and p.seq is None and len(p.metrics) == 1
        numbers.append(p.bd_seq())
        ((_, _, born),) = told(s.data(READINGS, {}, T_MS))
        assert born["bdSeq"].value == p.bd_seq() and decode_payload(s.death()[1], 999).bd_seq() == p.bd_seq()
    assert numbers == [255, 0, 1]


def test_golden_bytes_of_birth_data_and_death() -> None:
    s = connected()
    (birth,) = s.data({"A": Reading(1.5, "W")}, {}, 1000)
    assert birth[1].hex() == (
        "08e807"  # timestamp 1000
        "120e" "0a056264536571" "18e807" "2004" "5800"  # bdSeq, Int64, 0
        "121d" "0a14" + b"Node Control/Rebirth".hex() + "18e807" "200b" "7000"  # Boolean, false
        "1223" "0a0141" "18e807" "200a" "4a10" "0a07" + b"engUnit".hex() + "1205" "080c" "4201" "57" "69000000000000f83f"
        "1800"  # seq 0
    )  # fmt: skip
    (data,) = s.data({"A": Reading(2.0, "W")}, {}, 1000)
    assert data[1].hex() == "08e80712110a014118e807200a6900000000000000401801"
    assert s.death()[1].hex() == "120b0a05626453657120045800"  # no timestamp is asked for, no seq is allowed


def test_device_dies_and_is_born_again_with_what_it_stands_for() -> None:
    s = connected()
    s.data(READINGS, GATEWAY, T_MS)
    assert [(t, q, set(m)) for t, q, m in told(s.data(READINGS, {}, T_MS))] == [(DDEATH, 2, set())]
    assert s.data(READINGS, {}, T_MS) == []
    assert [(t, q) for t, q, _ in told(s.data(READINGS, GATEWAY, T_MS))] == [(DBIRTH, 3)]
    assert [
        (t, q) for t, q, _ in told(s.data(READINGS, {"Gateway": {**GATEWAY["Gateway"], "Remote": Reading(False)}}, T_MS))
    ] == [(DDATA, 4)]


def test_metric_that_no_birth_has_named_is_born_first() -> None:
    s = connected()
    s.data(READINGS, GATEWAY, T_MS)
    (topic, seq, metrics), _ = told(s.data({**READINGS, "New": Reading(1.0)}, GATEWAY, T_MS))
    assert (topic, seq) == (NBIRTH, 0) and "New" in metrics


def test_nothing_but_a_rebirth_is_commanded() -> None:
    s = connected()
    s.data(READINGS, GATEWAY, T_MS)
    mode = encode_payload(Payload(T_MS, None, [Metric("Mode/Granted", None, T_MS, STRING, slot=15, value=b"auto")]))
    no = encode_payload(Payload(T_MS, None, [Metric("Node Control/Rebirth", None, T_MS, BOOLEAN, slot=14, value=False)]))
    for topic, raw in ((NCMD, mode), (NCMD, no), (NDATA, REBIRTH), (NCMD, b"\xff"), (NCMD, b"")):
        s.take(topic, raw)
    assert s.rejects == {"command": 1, "topic": 1, "protobuf": 1} and s.data(READINGS, GATEWAY, T_MS) == []


def test_commands_survive_any_mutation() -> None:
    s, rng, births = connected(), random.Random(7), 0
    for raw in mutations([REBIRTH], 5000, rng, 3):
        s.take(NCMD, raw)
        births += bool(s.data(READINGS, GATEWAY, T_MS))
    assert births > 100 and {"protobuf", "command", "wire_type"} <= s.rejects.keys()


def test_host_of_ours_understands_the_node_whatever_happens_to_it() -> None:
    """What is said is heard by the same rules: no message is out of order, none is without a birth."""
    rows = (
        ("it", "NDATA/coolctl", "KPI/IT Power", "kW", "it_power"),
        ("remote", "DDATA/coolctl/Gateway", "Remote", "bool", "bms_remote"),
    )
    points = [
        Point(n, role, "plant", unit, f"spBv1.0/Plant/{t}", "sparkplug-b", f, 60.0, -1e9, 1e9) for n, t, f, unit, role in rows
    ]
    d, s, rng = Decoder(PointTable(points), 4096, 262144), connected(), random.Random(8)
    last: dict[str, Any] = {}
    for k in range(2000):
        now = {**READINGS, "KPI/IT Power": Reading(float(1000 * k), "W", 500.0)}
        devices = GATEWAY if rng.random() < 0.9 else {}
        if rng.random() < 0.02:
            d.decode(*s.death())
            s.will()
        elif rng.random() < 0.02:
            s.take(NCMD, REBIRTH)
        for topic, raw in s.data(now, devices, T_MS):
            last |= {d.table.points[x.i].id: x.value if x.quality == Quality.GOOD else None for x in each(d.decode(topic, raw))}
        assert last["it"] == 1e6 * k and last.get("remote") == (1.0 if devices else None)
    assert not d.rejects.keys() - {"node_death", "device_death", "source_bad"}


# -- in the daemon


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    made = Client.bus = Bus()
    monkeypatch.setattr(coolctl.daemon_node, "MqttClient", Client)
    return made


def test_number_of_the_connection_outlives_the_process(bus: Bus, edited_site: Callable[..., Path], tmp_path: Path) -> None:
    site = load_site(edited_site(("\n[telemetry]", '\n[sparkplug]\ngroup = "Plant"\n\n[telemetry]')))
    memory = tmp_path / "state" / "bdseq"
    assert [NodeLink(site, "", memory).source.bd_seq for _ in range(3)] == [0, 1, 2] and bd_seq_of(memory) == 2
    memory.write_text("rubbish")
    assert bd_seq_of(memory) == -1
    memory.write_text("999")
    assert bd_seq_of(memory) == 999 % 256


def test_node_says_when_it_is_born_and_when_it_is_not_heard(bus: Bus, edited_site: Callable[..., Path], tmp_path: Path) -> None:
    site = load_site(edited_site(("\n[telemetry]", '\n[sparkplug]\ngroup = "Plant"\n\n[telemetry]')))
    node = NodeLink(site, "", tmp_path / "bdseq")
    assert node.news() == ""
    node.source.data(READINGS, {}, T_MS)
    assert node.news() == "the edge node is born" and node.news() == ""
    node.client.ready, node.client.last_error = False, "refused: Not authorized"
    assert node.news() == "the edge node is not heard: refused: Not authorized" and node.news() == ""


def test_scada_sees_mode_setpoints_and_gateway_of_a_running_plant(
    monkeypatch: pytest.MonkeyPatch, edited_site: Callable[..., Path], tmp_path: Path
) -> None:
    site = load_site(edited_site(("\n[telemetry]", '\n[sparkplug]\ngroup = "Plant"\n\n[telemetry]')))
    monkeypatch.setattr(coolctl.daemon_node, "MqttClient", Client)
    stack = VirtualStack(monkeypatch, site, tmp_path / "stack")
    kinds = [f"spBv1.0/Plant/{kind}/coolctl" for kind in ("NBIRTH", "NDATA", "NDEATH")]
    devices = [f"spBv1.0/Plant/{kind}/coolctl/+" for kind in ("DBIRTH", "DDATA", "DDEATH")]
    scada = Client(MqttSettings("", 0, "coolctl-scada-x"), [*kinds, *devices])
    seen: dict[tuple[str, str], Metric] = {}
    topics: list[str] = []

    def look() -> None:
        stack.bus.deliver()
        while scada.inbox:
            m = scada.inbox.popleft()
            topics.append(m.topic)
            device = "Gateway" if m.topic.endswith("/Gateway") else ""
            seen.update({(device, x.name): x for x in decode_payload(m.payload, 1 << 20).metrics})

    stack.run(60)
    look()
    assert topics[0] == NBIRTH and topics.count(NBIRTH) == 1 and topics.count(DBIRTH) == 1
    d = stack.one.decision
    assert d is not None and seen["", "Mode/Now"].value == d.mode.encode() and seen["Gateway", "Remote"].value
    for name, value in d.wire(d.u).items():
        assert seen["", f"Setpoints/{name}/Value"].value == value
        applied = stack.one.daemon.link.applied[name]  # the last acknowledgement came after what was told
        assert float(seen["Gateway", f"Applied/{name}"].value) == pytest.approx(applied, abs=0.01 * abs(applied) + 0.1)
    assert abs(float(seen["", "KPI/IT Power"].value) - d.terms["it_w"]) <= 500.0
    assert node_readings(d).keys() <= {name for device, name in seen if not device}
    stack.bus.publish("scada", NCMD, REBIRTH)
    stack.run(2)
    look()
    assert topics.count(NBIRTH) == 2
    stack.gateway.client.linked = False  # type: ignore[attr-defined]
    stack.run(20)
    look()
    assert topics[-1] in (NDATA, DDEATH) and topics.count(DDEATH) == 1
    stack.one.daemon.node.close()  # type: ignore[union-attr]
    look()
    assert topics[-1] == NDEATH
