"""What each hall's own hottest rack says of the model: a bias that the model is off by, and a trim of the supply air."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel
from coolctl.num import first_order
from coolctl.thermal.plant import hottest_inlets_c

F64 = NDArray[np.float64]

# Racks are minutes behind a load that rises, and look cooler than the model says they will be: what they then seem to have
# in hand is not there once they have warmed, so the bias falls slowly.
INLET_BIAS_TAU_S, INLET_BIAS_FALL_TAU_S = 120.0, 1800.0
INLET_BIAS_MAX_K = 3.0
# The trim lowers supply air for what the model did not foresee. It acts a little below the limit, lets go slowly (half a
# kelvin an hour, so that the next load step finds it), and starts with a reserve that the first calm hour gives back.
TRIM_GAIN_PER_S, TRIM_RELEASE_PER_S, TRIM_MAX_K = 1.0 / 60.0, 0.5 / 3600.0, 6.0
TRIM_BELOW_LIMIT_K, TRIM_START_K = 0.15, 0.4
# A reading above the limit speaks for a few seconds. At longer ticks a load step stands in one reading and is answered by the
# next; taken for the whole tick it would fill the trim, and supply air would stay cold for the hours of its release.
TRIM_HOLD_MAX_S = 5.0

# In hand below the limit for a load that steps up: fans are there in seconds, the coils' water half a minute later, and racks
# go up with the step meanwhile. Where the load is as high as it comes there is nothing to wait for.
STEP_RESERVE_K = 0.35


@kernel
def follow_racks(u: F64, w: F64, halls: F64, seen_c: F64, limit_c: float, dt_s: float, bias_k: F64, trim_k: F64) -> None:
    """Each hall's inlet bias and trim [K] after `dt_s` [s] at the setpoints `u` and conditions `w`, in place; `seen_c` are the
    hottest inlets measured [°C]. A hall that is not seen (NaN) keeps both; one the model cannot tell of keeps its bias."""
    model_c = np.empty(halls.shape[0])
    hottest_inlets_c(u, w, halls, model_c)
    for h in range(halls.shape[0]):
        if math.isnan(seen_c[h]):
            continue
        off_k = seen_c[h] - model_c[h]
        if not math.isnan(off_k):
            off_k = min(max(off_k, -INLET_BIAS_MAX_K), INLET_BIAS_MAX_K)
            tau_s = INLET_BIAS_TAU_S if off_k > bias_k[h] else INLET_BIAS_FALL_TAU_S
            bias_k[h] = first_order(bias_k[h], off_k, tau_s, dt_s)
        over_k = seen_c[h] - limit_c + TRIM_BELOW_LIMIT_K
        moved_k = TRIM_GAIN_PER_S * over_k * min(dt_s, TRIM_HOLD_MAX_S) if over_k > 0.0 else -TRIM_RELEASE_PER_S * dt_s
        trim_k[h] = min(max(trim_k[h] + moved_k, 0.0), TRIM_MAX_K)


@kernel
def follow_peak(w_hall: F64, share: float, peak_w: F64) -> None:
    """The load of each hall [W] that may be back at any moment: what was seen, forgotten slowly, in place."""
    for h in range(peak_w.shape[0]):
        peak_w[h] = np.maximum(w_hall[h], peak_w[h] + (w_hall[h] - peak_w[h]) * share)


@kernel
def step_reserve_k(w_hall: F64, peak_w: F64) -> float:
    """What a plan must leave below the racks' limit [K], with the loads `w_hall` where `peak_w` [W per hall] may be back at any
    moment: in proportion to the largest step, no more than for a load that doubles; a hall that is not known (NaN) has none."""
    step = 0.0
    for h in range(peak_w.shape[0]):
        if peak_w[h] > w_hall[h] > 0.0:
            step = max(step, min(peak_w[h] / w_hall[h] - 1.0, 1.0))
    return STEP_RESERVE_K * step
