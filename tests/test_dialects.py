"""The dialects of the field's gateways: what is read, what is refused and why, and that nothing makes them raise."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SITE
from mutate import mutations

from coolctl.dialects import NAMES, Decoder
from coolctl.dialects.sparkplug_payload import DOUBLE, INT64, Metric, Payload, encode_payload
from coolctl.dialects.telegraf import parse_selector
from coolctl.errors import ConfigError
from coolctl.points import Point, PointTable, Quality, Sample, SampleStore, each
from coolctl.site import load_site

T = 1_700_000_000.0
GOOD, BAD = Quality.GOOD, Quality.SOURCE_BAD


def point(field: str, dialect: str, name: str = "a", unit: str = "degC", role: str = "chwst", topic: str = "x/t") -> Point:
    return Point(name, role, "plant", unit, topic, dialect, field, 60.0, -50.0, 90.0)


def decoder(*points: Point) -> Decoder:
    return Decoder(PointTable(points), 4096, 262144)


def read(d: Decoder, raw: bytes, topic: str = "x/t") -> list[tuple[str, float, float, int]]:
    """Point, value, source time (-1 = not said) and quality of every sample."""
    found = []
    for s in each(d.decode(topic, raw)):
        assert isinstance(s, Sample)
        value = s.value if s.quality == GOOD else 0.0
        found.append((d.table.points[s.i].id, value, s.t_source_s if s.t_source_s == s.t_source_s else -1.0, int(s.quality)))
    return found


@pytest.mark.parametrize(("value", "read_as"), [(True, 1.0), (False, 0.0), (1, 1.0), (0.5, 0.5), ("1", None), ([], None)])
def test_flag_is_true_false_or_a_number_and_nothing_is_rounded_to_one(value: object, read_as: float | None) -> None:
    d = decoder(point("on", "neuron", "on", "bool", "hand"))
    sample = d.state(0, value, T)
    assert (sample.value if sample else None) == read_as and bool(d.rejects.get("value_type")) == (read_as is None)


# -- what the plant says that a setpoint is

DEVICE = "spBv1.0/Plant/DCMD/Edge/CDU1"


def setpoint(field: str, dialect: str, topic: str = "x/t") -> Decoder:
    """A decoder that would hear one setpoint."""
    d = decoder(point(field, dialect, role="chwst_sp", topic=topic))
    assert not d.topics
    d.read_back(0)
    return d


def test_a_setpoint_is_heard_where_its_dialect_says_what_it_is() -> None:
    d = setpoint("grp/sp", "neuron")
    assert d.topics == ["x/t"] and read(d, b'{"node":"m","group":"grp","timestamp":1700000000000,"values":{"sp":12.5}}') == [
        ("a", 12.5, T, GOOD)
    ]
    d = setpoint("Supply", "sparkplug-b", DEVICE)
    birth = encode_payload(Payload(int(1000 * T), 0, [Metric("bdSeq", None, None, INT64, slot=11, value=1)]))
    of_device = encode_payload(Payload(int(1000 * T), 1, [Metric("Supply", None, None, DOUBLE, slot=13, value=12.5)]))
    assert read(d, birth, "spBv1.0/Plant/NBIRTH/Edge") == [("a", 0.0, -1.0, BAD)]  # its device has not been born yet
    assert read(d, of_device, "spBv1.0/Plant/DBIRTH/Edge/CDU1")[-1] == ("a", 12.5, T, GOOD)


@pytest.mark.parametrize(
    ("dialect", "topic"),
    [
        ("json", DEVICE),
        ("json", "x/t"),
        ("sparkplug-b", "spBv1.0/Plant/DDATA/Edge/CDU1"),
        ("sparkplug-b", "x/t"),
        ("telegraf", DEVICE),
    ],
)
def test_a_setpoint_that_nobody_repeats_is_not_listened_for(dialect: str, topic: str) -> None:
    assert not setpoint("sp", dialect, topic).topics


# -- neuron

NEURON_VALUES = b'{"node":"modbus","group":"grp","timestamp":1700000000000,"values":{"t0":12.5,"on":true,"more":"x"},"errors":{"t1":2014},"metas":{}}'
NEURON_TAGS = b'{"timestamp":1700000000000,"node":"modbus","group":"grp","tags":[{"name":"t0","value":12.5},{"name":"t1","error":2014},{"name":"on","value":false}]}'


def neuron() -> Decoder:
    return decoder(
        point("grp/t0", "neuron"),
        point("grp/t1", "neuron", "b"),
        point("modbus/grp/on", "neuron", "c", "bool", "hand"),
    )


@pytest.mark.parametrize(("raw", "on"), [(NEURON_VALUES, 1.0), (NEURON_TAGS, 0.0)], ids=["values", "tags"])
def test_neuron_reads_both_formats_and_takes_an_error_code_for_a_bad_value(raw: bytes, on: float) -> None:
    d = neuron()
    assert sorted(read(d, raw)) == [("a", 12.5, T, GOOD), ("b", 0.0, T, BAD), ("c", on, T, GOOD)]
    assert d.rejects == {"source_bad": 1}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[]", "not_an_object"),
        (b'{"group":"grp","values":{"t0":1}}', "keys"),
        (b'{"node":"m","group":"grp"}', "keys"),
        (b'{"node":"m","group":"grp","values":[1]}', "keys"),
        (b'{"node":"m","group":"grp","values":{"t0":1},"errors":{"t0":2}}', "keys"),
        (b'{"node":"m","group":"grp","values":{"t0":1},"more":1}', "keys"),
        (b'{"node":"m","group":"grp","tags":{}}', "keys"),
        (b'{"node":"m","group":"grp","tags":[1]}', "keys"),
        (b'{"node":"m","group":"grp","tags":[{"name":"t0"}]}', "keys"),
        (b'{"node":"m","group":"grp","tags":[{"name":"t0","value":1,"error":2}]}', "keys"),
        (b'{"node":"m","group":"grp","tags":[{"name":"t0","value":1},{"name":"t0","value":2}]}', "duplicate_key"),
        (b'{"node":"m","group":"grp","timestamp":"now","values":{"t0":1}}', "timestamp_type"),
        (b'{"node":"m","group":"grp","values":{"t0":true}}', "value_type"),
        (b'{"node":"m","group":"grp","values":{"t0":"1"}}', "value_type"),
        (b'{"node":"m","group":"grp","values":{"t0":NaN}}', "not_finite"),
        (b'{"node":"m","group":"grp","values":{"t0":1,"t0":2}}', "duplicate_key"),
        (b'{"node":"m","group":"grp","values":{"t0":1}}' + b" " * 300_000, "too_large"),
    ],
)
def test_neuron_refuses_and_says_why(raw: bytes, reason: str) -> None:
    d = neuron()
    assert read(d, raw) == [] and d.rejects == {reason: 1}


def test_neuron_group_of_another_driver_is_not_mixed_in() -> None:
    d = neuron()
    assert read(d, b'{"node":"one","group":"grp","values":{"t0":10}}') == [("a", 10.0, -1.0, GOOD)]
    assert read(d, b'{"node":"two","group":"grp","values":{"t0":50}}') == [] and d.rejects == {"other_series": 1}


# -- telegraf

METRIC = b'{"name":"modbus","tags":{"host":"gw","rack":"r1"},"fields":{"inlet":24.5,"text":"x","on":true},"timestamp":1700000000}'


def telegraf() -> Decoder:
    return decoder(
        point("modbus,rack=r1/inlet", "telegraf"),
        point("modbus,rack=r2/inlet", "telegraf", "b"),
        point("modbus/on", "telegraf", "c", "bool", "hand"),
    )


def test_telegraf_reads_a_metric_and_a_batch_with_seconds() -> None:
    d = telegraf()
    assert read(d, METRIC) == [("a", 24.5, T, GOOD), ("c", 1.0, T, GOOD)]
    other = METRIC.replace(b"r1", b"r2").replace(b"24.5", b"25.5").replace(b',"on":true', b"")
    assert read(d, b'{"metrics":[' + METRIC + b"," + other + b"]}") == [
        ("a", 24.5, T, GOOD), ("c", 1.0, T, GOOD), ("b", 25.5, T, GOOD),
    ]  # fmt: skip
    assert not d.rejects


def test_telegraf_reads_line_protocol_with_nanoseconds_escapes_and_types() -> None:
    d = decoder(
        point("mod bus,x y=a=b/in let", "telegraf"),
        point("m/int", "telegraf", "b"),
        point("m/unsigned", "telegraf", "c"),
        point("m/on", "telegraf", "d", "bool", "hand"),
        point("m/late", "telegraf", "e"),
    )
    lines = (
        b'mod\\ bus,x\\ y=a\\=b,host=gw in\\ let=12.5,note="a \\"quoted\\", b=1 c\n2" 1700000000000000000\r\n'
        b"# a remark\n\n"
        b"m int=-3i,unsigned=7u,on=T 1700000000500000000\n"
        b"m late=1.5e1"
    )
    assert read(d, lines) == [
        ("a", 12.5, T, 1),
        ("b", -3.0, T + 0.5, 1),
        ("c", 7.0, T + 0.5, 1),
        ("d", 1.0, T + 0.5, 1),
        ("e", 15.0, -1.0, 1),
    ]
    assert not d.rejects


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[1]", "not_an_object"),
        (b'{"metrics":{}}', "keys"),
        (b'{"metrics":[],"more":1}', "keys"),
        (b'{"metrics":[1]}', "keys"),
        (METRIC[:-1] + b',"more":1}', "keys"),
        (METRIC.replace(b'"gw"', b"1"), "tags"),
        (METRIC.replace(b'"modbus"', b"1"), "keys"),
        (METRIC.replace(b"1700000000", b"1700000000000"), "timestamp_range"),
        (METRIC.replace(b"1700000000", b"1700000"), "timestamp_range"),
        (METRIC.replace(b"24.5", b'"24.5"').replace(b',"on":true', b""), "value_type"),
        (b"modbus,rack=r1 inlet=1 1700000000", "timestamp_range"),
        (b"modbus,rack=r1 inlet=1 99999999999999999999", "timestamp_range"),
        (b"modbus,rack=r1 inlet=NaN", "not_finite"),
        (b"modbus,rack=r1 inlet=-inf", "not_finite"),
        (b"modbus,rack=r1 inlet=1e999", "not_finite"),
        (b"modbus,rack=r1 inlet=" + b"1" * 50, "number_long"),
        (b"modbus,rack=r1 inlet=" + b"1" * 17 + b"i", "value_range"),
        (b"modbus,rack=r1 inlet=0x10", "line"),
        (b"modbus,rack=r1 inlet=1_0", "line"),
        (b"modbus,rack=r1 inlet=", "line"),
        (b"modbus,rack=r1 inlet=1,", "line"),
        (b"modbus,rack=r1 inlet=1 5 6", "line"),
        (b"modbus,rack=r1", "line"),
        (b"modbus,rack= inlet=1", "line"),
        (b",rack=r1 inlet=1", "line"),
        (b'modbus,rack=r1 inlet="open', "line"),
        (b"modbus,rack=r1 inlet=1,inlet=2", "duplicate_key"),
        (b"modbus,rack=r1,rack=r2 inlet=1", "duplicate_key"),
        (b"modbus,rack=r1 inlet=\xff", "encoding"),
        (b"m" * 300_000, "too_large"),
    ],
)
def test_telegraf_refuses_and_says_why(raw: bytes, reason: str) -> None:
    d = telegraf()
    assert read(d, raw) == [] and d.rejects == {reason: 1}


def test_telegraf_bad_line_does_not_take_its_neighbours_along() -> None:
    d = telegraf()
    assert read(d, b"modbus,rack=r1 inlet=1\nrubbish\nmodbus,rack=r2 inlet=2") == [("a", 1.0, -1.0, 1), ("b", 2.0, -1.0, 1)]
    assert d.rejects == {"line": 1}


def test_telegraf_row_that_names_too_little_is_fed_by_one_series_only() -> None:
    d = decoder(point("modbus/inlet", "telegraf"))
    assert [v for _, v, _, _ in read(d, b"modbus,rack=r1 inlet=20\nmodbus,rack=r2 inlet=30\nmodbus,rack=r1 inlet=21")] == [
        20.0,
        21.0,
    ]
    assert d.rejects == {"other_series": 1}


def test_selector_forms() -> None:
    s = parse_selector("m,a=b,c=d/e")
    assert s is not None and s == ("m", frozenset({("a", "b"), ("c", "d")}), "e")
    assert parse_selector("m/e") == ("m", frozenset(), "e")
    for wrong in ("m", "/e", "m/", "m,a/e", "m,a=/e", "m,=b/e", ",a=b/e"):
        assert parse_selector(wrong) is None


# -- thingsboard

DEVICES = b'{"CRAH 1":[{"ts":1700000001000,"values":{"sat":20.5}},{"ts":1700000000000,"values":{"sat":19.5,"on":true}}],"Other":[{"values":{"sat":1}}]}'


def thingsboard() -> Decoder:
    return decoder(
        point("CRAH 1/sat", "thingsboard"),
        point("CRAH 1/on", "thingsboard", "b", "bool", "hand"),
        point("A/B/c", "thingsboard", "c"),
    )


def test_thingsboard_reads_devices_the_oldest_entry_first() -> None:
    d = thingsboard()
    assert read(d, DEVICES) == [("a", 19.5, T, 1), ("b", 1.0, T, 1), ("a", 20.5, T + 1, 1)] and not d.rejects
    store = SampleStore(d.table)
    store.put(d.decode("x/t", DEVICES), 0.0)
    assert store.value[0] == 20.5 and not store.rejects
    assert read(d, b'{"A/B":[{"values":{"c":5}}]}') == [("c", 5.0, -1.0, 1)]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"1", "not_an_object"),
        (b'{"CRAH 1":{"values":{"sat":1}}}', "keys"),
        (b'{"CRAH 1":[1]}', "keys"),
        (b'{"CRAH 1":[{"sat":1}]}', "keys"),
        (b'{"CRAH 1":[{"ts":1,"values":[]}]}', "keys"),
        (b'{"CRAH 1":[{"ts":-1,"values":{"sat":1}}]}', "timestamp_range"),
        (b'{"CRAH 1":[{"ts":1,"values":{"sat":"1"}}]}', "value_type"),
        (b'{"CRAH 1":[{"ts":1,"values":{"sat":1e999}}]}', "not_finite"),
        (b'{"CRAH 1":[],"CRAH 1":[]}', "duplicate_key"),
    ],
)
def test_thingsboard_refuses_and_says_why(raw: bytes, reason: str) -> None:
    d = thingsboard()
    assert read(d, raw) == [] and d.rejects == {reason: 1}


def test_null_is_bad_at_once_whatever_the_age_limit() -> None:
    d = thingsboard()
    store = SampleStore(d.table)
    store.put(d.decode("x/t", b'{"CRAH 1":[{"values":{"sat":20}}]}'), 0.0)
    assert store.snapshot(1.0).value[0] == 20.0
    store.put(d.decode("x/t", b'{"CRAH 1":[{"values":{"sat":null}}]}'), 2.0)
    snap = store.snapshot(2.0)
    assert math.isnan(snap.value[0]) and snap.quality[0] == BAD and d.rejects == {"source_bad": 1}


# -- all of them


@pytest.mark.parametrize(
    ("make", "seeds"),
    [
        (neuron, [NEURON_VALUES, NEURON_TAGS]),
        (telegraf, [METRIC, b'{"metrics":[' + METRIC + b"]}", b'modbus,rack=r1 inlet=1.5,n=3i,s="a b" 1700000000000000000\nmodbus,rack=r2 inlet=2\n']),
        (thingsboard, [DEVICES]),
    ],
    ids=["neuron", "telegraf", "thingsboard"],
)  # fmt: skip
def test_dialect_survives_any_mutation(make: Callable[[], Decoder], seeds: list[bytes]) -> None:
    d, rng = make(), random.Random(5)
    for raw in mutations(seeds, 20_000, rng):
        for s in each(d.decode("x/t", raw)):
            assert 0 <= s.i < len(d.table) and (math.isfinite(s.value) or s.quality == BAD)
            assert s.t_source_s != s.t_source_s or 0.0 <= s.t_source_s <= 4e9
    assert sum(d.rejects.values()) > 5_000 and set(d.rejects) > {"not_json", "encoding"}  # the mutations do bite


def test_hostile_messages_are_refused_quickly() -> None:
    bombs = (
        b"[" * 200_000,
        b"m,a=" + b"\\" * 200_000,
        b'm s="' + b"\\" * 200_000,
        b"m" + b",a=b" * 60_000,
        b"m f=1," * 40_000,
        b"\n" * 250_000,
        b"#" * 250_000,
    )
    for d in (neuron(), telegraf(), thingsboard()):
        for raw in bombs:
            begun = time.perf_counter()
            assert read(d, raw) == []
            assert time.perf_counter() - begun < 1.0  # about 0.1 s here at worst; machines are shared


# -- the site file

ROW = 'role = "chwrt"\nmachine = "plant"\nunit = "degC"\n'


@pytest.mark.parametrize(
    ("more", "key", "said"),
    [
        ('dialect = "nueron"', "dialect", "did you mean 'neuron'?"),
        ('dialect = "neuron"\ntopic = "/neuron/a/b"', "field", "needs a field: group/tag"),
        ('dialect = "neuron"\nfield = "tag"', "field", "is not group/tag"),
        ('dialect = "neuron"\nfield = "a/b/c/d"', "field", "is not group/tag"),
        ('dialect = "telegraf"\nfield = "m,rack/t"', "field", "is not measurement/field or measurement,tag=value/field"),
        ('dialect = "thingsboard"\nfield = "temp"', "field", "is not Device/key"),
        ('dialect = "json"\nfield = "{hall}"', "field", "unknown placeholder {hall}"),
        ('dialect = "json"\nfield = ""', "field", "not empty"),
        ('dialect = "dsx"', "topic", "is not BMS/v1/PUB/Value/OBJECT_TYPE/POINT_TYPE/TAG_PATH: its metadata cannot be found"),
        ('dialect = "dsx"\ntopic = "BMS/v1/PUB/Value/Chiller/LiquidTemperature"', "topic", "its metadata cannot be found"),
        ('dialect = "dsx"\ntopic = "BMS/v1/PUB/Metadata/Chiller/LiquidTemperature/a"', "topic", "its metadata cannot be found"),
        ('dialect = "dsx"\ntopic = "BMS/v1/mine/Value/Chiller/LiquidTemperature/a"', "topic", "is published by 'mine'"),
        ('dialect = "dsx"\ntopic = "BMS/v1/PUB/Value/Chillr/LiquidTemperature/a"', "topic", "did you mean 'Chiller'?"),
        ('dialect = "dsx"\ntopic = "BMS/v1/PUB/Value/Chiller/LiquidTemperature/#"', "topic", "without + # and NUL"),
        ('dialect = "dsx"\ntopic = "BMS/v1/PUB/Value/Chiller/LiquidTemperature/a"\nfield = "x"', "field", "has no fields"),
        ('dialect = "dsx"\ntopic = "BMS/v1/PUB/Value/Chiller/LiquidTemperature/a"', "dsx.bms_heartbeat", "needs this heartbeat"),
        ('dialect = "sparkplug-b"\ntopic = "spBv1.0/g/DBIRTH/n/d"\nfield = "x"', "topic", "is not spBv1.0/GROUP/NDATA/NODE"),
        ('dialect = "sparkplug-b"\ntopic = "spBv1.0/g/NDATA/n"', "field", "name the metric"),
    ],
)  # fmt: skip
def test_site_file_that_does_not_fit_its_dialect_is_told_so(
    edited_site: Callable[..., Path], more: str, key: str, said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_site(edited_site((ROW, ROW + more + "\n")))
    text = str(error.value)
    assert said in text and key in text


@pytest.mark.parametrize(
    ("tables", "key", "said"),
    [
        ('[gateway]\ndialect = "bacnet"', "gateway.dialect", "allowed: json, dsx"),
        ('[gateway]\ndialect = "dsx"', "dsx.heartbeat", "needs this heartbeat"),
        ('[gateway]\ndialect = "dsx"', "gateway.dialect", "has the dialect 'json', not 'dsx'"),
        ('[gateway]\ndialect = "dsx"\n[dsx]\nintegration = "a/b"', "dsx.integration", "stands in a topic"),
        (
            '[gateway]\ndialect = "dsx"\n[dsx]\nheartbeat = "BMS/v1/coolctl/Value/System/HeartbeatTimestampIntegration/#"',
            "dsx.heartbeat",
            "without + # and NUL",
        ),
        (
            '[gateway]\ndialect = "dsx"\n[dsx]\nheartbeat = "BMS/v1/PUB/Value/System/HeartbeatTimestampIntegration/a"',
            "dsx.heartbeat",
            "is not BMS/v1/coolctl/Value",
        ),
        ('[sparkplug]\nhost = "a/b"', "sparkplug.host", "stands in a topic"),
    ],
)
def test_site_file_that_lacks_what_a_dialect_needs_is_told_so(
    edited_site: Callable[..., Path], tables: str, key: str, said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_site(edited_site(("\n[telemetry]", "\n" + tables + "\n\n[telemetry]")))
    assert any(f.key == key and said in f.message for f in error.value.faults)


def test_setpoint_whose_topic_leads_to_no_metadata_is_told_so(edited_site: Callable[..., Path]) -> None:
    setpoint = 'role = "chwst_sp"\n'
    path = edited_site(
        ("\n[telemetry]", '\n[gateway]\ndialect = "dsx"\n\n[telemetry]'), (setpoint, setpoint + 'dialect = "dsx"\n')
    )
    with pytest.raises(ConfigError, match=r"setpoint 'chwst_sp': 'coolctl/v1/hall1mw/sp' is not BMS/v1/coolctl/Value"):
        load_site(path)


def test_point_whose_source_cannot_be_told_is_never_heard() -> None:
    d = decoder(point("x", "sparkplug-b", topic="x/t"), point("m", "telegraf", "b"))
    assert d.topics == ["x/t"] and read(d, b"m x=1") == [] and read(d, b"1", "other") == []
    assert d.rejects == {"unknown_topic": 1} and not d.faults and not len(d.watch(0.0)) and d.outgoing(0.0, 0) == []


def test_rows_for_all_racks_fill_machine_and_point_into_topic_and_field(edited_site: Callable[..., Path]) -> None:
    row = 'machine = "hall1.rack*"\nunit = "degC"\n'
    site = load_site(
        edited_site((row, row + 'dialect = "thingsboard"\ntopic = "v1/gateway/telemetry"\nfield = "{machine}/inlet"\n'))
    )
    p = site.table.points[site.table.index["hall1.rack07.rack_inlet"]]
    assert (p.topic, p.dialect, p.field) == ("v1/gateway/telemetry", "thingsboard", "hall1.rack07/inlet")


def test_every_dialect_has_its_section_in_the_documentation() -> None:
    text = (SITE.parent.parent.parent / "docs" / "MQTT.md").read_text()
    assert not [name for name in NAMES if f"`{name}`" not in text]
