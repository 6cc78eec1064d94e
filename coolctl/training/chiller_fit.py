"""A chiller's own figures from its records: efficiency, lift exponent and part-load shape, against a prior.

Least squares on the logarithm of power, so that a kilowatt at part load counts as it should, with a loss that outliers
do not drag (Huber). The record's curves stay; what a few weeks of one climate cannot tell stays where the prior has it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import CoolctlError
from coolctl.thermal import chiller
from coolctl.thermal.chiller import ChillerParams

F64 = NDArray[np.float64]

ROWS_MIN = 50
# Prior spread of each figure, and how far it may go.
PRIOR_SD = np.array([0.3, 0.4, 0.3])
LOWEST, HIGHEST = np.array([np.log(0.4), 0.0, -0.6]), np.array([np.log(2.5), 1.5, 0.6])
RESIDUAL_SD = 0.05


class Fit(NamedTuple):
    """Fitted figures with their standard errors; `bend` moves the part-load curve, the same at full load."""

    chiller: ChillerParams
    eir_scale: float
    lift_exponent: float
    bend: float
    standard_error: tuple[float, float, float]
    rows: int


def powers_w(load_w: F64, chwst_c: F64, cwst_c: F64, flow_kgs: F64, p: ChillerParams) -> F64:
    """The model's electric power [W] for rows of load, leaving chilled water, entering condenser water and its flow."""
    rows = zip(load_w.tolist(), chwst_c.tolist(), cwst_c.tolist(), flow_kgs.tolist(), strict=True)
    return np.array([chiller.power_w(q, x, y, m, p)[0] for q, x, y, m in rows])


def with_figures(p: ChillerParams, log_scale: float, exponent: float, bend: float) -> ChillerParams:
    """`p` with its efficiency scaled, another lift exponent and a bent part-load curve."""
    scale = float(p.eir_scale * np.exp(log_scale))
    return p._replace(eir_scale=scale, lift_exponent=float(exponent), plr1=p.plr1 + bend, plr2=p.plr2 - bend)


def fit_chiller(load_w: F64, chwst_c: F64, cwst_c: F64, flow_kgs: F64, power_w: F64, p: ChillerParams) -> Fit:
    """Fit one machine to rows of its steady operation.

    Raises `ValueError` for fewer than `ROWS_MIN` usable rows, `CoolctlError` without scipy.
    """
    try:
        from scipy.optimize import least_squares
    except ImportError as missing:
        raise CoolctlError("fitting a chiller needs scipy: pip install 'coolctl[train]'") from missing

    good = np.isfinite(load_w + chwst_c + cwst_c + flow_kgs + power_w) & (load_w > 0.0) & (power_w > 0.0) & (flow_kgs > 0.0)
    if good.sum() < ROWS_MIN:
        raise ValueError(f"only {int(good.sum())} rows of steady operation: {ROWS_MIN} are the least")
    rows = (load_w[good], chwst_c[good], cwst_c[good], flow_kgs[good])
    seen, prior = np.log(power_w[good]), np.array([0.0, p.lift_exponent, 0.0])

    def residuals(figures: F64) -> F64:
        model = np.log(np.maximum(powers_w(*rows, with_figures(p, *figures)), 1.0))
        return np.concatenate([(model - seen) / RESIDUAL_SD, (figures - prior) / PRIOR_SD])

    found = least_squares(residuals, prior, bounds=(LOWEST, HIGHEST), loss="huber", x_scale=PRIOR_SD, diff_step=1e-3)
    error = np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac)))
    log_scale, exponent, bend = found.x.tolist()
    errors = (float(error[0]), float(error[1]), float(error[2]))
    return Fit(with_figures(p, *found.x), float(np.exp(log_scale)), exponent, bend, errors, int(good.sum()))


def goodness(model_w: F64, seen_w: F64) -> tuple[float, float]:
    """CV(RMSE) and NMBE [ratio] of a model against measurement (ASHRAE Guideline 14)."""
    mean = float(seen_w.mean())
    return float(np.sqrt(np.mean((model_w - seen_w) ** 2)) / mean), float(np.mean(model_w - seen_w) / mean)
