"""Influx line protocol: `measurement,tag=value field=1.5,count=3i,on=t,text="a b" 1700000000000000000`.

Commas, blanks and equals signs are escaped by a backslash in names and tags, quotes and backslashes in texts. A line
that is not of this form is refused and counted; the others of the message are used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from coolctl.dialects.route import timestamp_s
from coolctl.strict_json import DIGITS_MAX, Rejected


class Metric(NamedTuple):
    """One measurement at one time."""

    name: str
    tags: frozenset[tuple[str, str]]
    fields: dict[str, Any]
    t_source_s: float


_MEASUREMENT = re.compile(r"(?:\\.|[^\\,\s])+")
_TAG = re.compile(r",((?:\\.|[^\\,=\s])+)=((?:\\.|[^\\,=\s])+)")
_FIELD = re.compile(r'((?:\\.|[^\\,=\s"])+)=(?:"((?:\\.|[^"\\])*)"|([^",\s]+))', re.DOTALL)
_END = re.compile(r"(?: +(-?[0-9]{1,20}))?[ \r]*(?:\n|\Z)")
_ESCAPED, _ESCAPED_TEXT = re.compile(r"\\([,= ])"), re.compile(r'\\(["\\])')
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"(?:-?[0-9]+i|[0-9]+u)")
_STATES = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}
OLDEST_NS = 10**18  # 2001: a stamp in a larger unit than nanoseconds falls before it


def parse_lines(raw: bytes, count: Callable[[str], None]) -> Iterator[Metric]:
    """Metrics of the lines that are in order; `count` is told why the others are not. Raises `Rejected`."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected("encoding") from None
    at = 0
    while at < len(text):
        if text[at] in " \r\n" or text[at] == "#":
            at = _next_line(text, at) if text[at] == "#" else at + 1
            continue
        try:
            metric, at = _line(text, at)
        except Rejected as rejected:
            count(rejected.reason)
            at = _next_line(text, at)
            continue
        yield metric


def _next_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _line(text: str, at: int) -> tuple[Metric, int]:
    """The line that begins at `at`, and where the next one does. Raises `Rejected`."""
    name = _MEASUREMENT.match(text, at)
    if name is None:
        raise Rejected("line")
    at, tags = name.end(), {}
    while (tag := _TAG.match(text, at)) is not None:
        key = _plain(tag[1])
        if key in tags:
            raise Rejected("duplicate_key")
        tags[key], at = _plain(tag[2]), tag.end()
    if text[at : at + 1] != " ":
        raise Rejected("line")
    while text[at : at + 1] == " ":
        at += 1
    fields: dict[str, Any] = {}
    while (field := _FIELD.match(text, at)) is not None:
        key = _plain(field[1])
        if key in fields:
            raise Rejected("duplicate_key")
        fields[key] = _ESCAPED_TEXT.sub(r"\1", field[2]) if field[2] is not None else _value(field[3])
        at = field.end()
        if text[at : at + 1] != ",":
            break
        at += 1
    end = _END.match(text, at)
    if not fields or end is None or text[at - 1] == ",":
        raise Rejected("line")
    return Metric(_plain(name[0]), frozenset(tags.items()), fields, _time_s(end[1])), end.end()


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _value(text: str) -> float | int | bool:
    """A number or a state. Raises `Rejected`."""
    if len(text) > DIGITS_MAX:
        raise Rejected("number_long")
    if text in _STATES:
        return _STATES[text]
    if _INTEGER.fullmatch(text):
        return int(text[:-1])
    if not _NUMBER.fullmatch(text):
        raise Rejected("not_finite" if text.lstrip("+-").lower() in ("nan", "inf", "infinity") else "line")
    value = float(text)
    if not math.isfinite(value):
        raise Rejected("not_finite")
    return value


def _time_s(stamp: str | None) -> float:
    if stamp is None:
        return math.nan
    if int(stamp) < OLDEST_NS:
        raise Rejected("timestamp_range")
    return timestamp_s(int(stamp), 1e9)
