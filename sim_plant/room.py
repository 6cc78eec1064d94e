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
    H_MISC,
    H_RECIRC,
    H_STRUCTURE,
    H_UA,
    H_WATER_NOM,
)  # fmt: skip

F64 = NDArray[np.float64]

# State row of a hall
(X_SINK, X_CHASSIS, X_COLD, X_HOT, X_STRUCT, X_SAT, X_FAN, X_VALVE, X_SRV_FAN, X_HUMID, X_VALVE_I, X_DP) = range(12)
HALL_STATES = 12
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
MAKEUP_KGS_PER_W = 0.16e-6  # 500 m³/h of outdoor air per MW
MAKEUP_DRY, MAKEUP_HUMID = 0.0055, 0.0105  # the make-up unit's own humidity band [kg/kg]


@kernel
def server_fan_target(inlet_c: float, row: F64) -> float:
    """Server fan speed over idle [-]: a smooth hinge at the knee (hyperbola, not the controller's softplus)."""
    d = inlet_c - row[H_KNEE]
    return 1.0 + row[H_FAN_SLOPE] * 0.5 * (d + math.sqrt(d * d + 0.8))


@kernel
def servers(x: F64, it_w: float, row: F64, dt_s: float, y: F64) -> tuple[float, float]:
    """Advance heat sinks, chassis and server fans; returns air drawn [kg/s] and heat given to it [W]."""
    inlet_c = x[X_COLD]
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
    x[X_COLD] += (mixed_c - x[X_COLD]) * (1.0 - math.exp(-dt_s * drawn_kgs * CP_AIR / cold_jk))
    hot_in_c = exhaust_c - to_structure_w / (drawn_kgs * CP_AIR) + row[H_MISC] / (drawn_kgs * CP_AIR)
    x[X_HOT] += (hot_in_c - x[X_HOT]) * (1.0 - math.exp(-dt_s * drawn_kgs * CP_AIR / hot_jk))
    x[X_STRUCT] += dt_s * to_structure_w / row[H_STRUCTURE]
    y[Y_AISLE_DP] = 40.0 * (supplied_kgs / drawn_kgs - 1.0)
    y[Y_DEMAND] = drawn_kgs
    y[Y_INLET] = x[X_COLD]
    spill_kgs = max(crah_kgs - from_crah_kgs, 0.0)
    return (from_crah_kgs * x[X_HOT] + spill_kgs * x[X_SAT]) / max(from_crah_kgs + spill_kgs, 1e-3)


@kernel
def crahs(
    x: F64, return_c: float, fan_sp: float, sat_sp_c: float, water_c: float, dp_pa: float, dp_nom_pa: float,
    outdoor_w: float, pressure_pa: float, fans_ok: float, valve_stuck: float, row: F64, dt_s: float, y: F64,
) -> float:  # fmt: skip
    """Advance fans, valve, coil and room humidity of a hall; returns the valve's travel."""
    step = clamp(fan_sp - x[X_FAN], -FAN_DOWN_PER_S * dt_s, FAN_UP_PER_S * dt_s)
    x[X_FAN] += step
    error_k = x[X_SAT] - sat_sp_c
    x[X_VALVE_I] = clamp(x[X_VALVE_I] + VALVE_INTEGRAL_PER_KS * error_k * dt_s, 0.0, 1.0)
    target = clamp(x[X_VALVE_I] + VALVE_GAIN_PER_K * error_k, 0.0, 1.0)
    moved = clamp(target - x[X_VALVE], -VALVE_PER_S * dt_s, VALVE_PER_S * dt_s)
    if valve_stuck == valve_stuck:
        moved = valve_stuck - x[X_VALVE]
    x[X_VALVE] += moved
    density = pressure_pa / (287.055 * (x[X_SAT] + 273.15))
    air_kgs = max(row[H_AIR_NOM] * fans_ok * x[X_FAN] * density / 1.2, 0.01)
    water_kgs = row[H_WATER_NOM] * fans_ok * x[X_VALVE] * math.sqrt(max(dp_pa, 0.0) / dp_nom_pa)
    y[Y_CRAH] = row[H_CRAHS] * fans_ok * (row[H_FAN_W] * x[X_FAN] ** row[H_FAN_EXP] * density / 1.2 + row[H_FAN_FLOOR])
    hot_c = return_c + y[Y_CRAH] / (air_kgs * CP_AIR)
    sensible_w, latent_w, condensate_kgs = coil(
        hot_c, x[X_HUMID], air_kgs, water_c, water_kgs, row[H_UA] * fans_ok, row[H_AIR_NOM] * fans_ok,
        row[H_WATER_NOM] * fans_ok, pressure_pa,
    )  # fmt: skip
    off_c = hot_c - sensible_w / (air_kgs * CP_AIR)
    x[X_SAT] += (off_c - x[X_SAT]) * dt_s / SAT_TAU_S
    makeup_kgs = MAKEUP_KGS_PER_W * row[H_IT_NOM]
    makeup_w = clamp(outdoor_w, MAKEUP_DRY, MAKEUP_HUMID)
    x[X_HUMID] += dt_s * (makeup_kgs * (makeup_w - x[X_HUMID]) - condensate_kgs) / (ROOM_AIR_KG_PER_W * row[H_IT_NOM])
    x[X_HUMID] = max(x[X_HUMID], 1e-4)
    y[Y_RAT] = return_c
    y[Y_COIL] = sensible_w + latent_w
    y[Y_LATENT] = condensate_kgs * LATENT_JKG
    y[Y_WATER_KGS] = water_kgs
    y[Y_WATER_OUT] = water_c + (sensible_w + latent_w) / (max(water_kgs, 1e-3) * CP_WATER) if water_kgs > 1e-3 else water_c
    return abs(moved)


@kernel
def racks(inlet_c: F64, sat_c: float, cold_c: float, gain: F64, offset_k: F64, dt_s: float) -> None:
    """Advance the rack inlets towards supply air plus their own share of recirculation."""
    for i in range(inlet_c.shape[0]):
        target = sat_c + gain[i] * (cold_c - sat_c) + offset_k[i]
        inlet_c[i] += (target - inlet_c[i]) * dt_s / RACK_TAU_S


def stored_j(x: F64, rows: F64) -> float:
    """Heat in heat sinks, chassis, aisles and structure of all halls, from 0 °C [J]."""
    nom = rows[:, H_IT_NOM]
    per_w = SINK_JK_PER_W * x[:, X_SINK] + CHASSIS_JK_PER_W * x[:, X_CHASSIS]
    per_w += COLD_JK_PER_W * x[:, X_COLD] + HOT_JK_PER_W * x[:, X_HOT]
    return float((nom * per_w + rows[:, H_STRUCTURE] * x[:, X_STRUCT]).sum())
