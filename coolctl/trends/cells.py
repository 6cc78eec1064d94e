"""From the bytes of lines to numbers: one pass over every cell, compiled, because a month at 1 Hz is a milliard of them.

What is no plain number (text states, thousands marks, more digits than a double holds) is handed back by its place and
read by `values.py`. A number read here is the nearest double to its text, as `float()` would give it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

POW10 = np.array([10.0**k for k in range(23)])  # all exact, so one multiplication or division rounds once
EXACT = 1 << 53
SKIP = -1
DIGITS_PLAIN = 15  # as many as a double holds for sure
T_ROWS, T_ODD, T_NEXT, T_SHORT, T_SHORT_AT, T_LONG, T_LONG_AT = range(7)
TALLY = 7
SPACE, QUOTE, NEWLINE, RETURN, PLUS, MINUS, ZERO, NINE, E_LOW, E_UP, TAB = 32, 34, 10, 13, 43, 45, 48, 57, 101, 69, 9


@kernel
def number(raw: U8, a: int, b: int, decimal: int, pow10: F64) -> tuple[float, bool]:
    """The number in `raw[a:b]`, and whether it is one that this simple reading gives exactly."""
    k = a
    negative = raw[k] == MINUS
    if negative or raw[k] == PLUS:
        k += 1
    mantissa, digits, scale, dot = 0, 0, 0, False
    while k < b:
        c = raw[k]
        if ZERO <= c <= NINE:
            mantissa = mantissa * 10 + (int(c) - ZERO)
            digits += 1
            scale -= dot
            if mantissa > EXACT:
                return 0.0, False
        elif c == decimal and not dot:
            dot = True
        else:
            break
        k += 1
    if digits == 0:
        return 0.0, False
    if k < b and (raw[k] == E_LOW or raw[k] == E_UP):
        k += 1
        down = k < b and raw[k] == MINUS
        if k < b and (down or raw[k] == PLUS):
            k += 1
        power, any_digit = 0, False
        while k < b and ZERO <= raw[k] <= NINE and power < 1000:
            power = power * 10 + (int(raw[k]) - ZERO)
            any_digit = True
            k += 1
        if not any_digit:
            return 0.0, False
        scale += -power if down else power
    if k < b or scale > 22 or scale < -22:
        return 0.0, False
    value = mantissa * pow10[scale] if scale >= 0 else mantissa / pow10[-scale]
    return (-value if negative else value), True


@kernel
def plain_cell(raw: U8, k: int, separator: int, decimal: int, pow10: F64) -> tuple[float, int]:
    """The number of a cell that is digits and a decimal mark alone, and its end; -1 for its end where it is anything else.

    Nearly all cells of a log are so, and this looks at each of their bytes once.
    """
    n = len(raw)
    if k >= n or decimal == separator:
        return 0.0, -1
    negative = raw[k] == MINUS
    k += negative
    mantissa, digits, places, dot = 0, 0, 0, False
    while k < n:
        c = raw[k]
        if ZERO <= c <= NINE:
            mantissa = mantissa * 10 + (int(c) - ZERO)
            digits += 1
            places += dot
        elif c == decimal and not dot:
            dot = True
        else:
            break
        k += 1
    if digits == 0 or digits > DIGITS_PLAIN or k >= n or (raw[k] != separator and raw[k] != NEWLINE):
        return 0.0, -1
    value = mantissa / pow10[places]
    return (-value if negative else value), k


@kernel
def cell_end(raw: U8, k: int, separator: int) -> tuple[int, int, int]:
    """Begin and end of the cell's text at `k`, without quotes and blanks, and where its separator or line end stands."""
    n = len(raw)
    quoted = k < n and raw[k] == QUOTE
    if quoted:
        k += 1
    a = k
    if quoted:
        while k < n and raw[k] != NEWLINE and not (raw[k] == QUOTE and (k + 1 >= n or raw[k + 1] != QUOTE)):
            k += 2 if raw[k] == QUOTE else 1
        b = k
        while k < n and raw[k] != separator and raw[k] != NEWLINE:
            k += 1
    else:
        while k < n and raw[k] != separator and raw[k] != NEWLINE:
            k += 1
        b = k
    while a < b and (raw[b - 1] == SPACE or raw[b - 1] == RETURN or raw[b - 1] == TAB):
        b -= 1
    while a < b and (raw[a] == SPACE or raw[a] == TAB):
        a += 1
    return a, b, k


@kernel
def scan(
    raw: U8, start: int, separator: int, decimal: int, slot: I64, out: F64, text: I64, odd: I64, pow10: F64, tally: I64
) -> None:
    """Read lines of `raw` from `start` on until the arrays are full or the lines end.

    `slot[column]`: row of `out` for a number, `SKIP`, or -2 - k for the text that goes to `text[k]` as begin and end.
    `odd` takes (slot, row, begin, end) of cells that are no plain number. `tally` is written anew.
    """
    n, columns = len(raw), len(slot)
    tally[:] = 0
    row, k = 0, start
    while k < n and row < out.shape[1] and tally[T_ODD] + columns <= odd.shape[0]:
        if raw[k] == NEWLINE or (raw[k] == RETURN and k + 1 < n and raw[k + 1] == NEWLINE):
            k += 1 if raw[k] == NEWLINE else 2
            text[:, row, :] = 0  # a row without a stamp: counted so that lines keep their numbers, and left out later
            out[:, row] = np.nan
            row += 1
            continue
        out[:, row] = np.nan
        text[:, row, :] = 0
        column, surplus = 0, False
        while True:
            if column < columns and slot[column] > SKIP:
                value, end = plain_cell(raw, k, separator, decimal, pow10)
                if end >= 0:
                    out[slot[column], row] = value
                    k = end + 1
                    column += 1
                    if raw[end] == NEWLINE:
                        break
                    continue
            a, b, k = cell_end(raw, k, separator)
            if column < columns and slot[column] != SKIP and a < b:
                where = slot[column]
                if where < SKIP:
                    text[-2 - where, row, 0], text[-2 - where, row, 1] = a, b
                else:
                    value, plain = number(raw, a, b, decimal, pow10)
                    if plain:
                        out[where, row] = value
                    else:
                        o = tally[T_ODD]
                        odd[o, 0], odd[o, 1], odd[o, 2], odd[o, 3] = where, row, a, b
                        tally[T_ODD] = o + 1
            surplus |= column >= columns and a < b
            column += 1
            if k >= n or raw[k] == NEWLINE:
                k += 1
                break
            k += 1
        if surplus:
            tally[T_LONG] += 1
            if tally[T_LONG_AT] == 0:
                tally[T_LONG_AT] = row + 1
        if column < columns:
            tally[T_SHORT] += 1
            if tally[T_SHORT_AT] == 0:
                tally[T_SHORT_AT] = row + 1
        row += 1
    tally[T_ROWS], tally[T_NEXT] = row, min(k, n)
