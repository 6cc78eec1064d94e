"""Cooling tower by Merkel integration: the fill is cut into slices, air and water walked through in counter-flow."""

from __future__ import annotations

from typing import NamedTuple

from coolctl.jit import kernel
from coolctl.psychro import LATENT_JKG, saturated_at_c, saturation_enthalpy_jkg

SLICES = 6
BISECTIONS = 16
AIR_DENSITY_NOM_KGM3 = 1.2


class Tower(NamedTuple):
    """One cell."""

    air_flow_nom_kgs: float
    fan_power_nom_w: float
    ntu_coefficient: float
    ntu_exponent: float
    speed_min: float
    cycles: float  # of concentration


@kernel
def merkel_number(ewt_c: float, lwt_c: float, wet_bulb_c: float, water_per_air: float, pressure_pa: float) -> float:
    """Merkel number needed to cool water from `ewt_c` to `lwt_c` [°C]: `∫ c_w dT / (h_s − h_a)`, midpoint slices."""
    slice_k = (ewt_c - lwt_c) / SLICES
    air_jkg = saturation_enthalpy_jkg(wet_bulb_c, pressure_pa)
    total = 0.0
    for k in range(SLICES):
        water_c = lwt_c + (k + 0.5) * slice_k
        air_jkg += 4186.0 * water_per_air * slice_k
        drive = saturation_enthalpy_jkg(water_c, pressure_pa) - (air_jkg - 2093.0 * water_per_air * slice_k)
        if drive <= 0.0:
            return 1e9
        total += 4186.0 * slice_k / drive
    return total


@kernel
def leaving_c(ewt_c: float, water_kgs: float, speed: float, wet_bulb_c: float, pressure_pa: float, p: Tower) -> float:
    """Water leaving one cell [°C]."""
    if ewt_c <= wet_bulb_c or water_kgs <= 0.0:
        return ewt_c
    density = pressure_pa / (287.055 * (wet_bulb_c + 273.15))
    air_kgs = max(p.air_flow_nom_kgs * max(speed, p.speed_min) * density / AIR_DENSITY_NOM_KGM3, 0.05)
    ratio = water_kgs / air_kgs
    have = p.ntu_coefficient * ratio**p.ntu_exponent
    lo = wet_bulb_c
    hi = ewt_c
    for _ in range(BISECTIONS):
        mid = 0.5 * (lo + hi)
        if merkel_number(ewt_c, mid, wet_bulb_c, ratio, pressure_pa) > have:
            lo = mid
        else:
            hi = mid
    return hi


@kernel
def fan_power_w(speed: float, dry_bulb_c: float, pressure_pa: float, p: Tower) -> float:
    """Fan power of one cell [W]; below the minimum speed the cell drifts on natural draught."""
    if speed <= p.speed_min:
        speed = p.speed_min
    return p.fan_power_nom_w * speed**3 * pressure_pa / (287.055 * (dry_bulb_c + 273.15)) / AIR_DENSITY_NOM_KGM3


@kernel
def makeup_kgs(heat_w: float, speed: float, dry_bulb_c: float, wet_bulb_c: float, pressure_pa: float, p: Tower) -> float:
    """Make-up water of one cell [kg/s]: the heat that the air does not carry off by being warmer evaporates water, and
    what is blown down comes on top. The air leaves saturated."""
    density = pressure_pa / (287.055 * (wet_bulb_c + 273.15))
    air_kgs = max(p.air_flow_nom_kgs * max(speed, p.speed_min) * density / AIR_DENSITY_NOM_KGM3, 0.05)
    leaving_c = saturated_at_c(saturation_enthalpy_jkg(wet_bulb_c, pressure_pa) + heat_w / air_kgs, pressure_pa)
    latent_w = heat_w - 1006.0 * air_kgs * (leaving_c - dry_bulb_c)
    return max(latent_w, 0.0) / LATENT_JKG * p.cycles / (p.cycles - 1.0)
