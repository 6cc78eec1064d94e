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
BISECTIONS = 22  # 30 K / 2^22 is far below any sensor


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
    density = pressure_pa / (287.055 * (oawb_c + 273.15))
    air_kgs = p.air_flow_nom_kgs * speed_ratio * density / AIR_DENSITY_NOM_KGM3
    h_in = saturation_enthalpy_jkg(ewt_c, pressure_pa)
    h_out = saturation_enthalpy_jkg(min(lwt_c, ewt_c - 0.05), pressure_pa)
    slope_jkgk = (h_in - h_out) / (ewt_c - min(lwt_c, ewt_c - 0.05))
    m_star = air_kgs * slope_jkgk / (water_kgs * CP_WATER_JKGK)
    ntu = p.ua_scale * p.ntu_coefficient * (water_kgs / air_kgs) ** (1.0 + p.ntu_exponent)
    if abs(1.0 - m_star) < 1e-6:
        effectiveness = ntu / (1.0 + ntu)
    else:
        e = math.exp(-ntu * (1.0 - m_star))
        effectiveness = (1.0 - e) / (1.0 - m_star * e)
    return effectiveness * air_kgs * (h_in - saturation_enthalpy_jkg(oawb_c, pressure_pa))


@kernel
def leaving_water_c(
    speed_ratio: float, water_kgs: float, heat_w: float, oawb_c: float, pressure_pa: float, p: TowerParams
) -> float:
    """Water leaving one cell [°C] that rejects `heat_w` [W] at `speed_ratio`. NaN without water."""
    if not water_kgs > 0.0:
        return math.nan
    range_k = heat_w / (water_kgs * CP_WATER_JKGK)
    lo = oawb_c
    hi = oawb_c + 60.0
    for _ in range(BISECTIONS):
        mid = 0.5 * (lo + hi)
        if heat_rejected_w(speed_ratio, water_kgs, mid + range_k, mid, oawb_c, pressure_pa, p) < heat_w:
            lo = mid
        else:
            hi = mid
    return 0.5 * (lo + hi)


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
    if not heat_rejected_w(1.0, water_kgs, ewt_c, cwst_sp_c, oawb_c, pressure_pa, p) >= heat_w:
        return leaving_water_c(1.0, water_kgs, heat_w, oawb_c, pressure_pa, p), 1.0
    if heat_rejected_w(p.speed_min_ratio, water_kgs, ewt_c, cwst_sp_c, oawb_c, pressure_pa, p) >= heat_w:
        return leaving_water_c(p.speed_min_ratio, water_kgs, heat_w, oawb_c, pressure_pa, p), p.speed_min_ratio
    lo = p.speed_min_ratio
    hi = 1.0
    for _ in range(16):
        mid = 0.5 * (lo + hi)
        if heat_rejected_w(mid, water_kgs, ewt_c, cwst_sp_c, oawb_c, pressure_pa, p) < heat_w:
            lo = mid
        else:
            hi = mid
    return cwst_sp_c, clamp(0.5 * (lo + hi), p.speed_min_ratio, 1.0)


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
