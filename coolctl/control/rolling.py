"""A minimum over a sliding window of time, at constant cost a tick."""

from __future__ import annotations

from collections import deque


class RollingMin:
    """Smallest value seen within the last `window_s` seconds."""

    def __init__(self, window_s: float):
        self.window_s = window_s
        self._rising: deque[tuple[float, float]] = deque()

    def push(self, now_s: float, value: float) -> float:
        """Take a value (NaN is ignored) and return the window's minimum; NaN while it is empty."""
        if value == value:
            while self._rising and self._rising[-1][1] >= value:
                self._rising.pop()
            self._rising.append((now_s, value))
        while self._rising and now_s - self._rising[0][0] > self.window_s:
            self._rising.popleft()
        return self._rising[0][1] if self._rising else float("nan")

    def memory(self) -> list[list[float]]:
        """What another of the same window goes on from."""
        return [list(pair) for pair in self._rising]

    def recall(self, memory: list[list[float]]) -> None:
        """Go on from `memory`."""
        self._rising = deque((float(now_s), float(value)) for now_s, value in memory)
