"""What an operator looks at over the last hour and the last day: rings of buckets in memory, thinned so that no peak is lost.

A bucket keeps the smallest and the largest value beside the mean, so a line drawn from it may be smooth and its band
still shows a minute above the limit a day later. A bucket in which nothing was heard stays unknown: a gap, not a line
drawn across it. Nothing is written to disk; a recording is what outlives a restart.
"""

from __future__ import annotations

import itertools
import json
import math
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


class Series(NamedTuple):
    """One value over time: key in the JSON, name in words, the unit it is shown in, and the digits that mean something."""

    key: str
    name: str
    unit: str
    digits: int


SERIES = (
    Series("inlet", "hottest rack inlet", "°C", 2),
    Series("supply_air", "supply air", "°C", 2),
    Series("chilled_water", "chilled water supply", "°C", 2),
    Series("chilled_water_sp", "its setpoint", "°C", 2),
    Series("cooling", "cooling power", "kW", 2),
    Series("baseline", "rules (B2), estimated", "kW", 2),
    Series("it", "IT power", "kW", 1),
    Series("pue", "partial PUE", "", 4),
    Series("saving", "saving against the rules (B2)", "%", 2),
)
(INLET, SUPPLY_AIR, CHILLED_WATER, CHILLED_WATER_SP, COOLING, BASELINE, IT, PUE, SAVING) = range(len(SERIES))

# From the mode that asks for least attention to the one that asks for most: a bucket keeps the worst it has seen.
BY_ATTENTION = ("auto", "bounded", "advise", "shadow", "monitor", "fallback", "release", "emergency")


class Span(NamedTuple):
    """How long a ring looks back, in buckets of `step_s`."""

    step_s: float
    buckets: int


SPANS = {"hour": Span(10.0, 360), "day": Span(120.0, 720)}


class Ring:
    """The newest `count` buckets of `step_s`; `add` costs the same whatever it holds."""

    def __init__(self, span: Span, series: int = len(SERIES)):
        self.span = span
        self._low = np.full((span.buckets, series), np.nan)
        self._high = self._low.copy()
        self._sum = np.zeros((span.buckets, series))
        self._n = np.zeros((span.buckets, series))
        self._mode = np.full(span.buckets, -1, dtype=np.int8)
        self._newest = -1

    def clear(self) -> None:
        """Forget everything."""
        self._empty(np.arange(self.span.buckets))
        self._newest = -1

    def add(self, t_s: float, values: F64, mode: int) -> None:
        """Values at `t_s` [s], NaN = unknown, left out where older than the ring; `mode` by `BY_ATTENTION`, -1 = nobody said."""
        bucket, count = math.floor(t_s / self.span.step_s), self.span.buckets
        if bucket <= self._newest - count:
            return
        if bucket > self._newest:
            first = max(self._newest + 1, bucket - count + 1) if self._newest >= 0 else bucket - count + 1
            self._empty(np.arange(first, bucket + 1) % count)
            self._newest = bucket
        k, known = bucket % count, values == values
        self._low[k] = np.fmin(self._low[k], values)
        self._high[k] = np.fmax(self._high[k], values)
        self._sum[k] += np.where(known, values, 0.0)
        self._n[k] += known
        self._mode[k] = max(int(self._mode[k]), mode)

    def _empty(self, k: NDArray[np.int64]) -> None:
        self._low[k] = self._high[k] = np.nan
        self._sum[k] = self._n[k] = 0.0
        self._mode[k] = -1

    def rows(self, now_s: float) -> tuple[float, F64, F64, F64, NDArray[np.int8]]:
        """Start [s] of the oldest bucket, then smallest, mean, largest `(buckets, series)` and mode `(buckets,)` up to `now_s`.

        Buckets before the first value are left out, those since the last one are there and unknown.
        """
        count, last = self.span.buckets, math.floor(now_s / self.span.step_s)
        last = max(last, self._newest)
        order = np.arange(last - count + 1, last + 1)
        k, held = order % count, (order <= self._newest) & (order > self._newest - count)
        with np.errstate(invalid="ignore"):
            mean = np.where(self._n > 0.0, self._sum / np.maximum(self._n, 1.0), np.nan)
        low, high, mean = (np.where(held[:, None], part[k], np.nan) for part in (self._low, self._high, mean))
        mode = np.where(held, self._mode[k], -1).astype(np.int8)
        seen = np.flatnonzero((low == low).any(axis=1) | (mode >= 0))
        first = int(seen[0]) if len(seen) else count
        return float(order[0] + first) * self.span.step_s, low[first:], mean[first:], high[first:], mode[first:]


class Trends:
    """One ring per span of `SPANS`, filled by one thread and asked for by others."""

    def __init__(self) -> None:
        self._rings = {name: Ring(span) for name, span in SPANS.items()}
        self._lock = threading.Lock()
        self._made: dict[str, tuple[float, bytes]] = {}

    def clear(self) -> None:
        """Forget everything: a simulated plant began a new run."""
        with self._lock:
            self._made.clear()
            for ring in self._rings.values():
                ring.clear()

    def add(self, t_s: float, values: F64, mode: str) -> None:
        """Values `(series,)` at `t_s` [s] in the units of `SERIES`; `mode` "" = nobody said."""
        rank = BY_ATTENTION.index(mode) if mode in BY_ATTENTION else -1
        with self._lock:
            for ring in self._rings.values():
                ring.add(t_s, values, rank)

    def json(self, name: str, now_s: float, clock: dict[str, Any]) -> bytes:
        """The span `name` up to `now_s` as the page reads it; made anew once a second of `now_s` at most, whoever asks."""
        with self._lock:
            made_s, raw = self._made.get(name, (-math.inf, b""))
            if not 0.0 <= now_s - made_s < 1.0:
                raw = _encode(name, self._rings[name], now_s, clock)
                self._made[name] = (now_s, raw)
            return raw


def _encode(name: str, ring: Ring, now_s: float, clock: dict[str, Any]) -> bytes:
    start_s, low, mean, high, mode = ring.rows(now_s)
    series = [
        {
            **s._asdict(),
            "low": _numbers(low[:, k], s.digits),
            "mean": _numbers(mean[:, k], s.digits),
            "high": _numbers(high[:, k], s.digits),
        }
        for k, s in enumerate(SERIES)
    ]
    found = {
        "span": name,
        "step_s": ring.span.step_s,
        "span_s": ring.span.step_s * ring.span.buckets,
        "start_s": start_s,
        "now_s": round(now_s, 3),
        "clock": clock,
        "modes": _stretches(mode),
        "series": series,
    }
    return json.dumps(found, allow_nan=False, separators=(",", ":")).encode()


def _numbers(values: F64, digits: int) -> list[float | None]:
    return [None if v != v else v for v in np.round(values, digits).tolist()]


def _stretches(mode: NDArray[np.int8]) -> list[tuple[int, int, str]]:
    """Runs of buckets of the same mode: first, one past the last, its name; where nobody said anything there is none."""
    edges = [*np.flatnonzero(np.diff(mode, prepend=np.int8(-2))).tolist(), len(mode)]
    return [(a, b, BY_ATTENTION[mode[a]]) for a, b in itertools.pairwise(edges) if mode[a] >= 0]
