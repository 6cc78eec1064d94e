"""The dialects `json` and `scalar`: coolctl's own envelope, alone or as a batch, and the bare number.

`json` is `{"value", "timestamp", "quality"}` for one point or `{"timestamp", "values": {…}}` for many. Timestamps are
milliseconds since 1970, quality 1 is good.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coolctl.dialects.route import INTEGER_MAX, Route, Samples, timestamp_s
from coolctl.points import Batch, Point
from coolctl.strict_json import Rejected, parse, parse_batch

if TYPE_CHECKING:
    from coolctl.dialects.decoder import Decoder

SINGLE_KEYS = frozenset({"value", "timestamp", "quality"})
BATCH_KEYS = frozenset({"timestamp", "values"})
NUMBERS = frozenset({int, float})


def read_json(d: Decoder, raw: bytes, route: Route) -> Samples:
    """One value or a batch of them. Raises `Rejected`."""
    # Only an envelope with many points may be large: see the check of the single form below.
    o = parse(raw, d.single_max) if len(raw) <= d.single_max else parse_batch(raw, d.batch_max)
    if not isinstance(o, dict):
        raise Rejected("not_an_object")
    if "values" in o:
        return _batch(d, o, route)
    if len(raw) > d.single_max:
        raise Rejected("too_large")
    if not o.keys() <= SINGLE_KEYS or "value" not in o:
        raise Rejected("keys")
    i = route.only()
    quality = o.get("quality", 1)
    if type(quality) is not int:
        raise Rejected("quality_type")
    if quality != 1:
        d.count("source_bad")
        return []
    sample = d.sample(i, o["value"], timestamp_s(o.get("timestamp")))
    return [sample] if sample else []


def _batch(d: Decoder, o: dict[str, Any], route: Route) -> Samples:
    values = o["values"]
    if not o.keys() <= BATCH_KEYS or not isinstance(values, dict):
        raise Rejected("keys")
    t_source_s = timestamp_s(o.get("timestamp"))
    if set(map(type, values.values())) <= NUMBERS:
        wire = np.fromiter(values.values(), dtype=np.float64, count=len(values))
        if len(wire) and np.abs(wire).max() <= INTEGER_MAX:
            return _all_numbers(d, values, wire, t_source_s, route)
    samples: Samples = []
    for name, value in values.items():
        i = route.fields.get(name)
        if i is None:
            d.count("unknown_point")
            continue
        sample = d.sample(i, value, t_source_s)
        if sample:
            samples.append(sample)
    return samples


def _all_numbers(d: Decoder, values: dict[str, Any], wire: NDArray[np.float64], t_source_s: float, route: Route) -> Samples:
    """The ordinary batch, at once: every value is a finite number of reasonable size."""
    i = route.positions(list(values))
    known = i >= 0
    if not known.all():
        d.count("unknown_point", int((~known).sum()))
        i, wire = i[known], wire[known]
    return [Batch(i, d.table.decode(i, wire), t_source_s)] if len(i) else []


def read_scalar(d: Decoder, raw: bytes, route: Route) -> Samples:
    """A bare number. Raises `Rejected`."""
    value = parse(raw.strip(), 64)
    sample = d.sample(route.only(), value, math.nan)
    return [sample] if sample else []


def encode_batch(values: dict[str, float], timestamp_ms: int) -> bytes:
    """A native batch message."""
    return json.dumps({"timestamp": timestamp_ms, "values": values}, allow_nan=False, separators=(",", ":")).encode()


def encode_single(point: Point, value: float, timestamp_ms: int) -> bytes:
    """One point's message in its dialect; `value` in the point's unit."""
    if point.dialect == "scalar":
        return repr(float(value)).encode()
    return b'{"value":%s,"timestamp":%d,"quality":1}' % (repr(float(value)).encode(), timestamp_ms)
