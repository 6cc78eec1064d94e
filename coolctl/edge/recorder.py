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

from coolctl.recording import SUFFIX, WAL_SUFFIXES, encode_block, encode_events, encode_header, run_name, warm_up
from coolctl.write_ahead import Entries

F64 = NDArray[np.float64]

BLOCK_ROWS = 120
PENDING_MAX = 8
SYNC_EVERY_S = 0.5  # with the time that a sync takes, less than a second is lost with the power
NO_BLOCK = -1


class Ahead:
    """A write-ahead file: its entries, the block that they stand for once there is one, and whether that is in the segment."""

    def __init__(self, entries: Entries):
        self.entries = entries
        self.stream: BinaryIO | None = None
        self.of_block = NO_BLOCK
        self.free = threading.Event()
        self.free.set()


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
        # One block fills while the other is on its way to the disk.
        self._ahead = [Ahead(Entries(len(columns), block_rows)) for _ in WAL_SUFFIXES]
        self._active = self._ahead[0]
        self._emptying = threading.Lock()
        self._segment: BinaryIO | None = None
        self._unsynced = self._framed = False
        self._number = 0
        self._opened_s = 0.0
        self._name = name
        self._queue: queue.Queue[tuple[Any, ...] | None] = queue.Queue(PENDING_MAX)
        warm_up()
        self._guard(self._begin, name)
        self._thread = threading.Thread(target=self._write_blocks, name="recorder", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The present segment."""
        return self._folder / f"{self._name}-{self._number:04d}{SUFFIX}"

    def append(self, row: F64, events: Sequence[dict[str, Any]] = ()) -> None:
        """Record one tick. Never raises."""
        if self.failed:
            return
        try:
            self._append(row, events)
        except (OSError, ValueError) as error:
            self._fail(error)

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
            self._fail(error)

    def _fail(self, error: OSError | ValueError) -> None:
        self.failed = str(error) or type(error).__name__

    def _begin(self, name: str) -> None:
        self._name = run_name(self._folder, name)
        self._open()

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._segment = self.path.open("xb", buffering=0)
        self._segment.write(encode_header(self._header))
        for ahead, suffix in zip(self._ahead, WAL_SUFFIXES, strict=True):
            ahead.stream, ahead.of_block = self.path.with_suffix(suffix).open("xb", buffering=0), NO_BLOCK
        self._opened_s = time.monotonic()

    def _append(self, row: F64, events: Sequence[dict[str, Any]]) -> None:
        entries, stream = self._active.entries, self._active.stream
        raw = entries.entry(row, self.rows)
        # An unbuffered write that comes up short means the disk is full: no row may be half there unseen.
        if stream is None or stream.write(raw) != len(raw):
            raise OSError("disk full")
        self._unsynced = True
        if events:
            self._submit(("frame", self._segment, encode_events(events, self.rows)))
        self.rows += 1
        if entries.rows == self._block_rows:
            self._finish_block()
            if time.monotonic() - self._opened_s >= self._rotate_s:
                self._rotate()

    def _finish_block(self) -> None:
        done = self._active
        if not done.entries.rows:
            return
        done.of_block = first = self.rows - done.entries.rows
        done.free.clear()
        self._submit(("block", self._segment, done, done.stream, first))
        self._active = self._ahead[done is self._ahead[0]]
        # At 1 Hz the other file has been free for two minutes; an unpaced run is held back here.
        if not self._active.free.wait(1.0):
            raise OSError("the disk does not keep up")
        self._empty(self._active, self._active.stream, self._active.of_block)
        self._active.entries.begin()

    def _empty(self, ahead: Ahead, stream: BinaryIO | None, block: int) -> None:
        """Give up the rows written ahead of `block` [first row], unless the file has gone on to another one since.

        The thread does so once they are on the disk in the segment; sooner only where the file is needed again by then.
        """
        with self._emptying:
            if ahead.stream is stream and stream is not None and ahead.of_block == block != NO_BLOCK:
                stream.seek(0)
                stream.truncate()
                ahead.of_block = NO_BLOCK

    def _submit(self, job: tuple[Any, ...]) -> None:
        """Hand work to the thread; at 1 Hz its queue is empty, an unpaced run is held back here."""
        try:
            self._queue.put(job, timeout=1.0)
        except queue.Full:
            raise OSError("the disk does not keep up") from None

    def _rotate(self) -> None:
        # Blocks on their way must be in the old segment before its write-ahead files are given up; what is free stays so,
        # since the last block's rows stand where they stood until it is written.
        self._submit(("close", self._segment, [a.stream for a in self._ahead]))
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
            self._guard(self._close_files, self._segment, [a.stream for a in self._ahead if a.stream is not None])

    def _sync(self) -> None:
        """Ask the rows of the open block, and events, onto the disk; only while no block waits, which brings its own."""
        wal, segment = self._active.stream, self._segment
        if self._unsynced and not self.failed and wal is not None:
            self._unsynced = False
            os.fdatasync(wal.fileno())
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
            _, segment, ahead, stream, first = job
            _write_all(segment, encode_block(ahead.entries.block(), first))
            ahead.free.set()
            # Only now may the disk take its time: for the death of the process the kernel's copy is enough.
            os.fdatasync(segment.fileno())
            self._empty(ahead, stream, first)

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
