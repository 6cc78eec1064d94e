"""A hall's air: what its CRAHs move, what the servers draw of it, and what the coils take out of it."""

from __future__ import annotations

from typing import NamedTuple

from coolctl.jit import kernel
from coolctl.psychro import R_AIR_JKGK
from coolctl.thermal import pump_fan, room


@kernel
def air_density_kgm3(sat_c: float, pressure_pa: float) -> float:
    """Density of the supply air [kg/m³]."""
    return pressure_pa / (R_AIR_JKGK * (sat_c + 273.15))


@kernel
def crah_air_kgs(speed_ratio: float, sat_c: float, pressure_pa: float, p: room.HallParams) -> float:
    """Air that the hall's CRAHs move [kg/s]: volume follows speed, mass follows density."""
    return p.air_flow_nom_kgs * speed_ratio * air_density_kgm3(sat_c, pressure_pa) / pump_fan.AIR_DENSITY_NOM_KGM3


class HallAir(NamedTuple):
    """One hall's air and coils: the water that they draw over nominal, that of the weakest, and heat that they cannot take."""

    air_kgs: float
    inlet_c: float
    hottest_c: float
    airflow_ratio: float
    fan_w: float
    server_w: float
    load_w: float  # without moisture
    water_ratio: float
    weakest_water_ratio: float
    short_w: float


@kernel
def hall_air(
    chwst_c: float, sat_c: float, speed_ratio: float, base_w: float, pressure_pa: float, open_ratio: float, hall: room.HallParams
) -> HallAir:
    """One hall at its setpoints, with `base_w` of IT work; `open_ratio` is the coils' flow over nominal with valves wide open."""
    air_kgs = crah_air_kgs(speed_ratio, sat_c, pressure_pa, hall)
    inlet_c, hottest_c, airflow = room.inlets_c(base_w, sat_c, air_kgs, hall)
    density = air_density_kgm3(sat_c, pressure_pa)
    fan_w = hall.crahs * pump_fan.fan_power_w(
        speed_ratio, density, hall.fan_power_nom_w, hall.fan_exponent, hall.fan_power_floor_w
    )
    server_w = room.server_power_w(base_w, inlet_c, hall)
    load_w = server_w + fan_w + hall.misc_heat_w
    ratio, widest, short_w = room.crah_water_ratios(
        load_w, chwst_c, sat_c, air_kgs, air_kgs / hall.air_flow_nom_kgs, open_ratio, hall
    )
    return HallAir(air_kgs, inlet_c, hottest_c, airflow, fan_w, server_w, load_w, ratio, widest, short_w)


@kernel
def airflow_speed(base_w: float, sat_c: float, inlet_c: float, ratio: float, pressure_pa: float, p: room.HallParams) -> float:
    """CRAH fan speed [ratio] that supplies `ratio` times the air that the servers draw; not clamped."""
    drawn_kgs = room.server_air_kgs(base_w, inlet_c, p)
    full_kgs = crah_air_kgs(1.0, sat_c, pressure_pa, p) * (1.0 - p.leak_ratio)
    return ratio * drawn_kgs / full_kgs
