"""The BMS Event Bus: metadata before values, heartbeats both ways, and a whole stack that controls over it."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SITE
from mutate import mutations
from virtual import Client, VirtualStack, cut, to

from coolctl.dialects import NAMES, Decoder, Sources
from coolctl.dialects.dsx import ENG_UNITS, decode_metadata, metadata_topic, parse_topic
from coolctl.dialects.dsx_out import DsxWriter
from coolctl.edge.mqtt import MqttSettings
from coolctl.points import ON_CHANGE, Point, PointTable, Quality, SampleStore, each
from coolctl.proof import PASSED
from coolctl.site import Site, load_site
from coolctl.strict_json import Rejected
from coolctl.units import UNITS
from sim_plant.dsx_bms import EventBusBms

T_MS = 1_700_000_000_000
GOOD, BAD = Quality.GOOD, Quality.SOURCE_BAD
VALUE = "BMS/v1/PUB/Value/CDU/LiquidTemperature/site1/row3/cdu5"
METADATA = "BMS/v1/PUB/Metadata/CDU/LiquidTemperature/site1/row3/cdu5"
STATE = "BMS/v1/PUB/Value/CRAH/Status/site1/crah1"
BEAT = "BMS/v1/PUB/Value/System/HeartbeatTimestampBms/bms"
DESCRIBED = b'{"objectType":"CDU","pointType":"LiquidTemperature","engUnit":"\xc2\xb0C","objectName":"CDU 5","objectId":"cdu5","processArea":["Secondary","Supply"]}'
STATES = b'{"objectType":"CRAH","pointType":"Status","stateText":[{"value":0,"text":"Off"},{"value":1,"text":"On"}],"associateId":"crah1"}'


def point(unit: str = "degC", topic: str = VALUE, name: str = "a", role: str = "chwst") -> Point:
    return Point(name, role, "plant", unit, topic, "dsx", name, 110.0, -50.0, 90.0)


def decoder(*points: Point) -> Decoder:
    points = points or (point(), point("bool", STATE, "on", "hand"))
    return Decoder(PointTable(points), 4096, 262144, Sources(BEAT, 30.0))


def described() -> Decoder:
    d = decoder()
    assert d.decode(METADATA, DESCRIBED) == [] and d.decode(metadata_topic(STATE), STATES) == []
    return d


def value(v: object, t_ms: int = T_MS, quality: int = 1) -> bytes:
    return json.dumps({"value": v, "timestamp": t_ms, "quality": quality}).encode()


def read(d: Decoder, topic: str, raw: bytes) -> dict[str, float | None]:
    return {d.table.points[s.i].id: s.value if s.quality == GOOD else None for s in each(d.decode(topic, raw))}


# -- topics and metadata


def test_topics_are_taken_apart_and_the_tag_path_is_opaque() -> None:
    topic = parse_topic(VALUE)
    assert topic == ("PUB", "Value", "CDU", "LiquidTemperature", "site1/row3/cdu5") and str(topic) == VALUE
    assert metadata_topic(VALUE) == METADATA
    ours = "BMS/v1/MEPAI/Value/CDU/LiquidTemperatureSpRequest/site1/row3/cdu5"
    assert metadata_topic(ours) == "BMS/v1/PUB/Metadata/CDU/LiquidTemperatureSpRequest/site1/row3/cdu5"
    for wrong in (
        "",
        "BMS/v1/PUB/Value/CDU/LiquidTemperature",
        "BMS/v2/PUB/Value/CDU/T/a",
        "BMS/v1/PUB/Values/CDU/T/a",
        "BMS/v1//Value/CDU/T/a",
    ):
        assert parse_topic(wrong) is None


def test_subscriptions_have_no_wildcards_and_metadata_comes_first() -> None:
    d = decoder()
    assert d.topics == sorted([METADATA, metadata_topic(STATE)]) + sorted([VALUE, STATE, BEAT])
    assert sorted(d.retained) == sorted([METADATA, metadata_topic(STATE)])


def test_units_of_metadata_are_units_of_ours() -> None:
    assert set(ENG_UNITS.values()) <= set(UNITS) and "mW" not in ENG_UNITS


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[]", "not_an_object"),
        (b'{"engUnit":1}', "metadata_keys"),
        (b'{"engUnit":""}', "metadata_keys"),
        (b'{"engUnit":"C","integration":1}', "metadata_keys"),
        (b'{"engUnit":"C","stateText":[{"value":0,"text":"Off"}]}', "metadata_keys"),
        (b'{"stateText":[]}', "metadata_keys"),
        (b'{"stateText":[{"value":true,"text":"On"}]}', "metadata_keys"),
        (b'{"stateText":[{"value":0}]}', "metadata_keys"),
        (b'{"stateText":[0]}', "metadata_keys"),
        (b'{"objectType":"CRAH","engUnit":"C"}', "metadata_of_another"),
        (b'{"pointType":"AirTemperature","engUnit":"C"}', "metadata_of_another"),
        (b'{"engUnit":"C","engUnit":"F"}', "duplicate_key"),
        (b'{"engUnit":"C","x":"' + b"y" * 4096 + b'"}', "too_large"),
    ],
)
def test_metadata_that_is_none_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(Rejected, match=f"^{reason}$"):
        decode_metadata(raw, 4096, METADATA)
    d = described()
    assert d.decode(METADATA, raw) == [] and d.rejects == {reason: 1}
    assert read(d, VALUE, value(12.0)) == {"a": 12.0}  # what was known before stays known


# -- values


def test_value_means_nothing_before_its_metadata() -> None:
    d = decoder()
    assert read(d, VALUE, value(12.5)) == {} and d.rejects == {"no_metadata": 1}
    d.decode(METADATA, DESCRIBED)
    assert read(d, VALUE, value(12.5)) == {"a": 12.5}
    assert next(each(d.decode(VALUE, value(12)))).t_source_s == T_MS / 1e3 and not d.faults


@pytest.mark.parametrize(
    ("unit", "metadata", "said"),
    [
        ("degC", b'{"engUnit":"\xc2\xb0F"}', "metadata gives engUnit '°F', the site file unit 'degC'"),
        ("degC", b'{"engUnit":"K"}', "the site file unit 'degC'"),
        ("degC", b'{"engUnit":"furlong"}', "'furlong', which is not known"),
        ("degC", b"{}", "neither engUnit nor stateText"),
        (
            "degC",
            STATES.replace(b"CRAH", b"CDU").replace(b"Status", b"LiquidTemperature"),
            "metadata gives states, the site file unit 'degC'",
        ),
        ("bool", b'{"engUnit":"C"}', "the site file unit 'bool'"),
    ],
)
def test_metadata_that_contradicts_the_site_file_is_a_named_fault_and_the_point_is_not_believed(
    unit: str, metadata: bytes, said: str
) -> None:
    d = decoder(point(unit))
    d.decode(METADATA, metadata)
    assert said in d.faults["a"] and read(d, VALUE, value(1)) == {} and d.rejects == {"metadata_unit": 2}


def test_metadata_that_changes_takes_the_value_away_at_once_and_may_give_it_back() -> None:
    d = described()
    store = SampleStore(d.table)
    store.put(d.decode(VALUE, value(12.5)), 0.0)
    store.put(d.decode(METADATA, DESCRIBED.replace("°C".encode(), b"F")), 1.0)
    assert math.isnan(store.snapshot(1.0).value[0]) and "a" in d.faults
    store.put(d.decode(METADATA, DESCRIBED), 2.0)
    store.put(d.decode(VALUE, value(13.0, T_MS + 1)), 2.0)
    assert store.snapshot(2.0).value[0] == 13.0 and not d.faults
    store.put(d.decode(METADATA, b""), 3.0)  # the retained message was deleted
    assert math.isnan(store.snapshot(3.0).value[0]) and d.faults == {"a": "metadata was withdrawn"}


@pytest.mark.parametrize(
    ("unit", "text", "wire", "internal"),
    [("degF", "°F", 77.0, 25.0), ("kPa", "kPa", 2.0, 2000.0), ("L/min", "LPM", 60.0, 1.0), ("gpm", "GPM", 15.85032, 1.0), ("%", "%", 50.0, 0.5), ("percent", "%RH", 50.0, 0.5), ("degK", "K", 298.15, 25.0), ("kW", "kW", 1.0, 1000.0)],
)  # fmt: skip
def test_value_is_read_in_the_unit_that_both_agree_on(unit: str, text: str, wire: float, internal: float) -> None:
    d = decoder(point(unit))
    d.decode(METADATA, json.dumps({"engUnit": text}).encode())
    found = read(d, VALUE, value(wire))
    assert found["a"] == pytest.approx(internal, rel=1e-6) and not d.faults


@pytest.mark.parametrize("raw", [value(None), value(12.0, quality=0), value(12.0, quality=2)])
def test_null_and_bad_quality_are_bad_at_once(raw: bytes) -> None:
    d = described()
    assert read(d, VALUE, raw) == {"a": None} and d.rejects == {"source_bad": 1}


def test_state_is_one_of_those_that_the_metadata_lists() -> None:
    d = described()
    assert read(d, STATE, value(1)) == {"on": 1.0} and read(d, STATE, value(0.0)) == {"on": 0.0}
    assert read(d, STATE, value(2)) == {"on": None} and d.rejects == {"state_unknown": 1, "source_bad": 1}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"12.5", "not_an_object"),
        (b'{"value":12.5}', "keys"),
        (b'{"value":12.5,"timestamp":1,"quality":1,"unit":"C"}', "keys"),
        (b'{"value":12.5,"timestamp":null,"quality":1}', "timestamp_type"),
        (b'{"value":12.5,"timestamp":1,"quality":true}', "quality_type"),
        (b'{"value":12.5,"timestamp":1,"quality":1.0}', "quality_type"),
        (b'{"value":true,"timestamp":1,"quality":1}', "value_type"),
        (b'{"value":"12.5","timestamp":1,"quality":1}', "value_type"),
        (b'{"value":[1],"timestamp":1,"quality":1}', "value_type"),
        (b'{"value":NaN,"timestamp":1,"quality":1}', "not_finite"),
        (b'{"value":1e999,"timestamp":1,"quality":1}', "not_finite"),
        (b'{"value":1,"value":2,"timestamp":1,"quality":1}', "duplicate_key"),
        (b'{"value":' + b"1" * 50 + b',"timestamp":1,"quality":1}', "number_long"),
        (b'{"value":1' + b"0" * 20 + b',"timestamp":1,"quality":1}', "value_range"),
        (b'{"value":1,"timestamp":-1,"quality":1}', "timestamp_range"),
        (b'{"value":"\xff","timestamp":1,"quality":1}', "encoding"),
        (b"", "not_json"),
    ],
)
def test_value_that_is_none_is_refused(raw: bytes, reason: str) -> None:
    d = described()
    assert d.decode(VALUE, raw) == [] and d.rejects == {reason: 1}


# -- the BMS's heartbeat


def test_without_the_heartbeat_nothing_is_believed_and_it_says_so() -> None:
    d = described()
    store = SampleStore(d.table)

    def tick(t_s: float) -> float:
        store.forget(d.watch(t_s))
        return float(store.snapshot(t_s).value[0])

    tick(0.0)
    store.put(d.decode(VALUE, value(12.5)), 0.0)
    for t_s in range(0, 100, 10):
        d.decode(BEAT, value(T_MS + 1000 * t_s))
        assert tick(float(t_s)) == 12.5  # repeated every 100 s only: the heartbeat vouches for it
    assert tick(120.0 - 1e-3) != tick(120.0 - 1e-3)  # 30 s after the last beat at 90 s, the value itself too old
    d, store = described(), SampleStore(d.table)
    tick(0.0)
    store.put(d.decode(VALUE, value(12.5)), 0.0)
    assert tick(30.0) == 12.5
    assert math.isnan(tick(30.1)) and d.rejects == {"heartbeat_lost": 1} and "BMS" in d.faults
    assert read(d, VALUE, value(13.0, T_MS + 1)) == {} and d.rejects["no_heartbeat"] == 1
    d.decode(BEAT, value(T_MS))
    assert math.isnan(tick(31.0)) and not d.faults  # what was said before is not believed again
    store.put(d.decode(VALUE, value(13.0, T_MS + 2)), 31.0)
    assert tick(31.0) == 13.0


def test_heartbeat_is_subscribed_to_where_something_depends_on_it_and_it_has_a_topic() -> None:
    assert BEAT in decoder().topics
    of_another_dialect = Point("a", "chwst", "plant", "degC", "x/t", "json", "a", 60.0, -50.0, 90.0)
    assert Decoder(PointTable([of_another_dialect]), 4096, 262144, Sources(BEAT)).topics == ["x/t"]
    assert Decoder(PointTable([point()]), 4096, 262144, Sources("")).topics == [METADATA, VALUE]


def test_bms_that_nobody_gave_a_patience_has_half_a_minute_of_it() -> None:
    d = Decoder(PointTable([point()]), 4096, 262144, Sources(BEAT))
    for now_s, silent in ((100.0, []), (130.0, []), (130.5, [0])):
        assert d.watch(now_s).tolist() == silent


def test_first_connection_has_missed_nothing_however_often_it_was_tried() -> None:
    for connects in (1, 2, 7):
        d = described()
        assert d.reconnected(connects).tolist() == [] and d.reconnected(connects).tolist() == []
        assert d.reconnected(connects + 1).tolist() == [0, 1]


def test_dialects_that_speak_on_change_are_dialects() -> None:
    assert set(ON_CHANGE) < set(NAMES) and len(ON_CHANGE) == 2


def test_heartbeat_that_repeats_its_stamp_is_no_sign_of_life() -> None:
    d = described()
    for t_s in range(0, 40, 10):
        d.decode(BEAT, value(T_MS))
        gone = d.watch(float(t_s))
    assert not len(gone) and len(d.watch(40.0)) == 2 and d.rejects["heartbeat_stuck"] == 3


@pytest.mark.parametrize(
    ("raw", "reason"), [(b"{}", "keys"), (value(None), "value_type"), (value(True), "value_type"), (b"1", "not_an_object")]
)
def test_heartbeat_that_is_none_is_refused(raw: bytes, reason: str) -> None:
    d = described()
    assert d.decode(BEAT, raw) == [] and d.rejects == {reason: 1}


def test_link_that_was_down_may_have_missed_a_change() -> None:
    d = described()
    assert not len(d.reconnected(1)) and sorted(d.reconnected(2)) == [0, 1] and not len(d.reconnected(2))
    assert read(d, VALUE, value(12.0)) == {"a": 12.0}  # its metadata is known still, and is said again


def test_clock_that_starts_anew_starts_the_watch_anew() -> None:
    d = described()
    d.watch(1000.0)
    assert not len(d.watch(5.0)) and not len(d.watch(35.0)) and len(d.watch(35.1)) == 2


def test_dialect_survives_any_mutation() -> None:
    d, rng = described(), random.Random(4)
    seeds = {VALUE: value(12.5), STATE: value(1), METADATA: DESCRIBED, metadata_topic(STATE): STATES, BEAT: value(T_MS)}
    good = 0
    for topic, seed in seeds.items():
        for k, raw in enumerate(mutations([seed], 10_000, rng, 2)):
            if k % 10 == 0:
                d.decode(METADATA, DESCRIBED)
                d.decode(metadata_topic(STATE), STATES)
                d.decode(BEAT, value(T_MS + k))
            for s in each(d.decode(topic, raw)):
                assert 0 <= s.i < 2 and (math.isfinite(s.value) or s.quality == BAD)
                good += s.quality == GOOD
            d.watch(k / 1000.0)
    assert good > 500 and {"not_json", "encoding", "keys", "metadata_unit", "metadata_keys"} <= set(d.rejects)


# -- requests


SP = "BMS/v1/coolctl/Value/Chiller/GenericPoint/site1/chwst_sp"
SP2 = "BMS/v1/coolctl/Value/CRAH/GenericPoint/site1/sat_sp"
OURS = "BMS/v1/coolctl/Value/System/HearbeatTimestampIntegration/coolctl"


def writer() -> DsxWriter:
    points = [point("degC", SP, "chwst_sp", "chwst_sp"), point("degC", SP2, "sat_sp", "sat_sp")]
    return DsxWriter(points, "coolctl", OURS, 4096)


def introduced() -> DsxWriter:
    w = writer()
    for topic in w.topics:
        unit = {} if "System" in topic else {"engUnit": "C"}
        w.take(topic, json.dumps({**unit, "integration": "coolctl"}).encode())
    assert not w.faults
    return w


LEASE = {"chwst_sp": 14.0, "sat_sp": 22.0}


def test_requests_go_where_the_metadata_leads_and_the_heartbeat_follows() -> None:
    w = introduced()
    assert w.lease(LEASE, 0.0, T_MS) == [
        (SP, value(14.0).replace(b" ", b"")),
        (SP2, value(22.0).replace(b" ", b"")),
        (OURS, value(float(T_MS)).replace(b" ", b"")),
    ]
    assert w.lease(LEASE, 1.0, T_MS + 1000) == []
    assert [t for t, _ in w.lease({**LEASE, "sat_sp": 22.1}, 2.0, T_MS)] == [SP2]
    assert [t for t, _ in w.lease(LEASE, 3.0, T_MS)] == [SP2]
    said = {t_s: [t for t, _ in w.lease(LEASE, float(t_s), T_MS)] for t_s in range(4, 21)}
    assert said[5] == [SP] and said[8] == [SP2] and said[10] == [SP, OURS] and said[20] == [SP, OURS]


def test_lease_after_a_pause_is_said_anew() -> None:
    w = introduced()
    w.lease(LEASE, 0.0, T_MS)
    assert [t for t, _ in w.lease(LEASE, 4.0, T_MS)] == [SP, SP2, OURS]
    assert [t for t, _ in w.lease(LEASE, 1.0, T_MS)] == [SP, SP2, OURS]  # and so it is when the clock starts anew


@pytest.mark.parametrize(
    ("topic", "raw", "said"),
    [
        (SP, b'{"engUnit":"F","integration":"coolctl"}', "metadata gives engUnit 'F'"),
        (SP, b'{"engUnit":"C","integration":"MEPAI"}', "the BMS expects integration 'MEPAI' here"),
        (SP, b'{"engUnit":"C"}', "the BMS expects integration '' here"),
        (SP, b"", "withdrawn"),
        (SP, b"rubbish", "metadata refused: not_json"),
        (OURS, b'{"integration":"MEPAI"}', "the BMS expects integration 'MEPAI' here"),
    ],
)
def test_all_leased_requests_are_written_or_none(topic: str, raw: bytes, said: str) -> None:
    w = introduced()
    w.lease(LEASE, 0.0, T_MS)
    w.take(metadata_topic(topic), raw)
    assert w.lease(LEASE, 1.0, T_MS) == [] and any(said in fault for fault in w.faults.values())
    if topic == SP:
        assert [t for t, _ in w.lease({"sat_sp": 22.0}, 2.0, T_MS)] == []  # nothing changed since
        assert [t for t, _ in w.lease({"sat_sp": 23.0}, 3.0, T_MS)]


def test_nothing_is_written_before_the_metadata() -> None:
    w = writer()
    assert w.lease(LEASE, 0.0, T_MS) == [] and set(w.faults) == {"chwst_sp", "sat_sp", "heartbeat"}


# -- a whole stack over the event bus


def dsx_text(text: str) -> str:
    """The default site with every point and setpoint on the event bus."""
    text = text.replace(
        'topic = "coolctl/v1/{site}/tel"\ndialect = "json"',
        'topic = "BMS/v1/PUB/Value/GenericObject/GenericPoint/{site}/{point}"\ndialect = "dsx"',
    )
    requests = 'topic = "BMS/v1/coolctl/Value/GenericObject/GenericPoint/{site}/{point}"\n'
    text = re.sub(r'(role = "\w+_sp"\n(?:machine = "[^"]*"\n)?unit = "[^"]*"\n)', r"\1" + requests, text)
    tables = f'[gateway]\ndialect = "dsx"\n\n[dsx]\nbms_heartbeat = "{BEAT}"\nheartbeat = "{OURS}"\n\n'
    return text.replace("\n[telemetry]", "\n" + tables + "[telemetry]")


@pytest.fixture
def bus_site(edited_site: Callable[..., Path]) -> Site:
    text = SITE.read_text()
    return load_site(edited_site((text, dsx_text(text))))


def test_site_on_the_event_bus_has_the_age_limit_of_its_repetition(bus_site: Site) -> None:
    p = bus_site.table.points[bus_site.table.one("chwst")]
    assert (p.dialect, p.age_max_s, p.topic) == ("dsx", 110.0, "BMS/v1/PUB/Value/GenericObject/GenericPoint/hall1mw/chwst")


def test_simulated_bms_describes_what_the_decoder_and_the_writer_accept(bus_site: Site) -> None:
    bms = EventBusBms(bus_site)
    table = bus_site.table
    d = Decoder(table, 4096, 262144, Sources(BEAT))
    accepted = [table.points[i] for i in bus_site.u_point if i >= 0]
    w = DsxWriter(accepted, "coolctl", OURS, 4096)
    for topic, raw, kept in bms.descriptions():
        assert kept
        if topic in w.topics:
            w.take(topic, raw)
        elif topic in d.retained:
            d.decode(topic, raw)
    assert not w.faults and not d.faults and not d.rejects and len(d.dsx.metadata) == sum(not p.writable for p in table.points)


def test_simulated_bms_says_what_changed_and_everything_again_in_time(bus_site: Site) -> None:
    bms = EventBusBms(bus_site)
    readings = {"chwst": 12.0, "oadb": 30.0}

    def said(t_s: float) -> set[str]:
        return {topic.rsplit("/", 1)[-1] for topic, _, kept in bms.say(readings, t_s, T_MS) if not kept}

    assert said(0.0) == {"chwst", "oadb", "bms"} and said(1.0) == set()
    readings["oadb"] = 30.5
    assert said(9.0) == {"oadb"} and said(10.0) == {"bms"} and said(100.0) == {"chwst", "bms"} and said(109.0) == {"oadb"}
    bms.say_anew()
    assert said(109.5) == {"chwst", "oadb", "bms"}


def test_simulated_bms_follows_only_while_it_hears_a_heart_beat(bus_site: Site) -> None:
    bms = EventBusBms(bus_site)
    sp = next(t for t in bms.topics if t.endswith("/chwst_sp"))
    bms.take(sp, value(14.0), False, 0.0)
    assert bms.setpoints(0.0) is None  # a value without a heartbeat is nothing
    bms.take(sp, value(14.0), False, 1.0)
    bms.take(OURS, value(1.0), False, 1.0)
    assert bms.setpoints(31.0) == {"chwst_sp": 14.0} and bms.setpoints(31.1) is None
    bms.take(OURS, value(2.0), False, 40.0)
    assert bms.setpoints(40.0) is None  # nothing of before comes back
    for raw, retained in ((value(14.0), True), (value(200.0), False), (value(None), False), (b"{}", False)):
        bms.take(sp, raw, retained, 41.0)
    assert bms.values == {} and set(bms.rejects) == {"retained", "outside_limits", "value_type", "keys"}


@pytest.fixture
def stack(bus_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VirtualStack:
    return VirtualStack(monkeypatch, bus_site, tmp_path)


def spy(stack: VirtualStack) -> list[tuple[float, str, str]]:
    """Who says what on the event bus: time, sender, topic."""
    seen: list[tuple[float, str, str]] = []

    def rule(sender: str, _receiver: str, topic: str, payload: bytes) -> Any:
        if "/coolctl/" in topic:
            seen.append((stack.bus.now_s, sender, topic))
        return [(0.0, payload)]

    stack.bus.rules.append(rule)
    return seen


def test_stack_controls_over_the_event_bus_and_silence_gives_the_plant_back(stack: VirtualStack) -> None:
    seen = spy(stack)
    stack.run(420)
    proof = stack.gateway.core.proof
    assert proof is not None and proof.state == PASSED, proof.reason if proof else ""
    assert not stack.local and stack.one.decision is not None and stack.one.decision.mode == "auto"
    assert stack.hottest_c < 27.0 and not stack.violations()
    link = stack.one.daemon.link
    assert not link.decoder.faults and not link.decoder.rejects.keys() - {"no_metadata"}
    applied = stack.server.receiver.values
    assert applied == pytest.approx(stack.gateway.core.applied | applied, abs=1e9) and set(applied) == set(
        stack.gateway.core.applied
    )
    beats = [t for t, sender, topic in seen if topic == OURS and sender == "gateway"]
    assert {sender for _, sender, _ in seen} == {"gateway"} and min(
        b - a for a, b in zip(beats[-5:], beats[-4:], strict=False)
    ) >= 9.9
    stack.one.kill()
    killed_s = stack.bus.now_s
    stack.run(14)
    assert not stack.local
    while not stack.local:
        stack.step()
        assert stack.bus.now_s - killed_s < 60.0
    # The controller's lease, then what the BMS was told to wait for our heartbeat.
    assert stack.bus.now_s - killed_s <= 15.0 + 30.0 + 2.0
    silent_s = max(t for t, sender, _ in seen if sender == "gateway")
    assert silent_s - killed_s <= 16.0 and stack.server.receiver.setpoints(stack.bus.now_s) is None
    assert stack.hottest_c < 27.0


def test_metadata_with_another_unit_takes_one_point_away_and_names_it(stack: VirtualStack) -> None:
    stack.run(60)
    page = Client(MqttSettings("", 0, "coolctl-page-x"), [stack.site.topic("decision")])
    topic = metadata_topic("BMS/v1/PUB/Value/GenericObject/GenericPoint/hall1mw/oadb")
    stack.bus.publish("bms", topic, b'{"engUnit":"F"}')
    stack.run(2)
    link = stack.one.daemon.link
    i = stack.site.table.index["oadb"]
    assert "engUnit 'F'" in link.decoder.faults["oadb"] and math.isnan(link.store.snapshot(stack.bus.now_s).value[i])
    assert link.decoder.rejects["metadata_unit"] >= 1
    said = [event["text"] for m in page.inbox for event in json.loads(m.payload)["events"]]
    assert said.count("oadb: metadata gives engUnit 'F', the site file unit 'degC': not believed") == 1


def test_lease_that_the_bms_does_not_expect_is_refused_and_the_controller_knows(stack: VirtualStack) -> None:
    stack.run(120)
    assert stack.gateway.core.leased and not stack.gateway.core.rejects.get("unwritable")
    topic = metadata_topic("BMS/v1/coolctl/Value/GenericObject/GenericPoint/hall1mw/chwst_sp")
    stack.bus.publish("bms", topic, b'{"engUnit":"F","integration":"coolctl"}')
    stack.run(20)
    assert stack.gateway.core.rejects["unwritable"] >= 15 and not stack.gateway.core.leased
    assert stack.one.decision is not None and stack.one.decision.mode in ("fallback", "release")


def test_bms_whose_heart_stops_loses_the_controller_and_gets_it_back(stack: VirtualStack) -> None:
    stack.run(400)
    assert stack.one.decision is not None and stack.one.decision.mode == "auto"
    stack.bus.rules = [to("daemon", cut, [BEAT]), to("one", cut, [BEAT])]
    stack.run(45)
    assert stack.one.daemon.link.decoder.rejects["heartbeat_lost"] == 1
    assert stack.one.decision.mode != "auto"
    stack.bus.rules = []
    stack.run(120)
    assert not stack.one.daemon.link.decoder.faults and stack.one.decision.mode in ("fallback", "auto")


def test_gateway_passes_nothing_on_until_it_knows_that_nobody_holds_the_plant(stack: VirtualStack) -> None:
    hand = "BMS/v1/PUB/Value/GenericObject/GenericPoint/hall1mw/hand"
    stack.bus.rules = [to("gateway", cut, [hand])]
    stack.run(60)
    assert stack.gateway.core.hand and not stack.gateway.core.accepted and stack.local
    stack.bus.rules = []
    stack.run(50)  # said again 100 s after the first time
    assert not stack.gateway.core.hand and stack.gateway.core.accepted
    stack.run(60)  # and the proof
    assert stack.gateway.core.leased
    stack.bus.publish("bms", hand, value(None))
    stack.step()
    assert stack.gateway.core.hand and not stack.gateway.core.leased


def test_controller_that_comes_later_hears_the_kept_metadata(stack: VirtualStack) -> None:
    stack.run(30)
    late = stack.add_controller("two")
    stack.run(10)
    assert not late.daemon.link.decoder.rejects and not late.daemon.link.rejects
    values = late.daemon.link.store.snapshot(stack.bus.now_s).value
    assert sum(v == v for v in values) > 20
