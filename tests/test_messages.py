"""Every message and every reader to its edge: the largest that is taken, the smallest that is not, and each field in its place."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from coolctl import lease
from coolctl.dialects import Decoder, encode_batch, encode_single
from coolctl.dialects.native import INTEGER_MAX
from coolctl.points import Batch, Point, PointTable, Quality, each
from coolctl.strict_json import Rejected, parse, parse_batch, parse_object


def refused(read: Callable[..., Any], *args: Any) -> str:
    """The reason; empty where it is taken."""
    try:
        read(*args)
    except Rejected as rejected:
        return rejected.reason
    return ""


# -- leases: what is sent is what is read

TICK = lease.GatewayTick(12.5, "n", 3, "a", True, False)
CLAIM = lease.Claim("a", "1")
SETPOINTS = lease.Setpoints(3, 4, 12.5, "n", 15.0, "auto", {"b": 2.0, "a": 1.5}, "why", 7)
ACK = lease.Ack(3, 4, "remote", {"a": 1.5}, "stale", 12.5)
BMS = lease.BmsLease("n", 9, 15.0, {"a": 1.5}, 12.5, 7.0, "b")
BMS_TICK = lease.BmsTick(7.0, "b")
PAIRS = (
    (lease.encode_gateway_tick, lease.decode_gateway_tick, TICK, 4096),
    (lease.encode_claim, lease.decode_claim, CLAIM, 4096),
    (lease.encode_setpoints, lease.decode_setpoints, SETPOINTS, 262144),
    (lease.encode_ack, lease.decode_ack, ACK, 262144),
    (lease.encode_bms_lease, lease.decode_bms_lease, BMS, 262144),
    (lease.encode_bms_tick, lease.decode_bms_tick, BMS_TICK, 4096),
)


@pytest.mark.parametrize(("encode", "decode", "message", "size_max"), PAIRS)
def test_message_is_read_as_it_was_written_up_to_its_size(encode: Any, decode: Any, message: Any, size_max: int) -> None:
    raw = encode(message)
    assert decode(raw) == message
    assert decode(raw + b" " * (size_max - len(raw))) == message
    assert refused(decode, raw + b" " * (size_max - len(raw) + 1)) == "too_large"


def test_flags_of_the_heartbeat_stand_in_their_places() -> None:
    for local, hand in ((True, False), (False, True)):
        assert lease.decode_gateway_tick(lease.encode_gateway_tick(TICK._replace(local=local, hand=hand)))[4:] == (local, hand)


def test_what_is_no_number_is_not_sent() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            lease.encode_bms_lease(BMS._replace(sp={"a": value}))


def test_messages_are_written_without_spaces() -> None:
    assert lease.encode_claim(CLAIM) == b'{"v":1,"instance":"a","nonce":"1"}'
    assert lease.encode_clock(3, 1.5) == b'{"k":3,"t_s":1.5}' and lease.encode_done(3) == b'{"k":3}'


def test_checksum_is_of_the_meaning_not_of_the_order() -> None:
    o = json.loads(lease.encode_setpoints(SETPOINTS))
    shuffled = json.dumps(dict(reversed(o.items()))).encode()
    assert lease.decode_setpoints(shuffled) == SETPOINTS
    fields = {k: v for k, v in o.items() if k not in ("v", "crc")}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert o["crc"] == f"{zlib.crc32(text.encode()):08x}"  # as another program would make it


def test_value_that_was_changed_on_its_way_is_refused() -> None:
    raw = lease.encode_setpoints(SETPOINTS)
    assert refused(lease.decode_setpoints, raw.replace(b'"a":1.5', b'"a":1.6')) == "crc"
    assert refused(lease.decode_setpoints, raw.replace(b'"why"', b'"who"')) == "crc"


def with_checksum(**changes: Any) -> bytes:
    fields = {**SETPOINTS._asdict(), **changes}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return json.dumps({"v": 1, **fields, "crc": f"{zlib.crc32(text.encode()):08x}"}).encode()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ttl_s": 0.0}, ""),
        ({"ttl_s": -0.1}, "ttl_s_range"),
        ({"ttl_s": 3600.0}, ""),
        ({"ttl_s": 3600.1}, "ttl_s_range"),
        ({"ttl_s": None}, "ttl_s_type"),
        ({"ttl_s": True}, "ttl_s_type"),
        ({"gw_echo": "x"}, "gw_echo_type"),
        ({"gw_echo": -1e12}, ""),
        ({"gw_echo": 1e12}, ""),
        ({"gw_echo": 1.01e12}, "gw_echo_range"),
        ({"gw_echo": -1.01e12}, "gw_echo_range"),
        ({"sp": {"a": 1e12}}, ""),
        ({"sp": {"a": 1.01e12}}, "a_range"),
        ({"sp": {"a": [1]}}, "a_type"),
        ({"sp": {"a": 10**30}}, "a_range"),
        ({"sp": {f"p{k}": 1.0 for k in range(4096)}}, ""),
        ({"sp": {f"p{k}": 1.0 for k in range(4097)}}, "sp_long"),
        ({"reason": "x" * 400}, ""),
        ({"reason": "x" * 401}, "reason_long"),
        ({"mode": "x" * 64}, ""),
        ({"mode": "x" * 65}, "mode_long"),
        ({"gw_nonce": "x" * 65}, "gw_nonce_long"),
        ({"k": -1}, ""),
        ({"k": -2}, "k_range"),
        ({"seq": 2**53 - 1}, ""),
        ({"seq": 2**53}, "seq_range"),
    ],
)
def test_field_of_a_lease_at_its_edge(changes: dict[str, Any], reason: str) -> None:
    assert refused(lease.decode_setpoints, with_checksum(**changes)) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"ttl_s": 0.0}, ""), ({"ttl_s": -0.1}, "ttl_s_range"), ({"ttl_s": 3600.0}, ""), ({"ttl_s": 3600.1}, "ttl_s_range")],
)
def test_field_of_the_second_lease_at_its_edge(changes: dict[str, Any], reason: str) -> None:
    assert refused(lease.decode_bms_lease, json.dumps({"v": 1, **BMS._asdict(), **changes}).encode()) == reason


def test_reason_of_a_refusal_may_have_two_hundred_letters() -> None:
    assert lease.decode_ack(lease.encode_ack(ACK._replace(rejected="x" * 200))).rejected == "x" * 200


def test_number_that_is_whole_is_read_as_a_number() -> None:
    assert lease.decode_bms_lease(b'{"v":1,"nonce":"n","seq":1,"ttl_s":15,"sp":{"a":2},"t_s":3}') == (
        "n",
        1,
        15.0,
        {"a": 2.0},
        3.0,
        -1.0,
        "",
    )
    assert refused(lease.decode_bms_lease, b'{"v":1,"nonce":"n","seq":1,"ttl_s":15,"sp":{"a":2},"t_s":1e999}') == "not_finite"


@pytest.mark.parametrize(
    ("decode", "raw"), [(lease.decode_clock, b'{"k":3,"t_s":1.5}'), (lease.decode_done, b'{"k":3}')], ids=["clock", "done"]
)
def test_clock_and_done_are_small_and_have_their_keys_only(decode: Any, raw: bytes) -> None:
    assert refused(decode, raw + b" " * (256 - len(raw))) == "" and refused(decode, raw + b" " * (257 - len(raw))) == "too_large"
    assert refused(decode, b'{"k":3,"t_s":1.5,"x":1}') == "keys" and refused(decode, b"{}") == "keys"


# -- strict JSON


@pytest.mark.parametrize("read", [parse, parse_batch])
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a":' + b"1" * 40 + b"}", ""),
        (b'{"a":' + b"1" * 41 + b"}", "number_long"),
        (b'{"a":-' + b"1" * 40 + b"}", "number_long"),
        (b"[" * 8 + b"]" * 8, ""),
        (b"[" * 9 + b"]" * 9, "nested"),
        (b'{"a":' * 9 + b"1" + b"}" * 9, "nested"),
        (b"[[],[],[]," + b"[" * 8 + b"]" * 8 + b"]", "nested"),  # what was closed before does not count against it
        (b"[" * 17 + b"]" * 17, "nested"),
        (b"[" + b"[" * 8 + b"]" * 8 + b",[[[[[[[[]]]]]]]]]", "nested"),
        (b"[" + b"[]," * 30 + b"[]]", ""),
        (b"[" + b'{"a":[]},' * 30 + b"[]]", ""),
        (b"[[[[[[[[]]]]]]]" + b",[],[],[],[],[],[],[],[],[]]", ""),
        (b"\xff", "encoding"),
        (b"nope", "not_json"),
        (b"NaN", "not_finite"),
        (b"-Infinity", "not_finite"),
        (b'{"a":1,"a":1}', "duplicate_key"),
    ],
)
def test_reader_at_its_edges(read: Any, raw: bytes, reason: str) -> None:
    got = refused(read, raw, 4096)
    if read is parse_batch and raw.startswith(b'{"a":-1'):
        assert got in ("number_long", "")  # the sign is not counted as a digit there
    else:
        assert got == reason


def test_long_floats_are_refused_where_their_text_is_long() -> None:
    assert parse(b"0." + b"1" * 38, 64) == pytest.approx(1 / 9) and refused(parse, b"0." + b"1" * 39, 64) == "number_long"
    assert refused(parse, b"1e400", 64) == "not_finite" and refused(parse, b"-1e400", 64) == "not_finite"


@pytest.mark.parametrize("read", [parse, parse_batch])
def test_message_may_be_as_large_as_is_said(read: Any) -> None:
    raw = b'{"values":{"a":1.5}}'
    assert read(raw, len(raw)) == {"values": {"a": 1.5}} and refused(read, raw, len(raw) - 1) == "too_large"


def test_batch_of_endless_digits_says_the_size_first() -> None:
    raw = b'{"values":{"a":' + b"1" * 41 + b"}}"
    assert refused(parse_batch, raw, len(raw)) == "number_long" and refused(parse_batch, raw, len(raw) - 1) == "too_large"


@pytest.mark.parametrize("digits", [18, 19, 20, 25, 40])
def test_batch_keeps_long_whole_numbers_whole(digits: int) -> None:
    number = int("1234567890" * 4) // 10 ** (40 - digits)
    found = parse_batch(b'{"values":{"a":%d}}' % number, 4096)["values"]["a"]
    assert found == number and type(found) is int


def test_batch_keeps_the_lowest_whole_numbers_whole() -> None:
    assert parse_batch(b'{"values":{"a":-9999999999999999999}}', 4096)["values"]["a"] == -9999999999999999999


def test_ordinary_batch_needs_the_quick_reader_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are most of what is read; the strict reader would take several times as long."""
    raw = encode_batch({"chwst": 12.5, "oawb": -3.25}, 1_700_000_000_000)
    monkeypatch.setattr("coolctl.strict_json._parse", None)
    assert parse_batch(raw, len(raw)) == {"timestamp": 1_700_000_000_000, "values": {"chwst": 12.5, "oawb": -3.25}}


def test_bytes_that_are_no_text_are_no_digits() -> None:
    """A superscript digit of another code page is no digit."""
    assert refused(parse_batch, b'{"values":{"' + b"\xb2" * 41 + b'":1}}', 4096) == "encoding"


def test_batch_with_text_in_other_scripts_is_read() -> None:
    raw = '{"values":{"室温":1.5}}'.encode()
    assert parse_batch(raw, 4096) == {"values": {"室温": 1.5}}


def test_batch_that_hides_a_second_value_of_a_key_is_refused() -> None:
    for raw in (b'{"values":{"a":1,"a":2}}', b'{"values":{"a":1},"values":{"b":2}}', b'{"t":1,"values":{"a:b":1,"c":2,"c":3}}'):
        assert refused(parse_batch, raw, 4096) == "duplicate_key"


def test_object_is_wanted_where_one_is_needed() -> None:
    assert parse_object(b'{"a":1}', 64) == {"a": 1}
    for raw in (b"[1]", b"1", b'"a"', b"null"):
        assert refused(parse_object, raw, 64) == "not_an_object"


# -- dialects


def point(name: str, dialect: str = "json", topic: str = "x/t", unit: str = "degC") -> Point:
    return Point(name, "chwst", "plant", unit, topic, dialect, name, 5.0, -5.0, 60.0)


def decoder(*points: Point, single: int = 4096) -> Decoder:
    return Decoder(PointTable(list(points)), single, 262144)


def test_topics_are_those_of_the_points_that_are_read() -> None:
    written = Point("w", "chwst_sp", "plant", "degC", "w/t", "json", "w", 5.0, -5.0, 60.0)
    assert decoder(point("b", topic="y"), point("a", topic="x"), written).topics == ["x", "y"]


def test_sample_says_which_point_when_and_how_good() -> None:
    d = decoder(point("z", topic="other"), point("a"))
    (found,) = each(d.decode("x/t", b'{"value":50.5,"timestamp":1700000000500,"quality":1}'))
    assert found == (1, 50.5, 1_700_000_000.5, Quality.GOOD)
    (bare,) = each(decoder(point("a", "scalar")).decode("x/t", b"50.5"))
    assert bare[:2] == (0, 50.5) and math.isnan(bare.t_source_s) and bare.quality == Quality.GOOD
    (unstamped,) = each(d.decode("x/t", b'{"value":50.5}'))
    assert math.isnan(unstamped.t_source_s) and unstamped.quality == Quality.GOOD


def test_batch_says_which_points_and_when() -> None:
    d = decoder(*(point(n) for n in "abc"))
    for raw in (b'{"timestamp":2000,"values":{"c":3.5,"a":1.5}}', b'{"timestamp":2000,"values":{"c":3.5,"a":1.5,"b":true}}'):
        assert [(s.i, s.value, s.t_source_s, s.quality) for s in each(d.decode("x/t", raw))] == [
            (2, 3.5, 2.0, Quality.GOOD), (0, 1.5, 2.0, Quality.GOOD),
        ]  # fmt: skip
    (batch,) = d.decode("x/t", b'{"values":{"a":1}}')
    assert math.isnan(batch.t_source_s)


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        ("0", ""),
        ("0.5", ""),
        ("-0.5", "timestamp_range"),
        ("4e12", ""),
        ("4.01e12", "timestamp_range"),
        ('"1"', "timestamp_type"),
    ],
)
def test_stamp_at_its_edge(stamp: str, reason: str) -> None:
    d = decoder(point("a"))
    assert len(d.decode("x/t", f'{{"value":1,"timestamp":{stamp}}}'.encode())) == (not reason) and d.rejects == (
        {reason: 1} if reason else {}
    )


@pytest.mark.parametrize("text", ['{"value":%d}', '{"values":{"a":%d}}', '{"values":{"a":%d,"b":null}}'])
def test_whole_numbers_are_taken_up_to_a_million_milliards(text: str) -> None:
    assert INTEGER_MAX == 1_000_000_000_000_000
    for number, taken in ((10**15, True), (10**15 + 1, False), (-(10**15), True), (-(10**15) - 1, False)):
        d = decoder(point("a"), *([point("b")] if "b" in text else []))
        found = list(each(d.decode("x/t", (text % number).encode())))
        assert [s.value for s in found] == ([float(number)] if taken else []), number
        assert ("value_range" in d.rejects) == (not taken)


def test_single_form_may_be_as_large_as_is_said_and_only_a_batch_larger() -> None:
    d = decoder(point("a"), single=100)
    for pad, reason in ((0, ""), (1, "too_large")):
        raw = b'{"value":1' + b" " * (100 - 11 + pad) + b"}"
        assert len(raw) == 100 + pad
        d.rejects.clear()
        assert len(d.decode("x/t", raw)) == (not reason) and d.rejects == ({reason: 1} if reason else {})
    assert [s.value for s in each(d.decode("x/t", b'{"values":{"a":1}' + b" " * 100 + b"}"))] == [1.0]


def test_scalar_may_have_sixty_four_letters() -> None:
    d = decoder(point("a", "scalar"))
    assert d.decode("x/t", b" \n" * 100 + b"1.5") and not d.rejects  # the space around it does not count
    assert refused(parse, b"1" * 40 + b" " * 25, 64) == "too_large"
    assert d.decode("x/t", b'"' + b"x" * 62 + b'"') == [] and d.rejects == {"value_type": 1}
    assert d.decode("x/t", b'"' + b"x" * 63 + b'"') == [] and d.rejects == {"value_type": 1, "too_large": 1}


def test_small_batch_is_read_strictly_up_to_its_very_size() -> None:
    raw = b'{"values":{"a":1e999,"b":2}}'
    for size, found, rejects in ((len(raw), [], 1), (len(raw) - 1, [2.0], 1)):
        d = decoder(point("a"), point("b"), single=size)
        assert [s.value for s in each(d.decode("x/t", raw))] == found and d.rejects == {"not_finite": rejects}


def test_batch_of_numbers_is_decoded_at_once_whatever_their_kinds() -> None:
    d = decoder(point("a"), point("b"))
    for text in ('{"a":1,"b":2}', '{"a":1.5,"b":2.5}', '{"a":1,"b":2.5}'):
        (batch,) = d.decode("x/t", f'{{"values":{text}}}'.encode())
        assert isinstance(batch, Batch) and batch.i.tolist() == [0, 1]


def test_empty_batch_is_no_fault_and_no_sample() -> None:
    d = decoder(point("a"))
    assert d.decode("x/t", b'{"values":{}}') == [] and not d.rejects


def test_batch_whose_names_change_is_read_by_its_names() -> None:
    """A sender's names are remembered by the first of them; another order, or other names, are looked up anew."""
    d = decoder(*(point(n) for n in "abc"))
    for names in ("ab", "ab", "acb", "ac", "ba", "ab", "a", "cba"):
        raw = json.dumps({"values": {n: "abc".index(n) + 1.5 for n in names}}).encode()
        assert [(s.i, s.value) for s in each(d.decode("x/t", raw))] == [("abc".index(n), "abc".index(n) + 1.5) for n in names]


def test_batch_that_is_repeated_is_looked_up_once() -> None:
    d = decoder(point("a"), point("b"))
    route = d._routes["x/t"]
    first = route.positions(["a", "b"])
    assert route.positions(["a", "b"]) is first and first.tolist() == [0, 1]
    assert route.positions(["b", "a"]) is not first and route.positions([]).tolist() == []


def test_names_that_nobody_knows_are_not_remembered() -> None:
    """What is remembered is bounded by the points that there are: a stream of invented names must not fill the memory."""
    d = decoder(point("a"))
    for k in range(50):
        d.decode("x/t", f'{{"values":{{"nobody{k}":1.0,"a":2.0}}}}'.encode())
    assert d._routes["x/t"]._seen == {} and d.rejects == {"unknown_point": 50}
    d.decode("x/t", b'{"values":{"a":1.0,"nobody":2.0}}')
    assert set(d._routes["x/t"]._seen) == {"a"}


def test_unknown_names_of_a_batch_are_counted_one_by_one() -> None:
    d = decoder(point("a"))
    assert [s.value for s in each(d.decode("x/t", b'{"values":{"n":1.0,"a":2.0,"m":3.0}}'))] == [2.0] and d.rejects == {
        "unknown_point": 2
    }
    assert d.decode("x/t", b'{"values":{"n":1.0}}') == [] and d.rejects == {"unknown_point": 3}


def test_encoders_write_what_the_decoder_reads() -> None:
    d = decoder(point("a"), point("b"))
    raw = encode_batch({"a": 1.5, "b": 2.0}, 2000)
    assert raw == b'{"timestamp":2000,"values":{"a":1.5,"b":2.0}}'
    assert [(s.i, s.value, s.t_source_s) for s in each(d.decode("x/t", raw))] == [(0, 1.5, 2.0), (1, 2.0, 2.0)]
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_batch({"a": math.nan}, 2000)
    assert encode_single(point("a"), 1.5, 2000) == b'{"value":1.5,"timestamp":2000,"quality":1}'


def test_values_come_in_internal_units_by_every_way() -> None:
    warm = point("a", unit="degF")
    for raw in (b'{"value":50.0}', b'{"values":{"a":50.0}}', b'{"values":{"a":50,"b":true}}'):
        d = decoder(warm) if b"values" not in raw else decoder(warm, point("b"))
        assert [s.value for s in each(d.decode("x/t", raw))] == pytest.approx([10.0])
    assert np.isfinite([s.value for s in each(decoder(point("a", "scalar", unit="degF")).decode("x/t", b"50"))]).all()
