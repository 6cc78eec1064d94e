"""Protocol buffers on the wire: enough to read and write messages field by field, strict about what may stand there."""

from __future__ import annotations

import struct

from coolctl.strict_json import Rejected

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_NUMBER_MAX = (1 << 29) - 1
_U64 = 1 << 64

Field = tuple[int, int | bytes]
"""Number and bare value: an integer, or the bytes of what has a length."""


def read_fields(raw: bytes, wire: dict[int, int]) -> list[Field]:
    """The fields of a message, in order; `wire` is the type that each known one must have. Raises `Rejected`."""
    at, end, found = 0, len(raw), []
    while at < end:
        tag, at = (raw[at], at + 1) if raw[at] < 0x80 else _varint(raw, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number <= _NUMBER_MAX:
            raise Rejected("protobuf")
        value: int | bytes
        if kind == VARINT:
            value, at = _varint(raw, at)
        else:
            if kind == BYTES:
                size, at = _varint(raw, at)
            elif kind in (FIXED64, FIXED32):
                size = 8 if kind == FIXED64 else 4
            else:  # groups are long gone, 6 and 7 never were
                raise Rejected("protobuf")
            if size > end - at:
                raise Rejected("protobuf")
            piece, at = raw[at : at + size], at + size
            value = piece if kind == BYTES else int.from_bytes(piece, "little")
        if wire.get(number, kind) != kind:
            raise Rejected("wire_type")
        found.append((number, value))
    return found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    if at < len(raw) and raw[at] < 0x80:
        return raw[at], at + 1
    value = shift = 0
    for byte in raw[at : at + 10]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= _U64:
                raise Rejected("protobuf")
            return value, at
        shift += 7
    raise Rejected("protobuf")


def as_text(value: int | bytes) -> str:
    """A string field. Raises `Rejected`."""
    assert isinstance(value, bytes)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected("encoding") from None


def as_float(bits: int | bytes, code: str) -> float:
    """The bits of a fixed field as a number: `code` is `f` or `d`."""
    assert isinstance(bits, int)
    return float(struct.unpack("<" + code, bits.to_bytes(4 if code == "f" else 8, "little"))[0])


def varint(value: int) -> bytes:
    """An integer as it travels; negative ones as 64 bits."""
    value %= _U64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of integer, bytes or text."""
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | BYTES) + varint(len(raw)) + raw


def fixed(number: int, value: float, code: str) -> bytes:
    """A floating field: `code` is `f` or `d`."""
    return varint(number << 3 | (FIXED32 if code == "f" else FIXED64)) + struct.pack("<" + code, value)
