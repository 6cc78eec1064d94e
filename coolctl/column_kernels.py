"""The compiled part of `column_codec.py`: figures as integers, what a running mean does not foretell, byte planes, and back.

The same IEEE operations make a figure here and prove it there, so that what is kept as an integer comes back to the last bit
on any machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

ZERO, CONSTANT, SAME, BITS, DECIMAL = range(5)
DIGITS_MAX, SAMPLES, N_MAX = 6, 8, float(1 << 40)
TIMES = 16  # in `digits`: the figure is `n · 10^-digits`, which rounds otherwise than a division
SHIFTS = np.array([0, 2, 3, 4, 5])
XOR, SLOPE = 0, 1
LOOK = 240  # rows that tell which running mean suits a column
FAILS = np.iinfo(np.int64).min
POW10 = np.array([10.0**k for k in range(DIGITS_MAX + 1)])
TENTHS = np.array([float(f"1e-{k}") for k in range(DIGITS_MAX + 1)])
# (scale, offset) of units as wires give them, see `units.py`. Part of the format: only ever longer, with a new version.
SCALES = (
    (1.0, 0.0), (1e3, 0.0), (0.01, 0.0), (5.0 / 9.0, -32.0 * (5.0 / 9.0)), (1.0, -273.15), (5.0 / 9.0, 0.0), (1e6, 0.0),
    (100.0, 0.0),
    (1e5, 0.0), (3516.8528, 0.0), (0.29307107, 0.0), (293.07107, 0.0), (745.69987, 0.0), (3.6e6, 0.0), (1.0 / 3.6, 0.0),
    (0.0630902, 0.0), (1.0 / 60.0, 0.0), (1.0 / 3600.0, 0.0), (4.719474e-4, 0.0), (6894.757, 0.0), (249.08891, 0.0),
    (2989.0669, 0.0),
    (9806.65, 0.0), (60.0, 0.0), (1e-3, 0.0),
)  # fmt: skip
WHOLE_STEPS = (1e6, 1e5, 1e3, 100.0, 1.0)
SCALE, OFFSET = (np.array(column) for column in zip(*SCALES, strict=True))
WHOLE = np.array([SCALES.index((step, 0.0)) for step in WHOLE_STEPS])


@kernel
def figure(n: int, digits: int, scale: float, offset: float) -> float:
    """The figure that an integer stands for."""
    if digits >= TIMES:
        return n * TENTHS[digits - TIMES]
    return n / POW10[digits] * scale + offset


@kernel
def integer(v: float, digits: int, scale: float, offset: float) -> int:
    """The integer that stands for exactly `v`, or `FAILS`."""
    q = np.floor((v - offset) / scale * POW10[digits % TIMES] + 0.5)
    if not -N_MAX < q < N_MAX:
        return FAILS
    n = int(q)
    back = figure(n, digits, scale, offset)
    return n if back == v and (v != 0.0 or np.copysign(1.0, v) > 0.0) else FAILS


@kernel
def integers(x: F64, digits: int, scale: float, offset: float, n: I64) -> int:
    """The integers of a column; how many finite figures have none."""
    failed = 0
    for r in range(len(x)):
        n[r] = integer(x[r], digits, scale, offset)
        failed += n[r] == FAILS and np.isfinite(x[r])
    return failed


@kernel
def looks_decimal(x: F64, digits: int, scale: float, offset: float) -> bool:
    """Whether some figures spread over the column fit: a quick look before all of it is tried."""
    seen = 0
    step = max(len(x) // SAMPLES, 1)
    for r in range(0, len(x), step):
        if np.isfinite(x[r]):
            seen += 1
            if integer(x[r], digits, scale, offset) == FAILS:
                return False
    return seen > 0


@kernel
def coarsest(x: F64, digits: int, n: I64) -> int:
    """The unit of the largest whole step that a column of whole numbers moves by (`digits` are none); its integers in `n`."""
    for unit in WHOLE:
        if looks_decimal(x, digits, SCALE[unit], OFFSET[unit]) and integers(x, digits, SCALE[unit], OFFSET[unit], n) == 0:
            return unit
    return 0


@kernel
def find_form(x: F64, n: I64) -> tuple[int, int]:
    """Unit and digits that nearly all of the column fits, and its integers in `n`; unit -1 where nothing fits."""
    fewest, best = len(x) // 8 + 1, np.array([-1, 0])  # an array: numbers that begin as written are compiled for these alone too
    for unit in range(len(SCALE)):
        for times in range(2 if unit == 0 else 1):
            for k in range(times, DIGITS_MAX + 1):
                digits = k + times * TIMES
                if looks_decimal(x, digits, SCALE[unit], OFFSET[unit]):
                    failed = integers(x, digits, SCALE[unit], OFFSET[unit], n)
                    if failed == 0:
                        return (coarsest(x, digits, n) if unit == 0 and digits == 0 else unit), digits
                    if failed < fewest:
                        fewest, best[0], best[1] = failed, unit, digits
    if best[0] >= 0:
        integers(x, best[1], SCALE[best[0]], OFFSET[best[0]], n)
    return best[0], best[1]


@kernel
def begin(n: I64, shift: int) -> int:
    """Where the running mean starts: at the first integer, or at the mean of the first few."""
    total, count = 0, 0
    for r in range(len(n)):
        if n[r] != FAILS:
            total += n[r]
            count += 1
            if count == 1 << shift:
                break
    return int(np.floor(total / count + 0.5)) if count else 0


@kernel
def unforetold(n: I64, shift: int, base: int, z: I64) -> float:
    """What a running mean does not foretell of `n`, as 0, -1, 1, -2 … → 0, 1, 2, 3 … in `z`; the sum of it."""
    half = (1 << shift) >> 1
    state = base << shift
    total = 0.0
    for r in range(len(n)):
        e = 0 if n[r] == FAILS else n[r] - ((state + half) >> shift)
        state += e
        z[r] = (e << 1) ^ (e >> 63)
        total += z[r]
    return total


@kernel
def smoothest(n: I64, z: I64) -> int:
    """The running mean that foretells `n` best; `z` is only room to work in."""
    best, found = np.inf, 0
    for shift in SHIFTS:
        total = unforetold(n, shift, begin(n, shift), z)
        if total < best:
            best, found = total, shift
    return found


@kernel
def bit_length(x: int) -> int:
    """Bits of a non-negative integer."""
    k = 0
    while x > 0:
        x >>= 1
        k += 1
    return k


@kernel
def of_bits(b: I64, order: int, z: I64) -> int:
    """A column's bit patterns as differences in `z`, the first one left out; bytes of them that are not zero."""
    count = 0
    for r in range(1, len(b)):
        if order == XOR:
            d = b[r] ^ b[r - 1]
        else:
            e = b[r] - b[r - 1] - (b[r - 1] - b[r - 2] if r > 1 else 0)
            d = (e << 1) ^ (e >> 63)
        z[r - 1] = d
        for _ in range(8):
            count += (d & 255) != 0
            d = (d >> 8) & 0x00FFFFFFFFFFFFFF
    return count


@kernel
def sort_columns(b: I64, kind: U8, word: I64) -> None:
    """Which columns are zero, constant or equal to an earlier one; the others are `BITS` for now."""
    columns, rows = b.shape
    mixed = np.zeros(columns, dtype=np.int64)
    for c in range(columns):
        first, same, m = b[c, 0], True, 0
        for r in range(rows):
            same &= b[c, r] == first
            m = (m ^ b[c, r]) * 0x100000001B3
        mixed[c] = m
        kind[c] = BITS
        word[c] = first
        if same:
            kind[c] = CONSTANT if first else ZERO
            continue
        for d in range(c):
            if mixed[d] == m and kind[d] >= BITS and (b[d] == b[c]).all():
                kind[c] = SAME
                word[c] = d
                break


@kernel
def sort_figures(x: F64, b: I64, kind: U8, word: I64, form: U8, z: I64, place: I64, patch: I64) -> int:
    """Turn columns into integers where they are decimal, into differences where not; how many figures are patched.

    `form` [columns × 4] takes unit, digits, shift and bits, of columns that are not decimal the order of their differences.
    """
    rows = x.shape[1]
    n, other = np.empty(rows, dtype=np.int64), np.empty(rows, dtype=np.int64)
    counts = np.zeros(2, dtype=np.int64)
    patches = 0
    for c in range(x.shape[0]):
        if kind[c] != BITS:
            continue
        unit, digits = find_form(x[c], n)
        if unit < 0:
            for order in range(len(counts)):  # an order that is written out would be compiled once for each
                counts[order] = of_bits(b[c], order, other if order == SLOPE else z[c])
            form[c, 0] = SLOPE if counts[SLOPE] < counts[XOR] else XOR
            if form[c, 0] == SLOPE:
                z[c] = other
            continue
        kind[c] = DECIMAL
        shift = smoothest(n[:LOOK], other)
        word[c], form[c, 2] = begin(n, shift), shift
        unforetold(n, shift, word[c], z[c])
        form[c, 0], form[c, 1], form[c, 3] = unit, digits, bit_length(z[c].max())
        for r in range(rows):
            if n[r] == FAILS:
                place[patches], patch[patches] = c * rows + r, b[c, r]
                patches += 1
    return patches


@kernel
def split_planes(z: I64, columns: I64, rows: int, plane: int, out: U8) -> None:
    """Byte `plane` of the first `rows` of some columns, one column behind the other."""
    at, shift = 0, 8 * plane
    for c in columns:
        for r in range(rows):
            out[at] = (z[c, r] >> shift) & 255
            at += 1


@kernel
def join_planes(raw: U8, columns: I64, rows: int, plane: int, z: I64) -> None:
    """Put byte `plane` back into the rows of `z` that are not -1; `z` holds zeros there."""
    at, shift = 0, 8 * plane
    for c in columns:
        if c >= 0:
            for r in range(rows):
                z[c, r] |= np.int64(raw[at + r]) << shift
        at += rows


@kernel
def put_words(word: I64, out: I64) -> None:
    """Each row of `out`: the columns' words."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = word[c]


@kernel
def restore_decimal(raw: U8, low: I64, word_of: I64, z: I64, column: I64, form: U8, word: I64, out: F64) -> None:
    """Columns of figures from what was not foretold of their integers, into the rows of `out`.

    It stands in `raw` from `low` on where a byte holds it, else in row `word_of` of `z`.
    """
    for d in range(len(column)):
        c, digits, shift, wide = column[d], form[d, 1], np.int64(form[d, 2]), word_of[d]
        scale, offset = SCALE[form[d, 0]], OFFSET[form[d, 0]]
        half, state = (np.int64(1) << shift) >> 1, word[d] << shift
        for r in range(out.shape[0]):
            e = np.int64(raw[low[d] + r]) if wide < 0 else z[wide, r]
            e = ((e >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(e & 1)
            n = ((state + half) >> shift) + e
            state += e
            out[r, c] = figure(n, digits, scale, offset)


@kernel
def restore_bits(z: I64, column: I64, order: U8, word: I64, out: I64) -> None:
    """Columns of bit patterns from their differences, into the rows of `out`."""
    for d in range(len(column)):
        c, before, slope = column[d], word[d], 0
        out[0, c] = before
        for r in range(1, out.shape[0]):
            x = z[d, r - 1]
            if order[d] == XOR:
                before ^= x
            else:
                slope += ((x >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(x & 1)
                before += slope
            out[r, c] = before
