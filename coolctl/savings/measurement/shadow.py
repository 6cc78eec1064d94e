"""What can be said without a switchback: the meters against the model's rule baseline, with a HAC interval, and two envelopes.

A shadow estimate is as good as the model: its interval holds what scatters from hour to hour, and is widened by the model's
own bias against the meters (NMBE); it is labelled as a model's figure wherever it stands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import CoolctlError
from coolctl.savings.measurement.gather import STEP_S, Gathered
from coolctl.savings.measurement.normalise import Fit, fit_statistics, savings_uncertainty_ratio, terms, usable
from coolctl.savings.measurement.paired import CONFIDENCE, Interval

F64 = NDArray[np.float64]

STEPS_MIN = 8
HAC_LAG_H = 24.0
NOTHING = Interval(np.nan, np.nan, np.nan)


class ShadowResult(NamedTuple):
    """Model-based saving, the model's fit to the meters and Guideline 14's fractional uncertainty [ratio of the saving]."""

    saving: Interval
    fit: Fit
    uncertainty_ratio: float
    hours: float


def _ols(y: F64, x: F64, lags: int) -> Any:
    try:
        import statsmodels.api as sm
    except ImportError as error:
        raise CoolctlError("intervals need statsmodels: pip install 'coolctl[report]'") from error
    return sm.OLS(y, x).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}, use_t=True)


def _t(free: int) -> float:
    try:
        from scipy import stats
    except ImportError as error:
        raise CoolctlError("intervals need scipy: pip install 'coolctl[report]'") from error
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2.0, max(free, 1)))


def shadow_saving(g: Gathered) -> ShadowResult | None:
    """Saving while the policy was in charge; None where it hardly was, or where no meter or model spoke."""
    good = g.column("shadow_s") >= 0.5 * STEP_S
    if good.sum() < STEPS_MIN:
        return None
    measured, model, base = (g.column(n)[good] for n in ("shadow_measured_j", "model_j", "baseline_j"))
    if not base.sum() > 0.0:
        return None
    ratio = measured.sum() / base.sum()
    lags = min(round(HAC_LAG_H * 3600.0 / STEP_S), len(base) // 4)
    error = float(_ols(measured - ratio * base, np.ones((len(base), 1)), lags).bse[0]) * len(base) / base.sum()
    fit = fit_statistics(measured, model, 1)
    effective = max(len(base) // max(lags, 1), 2)
    half = _t(effective - 1) * error + abs(fit.nmbe) * ratio
    saving = 1.0 - float(ratio)
    uncertainty = savings_uncertainty_ratio(fit, saving, len(base), _t(len(base) - 1))
    return ShadowResult(Interval(saving, saving - half, saving + half), fit, uncertainty, float(good.sum()) * STEP_S / 3600.0)


def relaxation(tight: Gathered, wide: Gathered) -> Interval:
    """What the wider envelope alone saves: the policy's hours under both limits, weather and load taken out, HAC interval.

    Before and after, not by lot: weaker than a switchback, and never added to the saving of the control.
    """
    parts = [(g.series(), g.column("policy_s") >= 0.5 * STEP_S) for g in (tight, wide)]
    oawb, it, energy = (
        np.concatenate([getattr(s, n)[usable(s) & p] for s, p in parts]) for n in ("oawb_c", "it_kwh", "energy_kwh")
    )
    counts = [int((usable(s) & p).sum()) for s, p in parts]
    if min(counts) < 4 * STEPS_MIN:
        return NOTHING
    after = np.repeat([0.0, 1.0], counts)
    x = np.column_stack([terms(oawb, it), after * it])
    fitted = _ols(energy, x, min(round(HAC_LAG_H * 3600.0 / STEP_S), len(energy) // 4))
    without = float((fitted.fittedvalues - fitted.params[-1] * x[:, -1])[after > 0.5].sum())
    moved = float(x[:, -1].sum()) / without
    saving, half = -float(fitted.params[-1]) * moved, _t(len(energy) - x.shape[1]) * float(fitted.bse[-1]) * moved
    return Interval(saving, saving - half, saving + half)
