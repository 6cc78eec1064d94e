"""The newest telemetry in memory that two processes share: one hears and writes it, the other ticks and reads it.

A sequence counter is odd while the writer writes. Who reads believes what it has copied where the counter was even before and is
the same after; else it copies again, and what it has stays what it was: values grow old by themselves.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.points import Batch, PointTable, Sample, SampleStore, Snapshot

F64 = NDArray[np.float64]

HEAD_BYTES, TEXT_BYTES = 64, 4096
H_SEQUENCE, H_MESSAGES, H_DROPPED, H_TEXT = range(4)
TRIES = 100


class Heard(NamedTuple):
    """What the writer has: as in a `SampleStore`, messages taken and dropped since its start, those refused by reason, and what
    is wrong with points by id."""

    value: F64
    t_seen_s: F64
    quality: NDArray[np.int8]
    messages: int
    dropped: int
    rejects: dict[str, int]
    faults: dict[str, str]


def size_bytes(points: int) -> int:
    """Of a segment for so many points."""
    return HEAD_BYTES + 17 * points + TEXT_BYTES


class Segment:
    """Arrays of `points` entries on the file `fd`, which both sides have open; times are the machine's monotonic clock."""

    def __init__(self, fd: int, points: int):
        raw = np.frombuffer(mmap.mmap(fd, size_bytes(points)), dtype=np.uint8)
        head, value, t_seen_s, quality, self._text = np.split(raw, np.cumsum([HEAD_BYTES, 8 * points, 8 * points, points]))
        self._head, self.quality = head.view(np.int64), quality.view(np.int8)
        self.value, self.t_seen_s = value.view(np.float64), t_seen_s.view(np.float64)

    def begin(self) -> None:
        """Nothing heard yet."""
        self._head[H_SEQUENCE] += 1 + self._head[H_SEQUENCE] % 2
        self.value[:], self.t_seen_s[:], self.quality[:] = np.nan, -np.inf, 0
        self._head[H_MESSAGES] = self._head[H_DROPPED] = self._head[H_TEXT] = 0
        self._head[H_SEQUENCE] += 1

    def take_over(self, store: SampleStore) -> None:
        """A writer goes on where the one before it ended, with what is not too old; where that one died at it, with nothing."""
        heard = self.read()
        if heard is None:
            self.begin()
        else:
            store.value[:], store.t_seen_s[:], store.quality[:] = heard.value, heard.t_seen_s, heard.quality

    def write(
        self, store: SampleStore, messages: int, dropped: int, rejects: Mapping[str, int], faults: Mapping[str, str]
    ) -> None:
        """All of it anew: some ten microseconds for 5,000 points. Texts longer than there is room for are left out."""
        text = json.dumps({"rejects": dict(rejects), "faults": dict(faults)}).encode()
        raw = np.frombuffer(text if len(text) <= TEXT_BYTES else b"", dtype=np.uint8)
        self._head[H_SEQUENCE] += 1
        self.value[:], self.t_seen_s[:], self.quality[:] = store.value, store.t_seen_s, store.quality
        self._text[: len(raw)] = raw
        self._head[H_MESSAGES], self._head[H_DROPPED], self._head[H_TEXT] = messages, dropped, len(raw)
        self._head[H_SEQUENCE] += 1

    def read(self) -> Heard | None:
        """What is there, whole; None where the writer is at it all the time, or died at it."""
        for _ in range(TRIES):
            before = int(self._head[H_SEQUENCE])
            value, t_seen_s, quality = self.value.copy(), self.t_seen_s.copy(), self.quality.copy()
            _sequence, messages, dropped, length = self._head[: H_TEXT + 1].tolist()
            text = self._text[:length].tobytes()
            if before % 2 == 0 and int(self._head[H_SEQUENCE]) == before:
                said = json.loads(text) if text else {"rejects": {}, "faults": {}}
                return Heard(value, t_seen_s, quality, messages, dropped, said["rejects"], said["faults"])
        return None


class SharedStore(SampleStore):
    """A store whose values are heard elsewhere; what is put here itself, a tariff's price, stands beside them."""

    def __init__(self, table: PointTable, segment: Segment):
        super().__init__(table)
        self._segment = segment
        self.messages = self.dropped = 0
        self.faults: dict[str, str] = {}
        self._own = np.zeros(len(table), dtype=np.bool_)

    def put(self, samples: Iterable[Sample | Batch], now_s: float) -> None:
        """Take samples of our own."""
        samples = list(samples)
        for sample in samples:
            self._own[sample.i] = True
        super().put(samples, now_s)

    def snapshot(self, now_s: float) -> Snapshot:
        """The values as a tick may see them, the newest that were heard elsewhere among them."""
        heard = self._segment.read()
        if heard is not None:
            theirs = ~self._own
            self.value[theirs], self.t_seen_s[theirs] = heard.value[theirs], heard.t_seen_s[theirs]
            self.quality[theirs], self.rejects, self.faults = heard.quality[theirs], heard.rejects, heard.faults
            self.messages, self.dropped = heard.messages, heard.dropped
        return super().snapshot(now_s)
