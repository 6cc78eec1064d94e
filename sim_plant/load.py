"""IT load over time: a synthetic AI hall, or a recorded trace scaled to the site.

A trace is held from sample to sample, not interpolated: a GPU job that starts between two samples is a step, and a
ramp drawn between them would hide exactly what the airflow must survive.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import ConfigError, Fault

F64 = NDArray[np.float64]

PEAK_RATIO, MEAN_RATIO = 0.90, 0.62
ROW_S, KNOWN_MIN_RATIO = 300.0, 0.5
TIME_COLUMNS = ("t_s", "time_s", "timestamp", "time")


class Load:
    """IT work as a ratio of the design IT power, on a fixed or free time grid, repeated for ever."""

    def __init__(self, name: str, t_s: Any, ratio: Any):
        self.name = name
        self.t_s = t_s
        self.holes = int(np.isnan(ratio).sum())
        self.ratio = _fill(ratio)
        self.period_s = float(t_s[-1] - t_s[0] + (t_s[-1] - t_s[-2] if len(t_s) > 1 else 1.0))

    def at(self, t_s: float) -> float:
        """Ratio at `t_s` [s]; holes in a trace hold the last value."""
        phase = t_s % self.period_s + self.t_s[0]
        i = int(self.t_s.searchsorted(phase, side="right")) - 1
        return float(self.ratio[max(i, 0)])

    def at_mean(self, mean_ratio: float) -> Load:
        """The same shape with another mean: scaled down towards nothing, or up towards full load, never clipped."""
        now = float(np.mean(self.ratio))
        down = mean_ratio <= now
        ratio = self.ratio * (mean_ratio / now) if down else 1.0 - (1.0 - self.ratio) * ((1.0 - mean_ratio) / (1.0 - now))
        return Load(f"{self.name} at mean {mean_ratio:g}", self.t_s, ratio)


def _fill(ratio: F64) -> F64:
    known = np.flatnonzero(~np.isnan(ratio))
    if not len(known):
        return np.full(len(ratio), MEAN_RATIO)
    last = np.maximum.accumulate(np.where(np.isnan(ratio), -1, np.arange(len(ratio))))
    return ratio[np.where(last < 0, known[0], last)]


def constant(ratio: float) -> Load:
    """The same load for ever."""
    return Load(f"{ratio:g}", np.array([0.0, 3600.0]), np.array([ratio, ratio]))


def synthetic(seed: int = 1, days: int = 14) -> Load:
    """A hall of mixed work: a diurnal base, training jobs that start and end within seconds, some noise; 15 s grid."""
    rng = np.random.default_rng(seed)
    n = days * 5760
    hour = np.arange(n) * 15.0 / 3600.0
    base = 0.45 + 0.08 * np.sin(2.0 * math.pi * (hour - 9.0) / 24.0)
    jobs = np.zeros(n)
    position = 0
    while position < n:
        idle, length = rng.exponential(3.0), rng.exponential(5.0)
        size = rng.uniform(0.05, 0.30)
        start = position + int(idle * 240)
        end = min(start + int(length * 240), n)
        jobs[start:end] = size
        position = max(end, position + 1)
    ratio = np.clip(base + jobs + rng.normal(0.0, 0.004, n), 0.1, 1.0)
    return Load("synthetic", np.arange(n) * 15.0, ratio)


def load_load(source: str, scale: str = "peak", seed: int = 1, *, mean: float = 0.0, row_s: float = ROW_S) -> Load:
    """A load by name: empty = synthetic, a number = constant, else `FILE[:COLUMN|sum]` (CSV, gz too).

    `mean` above zero brings the load to that mean ratio; `row_s` [s] is the grid of a file without a time column.
    """
    if not source:
        load = synthetic(seed)
    else:
        try:
            load = constant(float(source))
        except ValueError:
            load = from_csv(source, scale, row_s)
    return load.at_mean(mean) if mean else load


def from_csv(source: str, scale: str = "peak", row_s: float = ROW_S) -> Load:
    """A recorded trace. Values above 1.5 count as power and are scaled so that the peak is 90 % (`peak`) or the mean
    62 % (`mean`) of the design; ratios are taken as they are. `ConfigError` for anything unreadable, and for a trace
    with more holes than values: what would run then is an invention."""
    name, column = _split(source)
    path = Path(name)
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8", "replace")
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise ConfigError([Fault(name, None, "load", f"cannot be read: {error}")]) from error
    rows = list(csv.DictReader(io.StringIO(text)))
    if len(rows) < 2:
        raise ConfigError([Fault(name, None, "load", "has fewer than two rows")])
    fields = list(rows[0])
    columns = _columns(name, fields, column)
    time_column = next((c for c in TIME_COLUMNS if c in fields), None)
    value = np.array([sum(_number(row[c]) for c in columns) for row in rows])
    t_s = np.array([_number(row[time_column]) for row in rows]) if time_column else np.arange(len(rows)) * row_s
    if not np.isfinite(t_s).all() or (np.diff(t_s) <= 0).any():
        raise ConfigError([Fault(name, None, str(time_column), "does not rise from row to row")])
    if not np.isfinite(value).any():
        raise ConfigError([Fault(name, None, ", ".join(columns), "holds no number")])
    if (known := float(np.isfinite(value).mean())) < KNOWN_MIN_RATIO:
        raise ConfigError([Fault(name, None, ", ".join(columns), f"only {100 * known:.0f} % of the rows hold a number")])
    if np.nanmin(value) < 0.0:
        raise ConfigError([Fault(name, None, ", ".join(columns), f"is negative ({np.nanmin(value):g})")])
    if np.nanmax(value) > 1.5:
        value *= PEAK_RATIO / np.nanmax(value) if scale == "peak" else MEAN_RATIO / np.nanmean(value)
    return Load(path.name.split(".")[0], t_s, np.clip(value, 0.02, 1.0))


def _split(source: str) -> tuple[str, str]:
    name, _, column = source.rpartition(":")
    return (name, column) if name and not Path(source).exists() else (source, "")


def _columns(name: str, fields: list[str], column: str) -> list[str]:
    if column and column != "sum":
        if column not in fields:
            raise ConfigError([Fault(name, 1, column, f"no such column; there are {', '.join(fields)}")])
        return [column]
    power = [f for f in fields if f.endswith(("_kw", "_w", "_mw", "power"))]
    other = [f for f in fields if f not in TIME_COLUMNS and f != "day"]
    return power or other[:1]


def _number(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan
