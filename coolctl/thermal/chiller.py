"""Water-cooled chiller: DOE-2 EIR curves inside their fitted box, a lift law outside it, a head-pressure floor below.

Assumes identical machines sharing load equally. Power is the compressor's, without pumps and towers. Three things
that an optimiser would otherwise exploit are mended here: the polynomials are never evaluated outside the box they
were fitted in; colder condenser water never costs power or capacity; less condenser water is never free.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from coolctl.jit import kernel
from coolctl.num import biquadratic, clamp
from coolctl.psychro import CP_WATER_JKGK

REFRIGERANT_APPROACH_K = 6.5  # condensing over entering condenser water at the reference flow, and
EVAPORATOR_APPROACH_K = 1.5  # leaving chilled water over evaporating: both PHYSICS-grade engineering values
LIFT_FLOOR_K = 8.0
CAPACITY_LOSS_PER_K = 0.012  # beyond the warm edge of the fitted box


class ChillerParams(NamedTuple):
    """One machine. `*_ft` are biquadratics of leaving chilled and entering condenser water [°C]."""

    capacity_ref_w: float
    cop_ref: float
    cap0: float
    cap1: float
    cap2: float
    cap3: float
    cap4: float
    cap5: float
    eir0: float
    eir1: float
    eir2: float
    eir3: float
    eir4: float
    eir5: float
    plr0: float
    plr1: float
    plr2: float
    chwst_fit_min_c: float
    chwst_fit_max_c: float
    cwst_fit_min_c: float
    cwst_fit_max_c: float
    plr_min: float
    lift_min_k: float
    lift_exponent: float
    eir_scale: float
    condenser_flow_nom_kgs: float


@kernel
def monotone_y(linear: float, square: float, y: float, slope: float) -> float:
    """`y` moved to the vertex of `linear·y + square·y²` where the parabola would run against the sign of `slope`."""
    if square == 0.0:
        return y
    vertex = -linear / (2.0 * square)
    if (square > 0.0) == (slope > 0.0):
        return max(y, vertex)
    return min(y, vertex)


@kernel
def lift_ratio(chwst_c: float, cwst_c: float) -> float:
    """Reverse-Carnot lift over evaporating temperature [-], with the lift held at its floor."""
    evaporating_c = chwst_c - EVAPORATOR_APPROACH_K
    return max(cwst_c + REFRIGERANT_APPROACH_K - evaporating_c, LIFT_FLOOR_K) / (evaporating_c + 273.15)


@kernel
def capacity_w(chwst_c: float, cwst_c: float, p: ChillerParams) -> float:
    """Capacity of one machine available now [W] at leaving chilled water and entering condenser water [°C].

    Never rises with warmer condenser water. NaN when a temperature is unknown.
    """
    x = clamp(chwst_c, p.chwst_fit_min_c, p.chwst_fit_max_c)
    y = clamp(cwst_c, p.cwst_fit_min_c, p.cwst_fit_max_c)
    y = clamp(monotone_y(p.cap3 + p.cap5 * x, p.cap4, y, -1.0), p.cwst_fit_min_c, p.cwst_fit_max_c)
    capacity = p.capacity_ref_w * biquadratic(p.cap0, p.cap1, p.cap2, p.cap3, p.cap4, p.cap5, x, y)
    beyond_k = max(cwst_c - p.cwst_fit_max_c, 0.0)
    return capacity * max(1.0 - CAPACITY_LOSS_PER_K * beyond_k, 0.2)


@kernel
def eir_ratio(chwst_c: float, cwst_c: float, p: ChillerParams) -> float:
    """Full-load EIR over its reference [-] at leaving chilled and entering condenser water [°C].

    Inside the box the curve; outside, the edge times (lift / edge lift)^exponent. Never falls with warmer
    condenser water: water colder than the chilled water counts as equal to it in both lifts, because a floor on one
    of them alone turns the slope round.
    """
    x = clamp(chwst_c, p.chwst_fit_min_c, p.chwst_fit_max_c)
    cwst_c = max(cwst_c, chwst_c)
    y = clamp(cwst_c, p.cwst_fit_min_c, p.cwst_fit_max_c)
    y_curve = clamp(monotone_y(p.eir3 + p.eir5 * x, p.eir4, y, 1.0), p.cwst_fit_min_c, p.cwst_fit_max_c)
    inside = biquadratic(p.eir0, p.eir1, p.eir2, p.eir3, p.eir4, p.eir5, x, y_curve)
    return p.eir_scale * inside * (lift_ratio(chwst_c, cwst_c) / lift_ratio(x, y)) ** p.lift_exponent


@kernel
def effective_cwst_c(cwst_c: float, chwst_c: float, heat_w: float, flow_kgs: float, p: ChillerParams) -> float:
    """Entering condenser water [°C] that the curves should see for one machine rejecting `heat_w` [W].

    Less than nominal flow raises the condensing temperature and fouls the heat transfer, so it counts as warmer
    entering water; a head-pressure valve keeps leaving condenser water `lift_min_k` above the chilled water.
    """
    flow_kgs = max(flow_kgs, 0.05 * p.condenser_flow_nom_kgs)
    rise_k = heat_w / (CP_WATER_JKGK * flow_kgs)
    rise_nom_k = heat_w / (CP_WATER_JKGK * p.condenser_flow_nom_kgs)
    shifted_c = cwst_c + rise_k - rise_nom_k + max(0.0, 1.0 - flow_kgs / p.condenser_flow_nom_kgs)
    return max(shifted_c, chwst_c + p.lift_min_k - rise_nom_k)


@kernel
def power_w(load_w: float, chwst_c: float, cwst_c: float, flow_kgs: float, p: ChillerParams) -> tuple[float, float]:
    """Compressor power [W] and PLR [-] of one machine carrying `load_w` [W] with `flow_kgs` [kg/s] condenser water.

    `P = capacity · EIR · EIRFPLR(PLR)`, cycling below the minimum PLR. Excludes pumps and towers.
    """
    heat_w = load_w * (1.0 + 1.0 / p.cop_ref)
    y = effective_cwst_c(cwst_c, chwst_c, heat_w, flow_kgs, p)
    capacity = capacity_w(chwst_c, y, p)
    if not capacity > 0.0:
        return math.nan, math.nan
    plr = load_w / capacity
    plr_run = clamp(plr, p.plr_min, 1.2)
    part_load = p.plr0 + p.plr1 * plr_run + p.plr2 * plr_run * plr_run
    running = min(1.0, plr / p.plr_min)
    return capacity / p.cop_ref * eir_ratio(chwst_c, y, p) * part_load * running, plr
