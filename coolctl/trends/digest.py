"""A log in small: evenly spaced ticks, few enough to look at whole, however long the log is; what the checks work on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.points import Quality
from coolctl.trends.grid import Ticks

F64 = NDArray[np.float64]
ROWS = 10_000


class Digest:
    """Keeps every n-th tick; n doubles whenever there are too many."""

    def __init__(self, channels: int):
        self._stride, self._seen, self._kept = 1, 0, 0
        self._t_s = np.empty(2 * ROWS)
        self._v = np.empty((channels, 2 * ROWS))
        self._age_s = np.empty((channels, 2 * ROWS))
        self.outside = np.zeros(channels)
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.known = np.zeros(channels)
        self.ticks = 0
        self.first_s, self.last_s = np.nan, np.nan
        self.unknown_s: dict[str, float] = {}

    def add(self, ticks: Ticks, raw: F64) -> None:
        """Take ticks; `raw` are the values before the range decided (NaN where there is no figure)."""
        if not len(ticks.t_s):
            return
        self.first_s = ticks.t_s[0] if self.ticks == 0 else self.first_s
        self.last_s = ticks.t_s[-1]
        self.ticks += len(ticks.t_s)
        self.outside += (ticks.quality == Quality.OUT_OF_RANGE).sum(axis=1)
        self.known += (ticks.quality == Quality.GOOD).sum(axis=1)
        if raw.shape[1]:
            finite = np.where(np.isfinite(raw), raw, np.nan)
            self.low, self.high = (
                np.fmin(self.low, np.fmin.reduce(finite, axis=1)),
                np.fmax(self.high, np.fmax.reduce(finite, axis=1)),
            )
        pick = np.arange(-self._seen % self._stride, len(ticks.t_s), self._stride)
        self._seen += len(ticks.t_s)
        while len(pick):
            room = self._t_s.shape[0] - self._kept
            part, pick = pick[:room], pick[room:]
            here = slice(self._kept, self._kept + len(part))
            self._t_s[here], self._v[:, here], self._age_s[:, here] = ticks.t_s[part], ticks.value[:, part], ticks.age_s[:, part]
            self._kept += len(part)
            if self._kept == self._t_s.shape[0]:
                pick = self._halve(pick)

    def _halve(self, pick: NDArray[np.int64]) -> NDArray[np.int64]:
        half = self._kept // 2
        self._t_s[:half] = self._t_s[: self._kept : 2]
        self._v[:, :half], self._age_s[:, :half] = self._v[:, : self._kept : 2], self._age_s[:, : self._kept : 2]
        self._kept, self._stride = half, 2 * self._stride
        return pick[::2]

    @property
    def t_s(self) -> F64:
        """Times of the ticks kept."""
        return self._t_s[: self._kept]

    @property
    def v(self) -> F64:
        """Channels × ticks, NaN where not known."""
        return self._v[:, : self._kept]

    @property
    def age_s(self) -> F64:
        """Ages of the values kept."""
        return self._age_s[:, : self._kept]
