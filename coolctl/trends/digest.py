"""A log in small: evenly spaced ticks, few enough to look at whole, however long the log is; what the checks work on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel
from coolctl.points import Quality
from coolctl.trends.grid import Ticks

F64 = NDArray[np.float64]
ROWS = 10_000


@kernel
def tally_ticks(quality: F64, raw: F64, good: float, outside: float, counts: F64, extremes: F64) -> None:
    """Counts of good and of impossible ticks of each channel, and the least and the most of its samples, brought up to date."""
    for c in range(quality.shape[0]):
        for k in range(quality.shape[1]):
            counts[0, c] += quality[c, k] == good
            counts[1, c] += quality[c, k] == outside
        for k in range(raw.shape[1]):
            x = raw[c, k]
            if x < extremes[0, c] and x > -np.inf:
                extremes[0, c] = x
            if x > extremes[1, c] and x < np.inf:
                extremes[1, c] = x


class Digest:
    """Keeps every n-th tick; n doubles whenever there are too many."""

    def __init__(self, channels: int):
        self._stride, self._seen, self._kept = 1, 0, 0
        self._t_s = np.empty(2 * ROWS)
        self._v = np.empty((channels, 2 * ROWS))
        self._age_s = np.empty((channels, 2 * ROWS))
        self._counts = np.zeros((2, channels))
        self._extremes = np.array([np.full(channels, np.inf), np.full(channels, -np.inf)])
        self.ticks = 0
        self.first_s, self.last_s = np.nan, np.nan

    def add(self, ticks: Ticks, raw: F64) -> None:
        """Take ticks; `raw` are the values before the range decided (NaN where there is no figure)."""
        if not len(ticks.t_s):
            return
        self.first_s = ticks.t_s[0] if self.ticks == 0 else self.first_s
        self.last_s = ticks.t_s[-1]
        self.ticks += len(ticks.t_s)
        tally_ticks(ticks.quality, raw, float(Quality.GOOD), float(Quality.OUT_OF_RANGE), self._counts, self._extremes)
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
    def known(self) -> F64:
        """Ticks at which each channel was known."""
        return self._counts[0]

    @property
    def outside(self) -> F64:
        """Ticks at which it was outside what can be."""
        return self._counts[1]

    @property
    def low(self) -> F64:
        """The least that each channel ever showed."""
        return self._extremes[0]

    @property
    def high(self) -> F64:
        """The most."""
        return self._extremes[1]

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
