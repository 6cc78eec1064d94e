"""A block of a recording as columns: what sensors round to decimals is kept as small integers, and every bit comes back.

A column of a block is zero, constant, equal to an earlier column, decimal or bits. Decimal: every figure is
`n / 10^digits · scale + offset` to the last bit, so the integers `n` are kept, as what a running mean of those before
does not foretell: a sensor's noise is then all that is left. Figures that do not fit, NaN and -0.0 among them, are kept as
they are by their place. Bits: figures of full precision, as differences of their bit patterns. Tables and byte planes are
deflated in one stream. A reader trusts no count: each is checked before a kernel sees it.

Layout of the inflated stream, `[n]` after what is told apart by it:
head (words, patches) · kind[columns] · word[words] · unit, digits, shift, bits[decimal] · order[bits] ·
place[patches] · patch[patches] · planes of the decimal columns by their bits, low plane first · planes of the others.
Figures of more than a byte are sorted into byte planes.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.column_kernels import (
    BITS,
    DECIMAL,
    DIGITS_MAX,
    SAME,
    SCALE,
    SHIFTS,
    TIMES,
    ZERO,
    join_planes,
    put_words,
    restore_bits,
    restore_decimal,
    sort_columns,
    sort_figures,
    split_planes,
)  # fmt: skip

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

_HEAD = struct.Struct("<II")
CELLS_MAX, FEW_BITS = 1 << 27, 3
FORM_MAX = np.array((len(SCALE) - 1, TIMES + DIGITS_MAX, SHIFTS[-1], 64), dtype=np.uint8)


def bytes_of(words: I64) -> bytes:
    """Words as byte planes, low bytes first."""
    return np.ascontiguousarray(words.view(np.uint8).reshape(-1, 8).T).tobytes()


def words_of(raw: U8) -> I64:
    """Byte planes as words."""
    return np.ascontiguousarray(raw.reshape(8, -1).T).view(np.int64).ravel()


def encode_columns(x: F64) -> bytes:
    """The payload of a block of columns × rows."""
    x = np.ascontiguousarray(x)
    b, (columns, rows) = x.view(np.int64), x.shape
    kind, word = np.empty(columns, dtype=np.uint8), np.empty(columns, dtype=np.int64)
    form, z = np.zeros((columns, 4), dtype=np.uint8), np.empty((columns, rows), dtype=np.int64)
    place, patch = np.empty(columns * rows, dtype=np.int64), np.empty(columns * rows, dtype=np.int64)
    sort_columns(b, kind, word)
    patches = sort_figures(x, b, kind, word, form, z, place, patch)
    stored, decimal, others = word[kind != ZERO], np.flatnonzero(kind == DECIMAL), np.flatnonzero(kind == BITS)
    # Planes are runs or noise: looking for longer matches costs time and finds nothing.
    packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    tables = (
        _HEAD.pack(len(stored), patches), kind.tobytes(), bytes_of(stored), form[decimal].T.tobytes(), form[others, 0].tobytes(),
        bytes_of(np.diff(place[:patches], prepend=0)), bytes_of(patch[:patches]),
    )  # fmt: skip
    parts = [packer.compress(b"".join(tables)), packer.flush(zlib.Z_BLOCK)]
    for chosen, byte, count, apart in planes_of(decimal, form[decimal, 3], others, rows):
        out = np.empty(len(chosen) * count, dtype=np.uint8)
        split_planes(z, chosen, count, byte, out)
        parts.append(packer.compress(out.data))
        if apart:  # a new block of the deflated stream begins with a code of its own
            parts.append(packer.flush(zlib.Z_BLOCK))
    return b"".join([*parts, packer.flush()])


class Plane(NamedTuple):
    """Columns that share a plane, which byte it is, of how many rows, and whether it has a code of its own."""

    columns: I64
    byte: int
    rows: int
    apart: bool


def planes_of(decimal: I64, bits: U8, others: I64, rows: int) -> list[Plane]:
    """The planes in their order; columns that need as many bits stand together, so that one code suits them."""
    order = np.argsort(bits, kind="stable")
    by_bits, bits = decimal[order], bits[order]
    few, most = bits <= FEW_BITS, int(bits[-1]) if len(bits) else 0
    found = [Plane(by_bits[few], 0, rows, True), Plane(by_bits[~few], 0, rows, True)]
    found += [Plane(by_bits[bits > 8 * k], k, rows, True) for k in range(1, -(-most // 8))]
    found += [Plane(others, k, rows - 1, False) for k in range(7, -1, -1)]
    return [p for p in found if len(p.columns) and p.rows]


class Tables(NamedTuple):
    """What stands before the planes of a block."""

    kind: U8
    word: I64
    form: U8
    order: U8
    place: I64
    patch: I64


def _inflate(payload: bytes, rows: int, columns: int) -> U8:
    """The stream of a block, which may only be as long as such a block needs. Raises `ValueError`."""
    if rows * columns > CELLS_MAX:
        raise ValueError(f"{rows} rows of {columns} columns in a block")
    size_max = _HEAD.size + 13 * columns + 24 * rows * columns
    head = payload[:2]
    if head and (head[0] & 15 != zlib.DEFLATED or int.from_bytes(head) % 31):
        raise ValueError("incorrect header")
    try:
        # The sum behind the stream is left out: the frame has a checksum of its own.
        raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(memoryview(payload)[2:], size_max + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not _HEAD.size + columns <= len(raw) <= size_max:
        raise ValueError(f"{len(raw)} bytes for {rows} rows of {columns} columns")
    return np.frombuffer(raw, dtype=np.uint8)


def out_of(places: I64, count: int) -> bool:
    """Whether one of the places is not among `count`."""
    return bool(len(places)) and not 0 <= int(places.min()) <= int(places.max()) < count


def _tables(raw: U8, rows: int, columns: int) -> tuple[Tables, U8]:
    """The tables and the planes behind them. Raises `ValueError` where a count or a place cannot be."""
    words, patches = _HEAD.unpack(raw[: _HEAD.size].tobytes())
    kind = raw[_HEAD.size : _HEAD.size + columns]
    count = np.bincount(kind, minlength=DECIMAL + 1).tolist()
    decimal, others = count[DECIMAL], count[BITS]
    sizes = (8 * words, 4 * decimal, others, 8 * patches, 8 * patches)
    ends = np.cumsum((_HEAD.size + columns, *sizes)).tolist()
    if ends[-1] > len(raw) or words != columns - count[ZERO] or len(count) > DECIMAL + 1:
        raise ValueError("tables do not fit")
    stored, form, order, place, patch = (raw[a:b] for a, b in itertools.pairwise(ends))
    word = np.zeros(columns, dtype=np.int64)
    word[kind != ZERO] = words_of(stored)
    forms = np.array(form.reshape(4, decimal).T, order="C")
    twins = word[kind == SAME]
    at = np.cumsum(words_of(place))
    wrong = (forms > FORM_MAX).any() or (forms[:, 1] % TIMES > DIGITS_MAX).any()
    if wrong or out_of(at, rows * columns) or out_of(twins, columns):
        raise ValueError("tables name what there is not")
    return Tables(kind, word, forms, order, at, words_of(patch)), raw[ends[-1] :]


def decode_columns(payload: bytes, rows: int, columns: int, out: F64 | None = None) -> F64:
    """Rows × columns of a payload, in `out` where it is given. Raises `ValueError` when it is not that of such a block."""
    t, planes = _tables(_inflate(payload, rows, columns), rows, columns)
    decimal, others = np.flatnonzero(t.kind == DECIMAL), np.flatnonzero(t.kind == BITS)
    found = planes_of(np.arange(len(decimal)), t.form[:, 3], np.arange(len(others)) + len(decimal), rows)
    if sum(len(p.columns) * p.rows for p in found) != len(planes):
        raise ValueError("planes do not fit")
    # Most decimal columns need a byte a figure: they are read from their plane, the others from words put together.
    low, wide = np.zeros(len(decimal), dtype=np.int64), t.form[:, 3] > 8
    word_of = np.cumsum(wide) - 1
    z, at = np.zeros((int(wide.sum()) + len(others), rows), dtype=np.int64), 0
    word_of = np.concatenate((np.where(wide, word_of, -1), np.arange(len(z) - len(others), len(z))))
    for p in found:
        if p.byte == 0 and p.apart:
            low[p.columns] = at + rows * np.arange(len(p.columns))
        join_planes(planes[at:], word_of[p.columns], p.rows, p.byte, z)
        at += len(p.columns) * p.rows
    out = np.empty((rows, columns)) if out is None else out
    bits = out.view(np.int64)
    put_words(t.word, bits)
    restore_decimal(planes, low, word_of, z, decimal, t.form, t.word[decimal], out)
    restore_bits(z[len(z) - len(others) :], others, t.order, t.word[others], bits)
    if len(t.place):
        bits[t.place % rows, t.place // rows] = t.patch
    twins = np.flatnonzero(t.kind == SAME)
    bits[:, twins] = bits[:, t.word[twins]]
    return out
