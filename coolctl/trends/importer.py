"""From logs and a map to ticks: columns become points of the site, and everything is looked at on its way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import ConfigError, Fault, nearest
from coolctl.points import ROLES, Quality
from coolctl.site import Site
from coolctl.tariff import PriceClock
from coolctl.trends.balance import check_balance, plant_of
from coolctl.trends.checks import Column, check_columns
from coolctl.trends.digest import Digest
from coolctl.trends.findings import Finding, Notes, utc_text
from coolctl.trends.grid import EMPTY_S, Resampler, Ticks, channel, ticks_between
from coolctl.trends.map_schema import MapFile, PointTableRow, unit_named
from coolctl.trends.reading import Frame, Log, WideLogs, gather
from coolctl.trends.source import stem
from coolctl.units import UNITS

F64 = NDArray[np.float64]
PART_TICKS = 3600
INTERVALS_MAX = 100_000
COMBINED: dict[str, Callable[..., F64]] = {"mean": np.mean, "sum": np.sum, "min": np.min, "max": np.max}
Sink = Callable[[F64, F64, F64, F64], None]


class Importer:
    """One import: logs, map, and the site whose points are filled (None: only the checks)."""

    def __init__(self, paths: list[Path], file: MapFile, site: Site | None, step_s: float = 0.0, cells_max: float = math.inf):
        self.file, self.site, self.notes, self._cells_left = file, site, Notes(), cells_max
        self.step_s = step_s or file.grid.step_s
        self.logs = [Log(path, file, self.notes) for path in paths]
        self.sources = list(dict.fromkeys(name for row in file.points for name in row.sources()))
        self._refuse_unknown_sources()
        parts = [(row, name) for row in file.points for name in row.sources()]
        self.columns = [_column(row, name, k, site) for k, (row, name) in enumerate(parts)]
        self._resampler = Resampler(
            [channel(row, name, self.sources.index(name), file.grid.max_hold_s, *_range(row, site)) for row, name in parts]
        )
        self._temperatures = [k for k, c in enumerate(self.columns) if c.suffix == "c" and not c.role.endswith("_sp")]
        self._targets = self._points(parts)
        self.digest = Digest(len(parts))
        self._prices = PriceClock(site) if site else None
        self._intervals_s = np.empty(0)

    def _refuse_unknown_sources(self) -> None:
        """Every column of the map must stand in some log; long logs tell only when they are read."""
        if self.file.log.layout == "long":
            return
        alone = self.file.log.layout == "per_point"
        known = [stem(log.path) for log in self.logs] if alone else [n for log in self.logs for n in log.names]
        faults = []
        for name in self.sources:
            if not (name in known if alone else any(log.has(name) for log in self.logs)):
                where = ", ".join(str(log.path) for log in self.logs[:3])
                faults.append(Fault(where, None, "points.column", f"no column {name!r}" + nearest(name, known)))
        if faults:
            raise ConfigError(faults)

    def _points(self, parts: list[tuple[PointTableRow, str]]) -> list[tuple[int, list[int], str]]:
        """Of each point of the site that is filled: its position, its channels, and how they combine."""
        if self.site is None:
            return []
        found: dict[int, tuple[int, list[int], str]] = {}
        for k, (row, _) in enumerate(parts):
            if row.point:
                i = self.site.table.index[row.point]
                found.setdefault(i, (i, [], row.combine))[1].append(k)
        return list(found.values())

    def run(self, sink: Sink | None = None) -> None:
        """Read everything; `sink` takes times, and points × ticks of value, age and quality."""
        together = self.file.log.layout == "wide" and len({tuple(log.names) for log in self.logs}) == 1
        parts = self._stream() if together else self._gathered()
        for ticks in parts:
            if sink is not None:
                sink(*self._filled(ticks))

    def _stream(self) -> Iterator[Ticks]:
        emitted_s = -np.inf
        for frame in WideLogs(self._by_age(), self.sources).frames():
            self._zero_rows(frame)
            self._note_interval(frame.t_s)
            v = self._resampler.internal(frame.v)
            grid_s = ticks_between(frame.t_s, emitted_s, self.step_s, self._resampler.hold_max_s + EMPTY_S)
            emitted_s = float(grid_s[-1]) if len(grid_s) else emitted_s
            self._cells_left -= frame.v.size
            ticks = self._resampler.ticks(frame.t_s, v, grid_s)
            self.digest.add(ticks, v)
            yield ticks
            if self._cells_left < 0.0:
                self.notes.add("looked_at_the_beginning", "all columns", 1, utc_text(emitted_s))
                return

    def _by_age(self) -> list[Log]:
        """Logs in the order of their first stamps."""
        if len(self.logs) < 2:
            return self.logs
        firsts = []
        for log in self.logs:
            frame = next(WideLogs([Log(log.path, self.file, Notes())], self.sources[:1]).frames(), None)
            firsts.append(frame.t_s[0] if frame is not None else np.inf)
        return [self.logs[k] for k in np.argsort(firsts, kind="stable").tolist()]

    def _gathered(self) -> Iterator[Ticks]:
        series = gather(self.logs, self.sources)
        if self.file.log.layout == "long" and (lacking := [s for s in self.sources if s not in series]):
            where = ", ".join(str(log.path) for log in self.logs[:3])
            if not series:
                raise ConfigError([Fault(where, None, "points.column", f"no point {s!r} in the log") for s in lacking])
            for name in lacking:
                self.notes.word(name, "", where)
        samples: list[tuple[F64, F64]] = []
        for k, c in enumerate(self._resampler.channels):
            found = series.get(self.sources[c.source])
            if found is None:
                samples.append((np.empty(0), np.empty(0)))
                continue
            alone = Resampler([self._resampler.channels[k]._replace(source=0)])
            samples.append((found.t_s, np.ascontiguousarray(alone.internal(found.v[None, :])[0])))
        for found in series.values():
            self._note_interval(found.t_s)
        union_s = np.unique(np.concatenate([t for t, _ in samples])) if samples else np.empty(0)
        all_s = ticks_between(union_s, -np.inf, self.step_s, self._resampler.hold_max_s + EMPTY_S)
        at = np.zeros(len(samples), dtype=np.int64)
        for k in range(0, len(all_s), PART_TICKS):
            grid_s = all_s[k : k + PART_TICKS]
            ends = [int(np.searchsorted(t, grid_s[-1], "right")) for t, _ in samples]
            now = [(t[a:b], v[a:b]) for (t, v), a, b in zip(samples, at, ends, strict=True)]
            at = np.array(ends)
            ticks = self._resampler.ticks_of_series(now, grid_s)
            raw = np.array([[_least(v), _most(v)] for _, v in now])
            self.digest.add(ticks, raw)
            yield ticks

    def _zero_rows(self, frame: Frame) -> None:
        """Rows in which every temperature is exactly 0 are no answer, where the map says so."""
        sources = sorted({self._resampler.channels[k].source for k in self._temperatures})
        if self.file.clean.zero_rows == "missing" and len(sources) >= 2:
            zero = (frame.v[sources] == 0.0).all(axis=0)
            frame.v[:, zero] = np.inf
            self.notes.add("zero_rows", "all columns", int(zero.sum()))

    def _note_interval(self, t_s: F64) -> None:
        if len(self._intervals_s) < INTERVALS_MAX and len(t_s) > 1:
            steps = np.diff(t_s)
            self._intervals_s = np.concatenate([self._intervals_s, steps[steps > 0.0][:INTERVALS_MAX]])

    @property
    def interval_s(self) -> float:
        """The usual time between two samples of a point [s]."""
        return float(np.median(self._intervals_s)) if len(self._intervals_s) else self.step_s

    def _filled(self, ticks: Ticks) -> tuple[F64, F64, F64, F64]:
        """Ticks of channels as the site's points; what no column fills was never heard."""
        assert self.site is not None
        shape = (len(self.site.table), len(ticks.t_s))
        value, age_s, quality = np.empty(shape), np.empty(shape), np.empty(shape)
        filled = {i for i, _, _ in self._targets}
        for i in range(shape[0]):
            if i not in filled:
                value[i], age_s[i], quality[i] = np.nan, np.inf, float(Quality.NEVER)
        for i, parts, how in self._targets:
            if len(parts) == 1:  # row by row: an array of indices would copy everything twice
                k = parts[0]
                value[i], age_s[i], quality[i] = ticks.value[k], ticks.age_s[k], ticks.quality[k]
            else:
                value[i] = COMBINED[how](ticks.value[parts], axis=0)
                age_s[i] = ticks.age_s[parts].max(axis=0)
                worst = np.where(ticks.quality[parts] == Quality.GOOD, -1.0, ticks.quality[parts]).max(axis=0)
                quality[i] = np.where(worst < 0.0, float(Quality.GOOD), worst)
        self._fill_prices(ticks.t_s, value, age_s, quality)
        return ticks.t_s, value, age_s, quality

    def _fill_prices(self, t_s: F64, value: F64, age_s: F64, quality: F64) -> None:
        """The price points that a daemon would fill from the tariff's bands."""
        if self._prices is None or not self._prices.samples(0.0):
            return
        minutes, back = np.unique(np.floor(t_s / 60.0), return_inverse=True)
        rows = [self._prices.samples(float(m) * 60.0) for m in minutes]
        for k, sample in enumerate(rows[0]):
            value[sample.i] = np.array([r[k].value for r in rows])[back]
            age_s[sample.i], quality[sample.i] = 0.0, float(Quality.GOOD)

    def findings(self) -> list[Finding]:
        """Everything found in this import."""
        capacity_w = float("nan")
        if self.site is not None:
            capacity_w = self.site.file.chillers.count * self.site.file.chillers.capacity_nom_w
        if not self.digest.ticks:
            return self.notes.findings()
        running = plant_of(self.columns, self.digest).running
        return [
            *self.notes.findings(),
            *check_columns(self.columns, self.digest, self.interval_s, running if running.any() else ~running),
            *check_balance(self.columns, self.digest, capacity_w),
        ]


def _least(v: F64) -> float:
    known = v[np.isfinite(v)]
    return float(known.min()) if len(known) else np.nan


def _most(v: F64) -> float:
    known = v[np.isfinite(v)]
    return float(known.max()) if len(known) else np.nan


def _column(row: PointTableRow, name: str, k: int, site: Site | None) -> Column:
    role = row.role
    if row.point and site is not None:
        role = site.table.points[site.table.index[row.point]].role
    # A state made from a power is not that power: its name says so, and the checks of the power are another row's.
    return Column(
        f"{name} on" if row.on_above is not None else name, role, unit_named(row.unit) if row.on_above is None else "", k
    )


def _range(row: PointTableRow, site: Site | None) -> tuple[float, float]:
    """What a part of a point may be, in internal units; a sum's parts are only bounded by the role."""
    if row.point and site is not None:
        point = site.table.points[site.table.index[row.point]]
        if len(row.sources()) == 1 or row.combine != "sum":
            return point.low, point.high
        return ROLES[point.role].low, ROLES[point.role].high
    if row.role:
        return ROLES[row.role].low, ROLES[row.role].high
    unit = unit_named(row.unit)
    return (-60.0, 200.0) if unit and UNITS[unit].suffix == "c" else (-np.inf, np.inf)
