"""A chiller with a life of its own: start sequence, load ramp, restart lockout; COP from its leaving condenser water.

Efficiency: the record's EIR curve at the nearest point of its fitted box, moved to the actual lift by the ratio of
Carnot factors between evaporating and condensing temperature. A head-pressure valve keeps a minimum lift.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from coolctl.jit import kernel
from coolctl.num import biquadratic, clamp

# State row of one machine
C_MODE, C_TIMER, C_RAMP, C_STARTS, C_LOCK, C_LOAD = range(6)
CHILLER_COLUMNS = 6
OFF, STARTING, RUNNING = 0.0, 1.0, 2.0

CONDENSER_APPROACH_K = 1.8
EVAPORATOR_APPROACH_K = 1.5
CYCLE_S = 900.0  # on-off period of a machine below its minimum load


class Chiller(NamedTuple):
    """One machine, every field a float."""

    capacity_nom_w: float
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
    x_min_c: float
    x_max_c: float
    y_min_c: float
    y_max_c: float
    plr_min: float
    lift_min_k: float
    lift_exponent: float
    start_s: float
    restart_s: float
    ramp_per_s: float
    condenser_flow_nom_kgs: float
    evaporator_flow_nom_kgs: float
    evaporator_min_ratio: float


@kernel
def capacity_w(chws_c: float, cw_in_c: float, p: Chiller) -> float:
    """Capacity now [W]. The best value at or beyond this condenser temperature: colder water never takes any away."""
    x = clamp(chws_c, p.x_min_c, p.x_max_c)
    y = clamp(cw_in_c, p.y_min_c, p.y_max_c)
    best = 0.0
    for k in range(6):
        warmer = y + (p.y_max_c - y) * k / 5.0
        best = max(best, biquadratic(p.cap0, p.cap1, p.cap2, p.cap3, p.cap4, p.cap5, x, warmer))
    return p.capacity_nom_w * best * max(1.0 - 0.012 * max(cw_in_c - p.y_max_c, 0.0), 0.2)


@kernel
def carnot(chws_c: float, cw_out_c: float) -> float:
    """Ideal work per heat lifted between the two refrigerant temperatures [-]."""
    cold_c = chws_c - EVAPORATOR_APPROACH_K
    return max(cw_out_c + CONDENSER_APPROACH_K - cold_c, 4.0) / (cold_c + 273.15)


@kernel
def power_w(load_w: float, chws_c: float, cw_in_c: float, cw_kgs: float, p: Chiller) -> float:
    """Compressor power [W] of one machine carrying `load_w` [W]."""
    if load_w <= 0.0:
        return 0.0
    rise_nom_k = load_w * (1.0 + 1.0 / p.cop_ref) / (4186.0 * p.condenser_flow_nom_kgs)
    rise_k = rise_nom_k * p.condenser_flow_nom_kgs / max(cw_kgs, 0.05 * p.condenser_flow_nom_kgs)
    out_c = max(cw_in_c + rise_k, chws_c + p.lift_min_k)
    in_c = out_c - rise_nom_k  # what the curves know as entering water
    x = clamp(chws_c, p.x_min_c, p.x_max_c)
    y = clamp(in_c, p.y_min_c, p.y_max_c)
    eir = biquadratic(p.eir0, p.eir1, p.eir2, p.eir3, p.eir4, p.eir5, x, y) / p.cop_ref
    eir *= (carnot(chws_c, out_c) / carnot(x, y + rise_nom_k)) ** p.lift_exponent
    capacity = capacity_w(chws_c, in_c, p)
    plr = clamp(load_w / capacity, p.plr_min, 1.1)
    part = p.plr0 + p.plr1 * plr + p.plr2 * plr * plr
    return capacity * eir * part * min(1.0, load_w / (capacity * p.plr_min))


@kernel
def sequence(row, wanted: bool, healthy: bool, p: Chiller, dt_s: float) -> None:  # type: ignore[no-untyped-def]
    """Advance one machine's start and stop sequence; a failed or stopped machine is locked out for its restart time."""
    row[C_LOCK] = max(row[C_LOCK] - dt_s, 0.0)
    if not healthy or not wanted:
        if row[C_MODE] != OFF:
            row[C_LOCK] = p.restart_s
        row[C_MODE] = OFF
        row[C_RAMP] = 0.0
        row[C_LOAD] = 0.0
        return
    if row[C_MODE] == OFF and row[C_LOCK] <= 0.0:
        row[C_MODE] = STARTING
        row[C_TIMER] = p.start_s
        row[C_STARTS] += 1.0
    if row[C_MODE] == STARTING:
        row[C_TIMER] -= dt_s
        if row[C_TIMER] <= 0.0:
            row[C_MODE] = RUNNING
            row[C_RAMP] = p.plr_min
    elif row[C_MODE] == RUNNING:
        row[C_RAMP] = min(row[C_RAMP] + p.ramp_per_s * dt_s, 1.05)


@kernel
def carry(row, wanted_w: float, chws_c: float, cw_in_c: float, p: Chiller, dt_s: float) -> float:  # type: ignore[no-untyped-def]
    """Heat that a running machine takes [W] of `wanted_w`, within its capacity and load ramp; counts cycling."""
    if row[C_MODE] != RUNNING:
        return 0.0
    capacity = capacity_w(chws_c, cw_in_c, p)
    load_w = clamp(wanted_w, 0.0, capacity * row[C_RAMP])
    row[C_RAMP] = min(row[C_RAMP], max(load_w / capacity, p.plr_min) + 0.15)
    if load_w < p.plr_min * capacity and not math.isnan(load_w):
        row[C_STARTS] += dt_s / CYCLE_S * (1.0 - load_w / (p.plr_min * capacity))
    row[C_LOAD] = load_w
    return load_w
