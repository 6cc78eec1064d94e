"""Logs into samples: wide logs as a stream of frames, long ones and files of one point as a series for each point.

Samples are the log's own figures, see `values.py` for NaN and infinity; times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import ConfigError, Fault, TrendError, nearest
from coolctl.trends import cells
from coolctl.trends.findings import Notes, utc_text
from coolctl.trends.layout import column_names, widest_row
from coolctl.trends.map_schema import MapFile
from coolctl.trends.order import in_order, newest_first
from coolctl.trends.source import pieces, stem, words
from coolctl.trends.stamps import StampReader
from coolctl.trends.values import BAD, NO_SAMPLE, good_status, value_of
from coolctl.trends.zone import LocalClock, zone_of

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
ROWS, ODD, HELD_ROWS = 4096, 1 << 16, 64


class Rows(NamedTuple):
    """Rows of one log as they stand in it: numbers, texts of the stamps and other text columns, first row's line."""

    line: int
    v: F64
    texts: list[list[str]]


class Frame(NamedTuple):
    """Samples in the order of time: UTC [s], and sources × rows."""

    t_s: F64
    v: F64


class Series(NamedTuple):
    """One source's samples in the order of time."""

    t_s: F64
    v: F64


def rows_of(
    path: Path, file: MapFile, number_at: list[int], text_at: list[int], names: list[str], notes: Notes
) -> Iterator[Rows]:
    """The cells of a log: columns `number_at` as numbers, `text_at` as text."""
    names = names + [f"#{k + 1}" for k in range(len(names), max(number_at + text_at, default=0) + 1)]
    slot = np.full(len(names), cells.SKIP, dtype=np.int64)
    for row, k in enumerate(number_at):
        slot[k] = row
    for row, k in enumerate(text_at):
        slot[k] = -2 - row
    log = file.log
    skip = (log.data_line or max(log.header_line, log.units_line) + 1) - 1
    states = {k.casefold(): v for k, v in file.states.items()}
    by_column = {c: {k.casefold(): v for k, v in row.states.items()} for row in file.points for c in row.sources()}
    shared = [{**states, **by_column.get(names[k], {})} for k in number_at]
    known: list[dict[bytes, tuple[float, str]]] = [{} for _ in number_at]
    out, text = np.empty((len(number_at), ROWS)), np.empty((len(text_at), ROWS, 2), dtype=np.int64)
    odd, tally = np.empty((ODD + len(slot), 4), dtype=np.int64), np.zeros(cells.TALLY, dtype=np.int64)
    for piece in pieces(path):
        raw, line, start = np.frombuffer(piece.raw, dtype=np.uint8), piece.line, 0
        while line <= skip and start < len(raw):
            start, line = piece.raw.find(b"\n", start) + 1, line + 1
        while start < len(raw):
            cells.scan(raw, start, ord(log.separator), ord(log.decimal), slot, out, text, odd, cells.POW10, tally)
            count = int(tally[cells.T_ROWS])
            _tell_ragged(path, line, tally, notes)
            v = out[:, :count].copy()
            for where, row, a, b in odd[: tally[cells.T_ODD]].tolist():
                cell = piece.raw[a:b]
                if cell not in known[where]:
                    known[where][cell] = value_of(cell, log.decimal, shared[where])
                v[where, row], foreign = known[where][cell]
                if foreign:
                    notes.word(names[number_at[where]], foreign, f"{path.name}:{line + row}")
            texts = [[words(piece.raw[a:b]) for a, b in column[:count].tolist()] for column in text]
            yield Rows(line, v, texts)
            line, start = line + count, int(tally[cells.T_NEXT])


def _tell_ragged(path: Path, line: int, tally: I64, notes: Notes) -> None:
    rows, more = int(tally[cells.T_ROWS]), int(tally[cells.T_LONG])
    at = f"{path.name}:{line + int(tally[cells.T_LONG_AT]) - 1}"
    if more > 0.5 * rows:
        raise TrendError(path, line + int(tally[cells.T_LONG_AT]) - 1,
                         "most rows have more cells than the header: decimal commas under a `,` separator? use `;`")  # fmt: skip
    notes.add("long_rows", at, more)
    notes.add("ragged_rows", f"{path.name}:{line + int(tally[cells.T_SHORT_AT]) - 1}", int(tally[cells.T_SHORT]))


class Log:
    """One file with a map: where its columns stand, and the reading of its stamps."""

    def __init__(self, path: Path, file: MapFile, notes: Notes):
        self.path, self.file, self.notes = path, file, notes
        self.names = column_names(path, file.log.separator, file.log.header_line, file.log.data_line)
        self._width = max(len(self.names), widest_row(path, file.log.separator))
        self.time_at = [self.column(file.time.column, "time.column")]
        if file.time.clock_column:
            self.time_at.append(self.column(file.time.clock_column, "time.clock_column"))
        self.reader = StampReader(file.time.format, file.time.day_month_exchanged)

    def column(self, name: str, key: str) -> int:
        """Position of a column. Raises `ConfigError` where the log has none of that name, or several."""
        if name in self.names and self.names.count(name) == 1:
            return self.names.index(name)
        if name.startswith("#") and name[1:].isdigit() and 0 < int(name[1:]) <= self._width:
            return int(name[1:]) - 1
        where = f"{self.path}:{self.file.log.header_line or 1}"
        if name in self.names:
            at = ", ".join(f"#{k + 1}" for k, n in enumerate(self.names) if n == name)
            raise ConfigError(
                [Fault(where, None, key, f"{name!r} stands {self.names.count(name)} times in the header: say which, {at}")]
            )
        raise ConfigError([Fault(where, None, key, f"the log has no column {name!r}" + nearest(name, self.names))])

    def has(self, name: str) -> bool:
        """Whether the log has this column."""
        return name in self.names or (name.startswith("#") and name[1:].isdigit() and 0 < int(name[1:]) <= self._width)

    def stamps(self, rows: Rows, count: int) -> tuple[F64, F64, list[str] | None]:
        """Stamps of rows, those that cannot be read counted."""
        texts = rows.texts[0] if count == 1 else [f"{a} {b}" if a else "" for a, b in zip(*rows.texts[:2], strict=True)]
        local_s, offset_s, zones = self.reader.read(texts)
        unread = ~np.isfinite(local_s) & np.array([t != "" for t in texts], dtype=bool)
        if unread.any():
            first = int(np.argmax(unread))
            self.notes.add("stamp_not_understood", f"{self.path.name}:{rows.line + first}", int(unread.sum()), texts[first][:40])
        return local_s, offset_s, zones


def to_utc(clock: LocalClock, local_s: F64, offset_s: F64, zones: list[str] | None) -> F64:
    """UTC of stamps: by their own offset, else by the log's zone."""
    own = np.isfinite(offset_s)
    if own.all():
        return local_s - offset_s
    t_s = clock.utc_s(np.where(own, np.nan, local_s), zones)
    return np.where(own, local_s - offset_s, t_s)


def tell_clock(clock: LocalClock, notes: Notes, where: str) -> None:
    """What the zone's changes did to this log."""
    ends = sorted({end for end, _ in clock.passes})
    twice = [e for e in ends if {(e, 0), (e, 1)} <= clock.passes]
    once = [e for e in ends if e not in twice]
    if twice:
        notes.add("repeated_hour", where, clock.repeated, ", ".join(utc_text(e) for e in twice[:3]))
    if once:
        which = "second" if (once[0], 1) in clock.passes else "first"
        notes.add("repeated_hour_once", where, clock.repeated, which)
    notes.add("missing_hour", where, clock.missing, "read as if the clocks had not changed yet")


class WideLogs:
    """Wide logs with the same columns, one after the other, as frames in the order of time."""

    def __init__(self, logs: list[Log], sources: list[str]):
        self.logs, self.sources = logs, sources

    def frames(self) -> Iterator[Frame]:
        """Frames in the order of time; a log that begins with its newest row is turned round in memory."""
        last_s = -np.inf
        for log in self.logs:
            clock = LocalClock(zone_of(log.file.time.tz))
            at = [log.column(name, "points") for name in self.sources]
            held = Frame(np.empty(0), np.empty((len(at), 0)))
            for line, local_s, offset_s, zones, v in _stamped(log, at):
                t_s = np.concatenate([held.t_s, to_utc(clock, local_s, offset_s, zones)])
                v = np.concatenate([held.v, v], axis=1)
                keep = in_order(t_s, last_s, log.notes, log.path.name, line - len(held.t_s) if line else 0)
                # The last rows wait for what follows: only that tells whether a clock has jumped.
                now, later = keep[:-HELD_ROWS], keep[-HELD_ROWS:]
                held = Frame(t_s[later], v[:, later])
                if len(now):
                    log.notes.add("duplicate_stamps", log.path.name, int((np.diff(t_s[now], prepend=last_s) == 0.0).sum()))
                    last_s = float(t_s[now[-1]])
                    yield Frame(np.ascontiguousarray(t_s[now]), v[:, now])
            if len(held.t_s):
                log.notes.add("duplicate_stamps", log.path.name, int((np.diff(held.t_s, prepend=last_s) == 0.0).sum()))
                last_s = float(held.t_s[-1])
                yield Frame(np.ascontiguousarray(held.t_s), held.v)
            tell_clock(clock, log.notes, log.path.name)


def _stamped(log: Log, at: list[int]) -> Iterator[tuple[int, F64, F64, list[str] | None, F64]]:
    """Rows that have a stamp: line, seconds, offsets, zone words, numbers. Lines are only right while every row has a stamp."""
    parts = []
    turned = None
    for rows in rows_of(log.path, log.file, at, log.time_at, log.names, log.notes):
        local_s, offset_s, zones = log.stamps(rows, len(log.time_at))
        known = np.isfinite(local_s)
        if not known.all():
            zones = [z for z, k in zip(zones, known, strict=True) if k] if zones else None
            local_s, offset_s = local_s[known], offset_s[known]
        if turned is None and len(local_s) > 1:
            turned = newest_first(local_s)
        part = (rows.line, local_s, offset_s, zones, rows.v[:, known])
        if not turned:
            yield part
        else:
            parts.append(part)
    if parts:
        log.notes.add("newest_first", log.path.name)
        for _line, local_s, offset_s, zones, v in reversed(parts):
            yield 0, local_s[::-1], offset_s[::-1], zones[::-1] if zones else None, np.ascontiguousarray(v[:, ::-1])


def series_of_long(log: Log, sources: list[str]) -> dict[str, list[tuple[F64, F64, list[str] | None, F64]]]:
    """Samples of each source of a long log in the order of the log: seconds, offsets, zone words, figures."""
    long, file = log.file.long, log.file
    point_at, value_at = log.column(long.point, "long.point"), log.column(long.value, "long.value")
    text_at = [*log.time_at, point_at] + ([log.column(long.status, "long.status")] if long.status else [])
    good = {s.casefold() for s in long.good}
    index = {name: k for k, name in enumerate(sources)}
    found: dict[str, list[tuple[F64, F64, list[str] | None, F64]]] = {name: [] for name in sources}
    for rows in rows_of(log.path, file, [value_at], text_at, log.names, log.notes):
        local_s, offset_s, zones = log.stamps(rows, len(log.time_at))
        points = rows.texts[len(log.time_at)]
        which = np.array([index.get(p, -1) for p in points])
        v = rows.v[0]
        if long.status:
            v = np.where([s.casefold() in good or good_status(s) for s in rows.texts[-1]], v, BAD)
            wrong = next((s for s, x in zip(rows.texts[-1], v, strict=True) if x == BAD), "")
            log.notes.add("bad_status", log.path.name, int((v == BAD).sum()), wrong)
        foreign = (which < 0) & np.isfinite(local_s)
        if foreign.any():
            log.notes.add("point_not_mapped", log.path.name, int(foreign.sum()), points[int(np.argmax(foreign))])
        for k in np.unique(which[which >= 0]).tolist():
            mine = np.flatnonzero((which == k) & np.isfinite(local_s) & ~np.isnan(v))
            own = [zones[i] for i in mine] if zones else None
            found[sources[k]].append((local_s[mine], offset_s[mine], own, v[mine]))
    return found


def gather(logs: list[Log], sources: list[str]) -> dict[str, Series]:
    """Every source's samples, whatever the layout: long logs, files of one point, wide logs with different columns."""
    parts: dict[str, list[Series]] = {name: [] for name in sources}
    for log in logs:
        raw = series_of_long(log, sources) if log.file.log.layout == "long" else _series_of_wide(log, sources)
        clocks = LocalClock(zone_of(log.file.time.tz))
        for name, found in raw.items():
            if any(len(p[0]) for p in found):
                parts[name].append(_series(log, clocks, found))
        tell_clock(clocks, log.notes, log.path.name)
    return {name: _joined(series) for name, series in parts.items() if series}


def _series_of_wide(log: Log, sources: list[str]) -> dict[str, list[tuple[F64, F64, list[str] | None, F64]]]:
    alone = log.file.log.layout == "per_point"
    mine = [s for s in sources if (s == stem(log.path) if alone else log.has(s))]
    at = [log.column(log.file.long.value, "long.value")] * len(mine) if alone else [log.column(s, "points") for s in mine]
    found: dict[str, list[tuple[F64, F64, list[str] | None, F64]]] = {name: [] for name in mine}
    if not mine:
        return found
    for _line, local_s, offset_s, zones, v in _stamped(log, at):
        for k, name in enumerate(mine):
            some = np.flatnonzero(v[k] == v[k])
            found[name].append((local_s[some], offset_s[some], [zones[i] for i in some] if zones else None, v[k][some]))
    return found


def _series(log: Log, clock: LocalClock, found: list[tuple[F64, F64, list[str] | None, F64]]) -> Series:
    local_s, offset_s, v = (np.concatenate([p[k] for p in found]) for k in (0, 1, 3))  # type: ignore[misc]
    zones = [z for p in found for z in (p[2] or [""] * len(p[0]))] if any(p[2] for p in found) else None
    if newest_first(local_s):
        log.notes.add("newest_first", log.path.name)
        local_s, offset_s, v, zones = local_s[::-1], offset_s[::-1], v[::-1], zones[::-1] if zones else None
    t_s = to_utc(clock, local_s, offset_s, zones)
    keep = in_order(t_s, -np.inf, log.notes, log.path.name)
    log.notes.add("duplicate_stamps", log.path.name, int((np.diff(t_s[keep]) == 0.0).sum()))
    return Series(np.ascontiguousarray(t_s[keep]), np.ascontiguousarray(v[keep]))


def _joined(series: list[Series]) -> Series:
    t_s, v = np.concatenate([s.t_s for s in series]), np.concatenate([s.v for s in series])
    order = np.argsort(t_s, kind="stable")
    return Series(t_s[order], v[order])


__all__ = ["BAD", "NO_SAMPLE", "Frame", "Log", "Series", "WideLogs", "gather", "rows_of", "series_of_long", "to_utc"]
