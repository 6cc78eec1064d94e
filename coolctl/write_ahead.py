"""Rows that are not in a block yet, one entry each, so that the death of the process loses none of them.

An entry holds what has changed since the row before it in the same file: most of a row stands still, and the time that an
entry takes goes by its bytes. A file begins at zeros. What is behind the first entry that is not whole is not believed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_ENTRY = struct.Struct("<QII")  # row index, payload bytes, CRC
WORD = 64


@kernel
def put_changes(row: I64, before: I64, out: I64) -> int:
    """Put a row's changes into `out`: a bit for each column, in whole words, then the new figures; words written."""
    columns = len(row)
    at = (columns + WORD - 1) // WORD
    for k in range(at):
        mask = np.int64(0)
        for c in range(WORD * k, min(WORD * (k + 1), columns)):
            x = row[c]
            if x != before[c]:
                mask |= np.int64(1) << (c - WORD * k)
                before[c] = out[at] = x
                at += 1
        out[k] = mask
    return at


class Entries:
    """The entries of one file after another."""

    def __init__(self, columns: int):
        self._before = np.zeros(columns, dtype=np.int64)
        words = _ENTRY.size // 8
        buffer = np.zeros(words + -(-columns // WORD) + columns, dtype=np.int64)
        self._payload, self._raw = buffer[words:], memoryview(buffer).cast("B")  # type: ignore[arg-type]

    def begin(self) -> None:
        """A file begins."""
        self._before[:] = 0

    def entry(self, row: F64, index: int) -> memoryview:
        """The entry of a row, until the next one. Raises `ValueError` where it has not as many columns."""
        if len(row) != len(self._before):
            raise ValueError(f"a row of {len(row)} columns instead of {len(self._before)}")
        size = 8 * put_changes(np.ascontiguousarray(row, dtype=np.float64).view(np.int64), self._before, self._payload)
        end = _ENTRY.size + size
        _ENTRY.pack_into(self._raw, 0, index, size, zlib.crc32(self._raw[_ENTRY.size : end]))
        return self._raw[:end]


def whole_rows(raw: bytes, columns: int) -> Iterator[tuple[int, F64 | None]]:
    """Index and row of each entry; a place in the file and nothing where one is torn, and then no more."""
    words, offset = -(-columns // WORD), 0
    row = np.zeros(columns, dtype=np.int64)
    while offset + _ENTRY.size <= len(raw):
        index, length, crc = _ENTRY.unpack_from(raw, offset)
        payload = raw[offset + _ENTRY.size : offset + _ENTRY.size + length]
        if length % 8 or length < 8 * words or len(payload) != length or zlib.crc32(payload) != crc:
            yield offset, None
            return
        changed = np.unpackbits(np.frombuffer(payload, dtype=np.uint8, count=8 * words), bitorder="little")
        figures = np.frombuffer(payload, dtype=np.int64, offset=8 * words)
        if int(changed.sum()) != len(figures) or changed[columns:].any():
            yield offset, None
            return
        row = row.copy()
        row[changed[:columns] != 0] = figures
        yield index, row.view(np.float64)
        offset += _ENTRY.size + length


def whole_rows_plain(raw: bytes, columns: int) -> Iterator[tuple[int, F64 | None]]:
    """As `whole_rows`, of the first version, whose entries hold the whole row."""
    offset = 0
    while offset + _ENTRY.size <= len(raw):
        index, length, crc = _ENTRY.unpack_from(raw, offset)
        payload = raw[offset + _ENTRY.size : offset + _ENTRY.size + length]
        if length != 8 * columns or len(payload) != length or zlib.crc32(payload) != crc:
            yield offset, None
            return
        yield index, np.frombuffer(payload, dtype=np.float64)
        offset += _ENTRY.size + length
