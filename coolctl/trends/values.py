"""Cells that are no plain number: states, statuses, thousands marks, units behind the figure, and words for nothing.

Three answers, because a tick must tell them apart: NaN, no sample at this time (the last one holds); infinity, a sample
that says nothing good (what came before must not be held over it); or a number.
"""

from __future__ import annotations

import math
import re

from coolctl.trends.source import words

NO_SAMPLE, BAD = math.nan, math.inf

STATES = {
    "on": 1.0, "off": 0.0, "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "active": 1.0, "inactive": 0.0, "running": 1.0,
    "run": 1.0, "stopped": 0.0, "stop": 0.0, "started": 1.0, "open": 1.0, "opened": 1.0, "closed": 0.0, "enabled": 1.0,
    "enable": 1.0, "disabled": 0.0, "disable": 0.0, "auto": 0.0, "hand": 1.0, "manual": 1.0, "remote": 1.0, "local": 0.0,
    "normal": 0.0, "ein": 1.0, "aus": 0.0, "marche": 1.0, "arret": 0.0,
}  # fmt: skip
"""`auto` and `normal` are 0: a point with these words says whether somebody has taken the plant in hand, or whether it alarms."""
NOTHING = {"", "-", "--", "---", "n/a", "na", "null", "none", "no data", "nodata", "#n/a"}
BROKEN = {
    "nan", "alarm", "fault", "down", "stale", "bad", "error", "offline", "unknown", "invalid", "comm fail", "failed", "fail",
    "no response", "not available", "#value!", "#ref!", "#div/0!", "inf", "-inf", "infinity", "?", "trouble", "uninitialized",
}  # fmt: skip
GOOD_STATUS = {
    "",
    "ok",
    "good",
    "0",
    "normal",
    "192",
    "overridden",
    "alarm",
    "unackedalarm",
    "active",
    "valid",
    "true",
    "1",
    "online",
}
"""192 is OPC's good. An alarm or an override does not make a value wrong: it says that somebody should look, or has."""
_STATUS = re.compile(r"\{([^{}]*)\}\s*(?:@\s*\w+)?$")
_FIGURE = re.compile(r"^([+-]?[\d.,'\u00a0\u202f ]*\d[\d.,]*(?:[eE][+-]?\d+)?)\s*([^\d\s].*)?$")


def good_status(text: str) -> bool:
    """Whether a status word lets the value count; several words, as in `{fault,down}`, must all do so."""
    return all(part.strip().casefold() in GOOD_STATUS for part in re.split(r"[,;|]", text.strip().strip("{}")))


def value_of(raw: bytes, decimal: str, states: dict[str, float]) -> tuple[float, str]:
    """Number, NaN or infinity of a cell, and its text where nobody knows what it means."""
    text = words(raw).replace('""', '"').strip()
    if (status := _STATUS.search(text)) is not None:
        if not good_status(status.group(1)):
            return BAD, ""
        text = text[: status.start()].strip()
    key = text.casefold()
    if key in states:
        return states[key], ""
    if key in NOTHING:
        return NO_SAMPLE, ""
    if key in BROKEN:
        return BAD, ""
    if key in STATES:
        return STATES[key], ""
    figure = _FIGURE.match(text)
    value = _number(figure.group(1), decimal) if figure else math.nan
    if value == value and abs(value) < math.inf:
        return value, ""
    return BAD, text


def _number(text: str, decimal: str) -> float:
    """A figure with thousands marks; NaN where the marks do not stand before three digits, so `1,5` never becomes 15."""
    thousands = "," if decimal == "." else "."
    whole, point, rest = text.partition(decimal)
    for mark in (thousands, "'", " ", "\u00a0", "\u202f"):
        parts = whole.split(mark)
        if len(parts) > 1 and (not 0 < len(parts[0].lstrip("+-")) <= 3 or any(len(p) != 3 for p in parts[1:])):
            return math.nan
        whole = "".join(parts)
    try:
        return float(whole + ("." + rest if point else ""))
    except ValueError:
        return math.nan
