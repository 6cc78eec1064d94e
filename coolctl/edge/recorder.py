"""Writes every tick's row to disk so that a crash of this process loses none, and never holds up or breaks a tick.

`append` writes one frame to a write-ahead file: when it returns, the row is in the kernel and outlives a kill -9. Every
`block_rows` rows a helper thread compresses them into the segment, calls fdatasync, and only then empties the
write-ahead file that held them; the two of a run are used in turn, so the tick never waits for it. A power cut thus
costs the rows since the last finished block. The tick itself makes one write() to the page cache and nothing else that
may wait for the disk.

When the disk is full, fails, is read-only or does not keep up, the recorder stops, says why in `failed`, counts
`dropped_rows`, and tries again every `retry_s` with a new run: rows already taken stay where they are. Existing files
are never written to: each run and each rotation takes a new sequence number.
"""

from __future__ import annotations

import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coolctl import recording_format as fmt
from coolctl.recording_columns import F64

# Blocks that may wait for the disk: four minutes of a dead disk, then the recorder stops and says so.
MAX_WAITING_BLOCKS = 4
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC


class _Files:
    """Files of one run: the segment and two write-ahead files. Created and written by the helper thread."""

    def __init__(self, folder: Path, name: str, header: bytes, columns: int):
        self.failed: str | None = None
        self._folder, self._name, self._header, self._columns = folder, name, header, columns
        self._run_id = os.urandom(8)
        self._part = 0
        self._rows_written = 0
        self._segment_fd = -1
        self.wal_fds: list[int] = []
        self.wal_free = [False, True]
        self._created: list[Path] = []
        folder.mkdir(parents=True, exist_ok=True)
        try:
            sequence = self._new_segment(0)
            for slot in "ab":
                start = fmt.encode_start(fmt.KIND_WAL, self._run_id, 0, 0, columns, b"")
                self.wal_fds.append(self._create(f"{sequence}{slot}.wal", start))
        except OSError:
            self.close(remove=self._created)
            raise

    def _create(self, name: str, start: bytes) -> int:
        path = self._folder / name
        fd = os.open(path, _CREATE, 0o640)
        try:
            _write_all(fd, start)
            os.fsync(fd)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        self._created.append(path)
        return fd

    def _new_segment(self, first_row: int) -> str:
        """Start the next segment under a sequence number that no file in the folder has; returns its name."""
        used = [fmt.FILE_NAME.match(entry) for entry in os.listdir(self._folder)]
        sequence = 1 + max((int(m["seq"]) for m in used if m and m["name"] == self._name), default=0)
        start = fmt.encode_start(fmt.KIND_SEGMENT, self._run_id, self._part, first_row, self._columns, self._header)
        while True:
            name = f"{self._name}-{sequence:06d}"
            try:
                fd = self._create(f"{name}.cool", start)
                break
            except FileExistsError:  # another recorder was faster
                sequence += 1
        if self._segment_fd >= 0:
            os.close(self._segment_fd)
        self._segment_fd = fd
        self._part += 1
        _sync_folder(self._folder)
        return name

    def write(self, block: _Block) -> None:
        """Append a block durably, then give back the write-ahead file that is no longer needed."""
        if block.rotate:
            self._new_segment(block.first_row)
        end = os.lseek(self._segment_fd, 0, os.SEEK_END)
        try:
            _write_all(self._segment_fd, fmt.encode_block(block.rows, block.first_row, block.events))
        except OSError:
            os.ftruncate(self._segment_fd, end)
            raise
        os.fdatasync(self._segment_fd)
        self._rows_written += len(block.rows)
        if block.retired_slot is not None:
            os.ftruncate(self.wal_fds[block.retired_slot], fmt.PREAMBLE_BYTES)
            self.wal_free[block.retired_slot] = True

    def finish(self) -> None:
        """Close after everything was written: the write-ahead files go, and so does a run without a single row."""
        files = self._created if self._rows_written == 0 else [p for p in self._created if p.suffix == ".wal"]
        self.close(remove=files)

    def close(self, remove: Sequence[Path] = ()) -> None:
        for fd in (self._segment_fd, *self.wal_fds):
            if fd >= 0:
                os.close(fd)
        self._segment_fd, self.wal_fds = -1, []
        for path in remove:
            path.unlink(missing_ok=True)


class _Block(NamedTuple):
    """Job of the helper thread: rows to write, and the write-ahead file that is free after it."""

    files: _Files
    rows: F64
    first_row: int
    events: fmt.Events
    retired_slot: int | None
    rotate: bool


class _End(NamedTuple):
    """Job: close a run, `whole` if everything before was written."""

    files: _Files
    whole: bool


class _Open(NamedTuple):
    """Job: try to start a new run."""


class Recorder:
    """One per process and folder. `columns` names the row's entries; `header` is what a replay needs besides.

    `wait_for_disk` is for imports and unpaced runs, where rows come as fast as they can be written: a full queue then
    holds up `append` instead of ending the run.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        columns: Sequence[str],
        header: Mapping[str, Any],
        rotate_s: float = 3600.0,
        block_rows: int = 60,
        *,
        retry_s: float = 60.0,
        wait_for_disk: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._folder = Path(folder)
        self._name = re.sub(r"[^A-Za-z0-9_.-]", "_", str(header.get("site") or "recording"))
        full = {"created_utc": datetime.now(UTC).isoformat(timespec="seconds"), **header}
        self._header = fmt.encode_header(full, columns)
        self._shape = (len(columns),)
        self._block_rows = max(1, min(block_rows, fmt.MAX_BLOCK_ROWS, fmt.MAX_BLOCK_VALUES // len(columns)))
        self._rotate_s, self._retry_s, self._clock = rotate_s, retry_s, clock
        self._wait_for_disk = wait_for_disk
        self._frame = bytearray(fmt.FRAME_BYTES + 8 * len(columns))
        self._frame_row = np.frombuffer(self._frame, dtype=np.float64, offset=fmt.FRAME_BYTES)
        self.dropped_rows = 0
        self._failed: str | None = None
        self._files: _Files | None = None
        self._opened: _Files | None = None
        self._opening = False
        self._retry_at_s = 0.0
        self._jobs: queue.SimpleQueue[_Block | _End | _Open | threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        fmt.encode_block(np.zeros((1, 1)), 0, [])  # compile the kernel now, not in the helper beside a tick
        self._open()
        self._start(self._opened)
        try:
            thread = threading.Thread(target=self._work, name="recorder", daemon=True)
            thread.start()
            self._thread = thread
        except RuntimeError as error:  # no more threads: the recorder is off, control goes on
            self._stop(str(error))

    @property
    def failed(self) -> str | None:
        """Why nothing is recorded now; None while all is well."""
        return self._failed or (self._files.failed if self._files is not None else None)

    # --- the tick's side

    def append(self, row: F64, events: Sequence[Mapping[str, Any]] = ()) -> None:
        """Take this tick's row; once this returns with `failed` None, a kill -9 does not lose it."""
        if row.shape != self._shape:
            raise ValueError(f"row has shape {row.shape}, the recording {self._shape}")
        files = self._files
        if files is None or files.failed:
            files = self._recover()
            if files is None:
                self.dropped_rows += 1
                return
        number = self._first_row + self._filled
        self._frame_row[:] = row
        frame, tail = self._frame, b""
        if events:
            numbered: fmt.Events = [(number, dict(event)) for event in events]
            tail = fmt.encode_events(numbered)
            frame = self._frame + tail
            self._events += numbered
        fmt.pack_row_head(frame, number, 8 * len(row), len(tail))
        try:
            written = os.write(files.wal_fds[self._slot], frame)
        except OSError as error:
            self._stop(f"write-ahead file: {error.strerror}")
        else:
            if written == len(frame):
                self._rows[self._filled] = row
                self._filled += 1
                if self._filled == self._block_rows:
                    self._cut()
                return
            self._stop("write-ahead file: disk full")
        self.dropped_rows += 1

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until all rows are in the segment and synced; False when that failed or took longer."""
        if self._files is not None and self._files.failed is None:
            self._cut()
        done = threading.Event()
        self._jobs.put(done)
        return self._thread_lives() and done.wait(timeout_s) and self.failed is None

    def close(self, timeout_s: float = 5.0) -> None:
        """Finish the run. A disk that hangs longer than `timeout_s` leaves the rest to the write-ahead file."""
        files, thread = self._files, self._thread
        if files is not None and files.failed is None:
            self._cut()
        if self._files is not None:
            self._jobs.put(_End(self._files, whole=True))
        self._files = self._thread = None
        self._jobs.put(None)
        if thread is not None:
            thread.join(timeout_s)
            if thread.is_alive():
                self._failed = "closed while the disk hung; the last rows are in the write-ahead files"
        self._failed = self._failed or (files.failed if files is not None else None) or "closed"

    def _thread_lives(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self, files: _Files | None) -> None:
        """Begin a run at row 0."""
        self._files, self._opened = files, None
        self._first_row = self._filled = self._slot = 0
        self._rows = np.empty((self._block_rows, *self._shape))
        self._events: fmt.Events = []
        self._rotate_at_s = self._clock() + self._rotate_s
        if files is not None:
            self._failed = None

    def _cut(self) -> None:
        """Hand the rows so far to the helper thread and go on in the other write-ahead file if it is free."""
        files = self._files
        if files is None or not self._filled:
            return
        while self._wait_for_disk and self._jobs.qsize() >= MAX_WAITING_BLOCKS and self._thread_lives():
            time.sleep(0.001)
        if not self._thread_lives():
            self._stop("the writer thread has died")
            return
        if self._jobs.qsize() >= MAX_WAITING_BLOCKS:
            self._stop(f"the disk does not keep up, {MAX_WAITING_BLOCKS} blocks wait for it")
            return
        now_s = self._clock()
        rotate = now_s >= self._rotate_at_s
        if rotate:
            self._rotate_at_s += self._rotate_s * (1 + (now_s - self._rotate_at_s) // self._rotate_s)
        other = 1 - self._slot
        retired = None
        if files.wal_free[other]:
            files.wal_free[other] = False
            retired, self._slot = self._slot, other
        rows = self._rows[: self._filled]
        self._jobs.put(_Block(files, rows, self._first_row, self._events, retired, rotate))
        self._first_row += self._filled
        self._filled = 0
        self._rows = np.empty_like(self._rows)
        self._events = []

    def _stop(self, reason: str) -> None:
        """End the run where it is. Its write-ahead files stay: they hold what is not in the segment."""
        self._failed = reason
        self._retry_at_s = self._clock() + self._retry_s
        if self._files is not None:
            self._jobs.put(_End(self._files, whole=False))
            self._files = None

    def _recover(self) -> _Files | None:
        """The new run if the helper could start one; else ask for it when it is time."""
        if self._files is not None:
            self._stop(self._files.failed or "stopped")
        if self._opened is not None:
            self._opening = False
            self._start(self._opened)
        elif not self._opening and self._clock() >= self._retry_at_s and self._thread is not None:
            self._opening = True
            self._jobs.put(_Open())
        return self._files

    # --- the helper thread's side

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if isinstance(job, threading.Event):
                job.set()
            elif isinstance(job, _Open):
                self._open()
            elif isinstance(job, _End):
                self._end(job)
            elif job.files.failed is None:
                try:
                    job.files.write(job)
                except OSError as error:
                    job.files.failed = f"segment: {error.strerror}"
        if self._opened is not None:  # a new run that no row has reached
            self._end(_End(self._opened, whole=True))

    def _open(self) -> None:
        try:
            self._opened = _Files(self._folder, self._name, self._header, self._shape[0])
        except OSError as error:
            self._failed = f"{self._folder}: {error.strerror}"
            self._retry_at_s = self._clock() + self._retry_s
            self._opening = False

    def _end(self, job: _End) -> None:
        try:
            if job.whole and job.files.failed is None:
                job.files.finish()
            else:
                job.files.close()
        except OSError as error:
            job.files.failed = str(error.strerror)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_folder(folder: Path) -> None:
    """Make a new name in the folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
