"""Setpoints that leave as Sparkplug commands or as Neuron requests: when, where, as what, and when no more."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from beside import (
    ANSWER,
    BEAT,
    GROUP,
    NODE,
    REQUEST,
    TAG_BEAT,
    Adapter,
    Beside,
    EdgeNodeSim,
    NeuronSim,
    neuron_text,
    sparkplug_text,
)
from conftest import ROOT, SITE
from mutate import mutations
from virtual import Bus, Client, VirtualStack

import coolctl.daemon_link
import coolctl.gateway_main
from coolctl.daemon_link import Link
from coolctl.dialects import Decoder
from coolctl.dialects.neuron_out import Group, NeuronWriter, decode_answer, encode_request, parse_tag
from coolctl.dialects.output import Output, ReadBack, Schedule
from coolctl.dialects.sparkplug_out import HostState, SparkplugWriter, command_topic, metric_fault, parse_command
from coolctl.dialects.sparkplug_payload import (
    BOOLEAN,
    DATE_TIME,
    DOUBLE,
    FLOAT,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    UINT8,
    UINT16,
    UINT64,
    Metric,
    Payload,
    decode_payload,
    encode_payload,
    wire_number,
)  # fmt: skip
from coolctl.dialects.writers import setpoints_of
from coolctl.edge.mqtt import MqttSettings
from coolctl.errors import ConfigError
from coolctl.gateway_main import GatewayService
from coolctl.points import Point, PointTable, each
from coolctl.site import Site, load_site
from coolctl.strict_json import Rejected

T_MS = 1_700_000_000_000


def setpoint(
    name: str, topic: str, field: str, unit: str = "degC", role: str = "chwst_sp", low: float = 5.0, high: float = 21.0
) -> Point:
    return Point(name, role, "plant", unit, topic, "sparkplug-b", field, 60.0, low, high)


# -- what is due


def test_values_are_said_on_change_and_from_time_to_time_and_the_heartbeat_every_ten_seconds() -> None:
    s = Schedule()
    said = {t_s: s.due({"a": 1.0, "b": 2.0 + (t_s >= 3)}, float(t_s)) for t_s in range(21)}
    assert said[0] == (["a", "b"], True) and said[1] == ([], False) and said[3] == (["b"], False)
    assert said[5] == (["a"], False) and said[8] == (["b"], False) and said[10] == (["a"], True) and said[20] == (["a"], True)
    assert s.due({"a": 1.0}, 22.6) == (["a"], True) and s.due({"a": 1.0}, 3.0) == (["a"], True)  # a pause; a new clock


@pytest.mark.parametrize(
    ("heard", "at_s", "refused"),
    [
        (12.0, 29.9, False),
        (12.0, 30.0, True),
        (14.0, 99.0, False),
        (14.015, 99.0, False),
        (14.03, 99.0, True),
        (math.nan, 99.0, False),
    ],
)
def test_setpoint_that_reads_back_as_another_for_long_is_refused(heard: float, at_s: float, refused: bool) -> None:
    back = ReadBack(setpoint("a", "", ""), 30.0)
    back.write(14.0, 0.0)
    back.heard = heard
    assert not back.fault(0.0, 0.0)
    assert bool(back.fault(at_s, 0.0)) == refused


def test_plant_that_follows_late_is_no_refusal_and_one_that_stays_behind_is() -> None:
    back = ReadBack(setpoint("a", "", ""), 30.0)
    for t_s in range(200):
        back.write(10.0 + 0.02 * t_s, float(t_s))
        back.heard = 10.0 + 0.02 * max(t_s - 25, 0)
        assert not back.fault(float(t_s), 0.0), t_s
    back.heard = 12.0
    assert not back.fault(200.0, 0.0) and not back.fault(229.9, 0.0)
    assert "reads back as 12 although 13.98 was written" in back.fault(230.0, 0.0)
    assert not back.fault(230.0, 2.0)  # what the plant's type rounds away
    assert not back.fault(250.0, 0.0), "a word that is wrong for a moment, and then again"
    back.heard = 13.98
    assert not back.fault(270.0, 0.0)
    back.heard = 12.0
    assert not back.fault(280.0, 0.0)
    back.forget()
    assert not back.fault(999.0, 0.0)


def test_what_was_written_before_the_clock_began_anew_is_not_what_the_plant_follows_late() -> None:
    back = ReadBack(setpoint("a", "", ""), 30.0)
    back.write(12.0, 100.0)
    back.write(14.0, 0.0)
    back.heard = 12.0
    assert not back.fault(0.0, 0.0) and not back.fault(29.9, 0.0)
    assert "reads back as 12 although 14 was written" in back.fault(30.0, 0.0)


def test_a_way_of_writing_that_says_nothing_of_itself_listens_to_nothing_and_writes_nothing() -> None:
    output = Output([setpoint("a", "", "")])
    output.take("x", b"")
    assert output.topics == [] and output.can_write(["a"])
    with pytest.raises(NotImplementedError):
        output.lease({"a": 14.0}, 0.0, T_MS)


# -- numbers as their types have them


@pytest.mark.parametrize(
    ("datatype", "value", "slot", "wire"),
    [
        (DOUBLE, 14.25, 13, 14.25), (FLOAT, 14.25, 12, 14.25), (BOOLEAN, 1.0, 14, True), (BOOLEAN, 0.0, 14, False), (INT16, 57.4, 10, 57),
        (INT8, -5.0, 10, 0xFFFFFFFB), (INT64, -1.0, 11, (1 << 64) - 1), (UINT64, 7.0, 11, 7), (UINT8, 255.4, 10, 255), (INT32, -2147483648.0, 10, 0x80000000),
    ],
)  # fmt: skip
def test_number_goes_out_in_the_slot_of_its_type_and_comes_back_as_it_was(
    datatype: int, value: float, slot: int, wire: Any
) -> None:
    assert wire_number(datatype, value) == (slot, wire)
    back = decode_payload(encode_payload(Payload(T_MS, None, [Metric("a", None, None, datatype, slot=slot, value=wire)])), 999)
    assert back.metrics[0].number(datatype) == pytest.approx(round(value) if slot in (10, 11) else value)


@pytest.mark.parametrize(
    ("datatype", "value"),
    [(INT8, 128.0), (UINT8, -0.6), (UINT16, 65535.5), (BOOLEAN, 0.5), (STRING, 1.0), (DATE_TIME, 1.0), (0, 1.0), (FLOAT, 1e39), (DOUBLE, math.nan), (INT32, math.inf), (DOUBLE, math.inf)],
)  # fmt: skip
def test_number_that_its_type_cannot_hold_is_none(datatype: int, value: float) -> None:
    with pytest.raises(Rejected):
        wire_number(datatype, value)


@pytest.mark.parametrize(
    ("birth", "unit", "said"),
    [
        (Metric("a", 1, None, DOUBLE, unit="°C"), "degC", ""),
        (Metric("a", 1, None, DOUBLE), "degC", ""),
        (Metric("a", 1, None, DOUBLE, unit="°F"), "degC", "the birth gives engUnit '°F', the site file unit 'degC'"),
        (Metric("a", 1, None, DOUBLE, unit="furlong"), "degC", "which is not known"),
        (Metric("a", 1, None, INT16), "degC", "Int16, which is too coarse for 'degC'"),
        (Metric("a", 1, None, BOOLEAN), "degC", "Boolean, which is too coarse"),
        (Metric("a", 1, None, STRING), "degC", "type 12, which is no number"),
        (Metric("a", 1, None, BOOLEAN), "count", "Boolean for a count"),
        (Metric("a", 1, None, UINT8), "count", ""),
        (Metric("a", 1, None, BOOLEAN), "bool", ""),
    ],
)
def test_metric_is_written_only_as_its_birth_declares_it(birth: Metric, unit: str, said: str) -> None:
    fault = metric_fault(birth, setpoint("a", "", "a", unit))
    assert said in fault and bool(fault) == bool(said)


def test_percent_may_be_whole() -> None:
    p = setpoint("a", "", "a", "percent", "fan_speed_sp", 0.0, 1.0)
    assert not metric_fault(Metric("a", 1, None, UINT8, unit="%"), p)


def test_unit_of_a_birth_is_read_whatever_its_usual_name_and_beside_a_quality() -> None:
    for quality in (192, 0):
        raw = encode_payload(Payload(1, 0, [Metric("a", 1, 2, DOUBLE, quality=quality, slot=13, value=1.0, unit="kPa")]))
        m = decode_payload(raw, 999).metrics[0]
        assert (m.unit, m.quality, m.value) == ("kPa", quality, 1.0)
        other = raw.replace(b"\x07engUnit", b"\x07EngUnit")
        assert decode_payload(other, 999).metrics[0].unit == "kPa" and other != raw


# -- Sparkplug commands

CHW, SAT = f"spBv1.0/{GROUP}/DCMD/{NODE}/Chiller", f"spBv1.0/{GROUP}/DCMD/{NODE}/Crah"
OWN = f"spBv1.0/{GROUP}/NCMD/{NODE}"
LEASE = {"chwst_sp": 14.0, "sat_sp": 22.0}


class Bench:
    """A writer with the decoder that hears its nodes, and what the nodes say."""

    def __init__(self) -> None:
        points = [setpoint("chwst_sp", CHW, "CHW SP"), setpoint("sat_sp", SAT, "SAT SP", role="sat_sp", low=15.0, high=27.0)]
        self.decoder = Decoder(PointTable(points), 4096, 262144)
        for i in range(len(points)):
            self.decoder.read_back(i)
        self.state = HostState("cool", lambda: T_MS)
        self.state(False)
        self.writer = SparkplugWriter(points, self.decoder.host, BEAT, self.state, 30.0)
        self.seq = -1

    def hear(self, kind: str, device: str, *metrics: Metric, seq: int | None = None) -> None:
        self.seq = (self.seq + 1) % 256 if kind != "NBIRTH" else 0
        topic = f"spBv1.0/{GROUP}/{kind}/{NODE}" + (f"/{device}" if device else "")
        raw = encode_payload(Payload(T_MS, None if kind == "NDEATH" else self.seq if seq is None else seq, list(metrics)))
        for s in each(self.decoder.decode(topic, raw)):
            self.writer.heard(self.decoder.table.points[s.i].id, s.value)

    def born(self, unit: str = "°C", beat: int = INT16) -> Bench:
        self.decoder.rejects.clear()
        self.hear("NBIRTH", "", Metric("bdSeq", None, None, INT64, slot=11, value=3))
        for device, name, alias in (("Chiller", "CHW SP", 7), ("Crah", "SAT SP", None)):
            heartbeat = Metric(BEAT, 8 if alias else None, None, beat, slot=10, value=0)
            self.hear("DBIRTH", device, Metric(name, alias, None, DOUBLE, null=True, unit=unit), heartbeat)
        assert not self.decoder.rejects.keys() - {"source_bad"}
        return self

    def online(self) -> Bench:
        self.writer.take(*self.state(True))
        return self

    def say(self, t_s: float, wire: dict[str, float] = LEASE) -> dict[str, list[tuple[str, int | None, float]]]:
        """What a lease brings, by topic: name, alias and value of each metric."""
        out = {}
        for topic, raw in self.writer.lease(wire, t_s, T_MS):
            p = decode_payload(raw, 4096)
            assert p.seq is None and p.timestamp_ms == T_MS and all(m.timestamp_ms == T_MS and not m.null for m in p.metrics)
            out[topic] = [(m.name, m.alias, float(m.number(m.datatype))) for m in p.metrics]
        return out


def test_commands_go_by_alias_where_the_birth_gives_one_else_by_name_with_a_heartbeat_for_each_device() -> None:
    b = Bench().born().online()
    assert b.say(0.0) == {CHW: [("", 7, 14.0), ("", 8, 1.0)], SAT: [("SAT SP", None, 22.0), (BEAT, None, 1.0)]}
    assert b.say(1.0) == {} and b.say(2.0, {**LEASE, "sat_sp": 22.5}) == {SAT: [("SAT SP", None, 22.5)]}
    assert b.say(3.0, {**LEASE, "sat_sp": 22.5}) == {}
    assert b.say(5.0, {**LEASE, "sat_sp": 22.5}) == {CHW: [("", 7, 14.0)]}
    for t_s in (6.0, 8.0):
        b.say(t_s)
    assert b.say(10.0)[CHW][-1] == ("", 8, 2.0)


def test_tck_id_payloads_dcmd_golden_bytes() -> None:
    """tck-id-payloads-dcmd-timestamp, -seq; tck-id-topics-dcmd-topic, -payload; tck-id-payloads-alias-data-cmd-requirement."""
    b = Bench().born().online()
    (topic, raw), _ = b.writer.lease(LEASE, 0.0, 1000)
    assert topic == "spBv1.0/Hall/DCMD/Edge/Chiller"
    setpoint_bytes = "1007" + "18e807" + "200a" + "690000000000002c40"  # alias 7, timestamp 1000, Double, 14.0
    beat_bytes = "1008" + "18e807" + "2002" + "5001"  # alias 8, Int16, 1
    assert raw.hex() == "08e807" + "1210" + setpoint_bytes + "1209" + beat_bytes


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda b: b.hear("NDEATH", "", Metric("bdSeq", None, None, INT64, slot=11, value=3)), "no birth of the node"),
        (lambda b: b.hear("DDEATH", "Crah"), "no birth of the device"),
        (lambda b: b.decoder.reconnected(1) is None or b.decoder.reconnected(2), "no birth of the node"),
        (lambda b: b.hear("DBIRTH", "Crah", Metric(BEAT, None, None, INT16, slot=10, value=0)), "the birth does not name it"),
        (lambda b: b.hear("DBIRTH", "Crah", Metric("SAT SP", None, None, DOUBLE, null=True)), "does not name the heartbeat"),
        (lambda b: b.hear("DBIRTH", "Crah", Metric("SAT SP", None, None, DOUBLE), Metric(BEAT, None, None, STRING)), "heartbeat is no number"),
        (lambda b: b.hear("DBIRTH", "Crah", Metric("SAT SP", None, None, DOUBLE, unit="F"), Metric(BEAT, None, None, INT16)), "engUnit 'F'"),
        (lambda b: b.writer.take("", b'{"online":false,"timestamp":1}'), "our STATE is not online"),
        (lambda b: b.writer.take("", b'{"online":true,"timestamp":1}'), "another host application is online as 'cool'"),
        (lambda b: b.writer.take("", b""), "our STATE is garbled"),
    ],
)  # fmt: skip
def test_all_leased_setpoints_are_commanded_or_none(spoil: Callable[[Bench], object], said: str) -> None:
    b = Bench().born().online()
    assert b.say(0.0) and b.writer.can_write(LEASE)
    spoil(b)
    b.writer.watch(1.0)
    assert not b.writer.can_write(LEASE) and b.say(6.0) == {} and any(said in text for text in b.writer.faults.values())


def test_gap_in_the_sequence_that_does_not_close_ends_writing_and_a_birth_brings_it_back() -> None:
    b = Bench().born().online()
    b.hear("DDATA", "Crah", Metric("SAT SP", None, None, 0, slot=13, value=22.0), seq=9)
    b.decoder.watch(0.0)
    assert b.say(1.0)
    b.decoder.watch(2.1)
    assert b.say(2.1) == {}
    assert len(b.born().say(3.0)) == 2


def test_nothing_is_commanded_before_our_own_birth_is_heard() -> None:
    b = Bench().born()
    assert b.say(0.0) == {} and b.writer.faults == {"STATE": "our STATE has not been heard yet"}
    assert b.writer.topics == ["spBv1.0/STATE/cool"] and not b.writer.asks
    b.writer.take("", b'{"online":false,"timestamp":1}')
    assert b.writer.asks  # tck-id-message-flow-hid-sparkplug-state-message-delivered
    b.online()
    assert not b.writer.asks and b.say(1.0)


def test_value_that_reads_back_as_another_stops_all_until_a_person_had_the_plant_in_hand() -> None:
    b = Bench().born().online()
    for t_s in range(33):
        b.say(float(t_s))
        b.hear("DDATA", "Crah", Metric("SAT SP", None, None, 0, slot=13, value=22.0))
        b.hear("DDATA", "Chiller", Metric("", 7, None, 0, slot=13, value=9.0))
    assert b.writer.refusals == 1 and "reads back as 9 although 14 was written" in b.writer.faults["chwst_sp"]
    for t_s in range(33, 40):
        assert b.say(float(t_s)) == {}
    assert b.born().say(40.0) == {}, "a birth that we may have asked for ourselves is nobody's consent"
    b.writer.forgive()
    assert len(b.say(41.0)) == 2


def test_what_a_whole_type_rounds_away_is_no_refusal() -> None:
    p = setpoint("fan", f"spBv1.0/{GROUP}/NCMD/{NODE}", "Fan", "percent", "fan_speed_sp", 0.0, 1.0)
    d, state = Decoder(PointTable([p]), 4096, 262144), HostState("cool", lambda: 1)
    d.read_back(0)
    w = SparkplugWriter([p], d.host, BEAT, state, 30.0)
    w.take(*state(True))
    metrics = [Metric("bdSeq", None, None, INT64, slot=11, value=0), Metric("Fan", 1, None, UINT8), Metric(BEAT, 2, None, INT16)]
    d.decode(f"spBv1.0/{GROUP}/NBIRTH/{NODE}", encode_payload(Payload(1, 0, metrics)))
    w.watch(0.0)
    for t_s in range(90):
        assert w.can_write(["fan"]) == (t_s <= 51 + 30)
        w.lease({"fan": 57.4}, float(t_s), 1)
        w.heard("fan", 57.0 if t_s < 50 else 56.0)
    assert not w.can_write(["fan"])


def test_value_beyond_its_type_is_refused_and_not_written_in_part() -> None:
    b = Bench().born().online()
    metrics = Metric("CHW SP", 7, None, FLOAT, null=True), Metric(BEAT, 8, None, INT16, slot=10, value=0)
    b.hear("DBIRTH", "Chiller", *metrics)
    assert b.say(0.0, {"sat_sp": 22.0, "chwst_sp": 1e300}) == {} and "does not fit" in b.writer.refused["chwst_sp"]


def test_heartbeat_may_be_of_any_type_that_counts() -> None:
    for beat in (BOOLEAN, DOUBLE, UINT8, INT64):
        b = Bench().born(beat=beat).online()
        seen = {b.say(10.0 * k)[CHW][-1][2] for k in range(4)}
        assert len(seen) == (2 if beat == BOOLEAN else 4), beat


def test_metric_of_the_node_itself_is_commanded_by_ncmd() -> None:
    assert parse_command(OWN) == (GROUP, NODE, "") and command_topic(parse_command(OWN)) == OWN  # type: ignore[arg-type]
    assert parse_command(CHW) == (GROUP, NODE, "Chiller") and parse_command(CHW.replace("DCMD", "DDATA")) is None
    p = setpoint("chwst_sp", OWN, "CHW SP")
    d = Decoder(PointTable([p]), 4096, 262144)
    d.read_back(0)
    state = HostState("cool", lambda: 1)
    w = SparkplugWriter([p], d.host, BEAT, state)
    w.take(*state(True))
    metrics = [
        Metric("bdSeq", None, None, INT64, slot=11, value=0),
        Metric("CHW SP", 1, None, DOUBLE),
        Metric(BEAT, 2, None, INT16),
    ]
    d.decode(f"spBv1.0/{GROUP}/NBIRTH/{NODE}", encode_payload(Payload(1, 0, metrics)))
    assert [t for t, _ in w.lease({"chwst_sp": 14.0}, 0.0, 1)] == [OWN]


def test_writer_survives_any_mutation_of_births_and_states() -> None:
    b, rng = Bench().born().online(), random.Random(5)
    good = [Metric("CHW SP", 7, None, DOUBLE, slot=13, value=1.0, unit="°C"), Metric(BEAT, 8, None, INT16, slot=10, value=0)]
    seed, topic, written = encode_payload(Payload(T_MS, 0, good)), f"spBv1.0/{GROUP}/DBIRTH/{NODE}/Chiller", 0
    for k, raw in enumerate(mutations([seed, b.state(True)[1]], 3000, rng, 2)):
        if k % 20 == 0:
            b.writer.forgive()
            b.born().online()
        b.writer.take("", raw)
        for s in each(b.decoder.decode(topic, raw)):
            b.writer.heard(b.decoder.table.points[s.i].id, s.value)
        if k % 2:
            b.online()
        for _, command in b.writer.lease(LEASE, 3.0 * k, T_MS):
            written += 1
            for m in decode_payload(command, 4096).metrics:
                assert m.number(m.datatype) in (14.0, 22.0, float(b.writer.beats), b.writer.beats % 2)
    assert 200 < written < 5000


# -- Neuron


class Asked:
    """A writer to Neuron and its requests, decoded."""

    def __init__(self) -> None:
        points = [
            setpoint("chwst_sp", "/up/chiller", "bacnet/chiller/chwst"),
            setpoint("chw_dp_sp", "/up/chiller", "bacnet/chiller/dp", "kPa", "chw_dp_sp", 1e3, 2e5),
            setpoint("chillers_on_sp", "/up/staging", "modbus/staging/on", "count", "chillers_on_sp", 0.0, 9.0),
        ]
        ids = iter(f"id{k}" for k in range(9999))
        self.writer = NeuronWriter(points, REQUEST, ANSWER, TAG_BEAT, 4096, 30.0, lambda: next(ids))

    def ask(self, t_s: float, **wire: float) -> list[dict[str, Any]]:
        out = self.writer.lease(wire, t_s, T_MS)
        assert {topic for topic, _ in out} <= {REQUEST}
        return [json.loads(raw) for _, raw in out]

    def answer(self, request: str, code: int = 0) -> None:
        self.writer.take(ANSWER, json.dumps({"uuid": request, "error": code}).encode())


def test_neuron_request_is_of_the_documented_form_and_waits_for_its_answer() -> None:
    a = Asked()
    assert a.ask(0.0, chwst_sp=14.0, chw_dp_sp=60.0, chillers_on_sp=2.0) == [
        {"uuid": "id0", "node": "bacnet", "group": "chiller",
         "tags": [{"tag": "chwst", "value": 14.0}, {"tag": "dp", "value": 60.0}, {"tag": TAG_BEAT, "value": 1}]},
        {"uuid": "id1", "node": "modbus", "group": "staging", "tags": [{"tag": "on", "value": 2}, {"tag": TAG_BEAT, "value": 1}]},
    ]  # fmt: skip
    assert a.ask(1.0, chwst_sp=15.0) == []
    a.answer("id0")
    assert a.ask(1.5, chwst_sp=15.0) == []
    a.answer("id1")
    assert a.ask(2.0, chwst_sp=15.0) == [{"uuid": "id2", "node": "bacnet", "group": "chiller", "tag": "chwst", "value": 15.0}]


def test_neuron_whole_numbers_are_written_whole_and_others_with_a_point() -> None:
    a = Asked()
    raw = b"".join(raw for _, raw in a.writer.lease({"chwst_sp": 14.0, "chillers_on_sp": 2.0}, 0.0, T_MS))
    assert b'"value": 14.0' in raw and b'"value": 2}' in raw


def test_neuron_error_is_a_refusal_and_is_not_tried_again_until_a_person_had_the_plant_in_hand() -> None:
    a = Asked()
    a.ask(0.0, chwst_sp=14.0)
    a.answer("id0", 3005)
    assert not a.writer.can_write(["chwst_sp"]) and a.writer.refusals == 1
    assert "Neuron answers error 3005" in a.writer.faults["bacnet/chiller"]
    for t_s in range(1, 200):
        assert a.ask(float(t_s), chwst_sp=14.0) == []
    a.writer.forgive()
    assert a.ask(201.0, chwst_sp=14.0)


def test_neuron_that_does_not_answer_is_tried_again_after_a_pause_and_a_late_refusal_counts() -> None:
    a = Asked()
    a.ask(0.0, chwst_sp=14.0)
    asked = [t_s for t_s in range(1, 30) if a.ask(float(t_s), chwst_sp=14.0)]
    assert asked == [14, 28] and a.writer.faults == {} and a.writer.refusals == 0
    b = Asked()
    b.ask(0.0, chwst_sp=14.0)
    b.ask(4.0, chwst_sp=14.0)
    assert b.writer.faults == {"Neuron": "no answer to a write of bacnet/chiller"}
    b.answer("id0", 1)
    assert b.writer.refusals == 1


def test_neuron_that_never_answers_is_remembered_for_its_last_requests_only() -> None:
    a = Asked()
    asked = [o["uuid"] for t_s in range(1000) for o in a.ask(float(t_s), chwst_sp=14.0)]
    assert len(asked) > 66
    a.answer(asked[0], 3005)
    assert a.writer.refusals == 0  # nobody knows any more what it was about
    a.answer(asked[-2], 3005)
    assert a.writer.refusals == 1


def test_neuron_that_is_slow_to_answer_is_read_back_all_the_same() -> None:
    a = Asked()
    for t_s in range(0, 120, 3):
        for o in a.ask(float(t_s), chwst_sp=14.0 + 0.001 * t_s):
            assert a.ask(t_s + 1.0, chwst_sp=14.0) == a.ask(t_s + 2.0, chwst_sp=14.0) == []
            a.answer(o["uuid"])
        a.writer.heard("chwst_sp", 9.0)
    assert a.writer.refusals == 1 and "reads back as 9" in a.writer.refused["chwst_sp"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [(b"", "not_json"), (b"[]", "not_an_object"), (b'{"uuid":1,"error":0}', "keys"), (b'{"uuid":"id0"}', "keys"), (b'{"uuid":"id0","error":"0"}', "keys"),
     (b'{"uuid":"id0","error":true}', "keys"), (b'{"uuid":"id0","error":0.0}', "keys"), (b'{"uuid":"id0","error":0,"error":0}', "duplicate_key")],
)  # fmt: skip
def test_answer_that_is_none_is_counted_and_awaited_on(raw: bytes, reason: str) -> None:
    a = Asked()
    a.ask(0.0, chwst_sp=14.0)
    a.writer.take(ANSWER, raw)
    assert a.writer.rejects == {reason: 1} and a.ask(1.0, chwst_sp=15.0) == []


def test_answers_to_others_are_passed_over() -> None:
    a = Asked()
    a.ask(0.0, chwst_sp=14.0)
    a.answer("somebody's", 3005)
    assert not a.writer.faults and a.ask(1.0, chwst_sp=15.0) == []


def test_neuron_answers_survive_any_mutation() -> None:
    rng, read = random.Random(6), 0
    for raw in mutations([b'{"uuid": "id0", "error": 0}', b'{"uuid": "id0", "error": 3005}'], 5000, rng, 2):
        try:
            request, code = decode_answer(raw, 256)
            read += 1
            assert isinstance(request, str) and type(code) is int
        except Rejected:
            pass
    assert read > 200
    assert parse_tag("a/b/c") == (("a", "b"), "c") and parse_tag("a/b") is None and parse_tag("a//c") is None


# -- the site file


@pytest.mark.parametrize(
    ("text", "old", "new", "said"),
    [
        (sparkplug_text, 'host = "cool"\n', "", "only while its STATE is online"),
        (sparkplug_text, f'heartbeat = "{BEAT}"\n', "", "nothing would tell the plant that a lease has ended"),
        (sparkplug_text, "/DCMD/", "/DDATA/", "is not spBv1.0/GROUP/NCMD/NODE or"),
        (sparkplug_text, 'field = "SP/{point}"', 'field = "x"', "is written to the same place as"),
        (sparkplug_text, 'field = "SP/{point}"', f'field = "{BEAT}"', "is the metric of setpoint"),
        (sparkplug_text, 'dialect = "sparkplug-b"\ntopic', 'dialect = "neuron"\ntopic', "has the dialect 'neuron', not 'sparkplug-b'"),
        (sparkplug_text, 'host = "cool"', 'host = "co/ol"', "without / + #"),
        (sparkplug_text, 'host = "cool"', 'host = "cool"\ngroup = "a+"', "without / + #"),
        (sparkplug_text, 'host = "cool"', 'host = "cool"\ngroup = "a"\nnode = ""', "an edge node has a name"),
        (neuron_text, f'request_topic = "{REQUEST}"\n', "", "the gateway's dialect 'neuron' needs it"),
        (neuron_text, f'answer_topic = "{ANSWER}"', 'answer_topic = "a/+"', "'a/+' is no topic"),
        (neuron_text, f'heartbeat = "{TAG_BEAT}"\n', "", "the gateway's dialect 'neuron' needs it"),
        (neuron_text, 'field = "bacnet/{machine}/{point}"', 'field = "{machine}/{point}"', "is not driver/group/tag"),
        (neuron_text, 'field = "bacnet/{machine}/{point}"', 'field = "bacnet/x/y"', "is written to the same place as"),
        (neuron_text, f'heartbeat = "{TAG_BEAT}"', 'heartbeat = "chwst_sp"', "is the tag of setpoint"),
    ],
)  # fmt: skip
def test_site_file_that_cannot_be_written_for_is_refused(
    tmp_path: Path, text: Callable[[str], str], old: str, new: str, said: str
) -> None:
    good = text(SITE.read_text())
    assert old in good
    (tmp_path / "site.toml").write_text(good.replace(old, new))
    with pytest.raises(ConfigError) as error:
        load_site(tmp_path / "site.toml")
    assert said in str(error.value)


# -- a whole stack, with what stands beside the plant in the field

KINDS: dict[str, tuple[Callable[[str], str], Callable[[list[Point]], Any]]] = {
    "sparkplug-b": (sparkplug_text, EdgeNodeSim),
    "neuron": (neuron_text, NeuronSim),
}


class Field:
    """A virtual stack and the adapter in it."""

    def __init__(self, stack: VirtualStack, adapter: Adapter, sim: Any):
        self.stack, self.adapter, self.sim = stack, adapter, sim

    @property
    def output(self) -> Output:
        assert self.stack.gateway.output is not None
        return self.stack.gateway.output

    def release_s(self) -> int:
        """Seconds until the plant has itself."""
        for k in range(120):
            if self.stack.local:
                return k
            self.stack.step()
        raise AssertionError("the plant never had itself")


def site_for(kind: str, tmp_path: Path) -> Site:
    path = tmp_path / "site.toml"
    path.write_text(KINDS[kind][0](SITE.read_text()))
    return load_site(path)


@pytest.fixture(params=KINDS)
def field(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Field]:
    site = site_for(request.param, tmp_path)
    stack = VirtualStack(monkeypatch, site, tmp_path / "stack")
    sim: Beside = KINDS[request.param][1](setpoints_of(site))
    adapter = Adapter(site, Client(MqttSettings("", 0, "coolctl-beside-x"), Adapter.topics(site, sim)), sim)
    work = stack.gateway.work

    def both() -> None:
        adapter.work()
        work()

    monkeypatch.setattr(stack.gateway, "work", both)
    yield Field(stack, adapter, sim)


def test_loop_closes_over_what_stands_beside_the_plant_and_silence_ends_it(field: Field) -> None:
    stack = field.stack
    stack.run(120)  # the proof of silence takes its time
    assert stack.gateway.core.leased and not stack.local and not field.output.faults and not stack.violations()
    assert field.sim.values.keys() == stack.gateway.core.applied.keys()
    for name, value in field.sim.values.items():
        p = field.output.points[name]
        assert value == pytest.approx(
            p.encode(stack.gateway.core.applied[name]), abs=0.05 * abs(p.encode(p.high) - p.encode(p.low))
        ), name
    stack.one.kill()
    assert 15.0 <= field.release_s() <= 15.0 + 30.0 + 3.0 + 2.0
    assert stack.hottest_c < 27.0


def test_refused_write_is_told_to_the_controller_and_stops_until_a_person_had_it_in_hand(field: Field) -> None:
    stack, core = field.stack, field.stack.gateway.core
    stack.run(120)
    assert core.leased
    field.sim.stuck.add("hall1.sat_sp")
    field.sim.values["hall1.sat_sp"] = 17.0
    if isinstance(field.sim, EdgeNodeSim):
        alias = field.sim._alias["hall1.sat_sp"]
        field.adapter._publish([field.sim._say("DDATA", "hall1", Metric("", alias, 1, 0, slot=13, value=17.0))])
    stack.run(50)
    assert field.output.refusals == 1 and "hall1.sat_sp" in field.output.refused
    assert core.rejects["unwritable"] > 0 and not core.leased
    assert stack.one.modes[-1][1] == "release" and stack.one.daemon.link.gateway.local  # the controller knows
    assert field.release_s() <= 36
    field.sim.stuck.clear()
    stack.run(30)
    assert stack.local, "nobody has looked yet"
    stack.bus.publish("bms", stack.site.topic("tel"), b'{"values":{"hand":1}}')
    stack.run(30)
    assert not field.output.refused and field.output.can_write(core._points)
    if isinstance(field.sim, EdgeNodeSim):
        stack.run(300)  # the controller asks again in a while
        assert core.leased and not stack.local


def test_state_is_kept_by_the_one_that_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    site, bus = site_for("sparkplug-b", tmp_path), Bus()
    Client.bus = bus
    for module in (coolctl.daemon_link, coolctl.gateway_main):
        monkeypatch.setattr(module, "MqttClient", Client)
    Link(site, "")
    assert not bus.kept
    gateway = GatewayService(site, "", tmp_path / "gateway")
    assert [json.loads(raw)["online"] for topic, raw in bus.kept.items() if topic == "spBv1.0/STATE/cool"] == [True]
    bus.deliver()
    gateway.work()
    assert gateway.output is not None
    gateway.output.watch(0.0)
    assert "STATE" not in gateway.output.faults and not gateway.output.can_write(["chwst_sp"])
    bus.publish("liar", "spBv1.0/STATE/cool", b'{"online":false,"timestamp":1}', retained=True)
    bus.deliver()
    gateway.work()
    gateway.output.watch(1.0)
    assert "STATE" in gateway.output.faults
    bus.deliver()
    gateway.work()
    gateway.output.watch(2.0)
    assert "STATE" not in gateway.output.faults, "said again, and heard again"


def test_gateway_metrics_say_what_is_in_the_way_and_when_its_certificate_ends(field: Field, tmp_path: Path) -> None:
    stack, path = field.stack, tmp_path / "own.pem"
    stack.gateway.serve_metrics(0)
    try:
        stack.run(3)
        field.output.refuse("x", "why")
        stack.run(2)
        assert stack.gateway.metrics is not None
        text = stack.gateway.metrics.render().decode()
        for line in (
            'coolctl_gateway_output_blocked_ratio{site="hall1mw"} 1.0',
            'coolctl_gateway_refused_writes_total{site="hall1mw"} 1.0',
            'coolctl_gateway_leased_ratio{site="hall1mw"} 0.0',
        ):
            assert line in text
        assert "certificate" not in text  # there is none
        until = dt.datetime(2031, 5, 4, tzinfo=dt.UTC)
        path.write_bytes(b"".join(blob.bytes() for blob in trustme.CA().issue_cert("x.test", not_after=until).cert_chain_pems))
        stack.gateway._cert_file = str(path)
        stack.gateway.client.connects += 1  # a new one is taken with the next connection
        stack.run(1)
        found = re.search(r"certificate_expiry_timestamp_seconds\{.*\} (\S+)", stack.gateway.metrics.render().decode())
        assert found and float(found[1]) == until.timestamp()
    finally:
        assert stack.gateway.metrics is not None
        stack.gateway.metrics.close()


# -- the documents


@pytest.mark.parametrize("page", ["MQTT.md", "GATEWAYS.md"])
def test_examples_of_outputs_are_what_the_site_file_takes_and_the_writer_says(page: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / page).read_text()
    found = [t for t in re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S) if "[gateway]" in t and "dsx" not in t]
    assert len(found) == 2
    for example in found:
        (tmp_path / "site.toml").write_text(replaced(example))
        site = load_site(tmp_path / "site.toml")
        point = site.table.points[site.table.one("chwst_sp")]
        if site.file.gateway.dialect == "sparkplug-b":
            assert parse_command(point.topic) == ("Plant", "Edge1", "Chiller1") and site.file.sparkplug.host == "coolctl"
        else:
            assert parse_tag(point.field) is not None and site.file.neuron.revert_s == 30.0


def replaced(example: str) -> str:
    """A site on that dialect, with the example's tables and rows in the place of its own."""
    text = KINDS["neuron" if "[neuron]" in example else "sparkplug-b"][0](SITE.read_text())
    for row in example.split("[[points]]")[1:]:
        role = re.search(r'role = "(\w+)"', row)
        assert role is not None
        own = re.search(rf'\[\[points\]\]\nrole = "{role[1]}"\n.*?(?=\n\[|\Z)', text, re.S)
        assert own is not None
        text = text.replace(own[0], f"[[points]]{row}")
    return re.sub(
        r"\n\[gateway\].*?\n\[telemetry\]", lambda _: f"\n{example.split('[[points]]')[0]}[telemetry]", text, flags=re.S
    )


def test_example_of_a_write_request_is_what_the_writer_says() -> None:
    request, answer = re.findall(r'^\{"uuid".*\}$', (ROOT / "docs/MQTT.md").read_text(), re.M)
    o = json.loads(request)
    tags = {t["tag"]: t["value"] for t in o["tags"]}
    assert encode_request(o["uuid"], Group(o["node"], o["group"]), tags) == request.encode()
    assert decode_answer(answer.encode(), 256) == (o["uuid"], 0)
