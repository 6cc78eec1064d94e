"""How fast a hall warms when the machines stop: a coarse dynamic roll-out, and the ride-through seconds from it.

Four masses a site: supply and return half of the loop (with the buffer on the supply side), and per hall the air with
the racks, and the structure. Chillers off, pumps and CRAH fans on (UPS), economizer not counted: the pessimistic case
that the site's restart time is compared with. 10 s steps: the fastest mass kept (room and racks) answers in minutes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel
from coolctl.num import clamp
from coolctl.points import U_CHW_DP, U_HALL
from coolctl.psychro import CP_AIR_JKGK, CP_WATER_JKGK
from coolctl.thermal import room
from coolctl.thermal.air import airflow_speed, crah_air_kgs
from coolctl.thermal.plant import W_HALL, W_PRESSURE, plant_of

F64 = NDArray[np.float64]

RACK_JK_PER_W = 18.0  # chassis and sheet metal per W of design IT power (PHYSICS §1.6: 18 MJ/K per MW)
HEATSINK_JK_PER_W = 2.5
AIR_JK_PER_W = 1.5
STRUCTURE_WK_PER_W = 6e-3
STEP_S = 10.0
HORIZON_S = 3600.0
FAN_FOLLOW_RATIO = 1.05


@kernel
def ride_through_s(
    u: F64, w: F64, chwst_c: float, chwrt_c: float, limit_c: float, horizon_s: float, halls: F64, plant: F64, state: F64
) -> float:
    """Seconds until the hottest inlet reaches `limit_c` [°C] if every chiller stopped now; at most `horizon_s`.

    `chwst_c` and `chwrt_c` [°C] are the loop now; `plant` is the row of `PlantParams`; `state` is scratch of two entries
    per hall. Zero when an input is unknown: an unknown margin is no margin.
    """
    if not (chwst_c == chwst_c and chwrt_c == chwrt_c):
        return 0.0
    p = plant_of(plant)
    half_jk = 0.5 * p.loop_volume_m3 * 998.0 * CP_WATER_JKGK
    supply_jk = half_jk + p.buffer_m3 * 998.0 * CP_WATER_JKGK
    supply_c = chwst_c
    return_c = max(chwrt_c, chwst_c)
    open_ratio = (u[U_CHW_DP] / p.chw_pump.head_static_pa) ** 0.5
    air = np.empty(halls.shape[0])
    for h in range(halls.shape[0]):
        hall = room.hall_params(halls[h])
        sat_sp_c = u[U_HALL + 2 * h]
        # The fans run on and follow their demand: a ramp that is under way is not a loss of air.
        follow = airflow_speed(w[W_HALL + h], sat_sp_c, sat_sp_c + 1.0, FAN_FOLLOW_RATIO, w[W_PRESSURE], hall)
        air[h] = crah_air_kgs(clamp(follow, u[U_HALL + 2 * h + 1], 1.0), sat_sp_c, w[W_PRESSURE], hall)
        warm_c = u[U_HALL + 2 * h] + hall.server_delta_t_nom_k
        state[2 * h] = warm_c
        state[2 * h + 1] = warm_c - 2.0
    t_s = 0.0
    while t_s < horizon_s:
        hottest_c, supply_c, return_c = _step(u, w, air, open_ratio, supply_c, return_c, supply_jk, half_jk, halls, state)
        if not hottest_c < limit_c:
            return t_s
        t_s += STEP_S
    return horizon_s


@kernel
def _step(
    u: F64, w: F64, air: F64, open_ratio: float, supply_c: float, return_c: float, supply_jk: float, return_jk: float,
    halls: F64, state: F64,
) -> tuple[float, float, float]:  # fmt: skip
    """One step of the halls, with `air` [kg/s] through each, and of the loop; returns the hottest inlet and the loop's two
    temperatures [°C]."""
    hottest_c = -273.0
    flow_kgs = 0.0
    taken_w = 0.0
    for h in range(halls.shape[0]):
        hall, air_kgs = room.hall_params(halls[h]), air[h]
        air_ratio = air_kgs / hall.air_flow_nom_kgs
        mass_c = state[2 * h]
        wanted_w = air_kgs * CP_AIR_JKGK * (mass_c - u[U_HALL + 2 * h])
        ratio, _widest, short_w = room.crah_water_ratios(
            max(wanted_w, 1.0), supply_c, u[U_HALL + 2 * h], air_kgs, air_ratio, open_ratio, hall
        )
        coil_w = max(wanted_w, 1.0) - short_w
        sat_c = mass_c - coil_w / (air_kgs * CP_AIR_JKGK)
        inlet_c, inlet_max_c, _ratio = room.inlets_c(w[W_HALL + h], sat_c, air_kgs, hall)
        heat_w = room.server_power_w(w[W_HALL + h], inlet_c, hall) + hall.misc_heat_w
        to_structure_w = STRUCTURE_WK_PER_W * hall.it_power_nom_w * (mass_c - state[2 * h + 1])
        mass_jk = (RACK_JK_PER_W + HEATSINK_JK_PER_W + AIR_JK_PER_W) * hall.it_power_nom_w
        state[2 * h] = mass_c + STEP_S * (heat_w - coil_w - to_structure_w) / mass_jk
        state[2 * h + 1] += STEP_S * to_structure_w / hall.structure_jk
        hottest_c = max(hottest_c, inlet_max_c)
        flow_kgs += ratio * hall.coil_water_flow_nom_kgs
        taken_w += coil_w
    carried = flow_kgs * CP_WATER_JKGK
    supply_next_c = supply_c + STEP_S * carried * (return_c - supply_c) / supply_jk
    return_next_c = return_c + STEP_S * (carried * (supply_c - return_c) + taken_w) / return_jk
    return hottest_c, supply_next_c, return_next_c
