"""Strict decoding, leases and the gateway: what may be used, and everything that may not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from coolctl import lease
from coolctl.dialects import Decoder, encode_batch
from coolctl.gateway import EpochFile, GatewayCore
from coolctl.points import Point, PointTable, each
from coolctl.site import Site
from coolctl.strict_json import Rejected, parse, parse_batch, parse_flat


def decoder(site: Site) -> Decoder:
    return Decoder(site.table, site.file.mqtt.payload_max_bytes, site.file.mqtt.batch_max_bytes)


TOPIC = "coolctl/v1/hall1mw/tel"


def test_batch_is_decoded_in_internal_units(site: Site) -> None:
    d = decoder(site)
    samples = d.decode(TOPIC, encode_batch({"hall1.it_power": 600.0, "chwst": 12.5}, 1_700_000_000_000))
    found = {site.table.points[s.i].id: (s.value, s.t_source_s) for s in each(samples)}
    assert found == {"hall1.it_power": (6e5, 1.7e9), "chwst": (12.5, 1.7e9)} and not d.rejects


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"timestamp":1,"values":{"chwst":NaN}}', "not_finite"),
        (b'{"timestamp":1,"values":{"chwst":-Infinity}}', "not_finite"),
        (b'{"timestamp":1,"values":{"chwst":1e999}}', "not_finite"),
        (b'{"timestamp":1,"values":{"chwst":true}}', "value_type"),
        (b'{"timestamp":1,"values":{"chwst":"21.5"}}', "value_type"),
        (b'{"timestamp":1,"values":{"chwst":null}}', "value_type"),
        (b'{"timestamp":1,"values":{"chwst":[1]}}', "value_type"),
        (b'{"timestamp":1,"values":{"chwst":1,"chwst":2}}', "duplicate_key"),
        (b'{"timestamp":1,"values":{"chwst":' + b"9" * 5000 + b"}}", "number_long"),
        (b'{"timestamp":1,"values":{"chwst":1234567890123456789}}', "value_range"),
        (b'{"timestamp":"now","values":{"chwst":1}}', "timestamp_type"),
        (b'{"timestamp":-5,"values":{"chwst":1}}', "timestamp_range"),
        (b'{"timestamp":1,"values":{"chwts":1}}', "unknown_point"),
        (b'{"timestamp":1,"values":{"chwst":1},"extra":1}', "keys"),
        (b'{"timestamp":1,"values":[1]}', "keys"),
        (b'{"value":1,"timestamp":1}', "single_value_on_shared_topic"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "nested"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b'{"timestamp":1,"values":{"chwst":"\xff"}}', "encoding"),
        (b"", "not_json"),
        (b"21.5", "not_an_object"),
        (b"{" + b" " * 300_000 + b"}", "too_large"),
    ],
)
def test_bad_message_is_counted_by_reason_and_never_used(site: Site, raw: bytes, reason: str) -> None:
    d = decoder(site)
    assert d.decode(TOPIC, raw) == [] and d.rejects == {reason: 1}


def test_nesting_bomb_within_the_cap_is_refused_quickly(site: Site) -> None:
    assert decoder(site).decode(TOPIC, b'{"timestamp":1,"values":' + b'{"a":' * 12 + b"1" + b"}" * 13) == []


def single(dialect: str) -> Decoder:
    point = Point("t", "chwst", "plant", "degF", "x/t", dialect, "t", 5.0, -5.0, 60.0)
    return Decoder(PointTable([point]), 4096, 262144)


def test_single_and_scalar_dialects() -> None:
    d = single("json")
    assert d.decode("x/t", b'{"value":77,"timestamp":1000,"quality":1}')[0].value == pytest.approx(25.0)
    assert d.decode("x/t", b'{"value":77,"quality":0}') == [] and d.rejects == {"source_bad": 1}
    s = single("scalar")
    assert s.decode("x/t", b" 77.0\n")[0].value == pytest.approx(25.0)
    assert s.decode("x/t", b"{}") == [] and s.decode("x/t", b"warm") == [] and s.decode("other", b"1") == []
    assert s.rejects == {"value_type": 1, "not_json": 1, "unknown_topic": 1}


def large_batch(change: str = "") -> bytes:
    filler = ",".join(f'"nobody{k}":{k}.25' for k in range(600))
    return f'{{"timestamp":1000,"values":{{"chwst":12.5,{change}{filler}}}}}'.encode()


def test_large_batch_is_read_as_strictly_as_a_small_one(site: Site) -> None:
    d = decoder(site)
    assert [s.value for s in each(d.decode(TOPIC, large_batch()))] == [12.5] and d.rejects == {"unknown_point": 600}
    for change, reason in (
        ('"oawb":NaN,', "not_finite"),
        ('"chwst":1,', "duplicate_key"),
        (f'"oawb":{"1" * 41},', "number_long"),
    ):
        d = decoder(site)
        assert d.decode(TOPIC, large_batch(change)) == [] and d.rejects == {reason: 1}
    for change, reason in (
        ('"oawb":1e999,', "not_finite"),
        ('"oawb":true,', "value_type"),
        ('"oawb":1234567890123456789,', "value_range"),
    ):
        d = decoder(site)
        assert [s.value for s in each(d.decode(TOPIC, large_batch(change)))] == [12.5]
        assert d.rejects == {"unknown_point": 600, reason: 1}
    assert decoder(site).decode(TOPIC, large_batch()[:-1]) == []


def mutations(seed: bytes, count: int, rng: random.Random):  # type: ignore[no-untyped-def]
    pieces = [b"NaN", b"1e999", b"{", b"}", b"[", b'"', b"\\u0000", b"true", b"-", b"\xff", b"0" * 50, b",", b":"]
    for _ in range(count):
        raw = bytearray(seed)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(raw) + 1)
            kind = rng.random()
            if kind < 0.4 and raw:
                raw[min(at, len(raw) - 1)] = rng.randrange(256)
            elif kind < 0.7:
                raw[at:at] = rng.choice(pieces)
            else:
                del raw[at : at + rng.randint(1, 8)]
        yield bytes(raw)


def read(parser, raw: bytes) -> str:  # type: ignore[no-untyped-def]
    """What a parser makes of a message, as a text that tells 1 from 1.0."""
    try:
        return repr(parser(raw, 4096))
    except Rejected:
        return "refused"


def test_fast_reader_says_what_the_strict_one_says() -> None:
    rng = random.Random(11)
    seed = b'{"timestamp":1700000000000,"values":{"chwst":12.5,"oawb":-3.25,"chwst2":1e-7,"n":600}}'
    for raw in (
        seed,
        seed.replace(b"chwst2", b"chwst"),
        seed.replace(b"chwst2", b"chw:st"),
        seed.replace(b"oawb", b"\\u006fawb"),
        seed.replace(b"600", b"18446744073709551616"),
        seed.replace(b"600", b'{"a":1,"a":2}'),
        seed.replace(b"timestamp", b"values"),
        b" " + seed + b"\n",
        seed + b"x",
        b"[1,2]",
        b"3",
    ):
        assert read(parse_batch, raw) == read(parse, raw)
    alike = accepted = 0
    for raw in mutations(seed, 30_000, rng):
        quick, strict = read(parse_batch, raw), read(parse, raw)
        if "inf" in quick or b"0" * 20 in raw:
            continue  # infinities are for the batch reader's caller to refuse; endless digits have a test of their own
        assert quick == strict, raw
        alike, accepted = alike + 1, accepted + quick.startswith("{")
    assert alike > 20_000 and accepted > 1_000


def test_same_names_on_two_topics_are_two_points() -> None:
    points = [Point(f"h{k}.x", "oadb", f"h{k}", "degC", f"site/h{k}", "json", "v", 10.0, -50.0, 60.0) for k in range(2)]
    d = Decoder(PointTable(points), 4096, 4096)
    filler = ",".join(f'"nobody{k}":{k}.5' for k in range(2))
    raw = f'{{"values":{{"v":7.0,{filler}}}}}'.encode()
    for _ in range(2):
        assert [[s.i for s in each(d.decode(f"site/h{k}", raw))] for k in range(2)] == [[0], [1]]


def test_decoder_survives_any_mutation_with_finite_samples_only(site: Site) -> None:
    d, rng = decoder(site), random.Random(7)
    seed = encode_batch({"chwst": 12.5, "oawb": -3.25, "hall1.it_power": 600.0}, 1_700_000_000_000)
    for raw in mutations(seed, 60_000, rng):
        for sample in each(d.decode(TOPIC, raw)):
            assert sample.value - sample.value == 0.0 and 0 <= sample.i < len(site.table)
    assert sum(d.rejects.values()) > 30_000  # the mutations do bite


@pytest.mark.parametrize("text", [b"1e999", b"-1e999", b'{"a":[1e400]}', b"NaN", b"Infinity"])
def test_strict_reader_refuses_what_is_not_finite(text: bytes) -> None:
    with pytest.raises(Rejected, match="not_finite"):
        parse(text, 64)


def test_fast_reader_of_one_value_says_what_the_strict_one_says() -> None:
    seed = b'{"value":-12.5,"timestamp":1700000000000,"quality":1}'
    odd = (b"[]", b"1", b'{"a":{}}', b'{"a":1,"a":2}', b'{"a":":"}', b'{"a":1' + b"0" * 41 + b"}", b'{"a":"' + b"x" * 300 + b'"}')
    for raw in (seed, *odd, *mutations(seed, 30_000, random.Random(13))):
        assert read(parse_flat, raw) == read(parse, raw), raw


# -- leases and the gateway


@pytest.fixture
def gateway(site: Site, tmp_path: Path) -> GatewayCore:
    core = GatewayCore(site, EpochFile(tmp_path), nonce="n1")
    core.tick(100.0)
    core.claim(lease.encode_claim(lease.Claim("a", "1")), False)
    return core


def message(core: GatewayCore, seq: int = 1, **changes: object) -> bytes:
    fields = lease.Setpoints(core._epochs.value, seq, core.now_s, core.nonce, 15.0, "auto", {"chwst_sp": 14.0}, "test", -1)
    return lease.encode_setpoints(fields._replace(**changes))  # type: ignore[arg-type]


def kinds(out: list) -> list[str]:  # type: ignore[type-arg]
    return [o.kind for o in out]


def test_gateway_starts_silent(site: Site, tmp_path: Path) -> None:
    core = GatewayCore(site, EpochFile(tmp_path))
    assert kinds(core.tick(0.0)) == ["gw_tick"] and not core.leased


def test_gateway_good_lease_goes_to_the_bms_and_is_acknowledged(gateway: GatewayCore) -> None:
    out, _ = gateway.setpoints(message(gateway), False)
    assert kinds(out) == ["bms", "ack"] and gateway.leased
    assert lease.decode_bms_lease(out[0].payload).sp == {"chwst_sp": 14.0}
    ack = lease.decode_ack(out[1].payload)
    assert (ack.mode, ack.rejected, ack.applied) == ("remote", "", {"chwst_sp": 14.0})


@pytest.mark.parametrize(
    ("changes", "retained", "reason"),
    [
        ({}, True, "retained"),
        ({"gw_nonce": "old"}, False, "nonce"),
        ({"epoch": 0}, False, "epoch"),
        ({"epoch": 99}, False, "epoch"),
        ({"gw_echo": 94.9}, False, "stale"),
        ({"gw_echo": 101.0}, False, "stale"),
        ({"sp": {"chwst_sp": 4.0}}, False, "outside_limits"),
        ({"sp": {"chwst_sp": 25.0}}, False, "outside_limits"),
        ({"sp": {"hall1.sat_sp": 27.5}}, False, "outside_limits"),
        ({"sp": {"oawb": 5.0}}, False, "unknown_setpoint"),
    ],
)
def test_gateway_refuses_and_says_why(gateway: GatewayCore, changes: dict, retained: bool, reason: str) -> None:  # type: ignore[type-arg]
    out, _ = gateway.setpoints(message(gateway, **changes), retained)
    assert kinds(out) == ["ack"] and lease.decode_ack(out[0].payload).rejected == reason
    assert not gateway.leased and gateway.rejects == {reason: 1}


def test_gateway_repeated_or_older_sequence_is_refused(gateway: GatewayCore) -> None:
    raw = message(gateway, 5)
    gateway.setpoints(raw, False)
    for again in (raw, message(gateway, 4)):
        out, _ = gateway.setpoints(again, False)
        assert lease.decode_ack(out[-1].payload).rejected == "seq"


def test_gateway_changed_text_fails_its_checksum(gateway: GatewayCore) -> None:
    raw = message(gateway).replace(b'"chwst_sp":14.0', b'"chwst_sp":15.0')
    assert gateway.setpoints(raw, False) == ([], -1) and gateway.rejects == {"crc": 1}


def test_gateway_lets_go_after_ttl_on_its_own_clock(gateway: GatewayCore) -> None:
    gateway.setpoints(message(gateway), False)
    out = gateway.tick(114.0)
    # The BMS is told no more than what is left: its control begins one TTL after the controller's last word.
    assert "bms" in kinds(out) and lease.decode_bms_lease(out[1].payload).ttl_s == pytest.approx(1.0)
    assert kinds(gateway.tick(115.1)) == ["gw_tick"] and not gateway.leased


def test_gateway_clock_running_backwards_ends_the_lease(gateway: GatewayCore) -> None:
    gateway.setpoints(message(gateway), False)
    gateway.tick(50.0)
    assert not gateway.leased


def test_gateway_explicit_none_ends_the_lease_at_once(gateway: GatewayCore) -> None:
    gateway.setpoints(message(gateway), False)
    out, k = gateway.setpoints(message(gateway, 2, sp={}, k=7), False)
    assert kinds(out) == ["ack"] and k == 7 and not gateway.leased


def test_gateway_hand_ends_the_lease_and_refuses_the_next(gateway: GatewayCore) -> None:
    gateway.setpoints(message(gateway), False)
    gateway.set_hand(True)
    out, _ = gateway.setpoints(message(gateway, 2), False)
    assert lease.decode_ack(out[0].payload).mode == "hand" and not gateway.leased


def test_gateway_paces_a_jump_inside_the_limits(gateway: GatewayCore) -> None:
    gateway.setpoints(message(gateway), False)
    gateway.tick(101.0)
    gateway.setpoints(message(gateway, 2, sp={"chwst_sp": 20.0}), False)
    assert gateway.applied["chwst_sp"] == pytest.approx(14.2)  # 0.2 K/s of its own


def test_gateway_standby_gets_the_epoch_only_after_silence(gateway: GatewayCore) -> None:
    gateway.setpoints(message(gateway), False)
    old = gateway._epochs.value
    standby = lease.encode_claim(lease.Claim("b", "2"))
    gateway.tick(102.0)
    assert gateway.claim(standby, False) == [] and gateway.holder == "a"
    gateway.tick(104.0)
    gateway.claim(standby, False)
    assert gateway.holder == "b" and gateway._epochs.value == old + 1
    out, _ = gateway.setpoints(message(gateway, 9, epoch=old), False)  # the old leader resumes
    assert lease.decode_ack(out[0].payload).rejected == "epoch"
    assert gateway.claim(standby, True) == []  # a retained claim is no claim


def test_gateway_restart_raises_the_epoch_and_knows_no_old_lease(site: Site, tmp_path: Path, gateway: GatewayCore) -> None:
    raw, before = message(gateway), gateway._epochs.value
    again = GatewayCore(site, EpochFile(tmp_path), nonce="n2")
    again.tick(100.0)
    assert again._epochs.value > before
    out, _ = again.setpoints(raw, False)
    assert lease.decode_ack(out[0].payload).rejected == "nonce"


def test_gateway_damaged_epoch_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "epoch.json").write_bytes(b"\0garbage")
    assert EpochFile(tmp_path).raise_it() == 1 and json.loads((tmp_path / "epoch.json").read_text()) == {"epoch": 1}


def test_lease_decoders_survive_any_mutation(gateway: GatewayCore) -> None:
    rng, before = random.Random(3), gateway.accepted
    for raw in mutations(message(gateway), 20_000, rng):
        gateway.setpoints(raw, False)
    # A mutation that keeps the text's meaning (white space) may pass; none may change a value.
    assert gateway.accepted - before <= 1 and gateway.applied.get("chwst_sp", 14.0) == 14.0
    for decode in (
        lease.decode_ack,
        lease.decode_claim,
        lease.decode_gateway_tick,
        lease.decode_bms_lease,
        lease.decode_clock,
        lease.decode_done,
    ):
        for raw in mutations(b'{"v":1,"k":3,"t_s":1.5}', 2000, rng):
            try:
                decode(raw)
            except Rejected as rejected:
                assert rejected.reason
