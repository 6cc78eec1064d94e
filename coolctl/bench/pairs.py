"""Ratios of two ways to do the same, from interleaved runs: A B A B …, the median of the pairs' ratios and its spread.

A shared machine drifts by tens of percent within minutes; a pair lies within milliseconds, so its ratio hardly does.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Clock = Callable[[], float]


class Pairs(NamedTuple):
    """Ratio of A over B: median, quartiles as spread, and the median seconds of each."""

    ratio: float
    low: float
    high: float
    a_s: float
    b_s: float
    rounds: int


def of_times(a_s: list[float], b_s: list[float]) -> Pairs:
    """`Pairs` of times that were taken in turn. Raises `ValueError` without any, or where they are not pairs."""
    if not a_s or len(a_s) != len(b_s):
        raise ValueError(f"{len(a_s)} and {len(b_s)} times are no pairs")
    ratios = np.array(a_s) / np.maximum(np.array(b_s), 1e-12)
    low, middle, high = np.percentile(ratios, (25, 50, 75))
    return Pairs(float(middle), float(low), float(high), float(np.median(a_s)), float(np.median(b_s)), len(a_s))


def interleave(a: Callable[[], object], b: Callable[[], object], rounds: int, clock: Clock = time.thread_time) -> Pairs:
    """Run `a` and `b` in turn `rounds` times after one unmeasured turn each.

    The default clock counts this thread's processor time alone, so that a neighbour costs cache lines and nothing else.
    """
    a()
    b()
    times: tuple[list[float], list[float]] = ([], [])
    was_on = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for one, found in zip((a, b), times, strict=True):
                begun = clock()
                one()
                found.append(clock() - begun)
    finally:
        if was_on:
            gc.enable()
    return of_times(*times)


def sized(one: Callable[[], object], least_s: float = 2e-3) -> int:
    """How often `one` must run for a time that the clock can tell, at least `least_s` [s]."""
    one()
    count = 1
    while True:
        begun = time.thread_time()
        for _ in range(count):
            one()
        took = time.thread_time() - begun
        if took >= least_s or count > 1 << 22:
            return count
        count *= 2 if took < least_s / 8 else max(2, int(least_s / max(took, 1e-9)) + 1)


def repeated(one: Callable[[], object], count: int) -> Callable[[], None]:
    """`one`, `count` times."""

    def many() -> None:
        for _ in range(count):
            one()

    return many


def growth(sizes: list[float], costs: list[float]) -> float:
    """Exponent of cost over size: slope of the straight line through the logarithms. 1 is linear."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
