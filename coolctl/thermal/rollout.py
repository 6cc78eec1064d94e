"""Many candidates, many steps: what becomes of a site's halls in the next minutes, for each thing that may happen.

A candidate is something that happens (a machine stops, all load is back, nobody is in control any more) on a plant that
the true one might be. Masses and loops are those of `dynamics` and `foresight`; candidates lie side by side in lanes, so
that a compiler works on several at once, and every number of candidates, split in any way, gives the same bits.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import fused_kernel
from coolctl.num import clamp
from coolctl.psychro import CP_AIR_JKGK, CP_WATER_JKGK, R_AIR_JKGK
from coolctl.thermal.dynamics import AIR_JK_PER_W, HEATSINK_JK_PER_W, RACK_JK_PER_W, STRUCTURE_WK_PER_W
from coolctl.thermal.lanes import LANES, exp_minus, larger, power_minus_08, smaller, soft_corner
from coolctl.thermal.pump_fan import AIR_DENSITY_NOM_KGM3
from coolctl.thermal.room import (
    KNEE_WIDTH_K,
    HallParams,
    air_resistance,
    hall_params,
    inlets_c,
    server_power_w,
)  # fmt: skip

F64 = NDArray[np.float64]

# What `control.foresight` reckons with too; a test holds the two together, since this floor is below that one.
SUPPLY_UP_TAU_S, SUPPLY_DOWN_TAU_S = 20.0, 90.0  # supply air behind its setpoint: quick to warm, slow to cool
OWN_K_PER_S, OPEN_PER_S, FAN_UP_PER_S = 2.0 / 60.0, 0.01, 0.0334  # supply air and water, water's pressure, fans: how fast
ANSWER_K = 0.3  # below the first limit: from here supply air is set colder
# Heat sinks, and the servers' fans with them, behind the work; cold that coils and pipes still hold; aisle behind supply air.
SINK_TAU_S, COIL_TAU_S, AISLE_TAU_S = 40.0, 60.0, 30.0
THROTTLE_FROM_C, OFF_C = 45.0, 55.0  # inlets at which servers begin to slow down, and stand
WIDE_OPEN = 0.95  # of what coils could take: from here the water's pressure is raised
FAN_MIN, RATIO_MAX = 0.05, 0.999  # what the equations divide by
STANDS_RATIO = 0.005  # water that moves less than this over nominal takes no heat away

# A hall of `LANES` candidates, each row's first entry: what it begins with (and goes on from), then what holds all the time.
HALL_ROWS = (
    "sat_c", "fan", "mass_c", "structure_c", "inlet_c", "hottest_c", "it_now_w", "coldest_c", "air_kgs", "server_w", "drawn_kgs",
    "it_w", "sat_sp_c", "sat_own_c", "fan_sp", "fan_own", "crah_share", "coil", "hot_k", "valve", "mass_jk", "off_k", "sat_min_c",
)  # fmt: skip
(
    H_SAT, H_FAN, H_MASS, H_STRUCT, H_INLET, H_HOTTEST, H_IT_NOW, H_COLDEST, H_AIR_KGS, H_SERVER_W, H_DRAWN_KGS,
    H_IT_W, H_SAT_SP, H_SAT_OWN, H_FAN_SP, H_FAN_OWN, H_CRAH_SHARE, H_COIL, H_HOT_K, H_VALVE, H_MASS_JK, H_OFF_K, H_SAT_MIN,
) = range(0, len(HALL_ROWS) * LANES, LANES)  # fmt: skip
# Their plant, likewise.
PLANT_ROWS = (
    "supply_c", "return_c", "open",
    "open_max", "chwst_sp_c", "chwst_own_c", "able_w", "able_later_w", "later_s", "plates_wk", "cwst_c", "lost_s",
    "supply_jk", "return_jk",
)  # fmt: skip
(
    P_SUPPLY, P_RETURN, P_OPEN,
    P_OPEN_MAX, P_CHWST, P_CHWST_OWN, P_ABLE_W, P_ABLE_LATER_W, P_LATER_S, P_PLATES_WK, P_CWST, P_LOST_S,
    P_SUPPLY_JK, P_RETURN_JK,
) = range(0, len(PLANT_ROWS) * LANES, LANES)  # fmt: skip
# What they come to: hottest inlet [°C], and seconds until a rack is over each of the two limits.
RESULTS = ("hottest_c", "first_s", "second_s")
R_HOTTEST, R_FIRST_S, R_SECOND_S = range(0, len(RESULTS) * LANES, LANES)
SUMS = 4
S_HOTTEST, S_TAKEN_W, S_FLOW_KGS, S_USED = range(0, SUMS * LANES, LANES)


@fused_kernel
def roll_out(
    hall_rows: F64, plant_rows: F64, begin: int, end: int, steps: int, step_s: float, pressure_pa: float, halls: F64,
    first_c: float, second_c: float, found: F64,
) -> None:  # fmt: skip
    """Groups `begin` to `end` of `LANES` candidates over `steps` of `step_s` [s], into `found` (groups, RESULTS * LANES).

    `hall_rows` (groups, halls, HALL_ROWS * LANES) and `plant_rows` (groups, PLANT_ROWS * LANES) are left as they are; `halls`
    has a row of `HallParams` each. Seconds are `steps * step_s` where no rack gets over `first_c` or `second_c` [°C].
    """
    count, horizon_s = halls.shape[0], steps * step_s
    hall_now, plant, sums = np.empty_like(hall_rows[0]), np.empty_like(plant_rows[0]), np.empty(SUMS * LANES)
    for at in range(begin, end):
        hall_now[:], plant[:], result = hall_rows[at], plant_rows[at], found[at]
        result[:R_FIRST_S], result[R_FIRST_S:] = -273.0, horizon_s
        for k in range(steps):
            t_s = k * step_s
            sums[:S_TAKEN_W], sums[S_TAKEN_W:] = -273.0, 0.0
            for h in range(count):
                hall, p = hall_now[h], hall_params(halls[h])
                _servers(hall, plant, t_s, step_s, pressure_pa, p, sums)
                _coils(hall, plant, t_s, step_s, p, sums)
                _racks(hall, step_s, first_c - ANSWER_K, p, sums)
            _loop(plant, sums, t_s, step_s, first_c, second_c, result)


# Three loops over the lanes and not one: a compiler puts no loop side by side that calls what is too long to be taken in.


@fused_kernel
def _servers(hall: F64, plant: F64, t_s: float, step_s: float, pressure_pa: float, p: HallParams, sums: F64) -> None:
    """Fans, the air that they move, and what the servers draw of it; at the inlet of the step before, since they take longer
    than a step to answer."""
    full_kgs, idle_per_w = p.air_flow_nom_kgs / AIR_DENSITY_NOM_KGM3, 1.0 / (CP_AIR_JKGK * p.server_delta_t_nom_k)
    sink = smaller(step_s / SINK_TAU_S, 1.0)
    for i in range(sums.shape[0] // SUMS):
        fan_sp, fan_own, inlet_c = hall[H_FAN_SP + i], hall[H_FAN_OWN + i], hall[H_INLET + i]
        wanted = fan_own if t_s > plant[P_LOST_S + i] else fan_sp
        fan = hall[H_FAN + i] = smaller(wanted, hall[H_FAN + i] + FAN_UP_PER_S * step_s)
        density_kgm3 = pressure_pa / (R_AIR_JKGK * (hall[H_SAT + i] + 273.15))
        hall[H_AIR_KGS + i] = hall[H_CRAH_SHARE + i] * full_kgs * larger(fan, FAN_MIN) * density_kgm3
        wanted_w = hall[H_IT_W + i] * smaller(larger((OFF_C - inlet_c) / (OFF_C - THROTTLE_FROM_C), 0.02), 1.0)
        it_w = hall[H_IT_NOW + i] + sink * (wanted_w - hall[H_IT_NOW + i])
        over_k = soft_corner(inlet_c - p.server_fan_knee_c, KNEE_WIDTH_K)
        speed = 1.0 + p.server_fan_slope_per_k * over_k
        hall[H_IT_NOW + i], hall[H_DRAWN_KGS + i] = it_w, it_w * idle_per_w * speed
        hall[H_SERVER_W + i] = it_w * (1.0 + p.server_leakage_per_k * over_k + p.server_fan_ratio * speed * speed * speed)


@fused_kernel
def _coils(hall: F64, plant: F64, t_s: float, step_s: float, p: HallParams, sums: F64) -> None:
    """Supply air, the heat that the coils take for it, and the water that they take for that."""
    up, down = smaller(step_s / SUPPLY_UP_TAU_S, 1.0), smaller(step_s / SUPPLY_DOWN_TAU_S, 1.0)
    coil, structure_wk = smaller(step_s / COIL_TAU_S, 1.0), STRUCTURE_WK_PER_W * p.it_power_nom_w
    for i in range(sums.shape[0] // SUMS):
        share, mass_c, sat_c, open_ratio = hall[H_CRAH_SHARE + i], hall[H_MASS + i], hall[H_SAT + i], plant[P_OPEN + i]
        air_ratio, air_wk = hall[H_AIR_KGS + i] / (share * p.air_flow_nom_kgs), hall[H_AIR_KGS + i] * CP_AIR_JKGK
        open_kgs = larger(share * open_ratio * p.coil_water_flow_nom_kgs, 1e-3)
        resistance = 0.65 * power_minus_08(larger(air_ratio, STANDS_RATIO))
        resistance += 0.35 * power_minus_08(larger(open_ratio, STANDS_RATIO))
        least_wk, most_wk = smaller(air_wk, open_kgs * CP_WATER_JKGK), larger(air_wk, open_kgs * CP_WATER_JKGK)
        ratio = smaller(least_wk / most_wk, RATIO_MAX)
        e = exp_minus(hall[H_COIL + i] * share * p.coil_ua_nom_wk / (resistance * least_wk) * (1.0 - ratio))
        able_wk = (1.0 - e) / (1.0 - ratio * e) * least_wk
        able_wk = able_wk if open_ratio > STANDS_RATIO else 0.0
        most_w = larger(able_wk * (mass_c - plant[P_SUPPLY + i]), 0.0)
        since_s = larger(t_s - plant[P_LOST_S + i], 0.0)
        sat_sp_c = towards(hall[H_SAT_SP + i], hall[H_SAT_OWN + i], OWN_K_PER_S * since_s)
        sat_c += (up if sat_sp_c > sat_c else down) * (sat_sp_c - sat_c)
        coldest_c = hall[H_COLDEST + i] + coil * (mass_c - most_w / air_wk - hall[H_COLDEST + i])
        sat_c = larger(smaller(sat_c, larger(mass_c, sat_sp_c)), coldest_c)
        coil_w = larger(air_wk * (mass_c - sat_c), 0.0)
        used = smaller(larger(coil_w / larger(most_w, 1.0), 0.02), 1.0)
        lost_w = structure_wk * (mass_c - hall[H_STRUCT + i] - 2.0)
        hall[H_SAT + i], hall[H_COLDEST + i] = sat_c, coldest_c
        hall[H_MASS + i] = mass_c + step_s * (hall[H_SERVER_W + i] + p.misc_heat_w - coil_w - lost_w) / hall[H_MASS_JK + i]
        hall[H_STRUCT + i] += step_s * lost_w / p.structure_jk
        sums[S_TAKEN_W + i] += coil_w
        # One over flow is nearly straight in one over heat, through where the valves stand now and where they are open.
        sums[S_FLOW_KGS + i] += open_kgs / (1.0 + hall[H_VALVE + i] * (1.0 / used - 1.0))
        sums[S_USED + i] = larger(sums[S_USED + i], used)


@fused_kernel
def _racks(hall: F64, step_s: float, answer_c: float, p: HallParams, sums: F64) -> None:
    """The racks' inlets, from supply air and what comes back of the servers' own; supply air is set colder where it is needed."""
    aisle = smaller(step_s / AISLE_TAU_S, 1.0)
    for i in range(sums.shape[0] // SUMS):
        drawn_kgs, sat_c = hall[H_DRAWN_KGS + i], hall[H_SAT + i]
        short = soft_corner(drawn_kgs - (1.0 - p.leak_ratio) * hall[H_AIR_KGS + i], 0.03 * drawn_kgs) / drawn_kgs
        back = smaller(p.recirculation_ratio + (1.0 - p.recirculation_ratio) * short, 0.9)
        rise_k = smaller(back / (1.0 - back) * hall[H_SERVER_W + i] / (drawn_kgs * CP_AIR_JKGK), 40.0)
        hottest_c = sat_c + p.hot_spot_gain * rise_k + p.hot_spot_offset_k + hall[H_HOT_K + i]
        hottest_c = hall[H_HOTTEST + i] + aisle * (hottest_c - hall[H_HOTTEST + i])
        set_c = hall[H_SAT_SP + i]
        colder_c = larger(set_c - OWN_K_PER_S * step_s, smaller(hall[H_SAT_MIN + i], set_c))
        hall[H_SAT_SP + i] = colder_c if hottest_c > answer_c else set_c
        hall[H_INLET + i] += aisle * (sat_c + rise_k - hall[H_INLET + i])
        hall[H_HOTTEST + i] = hottest_c
        sums[S_HOTTEST + i] = larger(sums[S_HOTTEST + i], hottest_c)


@fused_kernel
def _loop(plant: F64, sums: F64, t_s: float, step_s: float, first_c: float, second_c: float, result: F64) -> None:
    """The water of `LANES` candidates one step on, and what has been seen of their racks."""
    for i in range(sums.shape[0] // SUMS):
        since_s = larger(t_s - plant[P_LOST_S + i], 0.0)
        wanted_c = towards(plant[P_CHWST + i], plant[P_CHWST_OWN + i], OWN_K_PER_S * since_s)
        supply_c, return_c = plant[P_SUPPLY + i], plant[P_RETURN + i]
        flow_wk = larger(sums[S_FLOW_KGS + i] * CP_WATER_JKGK, 1.0)
        able_w, later_w = plant[P_ABLE_W + i], plant[P_ABLE_LATER_W + i]
        able_w = later_w if t_s >= plant[P_LATER_S + i] else able_w
        able_w += plant[P_PLATES_WK + i] * larger(return_c - plant[P_CWST + i], 0.0)
        leaving_c = smaller(larger(wanted_c, return_c - able_w / flow_wk), return_c)
        back_c = supply_c + sums[S_TAKEN_W + i] / flow_wk
        plant[P_SUPPLY + i] = supply_c + smaller(step_s * flow_wk / plant[P_SUPPLY_JK + i], 1.0) * (leaving_c - supply_c)
        plant[P_RETURN + i] = return_c + smaller(step_s * flow_wk / plant[P_RETURN_JK + i], 1.0) * (back_c - return_c)
        more = OPEN_PER_S * step_s if sums[S_USED + i] > WIDE_OPEN else 0.0
        plant[P_OPEN + i] = larger(smaller(plant[P_OPEN + i] + more, plant[P_OPEN_MAX + i]), 0.0)
        hottest_c = sums[S_HOTTEST + i]
        result[R_HOTTEST + i] = larger(result[R_HOTTEST + i], hottest_c)
        first_s, second_s, end_s = result[R_FIRST_S + i], result[R_SECOND_S + i], t_s + step_s
        result[R_FIRST_S + i] = smaller(first_s, end_s if hottest_c > first_c else first_s)
        result[R_SECOND_S + i] = smaller(second_s, end_s if hottest_c > second_c else second_s)


@fused_kernel
def towards(begin: float, end: float, most: float) -> float:
    """From `begin` to `end`, by at most `most`."""
    return begin + larger(smaller(end - begin, most), -most)


RISE_MIN_K, VALVE_MIN, VALVE_MAX, COIL_MIN, COIL_MAX = 2.0, 0.2, 5.0, 0.4, 2.5


@fused_kernel
def _heat_wk(ua_wk: float, air_wk: float, water_wk: float) -> float:
    """Heat that a coil of conductance `ua_wk` moves per kelvin between the two that enter [W/K]: counter-flow ε-NTU."""
    least_wk = min(air_wk, water_wk)
    ratio = min(least_wk / max(air_wk, water_wk), RATIO_MAX)
    e = math.exp(-ua_wk / least_wk * (1.0 - ratio))
    return (1.0 - e) / (1.0 - ratio * e) * least_wk


@fused_kernel
def _conductance_wk(heat_wk: float, air_wk: float, water_wk: float) -> float:
    """Conductance [W/K] of a coil that moves `heat_wk` [W/K]: `_heat_wk` the other way round."""
    least_wk = min(air_wk, water_wk)
    ratio = min(least_wk / max(air_wk, water_wk), RATIO_MAX)
    effectiveness = min(heat_wk / least_wk, 0.98)
    return least_wk * math.log((1.0 - ratio * effectiveness) / (1.0 - effectiveness)) / (1.0 - ratio)


@fused_kernel
def stand(
    hall_rows: F64, plant_rows: F64, seen_c: F64, lately_k: F64, air: F64, coil: F64, mass: F64, pressure_pa: float, halls: F64,
    heat_w: F64,
) -> None:  # fmt: skip
    """Fill in what makes each candidate's model stand where the plant stands: temperatures of racks and structure, coils,
    valves, and what the hottest rack, `seen_c` [°C] a hall, is off the model: no less than it was off `lately_k` [K], a lane
    a column, if known.

    Known before: supply air, fans, IT work, temperatures and pressure of the water. `air`, `coil` and `mass` are factors of
    each candidate; `heat_w` [W] of each candidate is found. A coil is as good as the water's rise says that it is now.
    """
    for g in range(hall_rows.shape[0]):
        plant = plant_rows[g]
        for i in range(LANES):
            k, open_ratio = g * LANES + i, plant[P_OPEN + i]
            rise_k = larger(plant[P_RETURN + i] - plant[P_SUPPLY + i], RISE_MIN_K)
            heat_w[k] = 0.0
            for h in range(halls.shape[0]):
                hall, p = hall_rows[g, h], hall_params(halls[h])
                sat_c, it_w = hall[H_SAT + i], hall[H_IT_W + i]
                hall[H_CRAH_SHARE + i] *= air[k]
                density_ratio = pressure_pa / (R_AIR_JKGK * (sat_c + 273.15)) / AIR_DENSITY_NOM_KGM3
                air_kgs = hall[H_CRAH_SHARE + i] * p.air_flow_nom_kgs * larger(hall[H_FAN + i], FAN_MIN) * density_ratio
                inlet_c, hottest_c, _ratio = inlets_c(it_w, sat_c, air_kgs, p)
                hall_w = server_power_w(it_w, inlet_c, p) + p.misc_heat_w
                mass_c = sat_c + hall_w / (air_kgs * CP_AIR_JKGK)
                open_kgs = larger(open_ratio, STANDS_RATIO) * hall[H_CRAH_SHARE + i] * p.coil_water_flow_nom_kgs
                flow_kgs = smaller(hall_w / (CP_WATER_JKGK * rise_k), 0.98 * open_kgs)
                cold_k, air_wk = larger(mass_c - plant[P_SUPPLY + i], 0.1), air_kgs * CP_AIR_JKGK
                resistance = air_resistance(air_kgs / (hall[H_CRAH_SHARE + i] * p.air_flow_nom_kgs))
                record_wk = hall[H_CRAH_SHARE + i] * p.coil_ua_nom_wk
                flow_ratio = flow_kgs / (hall[H_CRAH_SHARE + i] * p.coil_water_flow_nom_kgs)
                ua_wk = _conductance_wk(hall_w / cold_k, air_wk, flow_kgs * CP_WATER_JKGK)
                better = ua_wk * (resistance + 0.35 * larger(flow_ratio, STANDS_RATIO) ** -0.8) / record_wk
                factor = coil[k] * clamp(better, COIL_MIN, COIL_MAX)
                open_resistance = resistance + 0.35 * larger(open_ratio, STANDS_RATIO) ** -0.8
                most_w = cold_k * _heat_wk(factor * record_wk / open_resistance, air_wk, open_kgs * CP_WATER_JKGK)
                used = smaller(hall_w / larger(most_w, 1.0), 0.98)
                valve = (open_kgs / flow_kgs - 1.0) / (1.0 / used - 1.0)
                hall[H_INLET + i], hall[H_MASS + i], hall[H_STRUCT + i] = inlet_c, mass_c, mass_c - 2.0
                off_k = seen_c[h] - hottest_c if seen_c[h] == seen_c[h] else 0.0
                hall[H_OFF_K + i], hall[H_HOTTEST + i] = off_k, hottest_c + off_k
                hall[H_HOT_K + i] = lately_k[h, i] if lately_k[h, i] > off_k else off_k
                hall[H_IT_NOW + i], hall[H_COLDEST + i] = it_w, sat_c
                hall[H_COIL + i], hall[H_VALVE + i] = factor, clamp(valve, VALVE_MIN, VALVE_MAX)
                hall[H_MASS_JK + i] = mass[k] * (RACK_JK_PER_W + HEATSINK_JK_PER_W + AIR_JK_PER_W) * p.it_power_nom_w
                heat_w[k] += hall_w
