"""Moist air from pressure, dry bulb and humidity. Pressure is always an argument: Lanzhou is 84.8 kPa, not 101.3.

Saturation pressure after Magnus with the Sonntag (1990) coefficients, within 0.3 % of Hyland-Wexler from -20 to 60 °C.
"""

from __future__ import annotations

import math

from coolctl.jit import kernel

CP_AIR_JKGK = 1006.0
CP_VAPOUR_JKGK = 1860.0
LATENT_JKG = 2.501e6
SATURATION_ITERATIONS = 30  # Newton's method needs four or five
CP_WATER_JKGK = 4186.0
R_AIR_JKGK = 287.055
PRESSURE_SEA_PA = 101325.0


@kernel
def pressure_at_altitude_pa(altitude_m: float) -> float:
    """Standard atmosphere station pressure [Pa] at `altitude_m` [m] (ISO 2533).

    >>> round(pressure_at_altitude_pa(1517.0))
    84380
    """
    return PRESSURE_SEA_PA * (1.0 - 2.25577e-5 * altitude_m) ** 5.25588


@kernel
def saturation_pressure_pa(t_c: float) -> float:
    """Saturation vapour pressure over water [Pa] at `t_c` [°C].

    >>> round(saturation_pressure_pa(20.0))
    2333
    """
    return 611.2 * math.exp(17.62 * t_c / (243.12 + t_c))


@kernel
def dew_point_from_vapour_c(vapour_pa: float) -> float:
    """Dew point [°C] of a vapour pressure [Pa]; NaN when not positive."""
    if not vapour_pa > 0.0:
        return math.nan
    x = math.log(vapour_pa / 611.2)
    return 243.12 * x / (17.62 - x)


@kernel
def humidity_ratio_kgkg(t_c: float, rh_ratio: float, pressure_pa: float) -> float:
    """Humidity ratio [kg/kg] from dry bulb [°C], relative humidity [ratio] and pressure [Pa]."""
    vapour_pa = rh_ratio * saturation_pressure_pa(t_c)
    return 0.62198 * vapour_pa / (pressure_pa - vapour_pa)


@kernel
def saturation_humidity_ratio_kgkg(t_c: float, pressure_pa: float) -> float:
    """Humidity ratio of saturated air [kg/kg] at `t_c` [°C]."""
    return humidity_ratio_kgkg(t_c, 1.0, pressure_pa)


@kernel
def enthalpy_jkg(t_c: float, w_kgkg: float) -> float:
    """Specific enthalpy of moist air [J per kg dry air] (ASHRAE Fundamentals ch. 1)."""
    return CP_AIR_JKGK * t_c + w_kgkg * (LATENT_JKG + CP_VAPOUR_JKGK * t_c)


@kernel
def saturation_enthalpy_jkg(t_c: float, pressure_pa: float) -> float:
    """Enthalpy of saturated air [J/kg] at `t_c` [°C]."""
    return enthalpy_jkg(t_c, saturation_humidity_ratio_kgkg(t_c, pressure_pa))


@kernel
def saturated_at_c(h_jkg: float, pressure_pa: float) -> float:
    """Temperature [°C] at which saturated air has the enthalpy `h_jkg` [J/kg], between -20 and 80 °C.

    >>> round(saturated_at_c(saturation_enthalpy_jkg(25.0, 90e3), 90e3), 3)
    25.0
    """
    if math.isnan(h_jkg) or math.isnan(pressure_pa):
        return math.nan
    t_c = 20.0
    for _ in range(SATURATION_ITERATIONS):
        vapour_pa = saturation_pressure_pa(t_c)
        w = 0.62198 * vapour_pa / (pressure_pa - vapour_pa)
        slope_w = w * 17.62 * 243.12 / (243.12 + t_c) ** 2 * pressure_pa / (pressure_pa - vapour_pa)
        slope_jkgk = CP_AIR_JKGK + slope_w * (LATENT_JKG + CP_VAPOUR_JKGK * t_c) + w * CP_VAPOUR_JKGK
        before_c = t_c
        t_c = min(max(t_c + (h_jkg - enthalpy_jkg(t_c, w)) / slope_jkgk, -20.0), 80.0)
        if abs(t_c - before_c) < 1e-7:
            break
    return t_c


@kernel
def humidity_from_wet_bulb_kgkg(t_c: float, wb_c: float, pressure_pa: float) -> float:
    """Humidity ratio [kg/kg] from dry and wet bulb [°C] (ASHRAE Fundamentals ch. 1, eq. 33)."""
    ws = saturation_humidity_ratio_kgkg(wb_c, pressure_pa)
    return ((LATENT_JKG - 2326.0 * wb_c) * ws - CP_AIR_JKGK * (t_c - wb_c)) / (LATENT_JKG + 1860.0 * t_c - 4186.0 * wb_c)


@kernel
def wet_bulb_c(t_c: float, rh_ratio: float, pressure_pa: float) -> float:
    """Thermodynamic wet bulb [°C] by bisection on enthalpy balance (ASHRAE Fundamentals ch. 1, eq. 33).

    >>> round(wet_bulb_c(30.0, 0.5, 101325.0), 1)
    22.0
    """
    if math.isnan(t_c) or math.isnan(rh_ratio):
        return math.nan
    w = humidity_ratio_kgkg(t_c, rh_ratio, pressure_pa)
    lo = t_c - 40.0
    hi = t_c
    for _ in range(48):
        mid = 0.5 * (lo + hi)
        ws = saturation_humidity_ratio_kgkg(mid, pressure_pa)
        w_mid = ((LATENT_JKG - 2326.0 * mid) * ws - CP_AIR_JKGK * (t_c - mid)) / (LATENT_JKG + 1860.0 * t_c - 4186.0 * mid)
        if w_mid > w:
            hi = mid
        else:
            lo = mid
    return 0.5 * (lo + hi)


@kernel
def dew_point_c(t_c: float, rh_ratio: float) -> float:
    """Dew point [°C] from dry bulb [°C] and relative humidity [ratio]."""
    return dew_point_from_vapour_c(rh_ratio * saturation_pressure_pa(t_c))


@kernel
def dew_point_from_wet_bulb_c(t_c: float, wb_c: float, pressure_pa: float) -> float:
    """Dew point [°C] from dry bulb and wet bulb [°C] (inverse of the wet-bulb balance)."""
    w = max(humidity_from_wet_bulb_kgkg(t_c, wb_c, pressure_pa), 1e-5)
    return dew_point_from_vapour_c(pressure_pa * w / (0.62198 + w))


@kernel
def air_density_kgm3(t_c: float, pressure_pa: float) -> float:
    """Density of dry air [kg/m³]; humidity lowers it by < 1 % at hall conditions.

    >>> round(air_density_kgm3(20.0, 101325.0), 3)
    1.204
    """
    return pressure_pa / (R_AIR_JKGK * (t_c + 273.15))
