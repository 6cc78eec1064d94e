"""What every way of writing setpoints to a plant shares: what is due, who is in the way, and what the plant says back.

All leased setpoints are written or none. Silence is how a lease ends: nothing is said any more, the heartbeat beside the
setpoints stops, and the plant takes its own after the time agreed with it. A write that the plant refuses, or a setpoint
that reads back as another, is a word of whoever runs that plant: it is not said again until a person has had it in hand.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping

from coolctl.points import Point

HEARTBEAT_S = 10.0
REFRESH_S = 5.0  # a plant that was restarted, or that missed a change, hears it again
GAP_S = 2.5  # the gateway says a lease every second: after this it is another one
BEATS = 100  # a heartbeat counts 0 … 99: it fits every type of number
TOLERANCE = 1e-3  # of a setpoint's range: what a register or a 32-bit float may lose


class Schedule:
    """Which values of a lease have to be said now: those that changed, and each from time to time; and the heartbeat."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}
        self._lease_s = self._beat_s = -math.inf

    def restart(self) -> None:
        """The next lease is said whole: what the plant has missed or lost is not known."""
        self._lease_s = -math.inf

    def due(self, wire: Mapping[str, float], now_s: float) -> tuple[list[str], bool]:
        """Names to say, and whether the heartbeat is due; what is returned counts as said."""
        if not 0.0 <= now_s - self._lease_s <= GAP_S:
            self._last, self._beat_s = {}, -math.inf
        self._lease_s = now_s
        names = []
        for name, value in wire.items():
            last, said_s = self._last.get(name, (math.nan, -math.inf))
            if value != last or now_s - said_s >= REFRESH_S:
                self._last[name] = value, now_s
                names.append(name)
        beat = now_s - self._beat_s >= HEARTBEAT_S - 1e-6
        if beat:
            self._beat_s = now_s
        return names, beat


class ReadBack:
    """What was written to one setpoint, and what the plant says that it is, both in the site file's unit."""

    def __init__(self, point: Point, patience_s: float):
        self._tolerance = TOLERANCE * abs(point.encode(point.high) - point.encode(point.low))
        self._patience_s = patience_s
        self._written: deque[tuple[float, float]] = deque()
        self._astray_s = math.nan
        self.heard = math.nan

    def write(self, value: float, now_s: float) -> None:
        """Note what goes out."""
        if self._written and not now_s - self._written[-1][0] >= 0.0:
            self._written.clear()  # the clock began anew
        if not self._written or value != self._written[-1][1]:
            self._written.append((now_s, value))

    def forget(self) -> None:
        """The lease has ended: what the plant does then is its own."""
        self._written.clear()
        self._astray_s = math.nan

    def fault(self, now_s: float, coarse: float) -> str:
        """Why the plant seems not to take what is written, or nothing: what it says has for long not been in force lately.

        A plant may follow late, and may say something wrong for a moment. `coarse` is what rounding to its type may change.
        """
        while len(self._written) > 1 and now_s - self._written[1][0] >= self._patience_s:
            self._written.popleft()
        values, slack = [value for _, value in self._written], self._tolerance + coarse
        if not values or self.heard != self.heard or min(values) - slack <= self.heard <= max(values) + slack:
            self._astray_s = math.nan
            return ""
        if not now_s - self._astray_s >= 0.0:
            self._astray_s = now_s
        if now_s - self._astray_s < self._patience_s:
            return ""
        return f"reads back as {self.heard:g} although {values[-1]:g} was written"


class Output:
    """A way of writing setpoints; every method is told the time [s] of the gateway's own clock.

    `faults` says by name what is in the way. A fault of a setpoint hinders the leases that hold it, any other all of them.
    """

    def __init__(self, setpoints: Iterable[Point], patience_s: float = math.inf):
        self.points = {p.id: p for p in setpoints}
        self.faults: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.refusals = 0
        self.schedule = Schedule()
        self._back = {p.id: ReadBack(p, patience_s) for p in self.points.values()}
        self._wrote_s = -math.inf
        self.beats = 0
        self.asks = False
        """Whether our own state as a host has to be said again."""

    @property
    def topics(self) -> list[str]:
        """What it listens to, retained messages too."""
        return []

    def take(self, topic: str, raw: bytes) -> None:
        """A message on one of `topics`."""

    def watch(self, now_s: float) -> None:
        """Look at the clock, once a second: `faults` is as of now."""

    def lease(self, wire: Mapping[str, float], now_s: float, timestamp_ms: int) -> list[tuple[str, bytes]]:
        """Topics and payloads of a lease in the site file's units."""
        raise NotImplementedError

    def can_write(self, names: Iterable[str]) -> bool:
        """Whether a lease on these setpoints would be written."""
        return not self.faults.keys() - (self.points.keys() - set(names))

    # -- what the plant says back

    def heard(self, name: str, wire: float) -> None:
        """The plant says that this setpoint is so; NaN: it does not know."""
        self._back[name].heard = wire

    def forgive(self) -> None:
        """A person has had the plant in hand, and so has seen what was refused."""
        self.refused.clear()

    def refuse(self, name: str, why: str) -> None:
        """The plant does not take it: nothing is written any more, and not tried again."""
        if name not in self.refused:
            self.refusals += 1
            self.refused[name] = f"{why}: refused, and not tried again until the plant was in hand or the gateway starts anew"

    def _note(self, wire: Mapping[str, float], now_s: float) -> None:
        """What is in force from now on."""
        self._wrote_s = now_s
        for name, value in wire.items():
            self._back[name].write(value, now_s)

    def _compare(self, now_s: float, coarse: Mapping[str, float]) -> None:
        """Look whether the plant holds what was written; `coarse`: rounding by setpoint, in the site file's unit."""
        if not 0.0 <= now_s - self._wrote_s <= GAP_S:
            for back in self._back.values():
                back.forget()
            return
        for name, back in self._back.items():
            fault = back.fault(now_s, coarse.get(name, 0.0))
            if fault:
                self.refuse(name, fault)
