"""Stamps of a log as seconds: which of the customary forms they have, and the reading of them.

`unix_s` and `unix_ms` are UTC by themselves. All others are local to the map's `tz` unless the stamp carries an offset.
Which of D/M/Y and M/D/Y it is, the data decides (a field above 12, else the order of rows); where it cannot, that is said.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

FORMATS = ("iso", "ymd", "dmy", "mdy", "unix_s", "unix_ms", "excel")
UTC_FORMATS = ("unix_s", "unix_ms")
EPOCH = datetime.date(1970, 1, 1).toordinal()
EXCEL_ZERO_DAYS = 25569.0  # serial of 1970-01-01
DAY_S = 86400.0
YEAR_MIN, YEAR_MAX = 1980, 2100
CACHE_MAX = 200_000
MONTHS = {m: k for k, m in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}
_DATE = re.compile(r"^(\d{1,4})[-/. ](\d{1,2}|[A-Za-z]{3,9})[-/. ](\d{1,4})$")
_COMPACT = re.compile(r"^(\d{4})(\d{2})(\d{2})$")
_CLOCK = re.compile(
    r"^(\d{1,2})(?:[:.h](\d{2}))?(?:[:.](\d{2})(?:[.,](\d{1,9}))?)?\s*([AaPp])?\.?(?:[Mm]\.?)?"
    r"\s*(Z|[+-]\d{2}(?::?\d{2})?|[A-Za-z]{3,5})?$"
)
_SPLIT = re.compile(r"^(\d{1,4}[-/. ](?:\d{1,2}|[A-Za-z]{3,9})[-/. ]\d{1,4}|\d{8})(?:[T,]?\s*(.*))?$")
_NUMBER = re.compile(r"^[+-]?\d+(?:[.,]\d+)?$")


class Stamp(NamedTuple):
    """One stamp: seconds as written, offset [s] or NaN, zone word."""

    local_s: float
    offset_s: float
    name: str


NO_STAMP = Stamp(math.nan, math.nan, "")


class StampReader:
    """Reads stamps of one form; dates and clock times repeat, so each is understood once."""

    def __init__(self, form: str, day_month_exchanged: bool = False):
        self._form, self._exchanged = form, day_month_exchanged
        self._days: dict[str, float] = {}
        self._clocks: dict[str, tuple[float, float, str] | None] = {}
        self.with_offset = False
        self.with_name = False

    def read(self, texts: list[str]) -> tuple[F64, F64, list[str] | None]:
        """Seconds as written, offsets [s], and zone words if any stamp has one. What is no stamp is NaN."""
        if self._form in (*UTC_FORMATS, "excel"):
            local_s = np.array([self._figure(t) for t in texts])
            return local_s, np.full(len(texts), 0.0 if self._form in UTC_FORMATS else np.nan), None
        stamps = [self.one(t) for t in texts]
        names = [s.name for s in stamps]
        return np.array([s.local_s for s in stamps]), np.array([s.offset_s for s in stamps]), names if any(names) else None

    def _figure(self, text: str) -> float:
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            return math.nan
        seconds = {"unix_s": value, "unix_ms": value / 1e3, "excel": round((value - EXCEL_ZERO_DAYS) * DAY_S, 3)}[self._form]
        return seconds if 0.0 < seconds < 4.2e9 else math.nan

    def one(self, text: str) -> Stamp:
        """One stamp, or NaN."""
        if text.startswith("="):
            text = text.lstrip("=").strip('"')  # Excel's way of keeping a text a text
        parts = _SPLIT.match(text)
        if not parts:
            return NO_STAMP
        date, rest = parts.group(1), parts.group(2) or ""
        if date not in self._days:
            self._days[date] = self._day_s(date)
        if rest not in self._clocks:
            if len(self._clocks) > CACHE_MAX:
                self._clocks.clear()
            self._clocks[rest] = _clock_s(rest) if rest else (0.0, math.nan, "")
        clock = self._clocks[rest]
        if clock is None:
            return NO_STAMP
        return Stamp(self._days[date] + clock[0], clock[1], clock[2])

    def _day_s(self, text: str) -> float:
        fields = _fields(text)
        if fields is None:
            return math.nan
        a, b, c = fields
        named = not text.replace("-", "").replace("/", "").replace(".", "").replace(" ", "").isdigit()
        if self._form in ("iso", "ymd") or a > 99:
            year, month, day = a, b, c
        elif named or self._form == "dmy":
            year, month, day = c, b, a
        else:
            year, month, day = c, a, b
        if self._exchanged and day <= 12:
            month, day = day, month
        year += 2000 if year < 80 else 1900 if year < 100 else 0
        try:
            return (datetime.date(year, month, day).toordinal() - EPOCH) * DAY_S if YEAR_MIN <= year <= YEAR_MAX else math.nan
        except ValueError:
            return math.nan


def _fields(text: str) -> tuple[int, int, int] | None:
    """The three numbers of a date as they stand; a month's name counts as its number."""
    match = _COMPACT.match(text) or _DATE.match(text)
    if not match:
        return None
    a, b, c = match.groups()
    month = int(b) if b.isdigit() else MONTHS.get(b[:3].lower(), 0)
    return (int(a), month, int(c)) if month else None


def _clock_s(text: str) -> tuple[float, float, str] | None:
    """Seconds of the day, offset [s] or NaN, zone word; None where it is no time of day."""
    match = _CLOCK.match(text.strip())
    if not match:
        return None
    hour, minute, second = int(match.group(1)), int(match.group(2) or 0), int(match.group(3) or 0)
    if match.group(5):
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match.group(5) in "Pp" else 0)
    elif match.group(2) is None:
        return None
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        return None
    fraction = float(f"0.{match.group(4)}") if match.group(4) else 0.0
    word = match.group(6) or ""
    offset_s, name = math.nan, ""
    if word.upper() in ("Z", "UTC", "GMT"):
        offset_s = 0.0
    elif word[:1] in ("+", "-"):
        digits = word[1:].replace(":", "")
        offset_s = (int(digits[:2]) * 3600.0 + int(digits[2:] or 0) * 60.0) * (1.0 if word[0] == "+" else -1.0)
    else:
        name = word.upper()
    return hour * 3600.0 + minute * 60.0 + second + fraction, offset_s, name


class Guess(NamedTuple):
    """The form of a log's stamps and why; `sure` is false where a person should look."""

    form: str
    why: str
    sure: bool = True
    day_month_exchanged: bool = False


def looks_like_stamp(text: str) -> bool:
    """Whether a cell could be a stamp: a date with or without a time, or seconds since 1970."""
    if _NUMBER.match(text):
        return 6e8 < float(text.replace(",", ".")) < 4.2e9 or 6e11 < float(text.replace(",", ".")) < 4.2e12
    parts = _SPLIT.match(text)
    return bool(parts and _fields(parts.group(1)) and (not parts.group(2) or _clock_s(parts.group(2))))


def guess_form(texts: list[str]) -> Guess | None:
    """The form of these stamps, in the order of the log; None where most are none."""
    texts = [t for t in texts if t]
    figures = [float(t.replace(",", ".")) for t in texts if _NUMBER.match(t) and not _COMPACT.match(t)]
    if len(figures) > 0.9 * len(texts) and texts:
        middle = float(np.median(figures))
        for form, low, high in (("unix_s", 6e8, 4.2e9), ("unix_ms", 6e11, 4.2e12), ("excel", 2e4, 8e4)):
            if low < middle < high:
                return Guess(form, f"numbers around {middle:.0f}", form != "excel")
        return None
    dates = [_fields(p.group(1)) for t in texts if (p := _SPLIT.match(t))]
    fields = np.array([d for d in dates if d])
    if len(fields) < 0.9 * len(texts) or not len(fields):
        return None
    if (fields[:, 0] > 99).mean() > 0.5:
        return _guess_iso(texts)
    if any(re.search(r"[-/. ][A-Za-z]{3}", t) for t in texts[:20]):
        return Guess("dmy", "months have names")
    first, second = int(fields[:, 0].max()), int(fields[:, 1].max())
    if first > 12 and second > 12:
        return Guess("dmy", f"both fields pass 12 ({first} and {second}): two forms are mixed in one log", False)
    if first > 12:
        return Guess("dmy", f"the first field reaches {first}")
    if second > 12:
        return Guess("mdy", f"the second field reaches {second}")
    return _guess_by_order(texts)


def disorder(texts: list[str], form: str, exchanged: bool = False) -> tuple[int, float]:
    """Steps against the log's own direction, and the longest step forward [s], when its stamps are read this way."""
    local_s, offset_s, _ = StampReader(form, exchanged).read(texts)
    local_s = (local_s - np.nan_to_num(offset_s))[np.isfinite(local_s)]
    if len(local_s) < 2:
        return 0, 0.0
    steps = np.diff(local_s)
    steps = -steps if (steps < 0).sum() > (steps > 0).sum() else steps
    return int((steps < 0).sum()), float(steps.max())


def _guess_iso(texts: list[str]) -> Guess:
    """Year first. Where rows go back by weeks and come straight when day and month change places, a spreadsheet did that."""
    bad, longest_s = disorder(texts, "iso")
    if bad > 1 or longest_s > 20.0 * DAY_S:
        other, other_s = disorder(texts, "iso", True)
        if other < 0.2 * bad or (other <= bad and other_s < 0.2 * longest_s):
            return Guess("iso", f"year first; rows are in order only with day and month exchanged where the day is up to 12 "
                                f"({bad} steps back as written, {other} exchanged)", True, True)  # fmt: skip
    return Guess("iso", "year first")


def _guess_by_order(texts: list[str]) -> Guess:
    """No field above 12: the reading with less disorder and shorter steps."""
    dmy, mdy = disorder(texts, "dmy"), disorder(texts, "mdy")
    for form, mine, other in (("dmy", dmy, mdy), ("mdy", mdy, dmy)):
        if mine[0] < other[0] or (mine[0] == other[0] and mine[1] < 0.2 * other[1]):
            return Guess(form, f"no field passes 12; read so, rows step by at most {mine[1] / DAY_S:.3g} days, "
                               f"else by {other[1] / DAY_S:.3g}")  # fmt: skip
    return Guess("dmy", "no field passes 12 and both readings keep the order: D/M/Y or M/D/Y cannot be told; say which", False)
