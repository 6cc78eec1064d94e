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
_CRC = struct.Struct("<I")
HEAD, WORD, GROUP = _ENTRY.size // 8, 64, 8


@kernel
def put_group(row: I64, before: I64, first: int, last: int, out: I64, at: int) -> tuple[np.int64, int]:
    """Put what has changed of some columns to `out[at]` and behind; a bit for each of them, and where the next one goes.

    Each is written, and kept where it has changed: what changes is no more foreseeable than a sensor's noise.
    """
    mask = np.int64(0)
    for c in range(first, last):
        x = row[c]
        is_new = np.int64(x != before[c])
        out[at] = before[c] = x
        at += int(is_new)
        mask |= is_new << (c % WORD)
    return mask, at


@kernel
def put_entry(row: F64, index: int, before: I64, out: I64, at: int) -> int:
    """Put a row's entry but for its checksum to `out[at]` and behind: its head, a bit for each column in whole words, the new
    figures; where the next entry begins. `out` has room for one word more than all columns."""
    figures, columns = row.view(np.int64), len(row)
    words_at = at + HEAD
    end = words_at + (columns + WORD - 1) // WORD
    for k in range(end - words_at):
        mask, c, last = np.int64(0), WORD * k, min(WORD * (k + 1), columns)
        while c < last:
            stop, differs = min(c + GROUP, last), np.int64(0)
            for j in range(c, stop):
                differs |= figures[j] ^ before[j]
            if differs:
                bits, end = put_group(figures, before, c, stop, out, end)
                mask |= bits
            c = stop
        out[words_at + k] = mask
    out[at], out[at + 1] = index, 8 * (end - words_at)
    return end


@kernel
def take_entries(words: I64, out: I64) -> None:
    """The rows of whole entries from `words[0]` on, as many as `out` [columns × rows] has."""
    columns, rows = out.shape
    many = (columns + WORD - 1) // WORD
    head, figure = np.empty(rows, dtype=np.int64), np.empty(rows, dtype=np.int64)
    at = 0
    for r in range(rows):
        head[r], figure[r] = at + HEAD, at + HEAD + many
        at = head[r] + (words[at + 1] & 0xFFFFFFFF) // 8
    for k in range(many):
        for r in range(rows):
            mask, at = words[head[r] + k], figure[r]
            for c in range(WORD * k, min(WORD * (k + 1), columns)):
                if (mask >> (c - WORD * k)) & 1:
                    out[c, r] = words[at]
                    at += 1
                else:
                    out[c, r] = out[c, r - 1] if r else 0
            figure[r] = at


class Entries:
    """The entries of a file, up to `rows` of them; the block that they stand for is made from the same bytes."""

    def __init__(self, columns: int, rows: int):
        self.rows = 0
        self._rows_max, self._at = rows, 0
        self._before = np.zeros(columns, dtype=np.int64)
        self._words = np.empty(rows * (HEAD + -(-columns // WORD) + columns) + 1, dtype=np.int64)
        self._raw = memoryview(self._words).cast("B")  # type: ignore[arg-type]

    def begin(self) -> None:
        """The file begins anew."""
        self._before[:] = 0
        self.rows = self._at = 0

    def entry(self, row: F64, index: int) -> memoryview:
        """The entry of a row, until the file begins anew. Raises `ValueError` where it has not as many columns, or is one too
        many."""
        if len(row) != len(self._before) or self.rows == self._rows_max:
            raise ValueError(f"a row of {len(row)} columns instead of {len(self._before)}, behind {self.rows}")
        begin, raw = 8 * self._at, self._raw
        self._at = put_entry(np.ascontiguousarray(row, dtype=np.float64), index, self._before, self._words, self._at)
        self.rows += 1
        end = 8 * self._at
        _CRC.pack_into(raw, begin + _ENTRY.size - _CRC.size, zlib.crc32(raw[begin + _ENTRY.size : end]))
        return raw[begin:end]

    def block(self) -> F64:
        """All rows as columns × rows."""
        out = np.empty((len(self._before), self.rows), dtype=np.int64)
        take_entries(self._words, out)
        return out.view(np.float64)


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
