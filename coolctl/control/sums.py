"""Sums inside kernels to the last bit as `numpy.sum` takes them, and groups of points that are summed.

A plain loop rounds in another order than numpy from eight numbers on. What kernels sum is in recordings and reference
values, so the order is numpy's: eight running sums, and halves of more than 128 numbers on their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

LANES, BLOCK = 8, 128
SPANS_MAX = 128  # two for each halving of as many numbers as there can be


@kernel
def block_sum(x: F64) -> float:
    """Sum of up to `BLOCK` numbers: eight running sums, their sum in pairs, then what is left over."""
    count = len(x)
    total, whole = 0.0, count - count % LANES
    if count >= LANES:
        a, b, c, d = x[0], x[1], x[2], x[3]
        e, f, g, h = x[4], x[5], x[6], x[7]
        for k in range(LANES, whole, LANES):
            a, b, c, d = a + x[k], b + x[k + 1], c + x[k + 2], d + x[k + 3]
            e, f, g, h = e + x[k + 4], f + x[k + 5], g + x[k + 6], h + x[k + 7]
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for k in range(whole, count):
        total += x[k]
    return total


@kernel
def pairwise_sum(x: F64) -> float:
    """Sum of `x`, equal to `x.sum()` to the last bit.

    >>> x = np.full(300, 0.1)
    >>> bool(pairwise_sum(x) == x.sum())
    True
    """
    if len(x) <= BLOCK:
        return block_sum(x)
    # Spans that wait, the first half on top; an empty one stands for "add the last two totals". No recursion: a kernel that
    # calls itself cannot be taken from the compiler's cache by another one.
    spans, totals = np.empty((SPANS_MAX, 2), dtype=np.int64), np.empty(SPANS_MAX)
    spans[0, 0], spans[0, 1] = 0, len(x)
    waiting, found = 1, 0
    while waiting > 0:
        first, last = spans[waiting - 1, 0], spans[waiting - 1, 1]
        if last == first:
            found -= 1
            totals[found - 1] += totals[found]
            waiting -= 1
        elif last - first <= BLOCK:
            totals[found] = block_sum(x[first:last])
            found += 1
            waiting -= 1
        else:
            half = (last - first) // 2
            middle = first + half - half % LANES
            spans[waiting - 1, 1] = first
            spans[waiting, 0], spans[waiting, 1] = middle, last
            spans[waiting + 1, 0], spans[waiting + 1, 1] = first, middle
            waiting += 2
    return totals[0]


class Groups:
    """Positions of several groups one after the other: group `g` is `at[start[g]:start[g + 1]]`."""

    def __init__(self, groups: Sequence[I64]):
        self.at = np.concatenate([np.zeros(0, dtype=np.int64), *groups])
        self.start = np.concatenate([[0], np.cumsum([len(g) for g in groups])]).astype(np.int64)


@kernel
def gather(value: F64, at: I64, found: F64) -> None:
    """`value[at]` into the beginning of `found`."""
    for k in range(len(at)):
        found[k] = value[at[k]]


@kernel
def sum_of_group(value: F64, at: I64, scratch: F64) -> float:
    """Sum of `value[at]`; NaN where the group is empty or one of it is not known."""
    if len(at) == 0:
        return np.nan
    gather(value, at, scratch)
    return pairwise_sum(scratch[: len(at)])
