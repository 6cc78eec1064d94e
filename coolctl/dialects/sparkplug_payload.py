"""The payload of Sparkplug B: timestamp, sequence number and metrics; pure.

Field numbers and data types are those of the Sparkplug 3.0 specification, chapter 6. What is no single number (data
sets, templates, files, arrays) is known to be there and is never used.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from coolctl.dialects import protobuf as pb
from coolctl.strict_json import Rejected

INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING, DATE_TIME = range(1, 14)
_BITS = {INT8: 8, INT16: 16, INT32: 32, INT64: 64, UINT8: 8, UINT16: 16, UINT32: 32, UINT64: 64, DATE_TIME: 64}
FLOAT_MAX = 3.4028234e38
_SIGNED = frozenset({INT8, INT16, INT32, INT64})
_NAMES = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float", "Double", "Boolean")
TYPE_NAMES = dict(enumerate(_NAMES, INT8))
WHOLE = frozenset(_BITS) - {DATE_TIME}
UNIT_KEYS = ("engUnit", "EngUnit", "Engineering Units", "engineeringUnits")  # the specification names none; the first is usual
TEXT_MAX = 64
GOOD = 192  # the property "Quality"; 0 is bad, 500 is stale

# Number of a field: the wire type that it must have.
_PAYLOAD = {1: pb.VARINT, 2: pb.BYTES, 3: pb.VARINT, 4: pb.BYTES, 5: pb.BYTES}
_METRIC = {
    1: pb.BYTES, 2: pb.VARINT, 3: pb.VARINT, 4: pb.VARINT, 5: pb.VARINT, 6: pb.VARINT, 7: pb.VARINT, 8: pb.BYTES, 9: pb.BYTES,
    10: pb.VARINT, 11: pb.VARINT, 12: pb.FIXED32, 13: pb.FIXED64, 14: pb.VARINT, 15: pb.BYTES, 16: pb.BYTES, 17: pb.BYTES,
    18: pb.BYTES, 19: pb.BYTES,
}  # fmt: skip
_PROPERTIES = {1: pb.BYTES, 2: pb.BYTES}
_PROPERTY = {
    1: pb.VARINT, 2: pb.VARINT, 3: pb.VARINT, 4: pb.VARINT, 5: pb.FIXED32, 6: pb.FIXED64, 7: pb.VARINT, 8: pb.BYTES, 9: pb.BYTES,
    10: pb.BYTES,
}  # fmt: skip
_VALUE = range(10, 20)


class Metric(NamedTuple):
    """One metric: `slot` is the field that its value came in, 0 for none; `name` is empty where only the alias is given."""

    name: str = ""
    alias: int | None = None
    timestamp_ms: int | None = None
    datatype: int = 0
    historical: bool = False
    null: bool = False
    quality: int = GOOD
    slot: int = 0
    value: int | float | bytes = 0
    unit: str = ""

    def number(self, datatype: int) -> float | int | bool:
        """The value, read as `datatype`. Raises `Rejected` where it is no number or came in another field."""
        v, bits = self.value, _BITS.get(datatype, 0)
        if bits and self.slot in (10, 11) and isinstance(v, int):
            if datatype in _SIGNED:
                # A small negative number comes with 8, 16, 32 or 64 bits of ones, as the writer pleases.
                v = next(
                    (v - (1 << n) for n in (bits, 32, 64) if 1 << (n - 1) <= v < 1 << n and v - (1 << n) >= -1 << (bits - 1)), v
                )
            low, high = (-1 << (bits - 1), 1 << (bits - 1)) if datatype in _SIGNED else (0, 1 << bits)
            if not low <= v < high:
                raise Rejected("value_range")
            return v
        if (datatype, self.slot) in ((FLOAT, 12), (DOUBLE, 13)):
            assert isinstance(v, float)
            return v
        if datatype == BOOLEAN and self.slot == 14:
            return bool(v)
        raise Rejected("value_type")


def wire_number(datatype: int, value: float) -> tuple[int, int | float]:
    """Slot and value of a number of that type; whole types are rounded. Raises `Rejected` where it does not fit."""
    if datatype in (FLOAT, DOUBLE):
        if not abs(value) <= (FLOAT_MAX if datatype == FLOAT else math.inf) or value - value != 0.0:
            raise Rejected("value_range")
        return (12 if datatype == FLOAT else 13), float(value)
    if datatype == BOOLEAN and value in (0.0, 1.0):
        return 14, bool(value)
    if datatype not in WHOLE or value - value != 0.0:
        raise Rejected("value_type")
    whole, bits = round(value), _BITS[datatype]
    low, high = (-1 << (bits - 1), 1 << (bits - 1)) if datatype in _SIGNED else (0, 1 << bits)
    if not low <= whole < high:
        raise Rejected("value_range")
    return (11, whole % (1 << 64)) if bits == 64 else (10, whole % (1 << 32))


class Payload(NamedTuple):
    """A decoded message."""

    timestamp_ms: int | None
    seq: int | None
    metrics: list[Metric]

    def bd_seq(self) -> int | None:
        """Number of the connection that a birth or a death belongs to."""
        for m in self.metrics:
            if m.name == "bdSeq" and m.slot in (10, 11) and isinstance(m.value, int):
                return m.value
        return None


def decode_payload(raw: bytes, size_max: int) -> Payload:
    """Read strictly; fields that the specification does not know are passed over. Raises `Rejected`."""
    if len(raw) > size_max:
        raise Rejected("too_large")
    timestamp_ms = seq = None
    metrics = []
    for number, value in pb.read_fields(raw, _PAYLOAD):
        if number == 1:
            timestamp_ms = int(value)
        elif number == 2:
            assert isinstance(value, bytes)
            metrics.append(_metric(value))
        elif number == 3:
            seq = int(value)
    if seq is not None and seq > 255:
        raise Rejected("seq")
    return Payload(timestamp_ms, seq, metrics)


def _metric(raw: bytes) -> Metric:
    name, alias, timestamp_ms, datatype, historical, null, slot = "", None, None, 0, False, False, 0
    of: int | float | bytes = 0
    keys: list[str] = []
    values: list[int | str] = []
    for number, value in pb.read_fields(raw, _METRIC):
        if number in _VALUE:
            slot, of = number, _slot(number, value)
        elif number == 1:
            name = pb.as_text(value)
        elif number == 9:
            assert isinstance(value, bytes)
            _properties(value, keys, values)
        elif isinstance(value, int):
            if number == 2:
                alias = value
            elif number == 3:
                timestamp_ms = value
            elif number == 4:
                datatype = value & 0xFFFFFFFF
            elif number == 5:
                historical = bool(value)
            elif number == 7:
                null = bool(value)
    if len(keys) != len(values):
        raise Rejected("properties")
    quality, unit = _described(dict(zip(keys, values, strict=True))) if keys else (GOOD, "")
    return Metric(name, alias, timestamp_ms, datatype, historical, null, quality, slot, of, unit)


def _described(properties: dict[str, int | str]) -> tuple[int, str]:
    """Quality and unit: a quality that is no number is not good, and a unit that is no text is none."""
    quality = properties.get("Quality", GOOD)
    units = (properties.get(key, "") for key in UNIT_KEYS)
    return quality if isinstance(quality, int) else -1, next((u for u in units if isinstance(u, str) and u), "")


def _slot(number: int, value: int | bytes) -> int | float | bytes:
    if number in (12, 13):
        return pb.as_float(value, "f" if number == 12 else "d")
    if number == 10:
        return int(value) & 0xFFFFFFFF
    return bool(value) if number == 14 else value


def _properties(raw: bytes, keys: list[str], values: list[int | str]) -> None:
    """Names and values of a property set: integers and short texts; -1 stands for all else, and so for no good quality."""
    for number, value in pb.read_fields(raw, _PROPERTIES):
        if number == 1:
            keys.append(pb.as_text(value))
        elif number == 2:
            assert isinstance(value, bytes)
            found: int | str = -1
            for inner, of in pb.read_fields(value, _PROPERTY):
                if inner in (3, 4):
                    found = int(of) & 0xFFFFFFFF
                elif inner == 8:
                    found = pb.as_text(of)[:TEXT_MAX]
                elif inner in (5, 6, 7, 9, 10):
                    found = -1
            values.append(found)


def encode_metric(m: Metric) -> bytes:
    """A metric as a field of its payload."""
    out = pb.field(1, m.name) if m.name else b""
    if m.alias is not None:
        out += pb.field(2, m.alias)
    if m.timestamp_ms is not None:
        out += pb.field(3, m.timestamp_ms)
    if m.datatype:
        out += pb.field(4, m.datatype)
    out += (pb.field(5, 1) if m.historical else b"") + (pb.field(7, 1) if m.null else b"")
    properties = {}
    if m.quality != GOOD:
        properties["Quality"] = pb.field(1, INT32) + pb.field(3, m.quality)
    if m.unit:
        properties[UNIT_KEYS[0]] = pb.field(1, STRING) + pb.field(8, m.unit)
    if properties:
        out += pb.field(9, b"".join((*(pb.field(1, k) for k in properties), *(pb.field(2, v) for v in properties.values()))))
    if m.slot in (12, 13):
        out += pb.fixed(m.slot, float(m.value), "f" if m.slot == 12 else "d")
    elif m.slot and not isinstance(m.value, float):
        out += pb.field(m.slot, int(m.value) if isinstance(m.value, bool) else m.value)
    return out


def encode_payload(p: Payload) -> bytes:
    """A whole message."""
    out = b"" if p.timestamp_ms is None else pb.field(1, p.timestamp_ms)
    out += b"".join(pb.field(2, encode_metric(m)) for m in p.metrics)
    return out if p.seq is None else out + pb.field(3, p.seq)
