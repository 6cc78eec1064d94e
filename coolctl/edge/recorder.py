"""Writes a recording while the controller runs: one write per tick, blocks and syncing in a helper thread.

When `append` returns, the row is in the kernel and survives the death of this process; half a second later at most it has
been asked onto the disk and survives the loss of power. Any failure (disk full, I/O
error) stops the recorder with `failed` set; control goes on.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from coolctl.recording import SUFFIX, WAL_SUFFIXES, encode_events, encode_header, encode_rows, warm_up
from coolctl.write_ahead import Entries

F64 = NDArray[np.float64]

BLOCK_ROWS = 120
PENDING_MAX = 8
SYNC_EVERY_S = 0.5  # with the time that a sync takes, less than a second is lost with the power


class Recorder:
    """A run's recording under `folder`; the name carries the start time, so nothing is ever overwritten."""

    def __init__(
        self, folder: str | Path, name: str, columns: Sequence[str], header: dict[str, Any], *,
        rotate_s: float = 3600.0, block_rows: int = BLOCK_ROWS,
    ):  # fmt: skip
        self.failed = ""
        self.rows = 0
        self._folder, self._block_rows, self._rotate_s = Path(folder), block_rows, rotate_s
        self._header = {**header, "columns": list(columns)}
        # One block fills while the other is on its way to the disk, as their write-ahead files do.
        self._blocks = np.empty((2, block_rows, len(columns)))
        self._entries = Entries(len(columns))
        self._filled = 0
        self._segment: BinaryIO | None = None
        self._wal: list[BinaryIO] = []
        self._wal_free = [threading.Event(), threading.Event()]
        self._wal_free[0].set()
        self._wal_free[1].set()
        self._active = 0
        self._unsynced = self._framed = False
        self._number = 0
        self._opened_s = 0.0
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + f"-{os.getpid()}"
        self._name = f"{name}-{stamp}"
        self._queue: queue.Queue[tuple[Any, ...] | None] = queue.Queue(PENDING_MAX)
        warm_up()
        self._guard(self._open)
        self._thread = threading.Thread(target=self._write_blocks, name="recorder", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The present segment."""
        return self._folder / f"{self._name}-{self._number:04d}{SUFFIX}"

    def append(self, row: F64, events: Sequence[dict[str, Any]] = ()) -> None:
        """Record one tick. Never raises."""
        if not self.failed:
            self._guard(self._append, row, events)

    def close(self) -> None:
        """Write what is open and sync it."""
        if not self.failed:
            self._guard(self._finish_block)
        try:
            self._queue.put(None, timeout=5.0)
        except queue.Full:
            self.failed = self.failed or "the disk does not keep up"
        self._thread.join(10.0)

    def _guard(self, action: Any, *args: Any) -> None:
        try:
            action(*args)
        except (OSError, ValueError) as error:
            self.failed = str(error) or type(error).__name__

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._segment = self.path.open("xb", buffering=0)
        self._segment.write(encode_header(self._header))
        self._wal = [self.path.with_suffix(s).open("xb", buffering=0) for s in WAL_SUFFIXES]
        self._opened_s = time.monotonic()

    def _append(self, row: F64, events: Sequence[dict[str, Any]]) -> None:
        # An unbuffered write that comes up short means the disk is full: no row may be half there unseen.
        raw = self._entries.entry(row, self.rows)
        if self._wal[self._active].write(raw) != len(raw):
            raise OSError("disk full")
        self._unsynced = True
        self._blocks[self._active, self._filled] = row
        self._filled += 1
        if events:
            self._submit(("frame", self._segment, encode_events(events, self.rows)))
        self.rows += 1
        if self._filled == self._block_rows:
            self._finish_block()
            if time.monotonic() - self._opened_s >= self._rotate_s:
                self._rotate()

    def _finish_block(self) -> None:
        if not self._filled:
            return
        rows = self._blocks[self._active, : self._filled]
        self._wal_free[self._active].clear()
        job = ("block", self._segment, rows, self.rows - self._filled, self._wal_free[self._active])
        self._submit(job)
        self._filled = 0
        self._active = 1 - self._active
        # At 1 Hz the other file has been free for two minutes; an unpaced run is held back here.
        if not self._wal_free[self._active].wait(1.0):
            raise OSError("the disk does not keep up")
        # Emptied only now, when it is needed again: until then its rows stand for a block that has not reached the disk.
        self._wal[self._active].seek(0)
        self._wal[self._active].truncate()
        self._entries.begin()

    def _submit(self, job: tuple[Any, ...]) -> None:
        """Hand work to the thread; at 1 Hz its queue is empty, an unpaced run is held back here."""
        try:
            self._queue.put(job, timeout=1.0)
        except queue.Full:
            raise OSError("the disk does not keep up") from None

    def _rotate(self) -> None:
        # Blocks on their way must be in the old segment before its write-ahead files are given up; what is free stays so,
        # since the last block's rows stand where they stood until it is written.
        self._submit(("close", self._segment, self._wal))
        self._number += 1
        self._open()

    def _write_blocks(self) -> None:
        while True:
            try:
                job = self._queue.get(timeout=SYNC_EVERY_S)
            except queue.Empty:
                self._guard(self._sync)
                continue
            if job is None:
                break
            self._guard(self._do, job)
        if self._segment is not None:
            self._guard(self._close_files, self._segment, self._wal)

    def _sync(self) -> None:
        """Ask the rows of the open block, and events, onto the disk; only while no block waits, which brings its own."""
        wal, segment = self._wal, self._segment
        if self._unsynced and not self.failed and wal:
            self._unsynced = False
            os.fdatasync(wal[self._active].fileno())
        elif self._framed and not self.failed and segment is not None:
            self._framed = False
            os.fdatasync(segment.fileno())

    def _do(self, job: tuple[Any, ...]) -> None:
        if job[0] == "frame":
            _write_all(job[1], job[2])
            self._framed = True
        elif job[0] == "close":
            self._close_files(job[1], job[2])
        else:
            _, segment, rows, first, free = job
            _write_all(segment, encode_rows(rows, first))
            free.set()
            # Only now may the disk take its time: for the death of the process the kernel's copy is enough.
            os.fdatasync(segment.fileno())

    def _close_files(self, segment: BinaryIO, wal: list[BinaryIO]) -> None:
        """All rows are in the segment by now, unless something failed: then what is written ahead stays."""
        try:
            os.fdatasync(segment.fileno())
        finally:
            for stream in (segment, *wal):
                stream.close()
        for stream in wal:
            if not self.failed:
                os.unlink(stream.name)


def _write_all(stream: BinaryIO, raw: bytes) -> None:
    if stream.write(raw) != len(raw):
        raise OSError("disk full")
