"""Expected energy from wet bulb and IT load, fitted to both arms alike, and how well it fits.

The arm is in the fit, so that weather which happened to fall on one arm does not pass for its effect, and half of it is in
the expectation of either arm. A model of the baseline blocks alone would make the ratio biased (docs/MEASUREMENT.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.savings.measurement.series import NO_ARM, Series

F64 = NDArray[np.float64]

KNOTS_RATIO = (0.33, 0.67)  # of the wet bulb's range: where free cooling ends differs from site to site
FLOOR_RATIO = 0.2  # an expectation below this share of the mean is a model that left its data
STEPS_MIN_PER_TERM = 6


class Fit(NamedTuple):
    """ASHRAE Guideline 14-2014 statistics of a model [ratio], its steps and terms, lag-1 autocorrelation of residuals."""

    cv_rmse: float
    nmbe: float
    steps: int
    terms: int
    lag1: float


def terms(oawb_c: F64, it_kwh: F64, with_load: bool = True) -> F64:
    """Columns of the model [steps × terms]: energy follows IT energy, wet bulb with two bends, and load squared."""
    good = oawb_c[np.isfinite(oawb_c)]
    low, high = (float(good.min()), float(good.max())) if len(good) else (0.0, 0.0)
    scale = max(float(np.nanmean(it_kwh)), 1e-9) if len(good) else 1.0
    it, wb = it_kwh / scale, oawb_c - low
    columns = [np.ones_like(it), it, it * wb]
    if high - low > 1.0:
        columns += [it * np.maximum(wb - k * (high - low), 0.0) for k in KNOTS_RATIO]
    if with_load and np.nanstd(it) > 0.01:
        columns.append(it * it)
    return np.column_stack(columns)


def usable(s: Series) -> NDArray[np.bool_]:
    """Steps in which energy, load and weather are all known."""
    return np.isfinite(s.energy_kwh) & np.isfinite(s.it_kwh) & np.isfinite(s.oawb_c)


def expected_kwh(s: Series) -> tuple[F64, Fit]:
    """Energy that either arm would be expected to use [kWh], NaN where not known, and the fit's statistics."""
    good = usable(s) & (s.arm != NO_ARM)
    x = terms(s.oawb_c, s.it_kwh)
    if good.sum() < STEPS_MIN_PER_TERM * (x.shape[1] + 1):
        x = s.it_kwh[:, None]  # too little for a model of weather: energy per IT energy alone
    arm = ((s.arm - 0.5) * s.it_kwh)[:, None]
    full = np.hstack([x, arm])
    scale = np.maximum(np.abs(full[good]).max(axis=0), 1e-12) if good.any() else np.ones(full.shape[1])
    beta = np.linalg.lstsq(full[good] / scale, s.energy_kwh[good], rcond=None)[0]
    beta = beta / scale
    expected = x @ beta[:-1]
    mean = float(s.energy_kwh[good].mean()) if good.any() else np.nan
    expected = np.where(good, np.maximum(expected, FLOOR_RATIO * mean), np.nan)
    return expected, fit_statistics(s.energy_kwh[good], full[good] @ beta, full.shape[1])


def fit_statistics(measured: F64, modelled: F64, terms_count: int) -> Fit:
    """CV(RMSE) = √(Σe²/(n−p)) / mean and NMBE = Σe / ((n−p)·mean), e = measured − modelled (Guideline 14-2014, §5.2.11.3)."""
    n = len(measured)
    free = n - terms_count
    if free < 2 or not measured.mean() > 0.0:
        return Fit(np.nan, np.nan, n, terms_count, np.nan)
    e = measured - modelled
    square = float(e @ e)
    lag1 = float(e[1:] @ e[:-1]) / square if square > 0.0 else 0.0
    mean = float(measured.mean())
    return Fit(float(np.sqrt(square / free)) / mean, float(e.sum()) / (free * mean), n, terms_count, lag1)


def savings_uncertainty_ratio(fit: Fit, saving_ratio: float, steps_after: int, t: float) -> float:
    """Fractional savings uncertainty ΔE/E of a before/after comparison [ratio of the saving]; NaN where it has no meaning.

    t·1.26·CV·√(n/n′·(1 + 2/n′)/m) / F with n′ = n(1−ρ)/(1+ρ) (Guideline 14-2014, annex B, autocorrelated residuals).
    """
    rho = min(max(fit.lag1, 0.0), 0.999)
    effective = fit.steps * (1.0 - rho) / (1.0 + rho)
    if not (effective > 0.0 and steps_after > 0 and saving_ratio > 0.0):
        return np.nan
    root = np.sqrt(fit.steps / effective * (1.0 + 2.0 / effective) / steps_after)
    return float(t * 1.26 * fit.cv_rmse * root / saving_ratio)
