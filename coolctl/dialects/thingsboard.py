"""The dialect `thingsboard`: what a ThingsBoard IoT Gateway publishes on `v1/gateway/telemetry`.

`{"Device A": [{"ts": ms, "values": {…}}]}`; `field` is `Device A/key`. Without `ts` the time of hearing counts.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from coolctl.dialects.route import Route, Samples, timestamp_s
from coolctl.strict_json import Rejected, parse

if TYPE_CHECKING:
    from coolctl.dialects.decoder import Decoder

ENTRY_KEYS = frozenset({"ts", "values"})


def read_thingsboard(d: Decoder, raw: bytes, route: Route) -> Samples:
    """Entries of many devices, the oldest of each first. Raises `Rejected`."""
    o = parse(raw, d.batch_max)
    if not isinstance(o, dict):
        raise Rejected("not_an_object")
    samples: Samples = []
    for device, entries in o.items():
        if not isinstance(entries, list):
            raise Rejected("keys")
        for t_source_s, values in sorted(map(_entry, entries), key=itemgetter(0)):
            for key, value in values.items():
                i = route.fields.get(f"{device}/{key}")
                if i is None:
                    continue  # a device says much that nobody has mapped
                sample = d.state(i, value, t_source_s)
                if sample:
                    samples.append(sample)
    return samples


def _entry(entry: Any) -> tuple[float, dict[str, Any]]:
    if not isinstance(entry, dict) or not entry.keys() <= ENTRY_KEYS or not isinstance(entry.get("values"), dict):
        raise Rejected("keys")
    return timestamp_s(entry.get("ts")), entry["values"]
