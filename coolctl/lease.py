"""The messages between controller, gateway and BMS: pure encode and strict decode, with a checksum on setpoints.

Freshness is measured on the gateway's clock alone: it publishes its tick, the controller echoes the newest one that it
has worked with, and the gateway compares. No message carries a wall-clock expiry.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from coolctl.strict_json import Rejected, parse_object

VERSION = 1
NAME_MAX = 64
SETPOINTS_MAX = 4096


class GatewayTick(NamedTuple):
    """Gateway → controller, 1 Hz: its clock [s], a nonce per start, the epoch granted and to whom."""

    t_s: float
    nonce: str
    epoch: int
    holder: str
    local: bool
    hand: bool


class Claim(NamedTuple):
    """Controller → gateway: ask for the epoch."""

    instance: str
    nonce: str


class Setpoints(NamedTuple):
    """Controller → gateway: a lease on setpoints by point id, in the site file's units. Empty = explicitly none."""

    epoch: int
    seq: int
    gw_echo: float
    gw_nonce: str
    ttl_s: float
    mode: str
    sp: dict[str, float]
    reason: str
    k: int


class Ack(NamedTuple):
    """Gateway → controller: what became of a lease."""

    epoch: int
    seq: int
    mode: str
    applied: dict[str, float]
    rejected: str
    t_s: float


class BmsTick(NamedTuple):
    """BMS → gateway, 1 Hz, where the BMS can: its own clock [s] and a nonce per start, to be echoed in every lease."""

    t_s: float
    nonce: str


class BmsLease(NamedTuple):
    """Gateway → BMS: setpoints it may follow for `ttl_s` from when it hears this. `echo_s` and `echo_nonce` are the newest
    `BmsTick` that the gateway had heard: by its own clock the BMS can tell how old the lease is. Empty: it has said none."""

    nonce: str
    seq: int
    ttl_s: float
    sp: dict[str, float]
    t_s: float
    echo_s: float = -1.0
    echo_nonce: str = ""


def _dump(fields: Mapping[str, Any]) -> bytes:
    return json.dumps({"v": VERSION, **fields}, allow_nan=False, separators=(",", ":")).encode()


def encode_gateway_tick(m: GatewayTick) -> bytes:
    return _dump(m._asdict())


def encode_claim(m: Claim) -> bytes:
    return _dump(m._asdict())


def encode_ack(m: Ack) -> bytes:
    return _dump(m._asdict())


def encode_bms_tick(m: BmsTick) -> bytes:
    return _dump(m._asdict())


def encode_bms_lease(m: BmsLease) -> bytes:
    return _dump(m._asdict())


def encode_setpoints(m: Setpoints) -> bytes:
    """The lease with its checksum as last field."""
    fields = m._asdict()
    return _dump({**fields, "crc": _checksum(fields)})


def _checksum(fields: Mapping[str, Any]) -> str:
    """CRC-32 over the canonical text of all fields: catches a relay that rewrites numbers, not an attacker."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


def _number(o: Mapping[str, Any], key: str, low: float = -1e12, high: float = 1e12) -> float:
    value = o.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Rejected(f"{key}_type")
    value = float(value)
    if not (math.isfinite(value) and low <= value <= high):
        raise Rejected(f"{key}_range")
    return value


def _integer(o: Mapping[str, Any], key: str) -> int:
    value = o.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Rejected(f"{key}_type")
    if not -1 <= value < 1 << 53:
        raise Rejected(f"{key}_range")
    return value


def _text(o: Mapping[str, Any], key: str, longest: int = NAME_MAX) -> str:
    value = o.get(key)
    if not isinstance(value, str):
        raise Rejected(f"{key}_type")
    if len(value) > longest:
        raise Rejected(f"{key}_long")
    return value


def _flag(o: Mapping[str, Any], key: str) -> bool:
    value = o.get(key)
    if not isinstance(value, bool):
        raise Rejected(f"{key}_type")
    return value


def _values(o: Mapping[str, Any], key: str) -> dict[str, float]:
    values = o.get(key)
    if not isinstance(values, dict):
        raise Rejected(f"{key}_type")
    if len(values) > SETPOINTS_MAX:
        raise Rejected(f"{key}_long")
    return {name: _number(values, name) for name in values}


def _open(raw: bytes, keys: frozenset[str], size_max: int) -> dict[str, Any]:
    o = parse_object(raw, size_max)
    if o.get("v") != VERSION:
        raise Rejected("version")
    if set(o) != keys:
        raise Rejected("keys")
    return o


def _keys(kind: type[Any], *more: str) -> frozenset[str]:
    return frozenset((*kind._fields, "v", *more))


_TICK, _CLAIM, _SP = _keys(GatewayTick), _keys(Claim), _keys(Setpoints, "crc")
_BMS_BEFORE = _keys(BmsLease) - {"echo_s", "echo_nonce"}  # what gateways said before they echoed
_ACK, _BMS, _BMS_TICK = _keys(Ack), _keys(BmsLease), _keys(BmsTick)


def decode_gateway_tick(raw: bytes, size_max: int = 4096) -> GatewayTick:
    """Raises `Rejected` with the reason."""
    o = _open(raw, _TICK, size_max)
    return GatewayTick(
        _number(o, "t_s"), _text(o, "nonce"), _integer(o, "epoch"), _text(o, "holder"), _flag(o, "local"), _flag(o, "hand")
    )


def decode_claim(raw: bytes, size_max: int = 4096) -> Claim:
    """Raises `Rejected` with the reason."""
    o = _open(raw, _CLAIM, size_max)
    return Claim(_text(o, "instance"), _text(o, "nonce"))


def decode_setpoints(raw: bytes, size_max: int = 262144) -> Setpoints:
    """Raises `Rejected` with the reason; `crc` when the text was changed on its way."""
    o = _open(raw, _SP, size_max)
    crc = o.pop("crc")
    o.pop("v")
    if _checksum(o) != crc:
        raise Rejected("crc")
    return Setpoints(
        _integer(o, "epoch"), _integer(o, "seq"), _number(o, "gw_echo"), _text(o, "gw_nonce"), _number(o, "ttl_s", 0.0, 3600.0),
        _text(o, "mode"), _values(o, "sp"), _text(o, "reason", 400), _integer(o, "k"),
    )  # fmt: skip


def decode_ack(raw: bytes, size_max: int = 262144) -> Ack:
    """Raises `Rejected` with the reason."""
    o = _open(raw, _ACK, size_max)
    return Ack(
        _integer(o, "epoch"),
        _integer(o, "seq"),
        _text(o, "mode"),
        _values(o, "applied"),
        _text(o, "rejected", 200),
        _number(o, "t_s"),
    )


def decode_bms_tick(raw: bytes, size_max: int = 4096) -> BmsTick:
    """Raises `Rejected` with the reason."""
    o = _open(raw, _BMS_TICK, size_max)
    return BmsTick(_number(o, "t_s"), _text(o, "nonce"))


def decode_bms_lease(raw: bytes, size_max: int = 262144) -> BmsLease:
    """Raises `Rejected` with the reason."""
    before = b'"echo_' not in raw
    o = {"echo_s": -1.0, "echo_nonce": "", **_open(raw, _BMS_BEFORE if before else _BMS, size_max)}
    return BmsLease(
        _text(o, "nonce"), _integer(o, "seq"), _number(o, "ttl_s", 0.0, 3600.0), _values(o, "sp"), _number(o, "t_s"),
        _number(o, "echo_s"), _text(o, "echo_nonce"),
    )  # fmt: skip


def encode_clock(k: int, t_s: float) -> bytes:
    return json.dumps({"k": k, "t_s": t_s}, separators=(",", ":")).encode()


def decode_clock(raw: bytes) -> tuple[int, float]:
    """Step number and plant time [s] of a simulated plant. Raises `Rejected`."""
    o = parse_object(raw, 256)
    if set(o) != {"k", "t_s"}:
        raise Rejected("keys")
    return _integer(o, "k"), _number(o, "t_s")


def encode_done(k: int) -> bytes:
    return b'{"k":%d}' % k


def decode_done(raw: bytes) -> int:
    """Step number that the gateway has finished. Raises `Rejected`."""
    o = parse_object(raw, 256)
    if set(o) != {"k"}:
        raise Rejected("keys")
    return _integer(o, "k")
