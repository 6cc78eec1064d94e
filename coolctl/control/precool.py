"""Cooling the loop ahead of a dearer hour: how deep it pays to go.

The loop and its buffer hold cold that the chillers need not make later. Making it loads them more and needs colder
water; later they run at less load. Both are asked of the model at the machines that run, for a lead time each. The air
of a hall stores a fortieth of what the water does and is left alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.points import U_CHILLERS, U_CHWST
from coolctl.psychro import CP_WATER_JKGK
from coolctl.tariff import LEAD_S
from coolctl.thermal.plant import O_COOLING, O_HEAT, O_PLR, O_UNMET, W_HALL, PlantParams, evaluate_plant

F64 = NDArray[np.float64]

DEPTH_STEP_K = 0.5
SHIFT_MAX_RATIO = 0.5  # of the load: what lies further from the plan is not believed
WATER_KGM3 = 998.0


def precool_k(
    max_k: float, coldest_c: float, plr_max: float, ahead_ratio: float, u: F64, w: F64, halls: F64, p: PlantParams, out: F64
) -> float:
    """Kelvin by which the chilled water of plan `u` should be colder until energy is worth `ahead_ratio` times as much.

    0 where nothing is won. `coldest_c` [°C] bounds the setpoint, `plr_max` the load of the chillers; `out` is scratch.
    """
    evaluate_plant(u, w, halls, p.row, out)
    now_w, heat_w = float(out[O_COOLING]), float(out[O_HEAT])
    if not ahead_ratio > 1.0 or not heat_w > 0.0:
        return 0.0
    stored_w_per_k = (p.loop_volume_m3 + p.buffer_m3) * WATER_KGM3 * CP_WATER_JKGK / LEAD_S
    best_k, best_w = 0.0, 0.0
    for depth_k in np.arange(DEPTH_STEP_K, max_k + 1e-9, DEPTH_STEP_K):
        share = stored_w_per_k * depth_k / heat_w
        if share > SHIFT_MAX_RATIO or u[U_CHWST] - depth_k < coldest_c:
            break
        made_w = _power_w(-depth_k, 1.0 + share, plr_max, p.chiller.plr_min, u, w, halls, p.row, out)
        spent_w = _power_w(0.0, 1.0 - share, plr_max, p.chiller.plr_min, u, w, halls, p.row, out)
        won_w = ahead_ratio * (now_w - spent_w) - (made_w - now_w)
        if won_w > best_w:
            best_k, best_w = float(depth_k), won_w
    return best_k


def _power_w(
    warmer_k: float, load_ratio: float, plr_max: float, plr_min: float, u: F64, w: F64, halls: F64, plant: F64, out: F64
) -> float:
    """Cooling power [W] with the water `warmer_k` from plan `u` and `load_ratio` times the load; NaN where it is not carried."""
    trial, load = u.copy(), w.copy()
    trial[U_CHWST] += warmer_k
    load[W_HALL:] *= load_ratio
    evaluate_plant(trial, load, halls, plant, out)
    chillers_ok = plr_min <= out[O_PLR] <= plr_max or not u[U_CHILLERS] > 0.5
    return float(out[O_COOLING]) if out[O_UNMET] <= 0.0 and chillers_ok else float("nan")
