"""Heat exchange and pumping: CRAH coils with condensation, the plate economizer, pumps off their design point."""

from __future__ import annotations

import math

from coolctl.jit import kernel
from coolctl.psychro import LATENT_JKG, saturation_humidity_ratio_kgkg

CP_AIR, CP_WATER = 1006.0, 4186.0


@kernel
def effectiveness(ua: float, c_hot: float, c_cold: float) -> float:
    """Counter-flow effectiveness [-] on the smaller capacity rate."""
    c_min = min(c_hot, c_cold)
    r = c_min / max(c_hot, c_cold)
    ntu = ua / c_min
    if r > 0.999999:
        return ntu / (1.0 + ntu)
    e = math.exp(-ntu * (1.0 - r))
    return (1.0 - e) / (1.0 - r * e)


@kernel
def coil(
    air_c: float, air_w: float, air_kgs: float, water_c: float, water_kgs: float,
    ua_nom: float, air_nom_kgs: float, water_nom_kgs: float, pressure_pa: float, bypass: float,
) -> tuple[float, float, float]:  # fmt: skip
    """Sensible heat [W], latent heat [W] and condensate [kg/s] of a hall's coils.

    Metal below the dew point dries the air that touches it (all but the share `bypass`); the water carries the heat of
    condensation too.
    """
    if air_kgs <= 0.0 or water_kgs <= 0.0:
        return 0.0, 0.0, 0.0
    ua = ua_nom / (0.65 * (air_kgs / air_nom_kgs) ** -0.8 + 0.35 * (water_kgs / water_nom_kgs) ** -0.8)
    c_air, c_water = air_kgs * CP_AIR, water_kgs * CP_WATER
    sensible_w = effectiveness(ua, c_air, c_water) * min(c_air, c_water) * (air_c - water_c)
    metal_c = water_c + 0.35 * max(air_c - sensible_w / c_air - water_c, 0.0)
    condensate_kgs = 0.0
    dry = saturation_humidity_ratio_kgkg(metal_c, pressure_pa)
    if air_w > dry and sensible_w > 0.0:
        condensate_kgs = air_kgs * (1.0 - bypass) * (air_w - dry)
    return sensible_w, condensate_kgs * LATENT_JKG, condensate_kgs


@kernel
def plate_heat_w(hot_c: float, hot_kgs: float, cold_c: float, cold_kgs: float, ua_nom: float, flow_nom_kgs: float) -> float:
    """Heat through the plates [W]: each side's film follows its own flow to the 0.7, half the resistance each."""
    if hot_c <= cold_c or hot_kgs <= 0.0 or cold_kgs <= 0.0:
        return 0.0
    ua = 2.0 * ua_nom / ((hot_kgs / flow_nom_kgs) ** -0.7 + (cold_kgs / flow_nom_kgs) ** -0.7)
    c_hot, c_cold = hot_kgs * CP_WATER, cold_kgs * CP_WATER
    return effectiveness(ua, c_hot, c_cold) * min(c_hot, c_cold) * (hot_c - cold_c)


@kernel
def pump_w(flow_kgs: float, head_pa: float, running: float, flow_nom_kgs: float, efficiency: float, floor_w: float) -> float:
    """Electric power [W] of `running` pumps; efficiency peaks at the design flow and falls on both sides."""
    if flow_kgs <= 0.0 or running <= 0.0:
        return 0.0
    q = flow_kgs / (running * flow_nom_kgs)
    eta = efficiency * max(1.0 - 0.22 * (1.0 - q) * (1.0 - q) - 0.05 * (1.0 - q), 0.35)
    return flow_kgs * head_pa / (998.0 * min(eta, efficiency)) + running * floor_w
