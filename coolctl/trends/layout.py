"""How a log is written, told from its first lines: separator, decimal mark, header, units, stamps, wide or long."""

from __future__ import annotations

import csv
import re
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from coolctl.errors import TrendError
from coolctl.trends.source import head, words
from coolctl.trends.stamps import looks_like_stamp
from coolctl.trends.unit_words import bare_name, is_unit
from coolctl.trends.values import BROKEN, NOTHING, STATES

SEPARATORS = (",", ";", "\t", "|")
SAMPLE_LINES = 400
HEADER_MAX = 200
POINT_NAMES = {"point", "point name", "pointname", "name", "tag", "tagname", "tag name", "sensor", "id", "point id", "object",
               "object name", "variable", "series", "metric", "trend", "log", "device", "point_name", "sensor_id"}  # fmt: skip
VALUE_NAMES = {"value", "val", "values", "reading", "present value", "presentvalue", "data", "measurement", "wert", "result"}
STATUS_NAMES = {"status", "quality", "flag", "flags", "state flags", "trend flags", "statusflags", "q"}
_FIGURE = re.compile(r"^[+-]?[\d.,]*\d(?:[eE][+-]?\d+)?$")
_CLOCK = re.compile(r"^\d{1,2}:\d{2}(:\d{2})?(\s*[AaPp][Mm])?$")
_DAY = re.compile(r"^\d{1,4}[-/.]\w{1,9}[-/.]\d{1,4}$")


class Layout(NamedTuple):
    """What the first lines tell; columns are counted from 0, lines from 1, and 0 stands for a line that is not there."""

    separator: str
    decimal: str
    header_line: int
    units_line: int
    data_line: int
    names: list[str]
    units: list[str]
    kind: str
    time_at: int
    clock_at: int
    point_at: int
    value_at: int
    status_at: int
    rows: list[list[str]]


def split_line(line: str, separator: str) -> list[str]:
    """Cells of one line."""
    try:
        return [c.strip() for c in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:  # a cell longer than any name or figure: not this separator, or no log
        return [line[:80]]


def first_lines(path: Path, count: int = SAMPLE_LINES) -> list[str]:
    """The first lines of a log."""
    return words(head(path)).replace("\r\n", "\n").split("\n")[:count]


def column_names(path: Path, separator: str, header_line: int, data_line: int) -> list[str]:
    """Names of the columns; `#1`, `#2` … where there is no header. Raises `TrendError` where the line is not there."""
    lines = first_lines(path, 1100)
    at = header_line or data_line or 1
    if at > len(lines) or not lines[at - 1].strip():
        raise TrendError(path, at, "no such line, or an empty one: check header_line and data_line in the map")
    cells = split_line(lines[at - 1], separator)
    return [c or f"#{k + 1}" for k, c in enumerate(cells)] if header_line else [f"#{k + 1}" for k in range(len(cells))]


def widest_row(path: Path, separator: str) -> int:
    """Cells of the widest row near the beginning: a header may be shorter than its rows."""
    return max(len(split_line(line, separator)) for line in first_lines(path))


def guess_layout(path: Path) -> Layout:
    """The layout of a log. Raises `TrendError` where no column holds stamps."""
    lines = first_lines(path)
    separator, rows = _separator(lines)
    width = _usual_width(rows)
    data = [r for r in rows[len(rows) // 4 :] if len(r) == width] or [r for r in rows if r]
    time_at, clock_at = _time_columns(data, width)
    if time_at < 0:
        shown = lines[0][:60].strip()
        raise TrendError(
            path, 1, f"no column of this log holds stamps (the line reads {shown!r}): a trend log has a time in each row"
        )
    data_at = next(k for k, r in enumerate(rows) if len(r) > time_at and _is_time(r[time_at], clock_at >= 0))
    header_line, units_line = _header(rows, data_at, time_at)
    names = list(rows[header_line - 1]) if header_line else [f"#{k + 1}" for k in range(width)]
    names = [n or f"#{k + 1}" for k, n in enumerate(names)] + [f"#{k + 1}" for k in range(len(names), width)]
    units = rows[units_line - 1] if units_line else []
    data = [r for r in rows[data_at:] if len(r) >= min(width, 2)]
    kind, point_at, value_at, status_at = _kind(names, data, time_at, clock_at)
    decimal = decimal_of(data, separator, {time_at, clock_at, point_at})
    return Layout(separator, decimal, header_line, units_line, data_at + 1, names, units, kind,
                  time_at, clock_at, point_at, value_at, status_at, data)  # fmt: skip


def _separator(lines: list[str]) -> tuple[str, list[list[str]]]:
    """The separator that makes most cells figures, stamps, states or nothing, and the cells that it gives."""
    best, best_score, best_rows = ",", -1.0, [[""]]
    sample = [line for line in lines if line.strip()][-100:]
    for separator in SEPARATORS:
        cells = [split_line(line, separator) for line in sample]
        width = _usual_width(cells)
        flat = [c for row in cells for c in row]
        fit = sum(_ordinary(c) for c in flat) / max(len(flat), 1)
        same = sum(len(row) == width for row in cells) / max(len(cells), 1)
        score = (fit + same) * (1.0 if width > 1 else 0.1) + 0.001 * min(width, 100)
        if score > best_score:
            best, best_score, best_rows = separator, score, cells
    del best_rows
    return best, [split_line(line, best) for line in lines]


def _ordinary(cell: str) -> bool:
    word = cell.casefold()
    return bool(_FIGURE.match(cell)) or word in NOTHING or word in STATES or word in BROKEN or looks_like_stamp(cell)


def _usual_width(rows: list[list[str]]) -> int:
    widths = [len(r) for r in rows if any(r)]
    return max(set(widths), key=widths.count) if widths else 0


def _is_time(cell: str, date_only: bool) -> bool:
    return bool(_DAY.match(cell)) if date_only else looks_like_stamp(cell)


def _time_columns(data: list[list[str]], width: int) -> tuple[int, int]:
    """The column of stamps, and that of the time of day where it stands alone; -1 for none."""
    share = [sum(looks_like_stamp(r[k]) for r in data if len(r) > k) / max(len(data), 1) for k in range(width)]
    time_at = next((k for k in range(width) if share[k] > 0.8), -1)
    if time_at < 0:
        return -1, -1
    cells = [r[time_at] for r in data if len(r) > time_at]
    if all(_DAY.match(c) for c in cells if c):
        for k in (time_at + 1, time_at - 1):
            if 0 <= k < width and sum(bool(_CLOCK.match(r[k])) for r in data if len(r) > k) > 0.8 * len(data):
                return time_at, k
    return time_at, -1


def _header(rows: list[list[str]], data_at: int, time_at: int) -> tuple[int, int]:
    """Lines of header and units, counted from 1."""
    above = [k for k in range(data_at) if len([c for c in rows[k] if c]) >= 2]
    if not above:
        return 0, 0
    last = above[-1]
    cells = [c for k, c in enumerate(rows[last]) if c and k != time_at]
    if len(above) > 1 and cells and sum(is_unit(c) for c in cells) > 0.5 * len(cells):
        return above[-2] + 1, last + 1
    return last + 1, 0


def _kind(names: list[str], data: list[list[str]], time_at: int, clock_at: int) -> tuple[str, int, int, int]:
    """Wide, long or one point per file, and the columns of point, value and status (-1 for none)."""
    low = [bare_name(n).casefold() for n in names]
    others = [k for k in range(len(names)) if k not in (time_at, clock_at)]
    status_at = next((k for k in others if low[k] in STATUS_NAMES), -1)
    others = [k for k in others if k != status_at]

    def texts(k: int) -> list[str]:
        return [r[k] for r in data if len(r) > k and r[k]]

    def wordy(k: int) -> bool:
        cells = texts(k)
        return bool(cells) and sum(not _ordinary(c) for c in cells) > 0.8 * len(cells)

    if 2 <= len(others) <= 6:
        named = [k for k in others if low[k] in POINT_NAMES]
        point_at = next((k for k in (*named, *others) if wordy(k)), named[0] if named else -1)
        value_at = next((k for k in others if low[k] in VALUE_NAMES), -1)
        if value_at < 0 and point_at >= 0:
            figures = [k for k in others if k != point_at and not wordy(k)]
            value_at = figures[0] if len(figures) == 1 else -1
        if point_at >= 0 and value_at >= 0:
            return "long", point_at, value_at, status_at
    if len(others) == 1 and low[others[0]] in VALUE_NAMES:
        return "per_point", -1, others[0], status_at
    # Without that, a column called `status` is a state of the plant like any other.
    return "wide", -1, -1, -1


def decimal_of(data: list[list[str]], separator: str, not_here: Container[int] = ()) -> str:
    """The mark that more figures have in their middle."""
    cells = [c for r in data for k, c in enumerate(r) if k not in not_here]
    comma = sum(bool(re.match(r"^[+-]?\d+,\d+$", c)) for c in cells) if separator != "," else 0
    comma += sum(bool(re.match(r"^[+-]?\d+,\d{1,2}$", c)) for c in cells) if separator == "," else 0
    point = sum(bool(re.match(r"^[+-]?\d+\.\d+$", c)) for c in cells)
    return "," if comma > point else "."
