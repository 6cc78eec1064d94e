"""Recording format, version 1: preamble, JSON header and frames as bytes; no files.

A file is a preamble, a JSON header and frames, all little-endian. A frame of a segment is a block of rows
(recording_columns.py); a frame of a write-ahead file is one row as it is. Each carries a CRC32, so that a torn or
flipped byte costs the frame that it lies in and nothing else. All sizes are capped before anything is allocated;
nothing is ever unpickled. The writer is edge/recorder.py, the reader recording.py.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from coolctl.errors import RecordingError
from coolctl.recording_columns import F64, encode_rows, inflate

FILE_NAME = re.compile(r"^(?P<name>.+)-(?P<seq>\d{6,})(?P<slot>[ab])?\.(?P<kind>cool|wal)$")
Events = list[tuple[int, dict[str, Any]]]

FORMAT_VERSION = 1
# Like PNG's: a transfer in text mode, or one that stops at ^Z, shows in the first bytes.
MAGIC = b"\x89COOL\r\n\x1a"
KIND_SEGMENT, KIND_WAL = 1, 2
TAG_BLOCK, TAG_ROW = b"\xb1BLK", b"\xb1ROW"

MAX_COLUMNS = 1 << 18
MAX_BLOCK_ROWS = 4096
MAX_BLOCK_VALUES = 1 << 24
MAX_HEADER_BYTES = 16 << 20
MAX_EVENTS_BYTES = 16 << 20

_PREAMBLE = struct.Struct("<8sHH8sIQIII")
_FRAME = struct.Struct("<4sIQIII")
PREAMBLE_BYTES = _PREAMBLE.size + 4
FRAME_BYTES = _FRAME.size
_LENGTH = struct.Struct("<I")


# --- preamble and header


class Preamble(NamedTuple):
    """Start of a file: whose run, which part of it, its first row's number, and how long the header is."""

    kind: int
    run_id: bytes
    part: int
    first_row: int
    columns: int
    header_len: int
    header_crc: int


def encode_start(kind: int, run_id: bytes, part: int, first_row: int, columns: int, header: bytes) -> bytes:
    """Preamble and header of a new file."""
    fields = (MAGIC, FORMAT_VERSION, kind, run_id, part, first_row, columns, len(header), zlib.crc32(header))
    head = _PREAMBLE.pack(*fields)
    return head + _LENGTH.pack(zlib.crc32(head)) + header


def decode_preamble(data: bytes) -> Preamble:
    """Preamble from a file's first PREAMBLE_BYTES bytes."""
    if len(data) < PREAMBLE_BYTES:
        raise RecordingError(f"only {len(data)} bytes, not a recording" if data else "empty file")
    head = data[: _PREAMBLE.size]
    magic, version, kind, run_id, part, first_row, columns, header_len, header_crc = _PREAMBLE.unpack(head)
    if magic != MAGIC:
        raise RecordingError("not a coolctl recording (wrong magic bytes)")
    if _LENGTH.unpack(data[_PREAMBLE.size : PREAMBLE_BYTES])[0] != zlib.crc32(head):
        raise RecordingError("damaged preamble (CRC), the file cannot be read")
    if version != FORMAT_VERSION:
        raise RecordingError(f"format_version {version}; this coolctl reads {FORMAT_VERSION}")
    if kind not in (KIND_SEGMENT, KIND_WAL) or not 0 < columns <= MAX_COLUMNS or header_len > MAX_HEADER_BYTES:
        raise RecordingError(f"impossible preamble (kind {kind}, {columns} columns, header of {header_len} bytes)")
    return Preamble(kind, run_id, part, first_row, columns, header_len, header_crc)


def encode_header(header: dict[str, Any], columns: Iterable[str]) -> bytes:
    """The JSON header; `format_version` and `columns` are put in here."""
    full = {**header, "format_version": FORMAT_VERSION, "columns": list(columns)}
    data = json.dumps(full, default=str, separators=(",", ":")).encode()
    if not 0 < len(full["columns"]) <= MAX_COLUMNS or len(data) > MAX_HEADER_BYTES:
        raise ValueError(f"header of {len(data)} bytes with {len(full['columns'])} columns is out of bounds")
    return data


def decode_header(data: bytes, preamble: Preamble) -> dict[str, Any]:
    """The JSON header, checked against the preamble."""
    if len(data) != preamble.header_len or zlib.crc32(data) != preamble.header_crc:
        raise RecordingError(f"damaged header (CRC) at offset {PREAMBLE_BYTES}")
    header = _json(data, "header")
    columns = header.get("columns") if isinstance(header, dict) else None
    if not isinstance(columns, list) or len(columns) != preamble.columns or not all(type(c) is str for c in columns):
        raise RecordingError(f"header does not name the {preamble.columns} columns")
    return header


def _json(data: bytes, what: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{what} is not JSON: {error}") from None


# --- frames


class FrameHead(NamedTuple):
    """Start of a frame: what follows it, for which rows."""

    tag: bytes
    rows: int
    first_row: int
    body_len: int
    events_len: int
    crc: int

    @property
    def size(self) -> int:
        return FRAME_BYTES + self.body_len + self.events_len


def frame_crc(head: bytes | memoryview, payload: bytes | memoryview) -> int:
    """CRC32 over a frame's head without its last four bytes, and over what follows it."""
    return zlib.crc32(payload, zlib.crc32(head[: FRAME_BYTES - 4]))


def encode_block(rows: F64, first_row: int, events: Events) -> bytes:
    """A block frame. `events` are (row number, event) pairs."""
    body = encode_rows(rows)
    packed = zlib.compress(encode_events(events), 6) if events else b""
    payload = body + packed
    head = _FRAME.pack(TAG_BLOCK, len(rows), first_row, len(body), len(packed), 0)
    return head[:-4] + _LENGTH.pack(frame_crc(head, payload)) + payload


def pack_row_head(frame: bytearray, row: int, body_len: int, events_len: int) -> None:
    """Write the head of a write-ahead frame in front of its payload, which must be in place."""
    _FRAME.pack_into(frame, 0, TAG_ROW, 1, row, body_len, events_len, 0)
    view = memoryview(frame)
    crc = frame_crc(view[:FRAME_BYTES], view[FRAME_BYTES : FRAME_BYTES + body_len + events_len])
    _LENGTH.pack_into(frame, FRAME_BYTES - 4, crc)


def decode_frame_head(data: bytes, tag: bytes, columns: int) -> FrameHead | None:
    """Head of a frame of the wanted kind, or None where the bytes cannot be one."""
    if len(data) < FRAME_BYTES or data[:4] != tag:
        return None
    head = FrameHead(*_FRAME.unpack(data[:FRAME_BYTES]))
    bad = (
        not 0 < head.rows <= MAX_BLOCK_ROWS
        or head.rows * columns > MAX_BLOCK_VALUES
        or head.body_len > columns * (16 + 9 * head.rows) + 64
        or head.events_len > MAX_EVENTS_BYTES
        or head.first_row >= 1 << 62
        or (tag == TAG_ROW and (head.rows != 1 or head.body_len != 8 * columns))
    )
    return None if bad else head


# --- events


def encode_events(events: Events) -> bytes:
    """Events as JSON; what JSON does not know is written as text. Too much of it is replaced by its count."""
    data = json.dumps(events, default=str, skipkeys=True, separators=(",", ":")).encode()
    if len(data) <= MAX_EVENTS_BYTES:
        return data
    return json.dumps([[events[0][0], {"text": f"{len(events)} events of {len(data)} bytes not recorded"}]]).encode()


def decode_events(data: bytes, compressed: bool) -> Events:
    """Events of a frame as (row number, event)."""
    if compressed:
        data = inflate(data, MAX_EVENTS_BYTES)
    found = _json(data, "events") if data else []
    well_formed = isinstance(found, list) and all(
        isinstance(e, list) and len(e) == 2 and type(e[0]) is int and isinstance(e[1], dict) for e in found
    )
    if not well_formed:
        raise RecordingError("events are not a list of [row, event]")
    return [(row, event) for row, event in found]
