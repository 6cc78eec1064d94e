"""Irregular samples on the even ticks of a recording: the last one holds, for so long, and then nothing is known.

Nothing is interpolated or averaged: a tick shows a figure that stood in the log, and its age says how old it is. With a
step longer than the log's interval the samples between ticks are passed over.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel
from coolctl.points import Quality
from coolctl.trends.map_schema import PointTableRow, unit_named
from coolctl.units import UNITS

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
EMPTY_S = 600.0
NEVER, GOOD, BAD_SOURCE, STALE, OUTSIDE = (
    float(q) for q in (Quality.NEVER, Quality.GOOD, Quality.SOURCE_BAD, Quality.STALE, Quality.OUT_OF_RANGE)
)


class Channel(NamedTuple):
    """One column as one part of a point: where it is read, how it is turned into internal units, how long it holds."""

    name: str
    source: int
    scale: float
    offset: float
    missing: tuple[float, ...]
    on_above: float
    max_hold_s: float
    low: float
    high: float


def channel(row: PointTableRow, name: str, source: int, max_hold_s: float, low: float, high: float) -> Channel:
    """A channel of a map's row."""
    unit = UNITS[unit_named(row.unit) or "count"]
    on_above = np.nan if row.on_above is None else row.on_above
    scale, offset = (1.0, 0.0) if on_above == on_above else (row.scale * unit.scale, unit.offset)
    return Channel(name, source, scale, offset, tuple(row.missing), on_above, row.max_hold_s or max_hold_s, low, high)


@kernel
def hold(
    t_s: F64,
    v: F64,
    grid_s: F64,
    max_hold_s: F64,
    low: F64,
    high: F64,
    last: F64,
    seen_s: F64,
    out: F64,
    age_s: F64,
    quality: F64,
) -> None:
    """Each channel's last sample at each tick of `grid_s`; `last` and `seen_s` carry over from call to call.

    NaN in `v` is no sample; infinity is one that says nothing good, so what came before it does not hold over it.
    """
    n = len(t_s)
    for c in range(v.shape[0]):
        j, value, at_s = 0, last[c], seen_s[c]
        for g in range(len(grid_s)):
            now_s = grid_s[g]
            while j < n and t_s[j] <= now_s:
                x = v[c, j]
                if x == x:
                    value, at_s = x, t_s[j]
                j += 1
            waited_s = now_s - at_s
            age_s[c, g] = waited_s
            if value != value:
                q = NEVER
            elif value == np.inf or value == -np.inf:
                q = BAD_SOURCE
            elif waited_s > max_hold_s[c]:
                q = STALE
            elif low[c] <= value <= high[c]:
                q = GOOD
            else:
                q = OUTSIDE
            quality[c, g] = q
            out[c, g] = value if q == GOOD else np.nan
        while j < n:
            x = v[c, j]
            if x == x:
                value, at_s = x, t_s[j]
            j += 1
        last[c], seen_s[c] = value, at_s


class Ticks(NamedTuple):
    """A stretch of ticks: times, and channels × ticks of value (internal unit), age and quality."""

    t_s: F64
    value: F64
    age_s: F64
    quality: F64


class Resampler:
    """Holds each channel's last sample between frames."""

    def __init__(self, channels: list[Channel]):
        self.channels = channels
        self._source = np.array([c.source for c in channels])
        self._scale = np.array([c.scale for c in channels])[:, None]
        self._offset = np.array([c.offset for c in channels])[:, None]
        self._hold_s = np.array([c.max_hold_s for c in channels])
        self._low, self._high = np.array([c.low for c in channels]), np.array([c.high for c in channels])
        self._last, self._seen_s = np.full(len(channels), np.nan), np.full(len(channels), -np.inf)
        self._special = [k for k, c in enumerate(channels) if c.missing or c.on_above == c.on_above]
        self.hold_max_s = float(self._hold_s.max())

    def internal(self, v: F64) -> F64:
        """A frame's sources as channels in internal units."""
        out = v[self._source]
        for k in self._special:
            out[k] = _special(self.channels[k], out[k])
        out *= self._scale
        out += self._offset
        return out

    def ticks(self, t_s: F64, v: F64, grid_s: F64) -> Ticks:
        """All channels, given samples at common times `v` [channels × times] in internal units."""
        shape = (len(self.channels), len(grid_s))
        out, age_s, quality = np.empty(shape), np.empty(shape), np.empty(shape)
        hold(
            t_s,
            np.ascontiguousarray(v),
            grid_s,
            self._hold_s,
            self._low,
            self._high,
            self._last,
            self._seen_s,
            out,
            age_s,
            quality,
        )
        return Ticks(grid_s, out, age_s, quality)

    def ticks_of_series(self, samples: list[tuple[F64, F64]], grid_s: F64) -> Ticks:
        """As `ticks`, given each channel's own times and values up to the end of `grid_s`."""
        shape = (len(self.channels), len(grid_s))
        out, age_s, quality = np.empty(shape), np.empty(shape), np.empty(shape)
        for c, (t_s, v) in enumerate(samples):
            k = slice(c, c + 1)
            hold(t_s, v[None, :], grid_s, self._hold_s[k], self._low[k], self._high[k], self._last[k], self._seen_s[k],
                 out[k], age_s[k], quality[k])  # fmt: skip
        return Ticks(grid_s, out, age_s, quality)


def _special(c: Channel, v: F64) -> F64:
    known = np.isfinite(v)
    for nothing in c.missing:
        v = np.where(known & (np.abs(v - nothing) <= 1e-9 * max(1.0, abs(nothing))), np.inf, v)
    if c.on_above == c.on_above:
        v = np.where(np.isfinite(v), np.where(v > c.on_above, 1.0, 0.0), v)
    return v


def ticks_between(t_s: F64, begin_s: float, step_s: float, tail_s: float) -> F64:
    """The ticks behind `begin_s` up to the last of `t_s`; a gap longer than `tail_s` has ticks only that far into it.

    So an hour without data stays visible, and a clock that jumps by years does not fill the disk.
    """
    if not len(t_s):
        return np.empty(0)
    first_s = np.floor(begin_s / step_s) * step_s + step_s if np.isfinite(begin_s) else np.ceil(t_s[0] / step_s) * step_s
    edges = np.concatenate([[begin_s] if np.isfinite(begin_s) else [], t_s])
    wide = np.flatnonzero(np.diff(edges) > tail_s + step_s)
    starts = [first_s, *(np.ceil(edges[k + 1] / step_s) * step_s for k in wide)]
    ends = [*(edges[k] + tail_s for k in wide), t_s[-1]]
    parts = [
        np.arange(np.ceil(max(a, first_s) / step_s), np.floor(b / step_s) + 1.0) * step_s
        for a, b in zip(starts, ends, strict=True)
    ]
    return np.concatenate(parts)
