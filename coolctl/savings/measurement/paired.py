"""The saving of a switchback: symmetric normalisation, matched pairs, Student's t on the paired ratio.

An IID bootstrap of hours covers 34 to 78 %, the paired t-interval 93 to 98 % (docs/MEASUREMENT.md): neighbouring hours
share what the model does not know, but the order within each pair was drawn by lot, so the pairs are independent signs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import CoolctlError
from coolctl.savings.measurement.normalise import Fit, expected_kwh
from coolctl.savings.measurement.series import AI, BASELINE, Pairs, Series

F64 = NDArray[np.float64]

COVERAGE_MIN_RATIO = 0.5  # a block with less of its counted hours measured is no evidence for either arm
PAIRS_MIN = 4
BOOTSTRAP_RUNS, SIGN_RUNS = 999, 1999
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A saving [ratio of the baseline's energy] with its interval."""

    saving: float
    low: float
    high: float


class PairedResult(NamedTuple):
    """What a switchback says. `t` is the result; the others check it."""

    t: Interval
    bootstrap_t: Interval
    p_randomisation: float
    raw: Interval
    pairs: int
    pairs_left_out: int
    fit: Fit


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise CoolctlError("intervals need scipy: pip install 'coolctl[report]'") from error
    return stats


def match(s: Series, expected: F64, washout_h: float, block_h: float) -> Pairs:
    """Blocks of the schedule as pairs, the first `washout_h` of every block left out in both arms alike."""
    counted = (s.into_h >= washout_h - 1e-9) & (s.pair >= 0.0) & np.isfinite(s.energy_kwh) & np.isfinite(expected)
    pairs, place = np.unique(s.pair[s.pair >= 0.0], return_inverse=True)
    where = np.full(len(s.pair), -1)
    where[s.pair >= 0.0] = place
    full = (block_h - washout_h) / s.step_h
    sums: dict[float, tuple[F64, F64, F64]] = {}
    for arm in (AI, BASELINE):
        mine = counted & (s.arm == arm)
        k = where[mine]
        n = np.bincount(k, minlength=len(pairs)).astype(float)
        e = np.bincount(k, weights=s.energy_kwh[mine], minlength=len(pairs)).astype(float)
        x = np.bincount(k, weights=expected[mine], minlength=len(pairs)).astype(float)
        sums[arm] = (n / full, e, x)
    (cover_a, ai, x_ai), (cover_b, base, x_base) = sums[AI], sums[BASELINE]
    good = (cover_a >= COVERAGE_MIN_RATIO) & (cover_b >= COVERAGE_MIN_RATIO) & (x_ai > 0.0) & (x_base > 0.0)
    return Pairs(ai[good], base[good], x_ai[good], x_base[good], pairs[good], int((~good).sum()))


def normalised(p: Pairs) -> tuple[F64, F64]:
    """Energy of each arm as if its block had had the pair's mean weather and load [kWh], per pair."""
    weight = 0.5 * (p.expected_ai_kwh + p.expected_baseline_kwh)
    return weight * p.ai_kwh / p.expected_ai_kwh, weight * p.baseline_kwh / p.expected_baseline_kwh


def ratio_interval(ai: F64, base: F64, spent: float = 0, confidence: float = CONFIDENCE) -> Interval:
    """Saving 1 − ΣA/ΣB with Student's t on the linearised ratio, d.f. = pairs − 1 − what the model `spent` on its shape."""
    n, free = len(ai), len(ai) - 1 - spent
    if free < 2 or not base.sum() > 0.0:
        return Interval(np.nan, np.nan, np.nan)
    ratio, error = _ratio_and_error(ai, base)
    error *= float(np.sqrt((n - 1) / free))
    t = float(_stats().t.ppf(0.5 + confidence / 2.0, free))
    return Interval(1.0 - ratio, 1.0 - ratio - t * error, 1.0 - ratio + t * error)


def _ratio_and_error(ai: F64, base: F64) -> tuple[float, float]:
    n, ratio = len(ai), float(ai.sum() / base.sum())
    d = ai - ratio * base
    return ratio, float(np.sqrt((d @ d) * n / (n - 1)) / base.sum())


def bootstrap_t(ai: F64, base: F64, spent: float, seed: int, runs: int = BOOTSTRAP_RUNS) -> Interval:
    """Studentised bootstrap over pairs: the cross-check of the t-interval, without its normality."""
    n, free = len(ai), len(ai) - 1 - spent
    if free < 2 or not base.sum() > 0.0:
        return Interval(np.nan, np.nan, np.nan)
    ratio, error = _ratio_and_error(ai, base)
    drawn = np.random.default_rng(seed).integers(0, n, (runs, n))
    a, b = ai[drawn], base[drawn]
    ratios = a.sum(axis=1) / b.sum(axis=1)
    d = a - ratios[:, None] * b
    errors = np.sqrt((d * d).sum(axis=1) * n / (n - 1)) / b.sum(axis=1)
    pivots = (ratios - ratio) / np.maximum(errors, 1e-12)
    low, high = np.quantile(pivots, [0.5 - CONFIDENCE / 2.0, 0.5 + CONFIDENCE / 2.0]) * np.sqrt((n - 1) / free)
    return Interval(1.0 - ratio, 1.0 - (ratio - low * error), 1.0 - (ratio - high * error))


def randomisation_p(ai: F64, base: F64, seed: int, runs: int = SIGN_RUNS) -> float:
    """How often a lot that gave the arms the other way round, pair by pair, would show as large a difference (two-sided)."""
    if len(ai) < PAIRS_MIN:
        return float("nan")
    d = ai - base
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (runs, len(d)))
    return float((1 + np.count_nonzero(np.abs(signs @ d) >= abs(d.sum()) - 1e-12)) / (runs + 1))


def paired_saving(s: Series, washout_h: float, block_h: float, seed: int = 0, checks: bool = True) -> PairedResult:
    """The switchback's saving by intention to treat: an assigned block counts in its arm whatever ran in it."""
    expected, fit = expected_kwh(s)
    p = match(s, expected, washout_h, block_h)
    ai, base = normalised(p)
    nothing = Interval(np.nan, np.nan, np.nan)
    if p.size < PAIRS_MIN:
        return PairedResult(nothing, nothing, np.nan, nothing, p.size, p.left_out, fit)
    # The model's level cancels in a ratio; of what its other terms took from the blocks, half lies within the pairs.
    spent = max(fit.terms - 2, 0) / 2.0
    whole = match(s, expected, 0.0, block_h)
    return PairedResult(
        ratio_interval(ai, base, spent),
        bootstrap_t(ai, base, spent, seed) if checks else nothing,
        randomisation_p(ai, base, seed) if checks else np.nan,
        ratio_interval(whole.ai_kwh, whole.baseline_kwh),
        p.size, p.left_out, fit,
    )  # fmt: skip
