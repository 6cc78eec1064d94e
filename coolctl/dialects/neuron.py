"""The dialect `neuron`: what the MQTT application of EMQX Neuron uploads, in values-format and in tags-format.

`field` is `group/tag`, or `driver/group/tag` where several drivers with groups of one name share a topic. A tag that
Neuron could not read comes with an error code and is bad at once. Timestamps are milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from coolctl.dialects.route import Route, Samples, timestamp_s
from coolctl.strict_json import Rejected, parse

if TYPE_CHECKING:
    from coolctl.dialects.decoder import Decoder

HEAD = frozenset({"node", "group", "timestamp"})
VALUES_KEYS = HEAD | {"values", "errors", "metas"}
TAGS_KEYS = HEAD | {"tags", "metas"}
TAG_KEYS = frozenset({"name", "value", "error", "metas"})


def read_neuron(d: Decoder, raw: bytes, route: Route) -> Samples:
    """One group of one driver. Raises `Rejected`."""
    o = parse(raw, d.batch_max)
    if not isinstance(o, dict):
        raise Rejected("not_an_object")
    node, group = o.get("node"), o.get("group")
    if not isinstance(node, str) or not isinstance(group, str):
        raise Rejected("keys")
    t_source_s = timestamp_s(o.get("timestamp"))
    samples: Samples = []
    for name, value, failed in _tags(o):
        i = route.fields.get(f"{node}/{group}/{name}")
        if i is None:
            i = route.fields.get(f"{group}/{name}")
            if i is None:
                continue  # a group holds much that nobody has mapped
            if not route.is_of(i, node):
                d.count("other_series")
                continue
        sample = d.bad(i, t_source_s) if failed else d.state(i, value, t_source_s)
        if sample:
            samples.append(sample)
    return samples


def _tags(o: dict[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Name, value and whether reading it failed, of every tag. Raises `Rejected`."""
    if "tags" in o:
        if not o.keys() <= TAGS_KEYS or not isinstance(o["tags"], list):
            raise Rejected("keys")
        found = [_tag(tag) for tag in o["tags"]]
        if len({name for name, _, _ in found}) != len(found):
            raise Rejected("duplicate_key")
        yield from found
        return
    values, errors = o.get("values", {}), o.get("errors", {})
    if not o.keys() <= VALUES_KEYS or not {"values", "errors"} & o.keys():
        raise Rejected("keys")
    if not isinstance(values, dict) or not isinstance(errors, dict) or values.keys() & errors.keys():
        raise Rejected("keys")
    yield from ((name, value, False) for name, value in values.items())
    yield from ((name, code, True) for name, code in errors.items())


def _tag(tag: Any) -> tuple[str, Any, bool]:
    if not isinstance(tag, dict) or not tag.keys() <= TAG_KEYS or not isinstance(tag.get("name"), str):
        raise Rejected("keys")
    if ("value" in tag) == ("error" in tag):
        raise Rejected("keys")
    return tag["name"], tag.get("value"), "error" in tag
