"""What comes by one topic, and the small readings that every dialect shares."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coolctl.points import Batch, Sample
from coolctl.strict_json import Rejected

if TYPE_CHECKING:
    from coolctl.dialects.decoder import Decoder

INTEGER_MAX = 10**15
SKEW_MAX_S = 4e9

Samples = list[Sample | Batch]


class Route:
    """What comes by one topic: its dialect, the points by name, and the names of the latest batches."""

    def __init__(self, topic: str, dialect: str, read: Reader):
        self.topic, self.dialect, self.read = topic, dialect, read
        self.fields: dict[str, int] = {}
        self.series: dict[int, object] = {}
        self.selectors: dict[tuple[str, str], list[tuple[frozenset[tuple[str, str]], int]]] = {}
        self._seen: dict[str, tuple[list[str], NDArray[np.int64]]] = {}

    def only(self) -> int:
        """The point of a topic that carries one. Raises `Rejected`."""
        if len(self.fields) != 1:
            raise Rejected("single_value_on_shared_topic")
        return next(iter(self.fields.values()))

    def positions(self, names: list[str]) -> NDArray[np.int64]:
        """Where the points stand, -1 for those that are not known. A sender repeats its names in the same order."""
        before, i = self._seen.get(names[0], (None, None)) if names else (None, None)
        if i is None or before != names:
            i = np.array([self.fields.get(name, -1) for name in names], dtype=np.int64)
            if names and names[0] in self.fields:  # what is remembered is bounded by the points that there are
                self._seen[names[0]] = names, i
        return i

    def is_of(self, i: int, series: object) -> bool:
        """Whether a value belongs to the series that point `i` has been read from since the start.

        A row that names too little of its source would else be fed by two sensors in turn.
        """
        return self.series.setdefault(i, series) == series


Reader = Callable[["Decoder", bytes, Route], Samples]


def timestamp_s(stamp: Any, per_s: float = 1e3) -> float:
    """Source time [s] of a stamp with `per_s` ticks a second, NaN where there is none. Raises `Rejected`."""
    if stamp is None:
        return math.nan
    if isinstance(stamp, bool) or not isinstance(stamp, int | float):
        raise Rejected("timestamp_type")
    if not 0.0 <= stamp <= per_s * SKEW_MAX_S:
        raise Rejected("timestamp_range")
    return float(stamp) / per_s
