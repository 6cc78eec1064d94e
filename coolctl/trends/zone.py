"""Local time to UTC, with the hour that comes twice and the hour that never comes.

A stamp without an offset inside the repeated hour is decided by its order in the log: the second pass begins where time
steps back. A stamp inside the missing hour comes from a clock that does not know summer time, and is said.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

DAY_S, HALF_HOUR_S = 86400.0, 1800.0
_OFFSET = re.compile(r"^(?:UTC|GMT)?([+-])(\d{1,2}):?(\d{2})?$", re.IGNORECASE)
SUMMER_WORDS = {"EDT", "CDT", "MDT", "PDT", "CEST", "BST", "IST", "EEST", "WEST", "AEDT", "ACDT", "NZDT"}


class Segment(NamedTuple):
    """A stretch of one offset: from where in UTC, the offset, what it is called."""

    from_s: float
    offset_s: float
    name: str


class ZoneFault(ValueError):
    """No such zone."""


def zone_of(name: str) -> datetime.tzinfo:
    """`UTC`, an offset such as `+02:00`, or a zone of the tz database. Raises `ZoneFault`."""
    if name.upper() in ("UTC", "Z", "GMT"):
        return datetime.UTC
    if match := _OFFSET.match(name):
        minutes = int(match.group(2)) * 60 + int(match.group(3) or 0)
        if minutes > 14 * 60:
            raise ZoneFault(f"{name!r}: no place is more than 14 hours from UTC")
        return datetime.timezone(datetime.timedelta(minutes=minutes if match.group(1) == "+" else -minutes))
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ZoneFault(f"{name!r} is no zone of the tz database and no offset such as +02:00") from error


def segments(zone: datetime.tzinfo, from_s: float, to_s: float) -> list[Segment]:
    """The offsets in force between two moments, in order; the changes are found to the second."""

    def at(unix_s: float) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(unix_s, zone)

    def offset_s(unix_s: float) -> float:
        shift = at(unix_s).utcoffset()
        return shift.total_seconds() if shift is not None else 0.0

    low = float(np.floor(from_s / DAY_S) - 2.0) * DAY_S
    found = [Segment(low, offset_s(low), at(low).tzname() or "")]
    while low < to_s + 2.0 * DAY_S:
        high = low + 7.0 * DAY_S  # no zone changes twice within a week and back
        if offset_s(high) != offset_s(low):
            a, b = low, high
            while b - a > 1.0:
                middle = float(np.floor((a + b) / 2.0))
                a, b = (middle, b) if offset_s(middle) == found[-1].offset_s else (a, middle)
            found.append(Segment(b, offset_s(b), at(b).tzname() or ""))
        low = high
    return found


class LocalClock:
    """Turns a log's local seconds into UTC, keeping count of what was doubtful."""

    def __init__(self, zone: datetime.tzinfo):
        self._zone = zone
        self._segments: list[Segment] = []
        self._span = (np.inf, -np.inf)
        self._last_local_s = -np.inf
        self._second_pass = False
        self._step_s = 0.0
        self.repeated = self.missing = 0
        self.passes: set[tuple[float, int]] = set()
        """(end of the repeated hour, pass) that were seen: a log with one pass alone does not know summer time, or slept."""

    def utc_s(self, local_s: F64, names: list[str] | None = None) -> F64:
        """UTC [s since 1970] of stamps in the order of the log; NaN stays. `names` are zone words behind the stamps."""
        known = np.isfinite(local_s)
        if not known.any():
            return local_s
        low, high = float(local_s[known].min()), float(local_s[known].max())
        if low < self._span[0] or high > self._span[1]:
            self._span = (min(low, self._span[0]), max(high, self._span[1]))
            self._segments = segments(self._zone, self._span[0], self._span[1])
        out = local_s - self._segments[0].offset_s
        for before, after in zip(self._segments, self._segments[1:], strict=False):
            later = local_s - after.offset_s >= after.from_s
            out[later] = local_s[later] - after.offset_s
            jump_s = after.offset_s - before.offset_s
            begin_s = after.from_s + min(before.offset_s, after.offset_s)
            inside = (local_s >= begin_s) & (local_s < begin_s + abs(jump_s))
            if not inside.any():
                continue
            if jump_s > 0.0:
                self.missing += int(inside.sum())
                out[inside] = local_s[inside] - before.offset_s
            else:
                self._fold(local_s, inside, before, after, out, names)
        tail = local_s[known]
        self._last_local_s = float(tail[-1])
        return out

    def _fold(
        self, local_s: F64, inside: NDArray[np.bool_], before: Segment, after: Segment, out: F64, names: list[str] | None
    ) -> None:
        """Decide the repeated hour stamp by stamp."""
        self.repeated += int(inside.sum())
        for k in np.flatnonzero(inside).tolist():
            last_s = local_s[k - 1] if k else self._last_local_s
            begin_s = after.from_s + after.offset_s
            if not begin_s <= last_s < after.from_s + before.offset_s:
                self._second_pass = bool(last_s >= after.from_s + before.offset_s)
                self._step_s = begin_s - last_s if last_s < begin_s else 0.0
            elif local_s[k] < last_s or (local_s[k] == last_s and self._step_s >= HALF_HOUR_S):
                self._second_pass = True  # an hourly log shows the same stamp twice
            else:
                self._step_s = max(local_s[k] - last_s, self._step_s)
            if names and names[k]:
                self._second_pass = names[k] == after.name or (names[k] != before.name and names[k] not in SUMMER_WORDS)
            self.passes.add((after.from_s, int(self._second_pass)))
            out[k] = local_s[k] - (after.offset_s if self._second_pass else before.offset_s)
