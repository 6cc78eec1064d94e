"""One hall over one second: servers and their fans, aisles, racks, structure, CRAH fans, coils and room humidity."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel
from coolctl.num import clamp
from coolctl.psychro import LATENT_JKG
from sim_plant.equipment.exchange import CP_AIR, CP_WATER, coil
from sim_plant.params import (
    H_AIR_NOM,
    H_BYPASS,
    H_CRAHS,
    H_DT,
    H_FAN_EXP,
    H_FAN_FLOOR,
    H_FAN_SHARE,
    H_FAN_SLOPE,
    H_FAN_W,
    H_IT_NOM,
    H_KNEE,
    H_LEAK,
    H_LEAKAGE,
    H_MAKEUP,
    H_MAKEUP_HUMID,
    H_MISC,
    H_RECIRC,
    H_STRUCTURE,
    H_UA,
    H_WATER_NOM,
    H_WORST_UA,
)  # fmt: skip

F64 = NDArray[np.float64]

# State row of a hall
(X_SINK, X_CHASSIS, X_COLD, X_HOT, X_STRUCT, X_SAT, X_FAN, X_VALVE, X_SRV_FAN, X_HUMID, X_VALVE_I, X_SUPPLIED,
 X_SAT_OTHERS, X_SAT_WORST, X_VALVE_WORST, X_VALVE_I_WORST, X_ELEMENT, X_SEEN) = range(18)  # fmt: skip
HALL_STATES = 18
# Output row of a hall
(Y_IT, Y_SRV_FAN, Y_SRV_FAN_IDLE, Y_CRAH, Y_RAT, Y_COIL, Y_WATER_KGS, Y_WATER_OUT, Y_DEMAND, Y_AISLE_DP, Y_INLET, Y_LATENT) = (
    range(12)
)
HALL_OUTPUTS = 12

SINK_JK_PER_W, SINK_TAU_S = 2.5, 30.0
CHASSIS_JK_PER_W, CHASSIS_TAU_S = 18.0, 300.0
COLD_JK_PER_W, HOT_JK_PER_W = 0.5, 1.0
STRUCTURE_WK_PER_W = 6e-3
SAT_TAU_S, SERVER_FAN_TAU_S, RACK_TAU_S = 20.0, 15.0, 10.0
FAN_UP_PER_S, FAN_DOWN_PER_S = 1.0 / 30.0, 1.0 / 90.0
VALVE_PER_S = 1.0 / 60.0
VALVE_GAIN_PER_K, VALVE_INTEGRAL_PER_KS = 0.08, 0.002
ROOM_AIR_KG_PER_W = 2.5e-3
MAKEUP_KGS_PER_W = 0.32e-9  # a cubic metre an hour of outdoor air per MW
MAKEUP_DRY = 0.0055  # the make-up unit humidifies to this [kg/kg]
# Health of a hall's valve loop: stuck position (NaN = free), factor on its gain, stiction [ratio], and whether it winds up.
LOOP_STUCK, LOOP_GAIN, LOOP_STICTION, LOOP_WIND_UP = range(4)
WELL = np.array([np.nan, 1.0, 0.0, 0.0])
SLOW_SENSOR_TAU_S, WOUND_UP = 30.0, 4.0
SHUTDOWN_FROM_C, SHUTDOWN_SPAN_K = 45.0, 10.0  # ASHRAE A4's limit; servers throttle beyond it, then switch themselves off
NEAR_WORST = 0.5  # how much of its own CRAH's air a rack beside it gets, the rest is the hall's


@kernel
def server_fan_target(inlet_c: float, row: F64) -> float:
    """Server fan speed over idle [-]: a smooth hinge at the knee (hyperbola, not the controller's softplus)."""
    d = inlet_c - row[H_KNEE]
    return 1.0 + row[H_FAN_SLOPE] * 0.5 * (d + math.sqrt(d * d + 0.8))


@kernel
def kept_ratio(inlet_c: float) -> float:
    """Share of the load that servers still carry at this inlet [°C]: below their protection's threshold all of it."""
    return clamp(1.0 - (inlet_c - SHUTDOWN_FROM_C) / SHUTDOWN_SPAN_K, 0.0, 1.0)


@kernel
def servers(x: F64, it_w: float, row: F64, dt_s: float, y: F64) -> tuple[float, float]:
    """Advance heat sinks, chassis and server fans; returns air drawn [kg/s] and heat given to it [W]."""
    inlet_c = x[X_COLD]
    it_w *= kept_ratio(inlet_c)
    target = server_fan_target(inlet_c, row)
    x[X_SRV_FAN] += (target - x[X_SRV_FAN]) * dt_s / SERVER_FAN_TAU_S
    s = x[X_SRV_FAN]
    hinge = (target - 1.0) / row[H_FAN_SLOPE] if row[H_FAN_SLOPE] > 0.0 else 0.0
    work_w = it_w * (1.0 + row[H_LEAKAGE] * hinge)
    y[Y_SRV_FAN] = it_w * row[H_FAN_SHARE] * s * s * s
    y[Y_SRV_FAN_IDLE] = it_w * row[H_FAN_SHARE]
    y[Y_IT] = work_w + y[Y_SRV_FAN]
    sink_jk = SINK_JK_PER_W * row[H_IT_NOM]
    chassis_jk = CHASSIS_JK_PER_W * row[H_IT_NOM]
    from_sink_w = sink_jk / SINK_TAU_S * (x[X_SINK] - inlet_c)
    # Server fans follow power: the air drawn keeps the design rise in steady state.
    air_kgs = max(from_sink_w, 0.1 * row[H_IT_NOM]) / (CP_AIR * row[H_DT]) * s
    middle_c = inlet_c + 0.5 * from_sink_w / (air_kgs * CP_AIR)
    from_chassis_w = chassis_jk / CHASSIS_TAU_S * (x[X_CHASSIS] - middle_c)
    x[X_SINK] += dt_s * (work_w - from_sink_w) / sink_jk
    x[X_CHASSIS] -= dt_s * from_chassis_w / chassis_jk
    return air_kgs, from_sink_w + from_chassis_w + y[Y_SRV_FAN]


@kernel
def aisles(x: F64, drawn_kgs: float, heat_w: float, crah_kgs: float, row: F64, dt_s: float, y: F64) -> float:
    """Advance both aisles and the structure; returns the air temperature back at the CRAHs [°C]."""
    supplied_kgs = (1.0 - row[H_LEAK]) * crah_kgs
    gap = (1.0 - row[H_RECIRC]) * drawn_kgs - supplied_kgs
    width = 0.02 * drawn_kgs
    short_kgs = 0.5 * (gap + math.sqrt(gap * gap + width * width))
    recirculated_kgs = min(row[H_RECIRC] * drawn_kgs + short_kgs, 0.95 * drawn_kgs)
    from_crah_kgs = drawn_kgs - recirculated_kgs
    exhaust_c = x[X_COLD] + heat_w / (drawn_kgs * CP_AIR)
    cold_jk = COLD_JK_PER_W * row[H_IT_NOM]
    hot_jk = HOT_JK_PER_W * row[H_IT_NOM]
    to_structure_w = STRUCTURE_WK_PER_W * row[H_IT_NOM] * (x[X_HOT] - x[X_STRUCT])
    mixed_c = (from_crah_kgs * x[X_SAT] + recirculated_kgs * x[X_HOT]) / drawn_kgs
    renewed = 1.0 - math.exp(-dt_s * drawn_kgs * CP_AIR / cold_jk)
    x[X_COLD] += (mixed_c - x[X_COLD]) * renewed
    x[X_SUPPLIED] += (x[X_SAT] - x[X_SUPPLIED]) * renewed
    hot_in_c = exhaust_c - to_structure_w / (drawn_kgs * CP_AIR) + row[H_MISC] / (drawn_kgs * CP_AIR)
    x[X_HOT] += (hot_in_c - x[X_HOT]) * (1.0 - math.exp(-dt_s * drawn_kgs * CP_AIR / hot_jk))
    x[X_STRUCT] += dt_s * to_structure_w / row[H_STRUCTURE]
    y[Y_AISLE_DP] = 40.0 * (supplied_kgs / drawn_kgs - 1.0)
    y[Y_DEMAND] = drawn_kgs
    y[Y_INLET] = x[X_COLD]
    spill_kgs = max(crah_kgs - from_crah_kgs, 0.0)
    return (from_crah_kgs * x[X_HOT] + spill_kgs * x[X_SAT]) / max(from_crah_kgs + spill_kgs, 1e-3)


@kernel
def worst_share(row: F64) -> float:
    """Share of the hall's air that its weakest CRAH moves; 0 where all are alike."""
    return 1.0 / row[H_CRAHS] if row[H_WORST_UA] < 0.999 and row[H_CRAHS] > 1.5 else 0.0


@kernel
def crah_group(
    x: F64, sat: int, valve: int, integral: int, share: float, ua_wk: float, air_kgs: float, return_c: float, sat_sp_c: float,
    water_c: float, open_ratio: float, loop: F64, pressure_pa: float, row: F64, dt_s: float,
) -> tuple[float, float, float, float, float]:  # fmt: skip
    """Advance valve and coil of CRAHs that are alike, a `share` of the hall's, whose states are at `sat`, `valve` and
    `integral`; `loop` is the health of their valve loop, `LOOP_*`. Returns the valve's travel, sensible and latent heat
    [W], condensate and water [kg/s]."""
    error_k = (x[X_SEEN] if loop[LOOP_GAIN] > 1.0 else x[sat]) - sat_sp_c
    most = WOUND_UP if loop[LOOP_WIND_UP] > 0.5 else 1.0
    x[integral] = clamp(x[integral] + loop[LOOP_GAIN] * VALVE_INTEGRAL_PER_KS * error_k * dt_s, 0.0, most)
    target = clamp(x[integral] + loop[LOOP_GAIN] * VALVE_GAIN_PER_K * error_k, 0.0, 1.0)
    moved = clamp(target - x[valve], -VALVE_PER_S * dt_s, VALVE_PER_S * dt_s)
    if abs(target - x[valve]) < loop[LOOP_STICTION]:
        moved = 0.0
    if loop[LOOP_STUCK] == loop[LOOP_STUCK]:
        moved = loop[LOOP_STUCK] - x[valve]
    x[valve] += moved
    water_nom_kgs = share * row[H_WATER_NOM]
    water_kgs = water_nom_kgs * x[valve] * open_ratio
    sensible_w, latent_w, condensate_kgs = coil(
        return_c, x[X_HUMID], share * air_kgs, water_c, water_kgs, ua_wk, share * row[H_AIR_NOM], water_nom_kgs, pressure_pa,
        row[H_BYPASS],
    )  # fmt: skip
    off_c = return_c - sensible_w / (share * air_kgs * CP_AIR)
    x[sat] += (off_c - x[sat]) * dt_s / SAT_TAU_S
    return abs(moved), sensible_w, latent_w, condensate_kgs, water_kgs


@kernel
def crahs(
    x: F64, return_c: float, fan_sp: float, sat_sp_c: float, water_c: float, dp_pa: float, dp_nom_pa: float,
    outdoor_w: float, pressure_pa: float, fans_ok: float, loop: F64, row: F64, dt_s: float, y: F64,
) -> float:  # fmt: skip
    """Advance fans, valves, coils and room humidity of a hall; returns the valves' travel."""
    x[X_FAN] += clamp(fan_sp - x[X_FAN], -FAN_DOWN_PER_S * dt_s, FAN_UP_PER_S * dt_s)
    density = pressure_pa / (287.055 * (x[X_SAT] + 273.15))
    air_kgs = max(row[H_AIR_NOM] * fans_ok * x[X_FAN] * density / 1.2, 0.01)
    y[Y_CRAH] = row[H_CRAHS] * fans_ok * (row[H_FAN_W] * x[X_FAN] ** row[H_FAN_EXP] * density / 1.2 + row[H_FAN_FLOOR])
    hot_c = return_c + y[Y_CRAH] / (air_kgs * CP_AIR)
    open_ratio = math.sqrt(max(dp_pa, 0.0) / dp_nom_pa)
    # Units that are out take their coil and water with them: the figures are those of the ones that run.
    alive = row.copy()
    alive[H_UA], alive[H_AIR_NOM], alive[H_WATER_NOM] = row[H_UA] * fans_ok, row[H_AIR_NOM] * fans_ok, row[H_WATER_NOM] * fans_ok
    worst = worst_share(row)
    each_wk = alive[H_UA] / (row[H_CRAHS] - 1.0 + row[H_WORST_UA])
    others_wk = alive[H_UA] if worst == 0.0 else each_wk * (row[H_CRAHS] - 1.0)
    sat = X_SAT if worst == 0.0 else X_SAT_OTHERS
    # A gain set too high goes with what makes it so: an element deep in its well, behind a transmitter that filters.
    x[X_SEEN] += (x[X_ELEMENT] - x[X_SEEN]) * dt_s / SLOW_SENSOR_TAU_S
    x[X_ELEMENT] += (x[sat] - x[X_ELEMENT]) * dt_s / SLOW_SENSOR_TAU_S
    travel, sensible_w, latent_w, condensate_kgs, water_kgs = crah_group(
        x, sat, X_VALVE, X_VALVE_I, 1.0 - worst, others_wk, air_kgs, hot_c, sat_sp_c, water_c, open_ratio, loop,
        pressure_pa, alive, dt_s,
    )  # fmt: skip
    if worst > 0.0:
        more = crah_group(
            x, X_SAT_WORST, X_VALVE_WORST, X_VALVE_I_WORST, worst, each_wk * row[H_WORST_UA], air_kgs, hot_c, sat_sp_c,
            water_c, open_ratio, WELL, pressure_pa, alive, dt_s,
        )  # fmt: skip
        travel += worst * more[0]
        sensible_w += more[1]
        latent_w += more[2]
        condensate_kgs += more[3]
        water_kgs += more[4]
        x[X_SAT] = (1.0 - worst) * x[X_SAT_OTHERS] + worst * x[X_SAT_WORST]
    makeup_kgs = MAKEUP_KGS_PER_W * row[H_MAKEUP] * row[H_IT_NOM]
    makeup_w = clamp(outdoor_w, MAKEUP_DRY, max(row[H_MAKEUP_HUMID], MAKEUP_DRY))
    x[X_HUMID] += dt_s * (makeup_kgs * (makeup_w - x[X_HUMID]) - condensate_kgs) / (ROOM_AIR_KG_PER_W * row[H_IT_NOM])
    x[X_HUMID] = max(x[X_HUMID], 1e-4)
    y[Y_RAT] = return_c
    y[Y_COIL] = sensible_w + latent_w
    y[Y_LATENT] = condensate_kgs * LATENT_JKG
    y[Y_WATER_KGS] = water_kgs
    y[Y_WATER_OUT] = water_c + (sensible_w + latent_w) / (max(water_kgs, 1e-3) * CP_WATER) if water_kgs > 1e-3 else water_c
    return travel


@kernel
def racks(inlet_c: F64, supplied_c: float, cold_c: float, hot_c: float, gain: F64, offset_k: F64, moved_ratio: float) -> None:
    """Move the rack inlets a `moved_ratio` of their way to supply air plus their own share of recirculation.

    `supplied_c` is the supply air as the cold aisle has it by now: the aisle is seconds behind, and against the supply of
    this moment the worst rack would warm up when its air gets colder. No rack breathes worse than the hot aisle's air.
    """
    worst_c = max(hot_c, cold_c)
    for i in range(inlet_c.shape[0]):
        target = min(supplied_c + gain[i] * (cold_c - supplied_c), worst_c) + offset_k[i]
        inlet_c[i] += (target - inlet_c[i]) * moved_ratio


def stored_j(x: F64, rows: F64) -> float:
    """Heat in heat sinks, chassis, aisles and structure of all halls, from 0 °C [J]."""
    nom = rows[:, H_IT_NOM]
    per_w = SINK_JK_PER_W * x[:, X_SINK] + CHASSIS_JK_PER_W * x[:, X_CHASSIS]
    per_w += COLD_JK_PER_W * x[:, X_COLD] + HOT_JK_PER_W * x[:, X_HOT]
    return float((nom * per_w + rows[:, H_STRUCTURE] * x[:, X_STRUCT]).sum())
