"""Sparkplug B: the codec against protobuf's own, the order of births, data and deaths, and what silence means."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutate import mutations
from virtual import Bus, Client

import coolctl.daemon_link
import coolctl.gateway_main
from coolctl import lease
from coolctl.daemon_link import Link
from coolctl.dialects import Decoder
from coolctl.dialects import protobuf as pb
from coolctl.dialects.sparkplug import parse_source, state_message
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
    UINT32,
    UINT64,
    Metric,
    Payload,
    decode_payload,
    encode_payload,
)  # fmt: skip
from coolctl.edge.mqtt import MqttSettings
from coolctl.gateway_main import GatewayService
from coolctl.points import Point, PointTable, Quality, SampleStore, each
from coolctl.site import Site, load_site
from coolctl.strict_json import Rejected

T_MS = 1_700_000_000_000
GOOD, BAD = Quality.GOOD, Quality.SOURCE_BAD
NODE, DEVICE = "spBv1.0/Plant/N{}/Edge", "spBv1.0/Plant/D{}/Edge/CDU1"
OTHER = "spBv1.0/Plant/D{}/Edge/CDU2"


def point(name: str, topic: str, field: str, role: str = "chwst", unit: str = "degC") -> Point:
    return Point(name, role, "plant", unit, topic, "sparkplug-b", field, 600.0, -50.0, 90.0)


def decoder() -> Decoder:
    points = [
        point("node", NODE.format("DATA"), "Outdoor/Dry Bulb"),
        point("supply", DEVICE.format("DATA"), "Supply"),
        point("on", DEVICE.format("DATA"), "On", "hand", "bool"),
    ]
    return Decoder(PointTable(points), 4096, 262144)


def message(seq: int | None, *metrics: Metric) -> bytes:
    return encode_payload(Payload(T_MS, seq, list(metrics)))


def double(name: str, value: float, alias: int | None = None, **more: Any) -> Metric:
    return Metric(name, alias, None, DOUBLE, slot=13, value=value, **more)


def by_alias(alias: int, value: float, **more: Any) -> Metric:
    return Metric("", alias, slot=13, value=value, **more)


def bd_seq(number: int) -> Metric:
    return Metric("bdSeq", None, None, INT64, slot=11, value=number)


def birth(number: int = 0, seq: int = 0) -> bytes:
    rebirth = Metric("Node Control/Rebirth", None, None, BOOLEAN, slot=14, value=False)
    return message(seq, bd_seq(number), rebirth, double("Outdoor/Dry Bulb", 30.0, 1))


def device_birth(seq: int = 1) -> bytes:
    on = Metric("On", 3, None, BOOLEAN, slot=14, value=True)
    return message(
        seq, double("Supply", 12.0, 2), on, Metric("Name", 4, None, STRING, slot=15, value=b"CDU"), double("Unmapped", 1.0, 5)
    )


def read(d: Decoder, topic: str, raw: bytes) -> dict[str, float | None]:
    """The last value of each point that the message gives, None where it is bad."""
    return {d.table.points[s.i].id: s.value if s.quality == GOOD else None for s in each(d.decode(topic, raw))}


def born() -> Decoder:
    d = decoder()
    assert read(d, NODE.format("BIRTH"), birth()) == {"node": 30.0, "supply": None, "on": None}
    read(d, DEVICE.format("BIRTH"), device_birth())
    assert not d.rejects
    return d


# -- codec


@pytest.fixture(scope="module")
def oracle() -> Any:
    """The payload's schema, built here at run time from the specification's field numbers."""
    protobuf = pytest.importorskip("google.protobuf")
    assert protobuf
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    f = descriptor_pb2.FieldDescriptorProto
    u32, u64, text, raw, flag = f.TYPE_UINT32, f.TYPE_UINT64, f.TYPE_STRING, f.TYPE_BYTES, f.TYPE_BOOL
    file = descriptor_pb2.FileDescriptorProto(name="oracle.proto", package="oracle", syntax="proto2")

    def add(name: str, *rows: tuple[int, str, int | str, bool]) -> None:
        m = file.message_type.add(name=name)
        for number, field, kind, many in rows:
            label = f.LABEL_REPEATED if many else f.LABEL_OPTIONAL
            if isinstance(kind, str):
                m.field.add(name=field, number=number, label=label, type=f.TYPE_MESSAGE, type_name=f".oracle.{kind}")
            else:
                m.field.add(name=field, number=number, label=label, type=kind)

    values = [
        (3, "i", u32, False),
        (4, "l", u64, False),
        (5, "f", f.TYPE_FLOAT, False),
        (6, "d", f.TYPE_DOUBLE, False),
        (7, "b", flag, False),
        (8, "s", raw, False),
    ]
    add("Property", (1, "type", u32, False), (2, "null", flag, False), *values)
    add("Properties", (1, "keys", text, True), (2, "values", "Property", True))
    add(
        "Metric",
        (1, "name", text, False), (2, "alias", u64, False), (3, "timestamp", u64, False), (4, "datatype", u32, False),
        (5, "historical", flag, False), (6, "transient", flag, False), (7, "null", flag, False), (9, "properties", "Properties", False),
        *((number + 7, name, kind, many) for number, name, kind, many in values),
    )  # fmt: skip
    add(
        "Payload",
        (1, "timestamp", u64, False),
        (2, "metrics", "Metric", True),
        (3, "seq", u64, False),
        (4, "uuid", text, False),
        (5, "body", raw, False),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("oracle.Payload"))


def random_metric(rng: random.Random) -> Metric:
    slot = rng.choice((0, 10, 11, 12, 13, 14, 15))
    value: Any = {
        0: 0, 10: rng.getrandbits(32), 11: rng.getrandbits(64), 12: float(rng.randint(-1000, 1000)) / 8, 13: rng.uniform(-1e9, 1e9),
        14: rng.random() < 0.5, 15: bytes(rng.randrange(32, 127) for _ in range(rng.randint(0, 9))),
    }[slot]  # fmt: skip
    return Metric(
        rng.choice(("", "a", "Größe", "x/y z")), rng.choice((None, 0, rng.getrandbits(64))), rng.choice((None, T_MS)),
        rng.randint(0, 34), rng.random() < 0.2, rng.random() < 0.2, rng.choice((192, 0, 500)), slot, value,
    )  # fmt: skip


def as_oracle_has_it(p: Any) -> Payload:
    """Protobuf's reading in our terms."""
    found = []
    for m in p.metrics:
        slot, value = 0, 0
        for number, name in ((10, "i"), (11, "l"), (12, "f"), (13, "d"), (14, "b"), (15, "s")):
            if m.HasField(name):
                slot, value = number, getattr(m, name)
        quality = 192
        for key, of in zip(m.properties.keys, m.properties.values, strict=True):
            if key == "Quality":
                quality = of.i
        alias, stamp = (getattr(m, n) if m.HasField(n) else None for n in ("alias", "timestamp"))
        found.append(Metric(m.name, alias, stamp, m.datatype, m.historical, m.null, quality, slot, value))
    return Payload(p.timestamp if p.HasField("timestamp") else None, p.seq if p.HasField("seq") else None, found)


def test_codec_says_what_protobuf_says(oracle: Any) -> None:
    rng = random.Random(7)
    for _ in range(2_000):
        payload = Payload(
            rng.choice((None, T_MS)),
            rng.choice((None, rng.randrange(256))),
            [random_metric(rng) for _ in range(rng.randint(0, 5))],
        )
        raw = encode_payload(payload)
        assert as_oracle_has_it(oracle.FromString(raw)) == payload  # what we write is read so
        assert decode_payload(raw, 4096) == payload
        assert decode_payload(oracle.FromString(raw).SerializeToString(), 4096) == payload  # and what others write


def test_codec_takes_nothing_that_protobuf_refuses(oracle: Any) -> None:
    from google.protobuf.message import DecodeError

    rng, taken, refused = random.Random(9), 0, 0
    for raw in mutations([birth(), device_birth(), message(3, by_alias(2, 1.0, quality=500))], 30_000, rng, 2):
        try:
            ours = decode_payload(raw, 4096)
        except Rejected:
            refused += 1
            continue
        taken += 1
        try:
            theirs = oracle.FromString(raw)
        except DecodeError:
            # Inside of what we pass over (a property's text, unknown fields) protobuf looks for groups too.
            pytest.fail(f"protobuf refuses {raw!r}")
        assert ours.timestamp_ms == (theirs.timestamp if theirs.HasField("timestamp") else None)
        assert [m.name for m in ours.metrics] == [m.name for m in theirs.metrics]
        assert [m.alias for m in ours.metrics] == [m.alias if m.HasField("alias") else None for m in theirs.metrics]
    assert taken > 2_000 and refused > 5_000


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x08", "protobuf"),
        (b"\x08" + b"\xff" * 10, "protobuf"),
        (b"\x08" + b"\xff" * 9 + b"\x7f", "protobuf"),
        (b"\x00\x01", "protobuf"),
        (b"\x12\x05ab", "protobuf"),
        (b"\x0b", "protobuf"),
        (b"\x0f\x01", "protobuf"),
        (b"\x0d\x01\x02\x03\x04", "wire_type"),
        (b"\x09\x01", "protobuf"),
        (b"\x10\x01", "wire_type"),
        (b"\x12\x02\x08\x01", "wire_type"),
        (b"\x12\x03\x0a\x01\xff", "encoding"),
        (b"\x12\x05\x4a\x03\x0a\x01Q", "properties"),
        (b"\x18\x80\x02", "seq"),
        (b"\x12\x00" * 3000, "too_large"),
    ],
)
def test_payload_that_is_none_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(Rejected, match=f"^{reason}$"):
        decode_payload(raw, 4096)


def test_a_quality_that_is_no_integer_is_not_a_good_one() -> None:
    """A property of type double says 192.0: what stands for good is the integer; of two the later counts."""
    integer, double_value = pb.field(3, 192), pb.fixed(6, 192.0, "d")
    for value, quality in ((integer, 192), (double_value, -1), (integer + double_value, -1), (double_value + integer, 192)):
        properties = pb.field(1, "Quality") + pb.field(2, value)
        metric = pb.field(2, pb.field(1, "a") + pb.field(4, DOUBLE) + pb.field(9, properties) + pb.fixed(13, 14.0, "d"))
        (found,) = decode_payload(metric, 4096).metrics
        assert (found.name, found.value, found.quality) == ("a", 14.0, quality)


def test_fields_that_are_not_known_are_passed_over() -> None:
    more = (
        pb.field(4, "uuid")
        + pb.field(5, b"body")
        + pb.field(900, 5)
        + pb.field(901, b"abc")
        + pb.fixed(902, 1.5, "d")
        + pb.fixed(903, 1.5, "f")
    )
    assert decode_payload(more + message(3, by_alias(1, 2.0)) + more, 4096) == decode_payload(message(3, by_alias(1, 2.0)), 4096)


@pytest.mark.parametrize(
    ("datatype", "slot", "value", "number"),
    [
        (INT8, 10, 0xFFFFFFFF, -1), (INT8, 10, 0xFF, -1), (INT8, 10, 127, 127), (INT8, 10, 0xFFFFFF80, -128),
        (INT16, 10, 0xFFFF, -1), (INT32, 10, 0x80000000, -(2**31)), (INT64, 11, 2**64 - 5, -5), (INT32, 11, 2**64 - 5, -5),
        (UINT8, 10, 255, 255), (UINT32, 11, 7, 7), (UINT64, 11, 2**40, 2**40), (DATE_TIME, 11, T_MS, T_MS),
        (FLOAT, 12, 1.5, 1.5), (DOUBLE, 13, -2.5, -2.5), (BOOLEAN, 14, True, True),
    ],
)  # fmt: skip
def test_number_is_read_as_its_type(datatype: int, slot: int, value: Any, number: float) -> None:
    assert Metric(datatype=datatype, slot=slot, value=value).number(datatype) == number


@pytest.mark.parametrize(
    ("datatype", "slot", "value", "reason"),
    [
        (INT8, 10, 200 + 2**8, "value_range"), (UINT8, 10, 256, "value_range"), (UINT32, 11, 2**32, "value_range"),
        (INT16, 10, 0xFFFF0000, "value_range"), (FLOAT, 13, 1.0, "value_type"), (DOUBLE, 12, 1.0, "value_type"), (BOOLEAN, 10, 1, "value_type"),
        (STRING, 15, b"1", "value_type"), (0, 13, 1.0, "value_type"), (DOUBLE, 0, 0, "value_type"), (17, 16, b"1", "value_type"),
    ],
)  # fmt: skip
def test_value_in_another_slot_than_its_type_is_refused(datatype: int, slot: int, value: Any, reason: str) -> None:
    with pytest.raises(Rejected, match=f"^{reason}$"):
        Metric(datatype=datatype, slot=slot, value=value).number(datatype)


# -- births, data, deaths


def test_birth_names_what_data_then_says_by_alias() -> None:
    d = born()
    assert read(d, DEVICE.format("DATA"), message(2, by_alias(2, 13.5))) == {"supply": 13.5}
    assert read(d, NODE.format("DATA"), message(3, by_alias(1, 31.0))) == {"node": 31.0}
    sample = next(each(d.decode(DEVICE.format("DATA"), message(4, by_alias(2, 14.0, timestamp_ms=T_MS + 500)))))
    assert sample.t_source_s == T_MS / 1e3 + 0.5
    off = Metric("", 3, None, 0, slot=14, value=False)
    assert read(d, DEVICE.format("DATA"), message(5, off)) == {"on": 0.0} and not d.rejects


def test_values_of_births_are_values() -> None:
    d = decoder()
    assert read(d, NODE.format("BIRTH"), birth())["node"] == 30.0
    assert read(d, DEVICE.format("BIRTH"), device_birth()) == {"supply": 12.0, "on": 1.0}


def test_nothing_is_believed_before_the_birth_and_a_rebirth_is_asked_for() -> None:
    d = decoder()
    assert read(d, DEVICE.format("DATA"), message(2, by_alias(2, 13.5))) == {} and d.rejects == {"no_birth": 1}
    asked = d.outgoing(0.0, T_MS)
    assert [topic for topic, _ in asked] == ["spBv1.0/Plant/NCMD/Edge"]
    (metric,) = decode_payload(asked[0][1], 4096).metrics
    assert (metric.name, metric.alias, metric.datatype, metric.value) == ("Node Control/Rebirth", None, BOOLEAN, True)
    assert d.outgoing(5.0, T_MS) == [] and len(d.outgoing(10.0, T_MS)) == 1  # and asked again, not hammered
    read(d, NODE.format("BIRTH"), birth())
    assert d.outgoing(60.0, T_MS) == []
    # A node is there, its device is not born yet: its data may not be read either.
    assert read(d, DEVICE.format("DATA"), message(1, by_alias(2, 13.5))) == {} and len(d.outgoing(70.0, T_MS)) == 1


@pytest.mark.parametrize(("metric", "reason"), [(by_alias(99, 1.0), "unknown_alias"), (by_alias(1, 1.0), "unknown_alias"), (by_alias(2, 1.0, historical=True), "historical"), (by_alias(2, 1e999), "not_finite"), (Metric("", 2, None, FLOAT, slot=13, value=1.0), "value_type")])  # fmt: skip
def test_metric_that_may_not_be_used_is_counted(metric: Metric, reason: str) -> None:
    d = born()
    assert read(d, DEVICE.format("DATA"), message(2, metric, Metric("", 3, None, 0, slot=14, value=False))) == {"on": 0.0}
    assert d.rejects == {reason: 1}


@pytest.mark.parametrize(
    "metric", [Metric("", 2, None, DOUBLE, null=True), by_alias(2, 9.0, quality=0), by_alias(2, 9.0, quality=500)]
)
def test_null_bad_and_stale_are_bad_at_once(metric: Metric) -> None:
    d = born()
    assert read(d, DEVICE.format("DATA"), message(2, metric)) == {"supply": None} and d.rejects == {"source_bad": 1}


def test_quality_that_is_no_number_is_not_good() -> None:
    d = born()
    text = pb.field(9, pb.field(1, "Quality") + pb.field(2, pb.field(1, STRING) + pb.field(8, "good")))
    metric = pb.field(2, 2) + pb.field(6, 1) + pb.field(8, b"") + text + pb.fixed(13, 9.0, "d")
    assert read(d, DEVICE.format("DATA"), pb.field(2, metric) + pb.field(3, 2)) == {"supply": None}


def test_messages_out_of_order_are_put_in_order() -> None:
    d = born()
    assert d.decode(DEVICE.format("DATA"), message(4, by_alias(2, 4.0))) == []
    assert d.decode(OTHER.format("BIRTH"), message(3, double("x", 1.0, 9))) == []
    assert not len(d.watch(0.0)) and not len(d.watch(1.9))
    values = [s.value for s in each(d.decode(DEVICE.format("DATA"), message(2, by_alias(2, 2.0))))]
    assert values == [2.0, 4.0] and not len(d.watch(10.0)) and not d.outgoing(10.0, T_MS) and not d.rejects
    assert read(d, DEVICE.format("DATA"), message(4, by_alias(2, 4.0))) == {} and d.rejects == {"seq_old": 1}


def test_gap_that_does_not_close_ends_belief_and_asks_for_a_rebirth() -> None:
    d = born()
    store = SampleStore(d.table)
    store.put(d.decode(DEVICE.format("DATA"), message(2, by_alias(2, 13.0))), 0.0)
    assert d.decode(DEVICE.format("DATA"), message(4, by_alias(2, 15.0))) == []
    assert not len(d.watch(0.0)) and not len(d.watch(2.0))
    gone = d.watch(2.1)
    assert sorted(gone) == [0, 1, 2] and len(d.outgoing(2.1, T_MS)) == 1
    store.forget(gone)
    assert math.isnan(store.snapshot(2.1).value[1])
    assert read(d, DEVICE.format("DATA"), message(5, by_alias(2, 16.0))) == {} and d.rejects == {"no_birth": 1}
    read(d, NODE.format("BIRTH"), birth())
    assert read(d, DEVICE.format("BIRTH"), device_birth())["supply"] == 12.0


def test_sequence_wraps_and_a_flood_beyond_a_gap_is_bounded() -> None:
    d = born()
    for k in range(2, 600):
        assert read(d, DEVICE.format("DATA"), message(k % 256, by_alias(2, float(k % 50)))) == {"supply": float(k % 50)}
    for k in range(601, 700):
        d.decode(DEVICE.format("DATA"), message(k % 256, by_alias(2, 1.0)))
    assert d.rejects == {"seq_gap": 99 - 32}


def test_message_without_sequence_number_is_refused() -> None:
    d = born()
    assert read(d, DEVICE.format("DATA"), message(None, by_alias(2, 1.0))) == {} and d.rejects == {"seq": 1}


def test_death_of_a_device_leaves_the_node() -> None:
    d = born()
    assert read(d, DEVICE.format("DEATH"), message(2)) == {"supply": None, "on": None}
    assert read(d, NODE.format("DATA"), message(3, by_alias(1, 31.0))) == {"node": 31.0}
    assert read(d, DEVICE.format("DATA"), message(4, by_alias(2, 1.0))) == {} and d.rejects == {"device_death": 1, "no_birth": 1}


def test_death_of_a_node_takes_all_and_only_if_it_is_of_this_connection() -> None:
    d = decoder()
    read(d, NODE.format("BIRTH"), birth(7))
    read(d, DEVICE.format("BIRTH"), device_birth())
    assert read(d, NODE.format("DEATH"), message(None, bd_seq(6))) == {} and d.rejects == {"bd_seq": 1}
    assert read(d, NODE.format("DEATH"), message(None, bd_seq(7))) == {"node": None, "supply": None, "on": None}
    assert read(d, NODE.format("DATA"), message(2, by_alias(1, 31.0))) == {}
    read(d, NODE.format("BIRTH"), birth(8))
    assert read(d, NODE.format("DATA"), message(1, by_alias(1, 31.0))) == {"node": 31.0}


def test_metric_that_a_new_birth_does_not_name_is_not_known_any_more() -> None:
    d = born()
    assert read(d, NODE.format("BIRTH"), message(0, bd_seq(1))) == {"node": None, "supply": None, "on": None}
    assert read(d, DEVICE.format("BIRTH"), message(1, double("Supply", 11.0, 2))) == {"supply": 11.0, "on": None}


def test_link_that_was_down_makes_every_node_unknown() -> None:
    d = born()
    assert not len(d.reconnected(1)) and not len(d.reconnected(1))  # the first connection is no interruption
    assert sorted(d.reconnected(2)) == [0, 1, 2] and not len(d.watch(1.0)) and len(d.outgoing(1.0, T_MS)) == 1
    assert read(d, DEVICE.format("DATA"), message(2, by_alias(2, 13.5))) == {}


@pytest.mark.parametrize(
    "topic",
    [
        "spBv1.0/Plant/NDATA/Other",
        "spBv1.0/Plant/DDATA/Edge",
        "spBv1.0/Plant/NDATA/Edge/x",
        "spBv1.0/Plant/NCMD/Edge",
        "spBv1.1/Plant/NDATA/Edge",
        "spBv1.0/Plant/STATE/Edge",
        "x",
        "spBv1.0/a/b/c/d/e",
    ],
)
def test_topic_of_nobody_is_refused(topic: str) -> None:
    d = born()
    assert read(d, topic, message(2, by_alias(2, 1.0))) == {} and d.rejects == {"unknown_topic": 1}


def test_all_messages_of_a_mapped_node_are_listened_to() -> None:
    assert decoder().topics == [
        "spBv1.0/Plant/NBIRTH/Edge", "spBv1.0/Plant/NDATA/Edge", "spBv1.0/Plant/NDEATH/Edge",
        "spBv1.0/Plant/DBIRTH/Edge/+", "spBv1.0/Plant/DDATA/Edge/+", "spBv1.0/Plant/DDEATH/Edge/+",
    ]  # fmt: skip


def test_topics_of_sources() -> None:
    assert parse_source(NODE.format("DATA")) == ("Plant", "Edge", "") and parse_source(DEVICE.format("DATA")) == (
        "Plant",
        "Edge",
        "CDU1",
    )
    for wrong in (
        "spBv1.0/g/NDATA/+",
        "spBv1.0/g/NDATA/",
        "spBv1.0/g/DDATA/n",
        "spBv1.0/g/NDATA/n/d",
        "spBv1.0/g/NCMD/n",
        "spAv1.0/g/NDATA/n",
    ):
        assert parse_source(wrong) is None


def test_state_of_the_host() -> None:
    topic, raw = state_message("coolctl", True, T_MS)
    assert topic == "spBv1.0/STATE/coolctl" and json.loads(raw) == {"online": True, "timestamp": T_MS}


def test_host_survives_any_mutation_in_any_order() -> None:
    d, rng = decoder(), random.Random(3)
    seeds = [
        birth(),
        device_birth(),
        message(2, by_alias(2, 1.0, quality=500)),
        message(3, by_alias(1, 2.0)),
        message(None, bd_seq(0)),
        *[message(2, by_alias(2, 1.5))] * 5,
    ]
    topics = [t.format(kind) for t in (NODE, DEVICE, OTHER) for kind in ("BIRTH", "DATA", "DEATH")]
    good = bad = 0
    for k, raw in enumerate(mutations(seeds, 40_000, rng, 2)):
        if k % 5 == 0:
            d.decode(NODE.format("BIRTH"), birth())
            d.decode(DEVICE.format("BIRTH"), device_birth())
        for s in each(d.decode(DEVICE.format("DATA") if rng.random() < 0.6 else rng.choice(topics), raw)):
            assert 0 <= s.i < len(d.table) and (math.isfinite(s.value) or s.quality == BAD)
            good, bad = good + (s.quality == GOOD), bad + (s.quality == BAD)
        d.watch(k / 10.0)
        d.outgoing(k / 10.0, T_MS)
    assert good > 1_000 and bad > 100 and set(d.rejects) >= {"protobuf", "wire_type", "encoding", "seq_old", "no_birth"}


# -- in the processes


@pytest.fixture
def sparkplug_site(edited_site: Callable[..., Path]) -> Site:
    """The default site with `hand` and `bms_remote` from an edge node, and as a host with a state."""
    rows = [
        (f'role = "{role}"\nmachine = "plant"\nunit = "bool"\n', f'field = "BMS/{role}"\n') for role in ("hand", "bms_remote")
    ]
    more = f'dialect = "sparkplug-b"\ntopic = "{NODE.format("DATA")}"\nage_max_s = 600\n'
    tables = '\n[sparkplug]\nhost = "cool"\n\n[telemetry]'
    return load_site(edited_site(("\n[telemetry]", tables), *((row, row + more + field) for row, field in rows)))


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    made = Client.bus = Bus()
    for module in (coolctl.daemon_link, coolctl.gateway_main):
        monkeypatch.setattr(module, "MqttClient", Client)
    return made


def edge(bus: Bus) -> Client:
    """Hears what an edge node hears."""
    return Client(MqttSettings("", 0, "coolctl-edge-x"), [NODE.format("CMD")])


def bms_birth(seq: int = 0) -> bytes:
    states = [Metric(f"BMS/{role}", k, None, BOOLEAN, slot=14, value=False) for k, role in enumerate(("hand", "bms_remote"))]
    return message(seq, bd_seq(0), *states)


def test_gateway_asks_for_the_birth_and_takes_an_unknown_hand_for_a_hand(sparkplug_site: Site, bus: Bus, tmp_path: Path) -> None:
    gateway, node = GatewayService(sparkplug_site, "", tmp_path), edge(bus)

    def tick(k: int) -> None:
        bus.publish("plant", sparkplug_site.topic("clock"), lease.encode_clock(k, float(k)))
        bus.deliver()
        gateway.work()
        bus.deliver()

    tick(1)
    assert gateway.core.hand and len(node.inbox) == 1
    bus.publish("edge", NODE.format("BIRTH"), bms_birth())
    tick(2)
    assert not gateway.core.hand and len(node.inbox) == 1
    bus.publish("edge", NODE.format("DATA"), message(1, Metric("", 0, slot=14, value=True)))
    tick(3)
    assert gateway.core.hand
    bus.publish("edge", NODE.format("DATA"), message(2, Metric("", 0, slot=14, value=False)))
    tick(4)
    assert not gateway.core.hand
    bus.publish("edge", NODE.format("DEATH"), message(None, bd_seq(0)))
    tick(5)
    assert gateway.core.hand
    bus.publish("edge", NODE.format("BIRTH"), bms_birth())
    bus.publish("edge", NODE.format("DATA"), message(2, Metric("", 0, slot=14, value=False)))  # one was lost
    tick(6)
    assert not gateway.core.hand
    tick(9)
    assert gateway.core.hand and len(node.inbox) == 1
    tick(20)
    assert len(node.inbox) == 2


def test_daemon_asks_for_the_birth_and_has_a_state_whose_will_and_birth_agree(sparkplug_site: Site, bus: Bus) -> None:
    node, link = edge(bus), Link(sparkplug_site, "")
    link.collect(0.0, False)
    bus.deliver()
    assert [m.topic for m in node.inbox] == [NODE.format("CMD")]
    bus.publish("edge", NODE.format("BIRTH"), bms_birth())
    link.wait(0.0, lambda: True)
    snap, _, _ = link.collect(1.0, False)
    assert snap.value[sparkplug_site.table.index["hand"]] == 0.0
    link.client.connects = 1
    link.collect(2.0, False)
    link.client.connects = 2
    snap, _, _ = link.collect(3.0, False)
    assert math.isnan(snap.value[sparkplug_site.table.index["hand"]])
    bus.deliver()
    assert len(node.inbox) == 2
    state = link._host_state("cool")
    assert state is not None and link._host_state("") is None
    will, born = json.loads(state(False)[1]), json.loads(state(True)[1])
    assert (will["online"], born["online"]) == (False, True) and will["timestamp"] == born["timestamp"] > T_MS
