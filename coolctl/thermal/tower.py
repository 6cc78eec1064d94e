"""Cooling tower: Braun's effectiveness model, solved for fan speed at a setpoint or for the water that it can make.

Counter-flow `NTU = c (m_w/m_a)^(1+n)`, `m* = m_a c_s / (m_w c_w)`, `Q = ε m_a (h_s(T_w,in) − h_wb)` (Braun, Klein and
Mitchell, ASHRAE Transactions 95(2), 1989). Air flow and fan power follow density: thin air carries less heat per
stroke. Make-up water follows from the air's humidity: it leaves saturated. Excludes basin heaters and drift.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from coolctl.jit import kernel
from coolctl.num import clamp
from coolctl.psychro import (
    CP_WATER_JKGK,
    humidity_from_wet_bulb_kgkg,
    saturated_at_c,
    saturation_enthalpy_jkg,
    saturation_humidity_ratio_kgkg,
)

AIR_DENSITY_NOM_KGM3 = 1.2
ITERATIONS, TOLERANCE, LEAVING_TOLERANCE_K = 40, 1e-7, 1e-6  # three to six iterations are the rule
APPROACH_MAX_K = 60.0


class TowerParams(NamedTuple):
    """One cell."""

    air_flow_nom_kgs: float
    fan_power_nom_w: float
    water_flow_nom_kgs: float
    ntu_coefficient: float
    ntu_exponent: float
    speed_min_ratio: float
    ua_scale: float
    makeup_ratio: float  # make-up over evaporation: evaporation and blowdown


@kernel
def heat_rejected_w(
    speed_ratio: float, water_kgs: float, ewt_c: float, lwt_c: float, oawb_c: float, pressure_pa: float, p: TowerParams
) -> float:
    """Heat that one cell rejects [W] with water entering at `ewt_c`, leaving near `lwt_c` [°C].

    `lwt_c` only sets the slope of the saturation line. Zero when the water is not warmer than the wet bulb.
    """
    if not ewt_c > oawb_c:
        return 0.0
    slope_jkgk, drive_jkg = saturation_line(ewt_c, lwt_c, oawb_c, pressure_pa)
    return moved_w(speed_ratio * full_air_kgs(oawb_c, pressure_pa, p), water_kgs, slope_jkgk, drive_jkg, p)


@kernel
def full_air_kgs(oawb_c: float, pressure_pa: float, p: TowerParams) -> float:
    """Air through one cell at full fan speed [kg/s]: the same volume, less mass where the air is thin."""
    return p.air_flow_nom_kgs * pressure_pa / (287.055 * (oawb_c + 273.15)) / AIR_DENSITY_NOM_KGM3


@kernel
def saturation_line(ewt_c: float, lwt_c: float, oawb_c: float, pressure_pa: float) -> tuple[float, float]:
    """Slope of the saturation line between leaving and entering water [J/(kg K)], and the enthalpy that drives [J/kg]."""
    cold_c = min(lwt_c, ewt_c - 0.05)
    h_in = saturation_enthalpy_jkg(ewt_c, pressure_pa)
    slope_jkgk = (h_in - saturation_enthalpy_jkg(cold_c, pressure_pa)) / (ewt_c - cold_c)
    return slope_jkgk, h_in - saturation_enthalpy_jkg(oawb_c, pressure_pa)


@kernel
def moved_w(air_kgs: float, water_kgs: float, slope_jkgk: float, drive_jkg: float, p: TowerParams) -> float:
    """Heat that passes from water to air [W]: counter-flow ε-NTU on enthalpies."""
    m_star = air_kgs * slope_jkgk / (water_kgs * CP_WATER_JKGK)
    ntu = p.ua_scale * p.ntu_coefficient * (water_kgs / air_kgs) ** (1.0 + p.ntu_exponent)
    if abs(1.0 - m_star) < 1e-6:
        effectiveness = ntu / (1.0 + ntu)
    else:
        e = math.exp(-ntu * (1.0 - m_star))
        effectiveness = (1.0 - e) / (1.0 - m_star * e)
    return effectiveness * air_kgs * drive_jkg


@kernel
def leaving_water_c(
    speed_ratio: float, water_kgs: float, heat_w: float, oawb_c: float, pressure_pa: float, p: TowerParams
) -> float:
    """Water leaving one cell [°C] that rejects `heat_w` [W] at `speed_ratio`. NaN without water."""
    if not water_kgs > 0.0 or math.isnan(heat_w):
        return math.nan
    range_k = heat_w / (water_kgs * CP_WATER_JKGK)
    air_kgs = speed_ratio * full_air_kgs(oawb_c, pressure_pa, p)
    # Heat over what drives it hardly changes: from any leaving temperature the next one follows by proportion, and then
    # by secants inside a bracket.
    lo, hi = oawb_c, oawb_c + APPROACH_MAX_K
    lwt_c, before_c, gap_before = oawb_c + 4.0, oawb_c, math.nan
    for _ in range(ITERATIONS):
        slope_jkgk, drive_jkg = saturation_line(lwt_c + range_k, lwt_c, oawb_c, pressure_pa)
        found_w = moved_w(air_kgs, water_kgs, slope_jkgk, drive_jkg, p)
        gap = found_w - heat_w
        if abs(gap) <= TOLERANCE * heat_w or hi - lo < LEAVING_TOLERANCE_K:
            break
        boils = not (drive_jkg > 0.0 and slope_jkgk > 0.0)
        if gap >= 0.0 and not boils:
            hi = lwt_c
        else:
            lo = lwt_c
        step_k = -gap * (lwt_c - before_c) / (gap - gap_before) if gap != gap_before else math.nan
        if step_k != step_k:
            step_k = (heat_w / found_w - 1.0) * drive_jkg / slope_jkgk
        before_c, gap_before = lwt_c, gap
        lwt_c += step_k
        if boils or not lo < lwt_c < hi:
            lwt_c = 0.5 * (lo + hi)
    return lwt_c


@kernel
def operate(
    cwst_sp_c: float, water_kgs: float, heat_w: float, oawb_c: float, pressure_pa: float, p: TowerParams
) -> tuple[float, float]:
    """Leaving water [°C] and fan speed [ratio] of one cell whose fan is controlled to `cwst_sp_c` [°C].

    At full speed the water stays warmer than the setpoint when it must; at minimum speed it may fall below it.
    """
    if not water_kgs > 0.0:
        return math.nan, p.speed_min_ratio
    ewt_c = cwst_sp_c + heat_w / (water_kgs * CP_WATER_JKGK)
    slope_jkgk, drive_jkg = saturation_line(ewt_c, cwst_sp_c, oawb_c, pressure_pa)
    air_kgs = full_air_kgs(oawb_c, pressure_pa, p)
    most_w = moved_w(air_kgs, water_kgs, slope_jkgk, drive_jkg, p) if ewt_c > oawb_c else 0.0
    if not most_w >= heat_w:
        return leaving_water_c(1.0, water_kgs, heat_w, oawb_c, pressure_pa, p), 1.0
    least_w = moved_w(p.speed_min_ratio * air_kgs, water_kgs, slope_jkgk, drive_jkg, p)
    if not least_w < heat_w:
        return leaving_water_c(p.speed_min_ratio, water_kgs, heat_w, oawb_c, pressure_pa, p), p.speed_min_ratio
    # Heat is nearly a power of the fan's speed: the chord in logarithms, kept inside its bracket (Illinois' rule).
    lo, hi = math.log(p.speed_min_ratio), 0.0
    wanted = math.log(heat_w)
    gap_lo, gap_hi = math.log(least_w) - wanted, math.log(most_w) - wanted
    speed, side = 1.0, 0
    for _ in range(ITERATIONS):
        x = (lo * gap_hi - hi * gap_lo) / (gap_hi - gap_lo) if gap_hi > gap_lo else hi
        speed = math.exp(x)
        gap = math.log(moved_w(speed * air_kgs, water_kgs, slope_jkgk, drive_jkg, p)) - wanted
        if abs(gap) <= TOLERANCE:
            break
        if gap < 0.0:
            lo, gap_lo = x, gap
            gap_hi = 0.5 * gap_hi if side < 0 else gap_hi
            side = -1
        else:
            hi, gap_hi = x, gap
            gap_lo = 0.5 * gap_lo if side > 0 else gap_lo
            side = 1
    return cwst_sp_c, clamp(speed, p.speed_min_ratio, 1.0)


@kernel
def fan_power_w(speed_ratio: float, oadb_c: float, pressure_pa: float, p: TowerParams) -> float:
    """Electric power of one cell's fan [W]; cube law times air density."""
    density = pressure_pa / (287.055 * (oadb_c + 273.15))
    return p.fan_power_nom_w * speed_ratio**3 * density / AIR_DENSITY_NOM_KGM3


@kernel
def makeup_kgs(speed_ratio: float, heat_w: float, oadb_c: float, oawb_c: float, pressure_pa: float, p: TowerParams) -> float:
    """Make-up water of one cell [kg/s] that rejects `heat_w` [W]: what its air takes up, and blowdown."""
    density = pressure_pa / (287.055 * (oawb_c + 273.15))
    air_kgs = p.air_flow_nom_kgs * speed_ratio * density / AIR_DENSITY_NOM_KGM3
    leaving_c = saturated_at_c(saturation_enthalpy_jkg(oawb_c, pressure_pa) + heat_w / air_kgs, pressure_pa)
    taken_up = saturation_humidity_ratio_kgkg(leaving_c, pressure_pa) - humidity_from_wet_bulb_kgkg(oadb_c, oawb_c, pressure_pa)
    return 0.0 if taken_up < 0.0 else air_kgs * taken_up * p.makeup_ratio
