"""JSON from the wire, read strictly: what the standard parser lets through quietly is refused here with a reason."""

from __future__ import annotations

import json
from typing import Any

import orjson

DEPTH_MAX = 8
DIGITS_MAX = 40
FLAT_MAX = 256


class Rejected(Exception):
    """A message that may not be used; `args[0]` is the reason, from a small set, for counting."""

    @property
    def reason(self) -> str:
        return str(self.args[0])


def _no_constant(text: str) -> Any:
    raise Rejected("not_finite")


def _integer(text: str) -> int | float:
    if len(text) > DIGITS_MAX:
        raise Rejected("number_long")
    return int(text)


def _float(text: str) -> float:
    if len(text) > DIGITS_MAX:
        raise Rejected("number_long")
    value = float(text)
    if value - value != 0.0:
        raise Rejected("not_finite")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Rejected("duplicate_key")
    return found


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_int=_integer, parse_float=_float, object_pairs_hook=_no_duplicates)


# Large batches are read by a faster library. It does not see a key that comes twice and turns endless integers into
# floats, so what could be either, and all that it refuses, is read again by the strict reader, whose reasons count.
_BATCH_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
_DIGITS_ONLY = bytes(ord("0") if chr(b).isascii() and chr(b).isdigit() else ord("x") for b in range(256))
_TOO_LONG, _LONG = b"0" * (DIGITS_MAX + 1), b"0" * 19


def parse_batch(raw: bytes, size_max: int) -> Any:
    """As `parse`, for messages of many numbers; a float beyond the largest comes back as an infinity."""
    digits = raw.translate(_DIGITS_ONLY)
    if _LONG in digits:
        if _TOO_LONG in digits:
            raise Rejected("too_large" if len(raw) > size_max else "number_long")
    elif len(raw) <= size_max:
        found = _quick(raw)
        if found is not None:
            return found
    return _parse(raw, size_max, _BATCH_DECODER)


def _quick(raw: bytes) -> dict[str, Any] | None:
    """A batch of values that is certainly in order, or None where only the strict reader can tell."""
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    values = found.get("values") if isinstance(found, dict) else None
    # Each pair has a colon of its own: as many colons as keys means that no key came twice and nothing is nested deeper.
    return found if isinstance(values, dict) and raw.count(b":") == len(found) + len(values) else None


def parse_flat(raw: bytes, size_max: int) -> Any:
    """As `parse`, quicker for a small object without objects in it; a float beyond the largest may come as an infinity."""
    if len(raw) <= min(size_max, FLAT_MAX) and _LONG not in raw.translate(_DIGITS_ONLY):
        try:
            found = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return parse(raw, size_max)  # whose reasons count
        if isinstance(found, dict) and raw.count(b":") == len(found):
            return found
    return parse(raw, size_max)


def parse(raw: bytes, size_max: int) -> Any:
    """Any JSON value. Raises `Rejected` for size, encoding, nesting, duplicate keys, NaN and endless numbers."""
    return _parse(raw, size_max, _DECODER)


def _parse(raw: bytes, size_max: int, decoder: json.JSONDecoder) -> Any:
    if len(raw) > size_max:
        raise Rejected("too_large")
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX and _depth(raw) > DEPTH_MAX:
        raise Rejected("nested")
    try:
        text = raw.decode("utf-8")
        return decoder.decode(text)
    except Rejected:
        raise
    except UnicodeDecodeError:
        raise Rejected("encoding") from None
    except (ValueError, RecursionError):
        raise Rejected("not_json") from None


def parse_object(raw: bytes, size_max: int) -> dict[str, Any]:
    """A JSON object, read strictly. Raises `Rejected`."""
    value = parse(raw, size_max)
    if not isinstance(value, dict):
        raise Rejected("not_an_object")
    return value


def _depth(raw: bytes) -> int:
    """Deepest bracket nesting, strings not looked into: an upper bound is all that is needed."""
    depth = deepest = 0
    for byte in raw:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
