"""The recording format: self-contained segments of CRC-checked blocks, and a write-ahead file for the open block.

Every tick is one row of float64. A segment holds a JSON header (columns, site file, equipment records, hashes) and
blocks of rows, see `column_codec.py`, which is exact for any bit pattern; blocks of the first version are read too. Rows of
the block that is still open lie in `.wal` files, see `write_ahead.py`. Readers trust nothing: sizes are bounded before they
are allocated, damage is skipped and reported with file and offset, nothing is ever unpickled.
"""

from __future__ import annotations

import itertools
import json
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.column_codec import decode_columns, encode_columns
from coolctl.errors import RecordingError
from coolctl.write_ahead import Entries, whole_rows, whole_rows_plain

F64 = NDArray[np.float64]

MAGIC = b"COOLREC1"
FORMAT_VERSION = 2
FIRST_VERSION = 1  # blocks of byte planes of whole rows, and whole rows written ahead
SUFFIX, WAL_SUFFIXES = ".cool", (".wal0", ".wal1")
HEADER_MAX, BLOCK_MAX, ROWS_MAX, EVENTS_MAX = 16 << 20, 256 << 20, 3600, 1 << 20
LIKELY_RATIO = 512
_FRAME = struct.Struct("<4sIIQI")  # kind, payload bytes, rows, first row's index, CRC of payload
ROWS, COLUMNS, EVENTS = b"ROWS", b"COLS", b"EVTS"


def run_name(folder: Path, name: str) -> str:
    """A new run's name under `folder`: `name`, start time, process. Runs begun in one second are told apart, in their order."""
    stem = f"{name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
    candidates = itertools.chain((stem,), (f"{stem}.{n:02d}" for n in itertools.count(2)))  # "." sorts behind "-"
    return next(c for c in candidates if not any(folder.glob(f"{c}-*")))


def encode_header(header: dict[str, Any]) -> bytes:
    """Magic, length, JSON and CRC."""
    text = json.dumps({"format_version": FORMAT_VERSION, **header}).encode()
    return MAGIC + struct.pack("<II", len(text), zlib.crc32(text)) + text


def encode_block(columns: F64, first_index: int) -> bytes:
    """A block frame of columns × rows."""
    payload = encode_columns(columns)
    return _FRAME.pack(COLUMNS, len(payload), columns.shape[1], first_index, zlib.crc32(payload)) + payload


def encode_rows(rows: F64, first_index: int) -> bytes:
    """A block frame of `rows` [rows × columns]."""
    return encode_block(rows.T, first_index)


def warm_up() -> None:
    """Compile what writing a recording needs, so that its first block is not late."""
    entries = Entries(2, 3)
    for k, row in enumerate(np.array([[0.1, 1.0], [0.2, np.pi], [0.4, np.e]])):
        entries.entry(row, k)
    encode_block(entries.block(), 0)


def decode_rows(payload: bytes, rows: int, columns: int) -> F64:
    """Rows of a payload of the first version: each XORed with the one before. Raises `ValueError` when the size does not fit."""
    size = rows * columns * 8
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(payload, size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(raw) != size:
        raise ValueError(f"{len(raw)} bytes instead of {size}")
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(8, columns, rows)
    delta = np.ascontiguousarray(planes.transpose(1, 2, 0)).view(np.uint64).reshape(columns, rows)
    bits = np.bitwise_xor.accumulate(delta, axis=1)
    return np.ascontiguousarray(bits.T).view(np.float64)


def encode_events(events: Sequence[dict[str, Any]], index: int) -> bytes:
    """A frame of text events that happened at row `index`."""
    payload = json.dumps(list(events)).encode()[:EVENTS_MAX]
    return _FRAME.pack(EVENTS, len(payload), len(events), index, zlib.crc32(payload)) + payload


Room = Callable[[int], F64 | None]
"""Where so many rows may be put, if anywhere."""


class Event(NamedTuple):
    """Something that happened at a row."""

    row: int
    fields: dict[str, Any]


class Recording:
    """One run: its segments in order. `damage` fills while rows are read."""

    def __init__(self, path: str | Path):
        path = Path(path)
        self.segments = _segments(path)
        self.header = _read_header(self.segments[0])
        self.columns: list[str] = self.header["columns"]
        self._stored = self.columns
        self._place: NDArray[np.int64] | None = None
        self._fill = np.empty(0)
        self.damage: list[str] = []
        self.events: list[Event] = []

    def widen(self, columns: list[str], added: dict[str, float]) -> None:
        """Give the rows of an older version as today's: in the order of `columns`, with `added` for those that it has not."""
        at = {name: k for k, name in enumerate(self._stored)}
        self._place = np.array([at.get(name, -1) for name in columns], dtype=np.int64)
        self._fill = np.array([np.nan if name in at else added[name] for name in columns])
        self.columns = columns

    def _widened(self, rows: F64) -> F64:
        return rows if self._place is None else np.where(self._place >= 0, rows[:, self._place], self._fill)

    def rows(self, room: Room | None = None) -> Iterator[F64]:
        """Blocks [rows × columns] in order, the write-ahead tail last; each row once. They may be put where `room` says."""
        next_index = 0
        for k, segment in enumerate(self.segments):
            header = _read_header(segment) if k else self.header
            if header["columns"] != self._stored:
                self.damage.append(f"{segment}: has other columns; left out")
                continue
            for index, rows in self._blocks(segment, room):
                if index > next_index:
                    self.damage.append(f"{segment}: rows {next_index} to {index - 1} are missing")
                fresh = rows[max(next_index - index, 0) :]
                next_index = max(next_index, index + len(rows))
                if len(fresh):
                    yield self._widened(fresh)
        tail = self._wal_rows(next_index)
        if len(tail):
            yield self._widened(tail)

    def read(self) -> F64:
        """All rows at once."""
        # The count is what the file says: no more room is taken for it than a file of this size is likely to fill.
        room = sum(segment.stat().st_size for segment in self.segments) * LIKELY_RATIO // (8 * len(self.columns))
        out, filled = np.empty((min(self.count_rows(), room), len(self.columns))), 0
        rest: list[F64] = []

        def next_rows(count: int) -> F64 | None:
            return out[filled : filled + count] if self._place is None and filled + count <= len(out) and not rest else None

        for block in self.rows(next_rows):
            if rest or filled + len(block) > len(out):
                rest.append(block)
                continue
            place = out[filled : filled + len(block)]
            if block.ctypes.data != place.ctypes.data:  # rows that were there already shift what came with them
                place[:] = block
            filled += len(block)
        return np.concatenate([out[:filled], *rest]) if rest else out[:filled]

    def count_rows(self) -> int:
        """About how many rows there are, from the blocks' heads alone; for a progress bar."""
        count = 0
        for segment in self.segments:
            size = segment.stat().st_size
            with segment.open("rb") as stream:
                stream.seek(header_size(stream))
                while len(head := stream.read(_FRAME.size)) == _FRAME.size:
                    problem, frame = self._frame(head, size - stream.tell() + _FRAME.size)
                    if problem or frame is None:
                        break
                    count += frame[2] if frame[0] != EVENTS else 0
                    stream.seek(frame[1], 1)
        return count

    def _blocks(self, segment: Path, room: Room | None) -> Iterator[tuple[int, F64]]:
        size = segment.stat().st_size
        with segment.open("rb") as stream:
            stream.seek(header_size(stream))
            while True:
                offset = stream.tell()
                head = stream.read(_FRAME.size)
                if not head:
                    return
                problem, frame = self._frame(head, size - offset)
                if problem or frame is None:
                    self.damage.append(f"{segment} at byte {offset}: {problem}; the rest is left out")
                    return
                kind, length, rows, index, crc = frame
                payload = stream.read(length)
                if zlib.crc32(payload) != crc:
                    self.damage.append(f"{segment} at byte {offset}: checksum wrong; {rows} rows skipped")
                    continue
                if kind == EVENTS:
                    self._take_events(payload, index)
                    continue
                try:
                    if kind == ROWS:
                        yield index, decode_rows(payload, rows, len(self._stored))
                    else:
                        yield index, decode_columns(payload, rows, len(self._stored), room(rows) if room else None)
                except ValueError as error:
                    self.damage.append(f"{segment} at byte {offset}: block cannot be decoded ({error})")

    @staticmethod
    def _frame(head: bytes, left: int) -> tuple[str, tuple[Any, ...] | None]:
        if len(head) < _FRAME.size:
            return "torn frame", None
        frame = _FRAME.unpack(head)
        kind, length, rows, _index, _crc = frame
        if kind not in (ROWS, COLUMNS, EVENTS):
            return "no frame here", None
        if length > min(BLOCK_MAX, left - _FRAME.size):
            return "frame runs past the end of the file", None
        if kind != EVENTS and not 0 < rows <= ROWS_MAX:
            return f"{rows} rows in a block", None
        return "", frame

    def _take_events(self, payload: bytes, index: int) -> None:
        try:
            found = json.loads(payload)
        except (ValueError, RecursionError):
            self.damage.append(f"events of row {index} cannot be read")
            return
        self.events += [Event(index, e) for e in found if isinstance(e, dict)]

    def _wal_rows(self, next_index: int) -> F64:
        found: dict[int, F64] = {}
        for suffix in WAL_SUFFIXES:
            path = self.segments[-1].with_suffix(suffix)
            if path.exists():
                found.update(self._read_wal(path))
        rows = []
        while next_index in found:
            rows.append(found[next_index])
            next_index += 1
        return np.array(rows).reshape(len(rows), len(self._stored))

    def _read_wal(self, path: Path) -> dict[int, F64]:
        raw = path.read_bytes()[: BLOCK_MAX * 2]
        read = whole_rows_plain if self.header["format_version"] == FIRST_VERSION else whole_rows
        found: dict[int, F64] = {}
        for index, row in read(raw, len(self._stored)):
            if row is None:
                self.damage.append(f"{path} at byte {index}: torn tail")
            else:
                found[index] = row
        return found


def _segments(path: Path) -> list[Path]:
    """The segment files of a run: all of one run's name in order, or the newest run of a folder."""
    if path.is_dir():
        runs = sorted({p.name.rsplit("-", 1)[0] for p in path.glob(f"*{SUFFIX}")})
        if not runs:
            raise RecordingError(f"{path}: no recording (*{SUFFIX}) in this folder")
        return sorted(path.glob(f"{runs[-1]}-*{SUFFIX}"))
    if not path.is_file():
        raise RecordingError(f"{path}: no such recording")
    if path.suffix != SUFFIX:
        raise RecordingError(f"{path}: not a recording (its name does not end in {SUFFIX})")
    stem = path.name.rsplit("-", 1)[0]
    return [p for p in sorted(path.parent.glob(f"{stem}-*{SUFFIX}")) if p.name >= path.name] or [path]


def header_size(stream: Any) -> int:
    """Bytes of a segment before its first frame."""
    stream.seek(len(MAGIC))
    length, _crc = struct.unpack("<II", stream.read(8))
    stream.seek(length, 1)
    return int(stream.tell())


def _read_header(path: Path) -> dict[str, Any]:
    """A segment's header. Raises `RecordingError` with what is wrong and where."""
    try:
        with path.open("rb") as stream:
            start = stream.read(len(MAGIC) + 8)
            if len(start) < len(MAGIC) + 8 or start[: len(MAGIC)] != MAGIC:
                raise RecordingError(f"{path} at byte 0: not a coolctl recording")
            length, crc = struct.unpack("<II", start[len(MAGIC) :])
            if length > HEADER_MAX:
                raise RecordingError(f"{path} at byte 8: a header of {length} bytes")
            text = stream.read(length)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) != length or zlib.crc32(text) != crc:
        raise RecordingError(f"{path} at byte 16: header is damaged")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path} at byte 16: header is not JSON") from error
    columns = header.get("columns") if isinstance(header, dict) else None
    if not isinstance(columns, list) or not columns or not all(isinstance(c, str) for c in columns):
        raise RecordingError(f"{path}: header names no columns")
    if header.get("format_version") not in (FIRST_VERSION, FORMAT_VERSION):
        raise RecordingError(f"{path}: format_version {header.get('format_version')} is not {FIRST_VERSION} or {FORMAT_VERSION}")
    return header
