"""Reading recordings: a folder or one segment, finished, crashed, damaged or still being written.

What is lost is said in `damage` with file and byte offset; all the rest is read. Rows of a run are numbered without
gaps, so blocks, write-ahead rows and copies fall into place by number, and a hole is seen whatever caused it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coolctl import recording_format as fmt
from coolctl.errors import RecordingError
from coolctl.recording_columns import F64, decode_rows

_KINDS = {".cool": fmt.KIND_SEGMENT, ".wal": fmt.KIND_WAL}
_CHUNK_BYTES = 1 << 20
# A healthy write-ahead file holds one or two blocks; more than this is read no further.
_MAX_WAL_BYTES = 256 << 20
# An hour of 60-row blocks has 60 frames. Bounds the memory that a crafted file can cost.
_MAX_FRAMES = 1 << 18
# False frame starts tried per file before its rest is given up: bounds the time that a crafted file can cost.
_MAX_FALSE_STARTS = 4096


class _File(NamedTuple):
    path: Path
    size: int
    preamble: fmt.Preamble
    header: dict[str, Any] | None

    @property
    def data_start(self) -> int:
        return fmt.PREAMBLE_BYTES + self.preamble.header_len


class _Piece(NamedTuple):
    """Rows that a run is put together from: a block on disk, or one write-ahead row in memory."""

    first_row: int
    rows: int
    path: Path
    offset: int
    body_len: int
    events_len: int
    payload: bytes | None  # None: on disk, at offset


@dataclass(frozen=True, slots=True)
class _Placed:
    piece: _Piece
    skip: int  # rows at the start of the piece that an earlier one already gave
    at: int  # number of its first row that counts, from the start of the run as it is read


def open_recording(path: str | os.PathLike[str]) -> Recording:
    """Open a folder of recordings or one `.cool` segment. Raises RecordingError where nothing can be read."""
    path = Path(path)
    damage: list[str] = []
    files = _read_starts(path, damage)
    runs: dict[tuple[bytes, int], list[_File]] = {}
    for file in files:
        runs.setdefault((file.preamble.run_id, file.preamble.columns), []).append(file)
    only = None if path.is_dir() else path
    found = [run for run in (_open_run(group, only, damage) for group in runs.values()) if run is not None]
    if not found:
        raise RecordingError("; ".join([f"{path}: nothing to read", *damage]))
    return Recording(path, tuple(found), damage)


class Recording:
    """What `open_recording` found: one run, or several after another where the recorder was restarted.

    `damage` is complete for torn, flipped and missing parts once open; a block that decodes to nonsense adds to it when
    it is reached.
    """

    def __init__(self, path: Path, runs: tuple[Run, ...], damage: list[str]):
        self.path = path
        self.runs = runs
        self.damage = damage
        self._same = [run for run in runs if run.columns == runs[0].columns]
        for run in runs:
            if run.columns != runs[0].columns:
                damage.append(f"{run.name}: other columns than {runs[0].name}; read it on its own, through `runs`")

    @property
    def header(self) -> dict[str, Any]:
        """Header of the first run."""
        return self.runs[0].header

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names, those of the first run."""
        return self.runs[0].columns

    @property
    def row_count(self) -> int:
        return sum(run.row_count for run in self._same)

    def rows(self) -> Iterator[F64]:
        """Blocks of (n, columns) float64 in order, of every run that has the first one's columns."""
        return chain.from_iterable(run.rows() for run in self._same)

    def events(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(row number as counted over `rows()`, event) in order."""
        before = 0
        for run in self._same:
            for row, event in run.events():
                yield before + row, event
            before += run.row_count


class Run:
    """Rows from one start of a recorder to its end. `header` is the one written at the start."""

    def __init__(self, name: str, header: dict[str, Any], placed: list[_Placed], damage: list[str]):
        self.name = name
        self.header = header
        self.columns = tuple(header["columns"])
        self.row_count = sum(p.piece.rows - p.skip for p in placed)
        self._placed = placed
        self._damage = damage

    def rows(self) -> Iterator[F64]:
        """Blocks of (n, columns) float64 in order."""
        width, loose = len(self.columns), []
        for placed in self._placed:
            piece = placed.piece
            if piece.payload is not None:
                loose.append(piece.payload[: piece.body_len])
            if loose and (piece.payload is None or len(loose) == fmt.MAX_BLOCK_ROWS):
                yield _join(loose, width)
                loose = []
            if piece.payload is None:
                try:
                    body = _pread(piece.path, piece.offset + fmt.FRAME_BYTES, piece.body_len)
                    block = decode_rows(body, piece.rows, width)
                except (RecordingError, OSError) as error:
                    self._lost(piece, f"{piece.rows} rows lost: {error}")
                    continue
                yield block[placed.skip :]
        if loose:
            yield _join(loose, width)

    def events(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(row number as counted over `rows()`, event) in order."""
        for placed in self._placed:
            piece = placed.piece
            first = piece.first_row + placed.skip
            if not piece.events_len:
                continue
            try:
                if piece.payload is None:
                    data = _pread(piece.path, piece.offset + fmt.FRAME_BYTES + piece.body_len, piece.events_len)
                else:
                    data = piece.payload[piece.body_len :]
                events = fmt.decode_events(data, compressed=piece.payload is None)
            except (RecordingError, OSError) as error:
                self._lost(piece, f"its events are lost: {error}")
                continue
            for row, event in events:
                if first <= row < piece.first_row + piece.rows:
                    yield placed.at + row - first, event

    def _lost(self, piece: _Piece, what: str) -> None:
        note = f"{piece.path.name}: offset {piece.offset}: {what}"
        if note not in self._damage:
            self._damage.append(note)


def _join(rows: list[bytes], width: int) -> F64:
    return np.frombuffer(b"".join(rows), dtype="<f8").reshape(len(rows), width).copy()


# --- files


def _read_starts(path: Path, damage: list[str]) -> list[_File]:
    """Preambles and headers of what belongs to `path`, in the order of the names."""
    try:
        inside = path.is_dir()
        names = sorted(p for p in (path if inside else path.parent).iterdir() if p.suffix in _KINDS)
        if not inside and not (path.suffix == ".cool" and path.is_file()):
            raise RecordingError(f"{path}: neither a folder nor a .cool segment")
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None
    files: list[_File] = []
    notes: list[str] = []
    for name in names:
        try:
            files.append(_read_start(name, notes))
        except (RecordingError, OSError) as error:
            if not inside and name == path:
                raise RecordingError(f"{path}: {_reason(error)}") from None
            notes.append(f"{name.name}: {_reason(error)}")
    if inside:
        damage += notes
        return files
    damage += [note for note in notes if note.startswith(f"{path.name}: ")]
    own = next(file for file in files if file.path == path)
    return [file for file in files if file.preamble.run_id == own.preamble.run_id]


def _read_start(path: Path, notes: list[str]) -> _File:
    """Preamble and header of a file; a bad header is noted, the run's other files may still name the columns."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise RecordingError("not a regular file")
    preamble = fmt.decode_preamble(_pread(path, 0, fmt.PREAMBLE_BYTES))
    if preamble.kind != _KINDS[path.suffix]:
        raise RecordingError(f"content does not fit the suffix {path.suffix}")
    header = None
    if preamble.kind == fmt.KIND_SEGMENT:
        try:
            header = fmt.decode_header(_pread(path, fmt.PREAMBLE_BYTES, preamble.header_len), preamble)
        except RecordingError as error:
            notes.append(f"{path.name}: {error}")
    return _File(path, status.st_size, preamble, header)


def _pread(path: Path, offset: int, count: int) -> bytes:
    """Up to `count` bytes at `offset`. Not a memory map: a file that is cut while it is read would kill the process."""
    with open(path, "rb", buffering=0) as file:
        count = max(0, min(count, os.fstat(file.fileno()).st_size - offset))
        return os.pread(file.fileno(), count, offset)


def _reason(error: RecordingError | OSError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


# --- runs


def _open_run(files: list[_File], only: Path | None, damage: list[str]) -> Run | None:
    """One run from its files; `only` this segment of it (and the write-ahead rows, where it is the last)."""
    segments = [file for file in files if file.preamble.kind == fmt.KIND_SEGMENT]
    wals = [file for file in files if file.preamble.kind == fmt.KIND_WAL]
    header = next((file.header for file in segments if file.header is not None), None)
    name = files[0].path.name
    if header is None:
        damage.append(f"{name}: no readable header in its run, the columns have no names")
        return None
    start = 0
    if only is not None:
        own = next(file for file in segments if file.path == only)
        start = own.preamble.first_row
        wals = wals if own.preamble.part == max(file.preamble.part for file in segments) else []
        segments = [own]
    # Write-ahead files first: a recorder that is running moves rows from them to the segment, never back.
    loose = [piece for file in wals for piece in _pieces(file, damage)]
    blocks = [piece for file in segments for piece in _pieces(file, damage)]
    placed = _place(blocks + [piece for piece in loose if piece.first_row >= start], start, name, damage)
    return Run(name, header, placed, damage)


def _place(pieces: Iterable[_Piece], start: int, name: str, damage: list[str]) -> list[_Placed]:
    """Pieces in order of their row numbers: what is there twice is taken once, what is missing is noted."""
    placed, expected, at = [], start, 0
    for piece in sorted(pieces, key=lambda p: (p.first_row, -p.rows)):
        end = piece.first_row + piece.rows
        if end <= expected:
            continue
        if piece.first_row > expected:
            damage.append(f"{name}: rows {expected} to {piece.first_row - 1} of its run are missing")
            expected = piece.first_row
        placed.append(_Placed(piece, expected - piece.first_row, at))
        at += end - expected
        expected = end
    return placed


def _pieces(file: _File, damage: list[str]) -> list[_Piece]:
    """Every sound frame of a file; each stretch that is not is noted with its offset."""
    pieces: list[_Piece] = []
    kept = 0
    try:
        for offset, head, payload in _frames(file, damage):
            keep = payload if file.preamble.kind == fmt.KIND_WAL else None
            kept += len(keep or b"")
            if kept > _MAX_WAL_BYTES or len(pieces) == _MAX_FRAMES:
                damage.append(f"{file.path.name}: offset {offset}: too much for one file, the rest is left")
                break
            pieces.append(_Piece(head.first_row, head.rows, file.path, offset, head.body_len, head.events_len, keep))
    except OSError as error:
        damage.append(f"{file.path.name}: read error: {_reason(error)}")
    return pieces


def _frames(file: _File, damage: list[str]) -> Iterator[tuple[int, fmt.FrameHead, bytes]]:
    """(offset, head, payload) of the frames whose CRC holds."""
    tag = fmt.TAG_BLOCK if file.preamble.kind == fmt.KIND_SEGMENT else fmt.TAG_ROW
    offset, bad_since, false_starts = file.data_start, -1, 0
    while offset < file.size and false_starts <= _MAX_FALSE_STARTS:
        frame = _frame_at(file, offset, tag)
        if frame is None:
            bad_since = offset if bad_since < 0 else bad_since
            false_starts += 1
            offset = _find(file, tag, offset + 1)
            continue
        if bad_since >= 0:
            damage.append(_skipped(file, bad_since, offset))
            bad_since = -1
        yield offset, *frame
        offset += frame[0].size
    if bad_since >= 0:
        damage.append(_skipped(file, bad_since, file.size))


def _frame_at(file: _File, offset: int, tag: bytes) -> tuple[fmt.FrameHead, bytes] | None:
    start = _pread(file.path, offset, fmt.FRAME_BYTES)
    head = fmt.decode_frame_head(start, tag, file.preamble.columns)
    if head is None or offset + head.size > file.size:
        return None
    payload = _pread(file.path, offset + fmt.FRAME_BYTES, head.size - fmt.FRAME_BYTES)
    return (head, payload) if fmt.frame_crc(start, payload) == head.crc else None


def _find(file: _File, tag: bytes, offset: int) -> int:
    """Offset of the next `tag`, or the file's end."""
    while offset < file.size:
        chunk = _pread(file.path, offset, _CHUNK_BYTES + len(tag) - 1)
        hit = chunk.find(tag)
        if hit >= 0:
            return offset + hit
        if len(chunk) < len(tag):
            break
        offset += _CHUNK_BYTES
    return file.size


def _skipped(file: _File, start: int, end: int) -> str:
    what = "torn or damaged end" if end >= file.size else "damaged (CRC)"
    return f"{file.path.name}: offset {start}: {what}, {end - start} bytes skipped"
