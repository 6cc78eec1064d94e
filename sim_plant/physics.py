"""The whole plant over one second: halls, chilled water loop, chillers, economizer, towers, pumps.

Written apart from the controller's model, and finer: masses, delays, sequences and losses that the controller does
not know. Setpoints come from the BMS; its fast loops (valve, pump, tower fan) are here because they run at this step.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel
from coolctl.num import clamp
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL
from sim_plant.equipment import chiller as ch
from sim_plant.equipment import tower as tw
from sim_plant.equipment.exchange import CP_WATER, plate_heat_w, pump_w
from sim_plant.params import H_AIR_NOM, H_LEAK, PlantRecord
from sim_plant.room import (
    NEAR_WORST,
    RACK_TAU_S,
    X_COLD,
    X_FAN,
    X_HOT,
    X_SAT,
    X_SAT_WORST,
    X_SUPPLIED,
    Y_WATER_KGS,
    Y_WATER_OUT,
    aisles,
    crahs,
    racks,
    servers,
    worst_share,
)

F64 = NDArray[np.float64]

# Plant state
(S_SUPPLY1, S_SUPPLY2, S_RETURN1, S_RETURN2, S_LEAVING, S_BASIN, S_TOWER, S_TOWER_I, S_DP, S_CW, S_HX, S_CWRT) = range(12)
PLANT_STATES = 12
# Plant outputs
(
    P_CHILLER, P_TOWER, P_CHW_PUMP, P_CW_PUMP, P_CHW_KGS, P_CW_KGS, P_RUNNING, P_AVAILABLE, P_HX, P_CHILLER_HEAT,
    P_REJECTED, P_WATER, P_VALVE_TRAVEL, P_FAN_TRAVEL, P_CHW_WANTED, P_CAPACITY,
) = range(16)  # fmt: skip
PLANT_OUTPUTS = 16

EVAPORATOR_KG = 1500.0
TOWER_PER_S = 1.0 / 60.0
TOWER_GAIN_PER_K, TOWER_INTEGRAL_PER_KS = 0.10, 0.0008
DP_TAU_S, CW_PER_S, HX_PER_S = 8.0, 1.0 / 60.0, 1.0 / 120.0


@kernel
def halls_step(
    x: F64, inlet_c: F64, gain: F64, offset_k: F64, starts, it_w: F64, u: F64, s: F64, outdoor_w: float,  # type: ignore[no-untyped-def]
    pressure_pa: float, health: F64, rows: F64, p: PlantRecord, dt_s: float, y: F64, out: F64,
) -> None:  # fmt: skip
    """Every hall; sums the water they draw and its return temperature into the loop's first return volume."""
    flow_kgs = 0.0
    heat = 0.0
    travel = 0.0
    for h in range(rows.shape[0]):
        row, xh, yh = rows[h], x[h], y[h]
        density = pressure_pa / (287.055 * (xh[X_SAT] + 273.15))
        crah_kgs = max(row[H_AIR_NOM] * health[h, 0] * xh[X_FAN] * density / 1.2, 0.01)
        fan_before = xh[X_FAN]
        drawn_kgs, heat_w = servers(xh, it_w[h], row, dt_s, yh)
        return_c = aisles(xh, drawn_kgs, heat_w, crah_kgs, row, dt_s, yh)
        travel += crahs(
            xh, return_c, u[U_HALL + 2 * h + 1], u[U_HALL + 2 * h], s[S_SUPPLY2], s[S_DP], p.chw_dp_nom_pa, outdoor_w,
            pressure_pa, health[h, 0], health[h, 1:], row, dt_s, yh,
        )  # fmt: skip
        lo, hi = starts[h], starts[h + 1]
        near = hi - math.ceil(worst_share(row) * (hi - lo))  # the last racks stand beside the weakest CRAH
        supplied_c, cold_c, moved = xh[X_SUPPLIED], xh[X_COLD], dt_s / RACK_TAU_S
        racks(inlet_c[lo:near], supplied_c, cold_c, xh[X_HOT], gain[lo:near], offset_k[lo:near], moved)
        beside_k = NEAR_WORST * (xh[X_SAT_WORST] - xh[X_SAT])
        racks(inlet_c[near:hi], supplied_c + beside_k, cold_c + beside_k, xh[X_HOT], gain[near:hi], offset_k[near:hi], moved)
        flow_kgs += yh[Y_WATER_KGS]
        heat += yh[Y_WATER_KGS] * yh[Y_WATER_OUT]
        out[P_FAN_TRAVEL] += abs(xh[X_FAN] - fan_before)
    out[P_CHW_WANTED] = flow_kgs
    out[P_VALVE_TRAVEL] += travel
    out[P_CHW_KGS] = heat / flow_kgs if flow_kgs > 1e-6 else s[S_RETURN1]  # mixed return, replaced by the flow below


@kernel
def mix(volume_c: float, inflow_c: float, flow_kgs: float, mass_kg: float, dt_s: float) -> float:
    """A mixed volume after `dt_s`: exact for constant inflow, so any step is stable."""
    return inflow_c + (volume_c - inflow_c) * math.exp(-dt_s * flow_kgs / mass_kg)


@kernel
def chilled_water_step(
    s: F64, machines: F64, u: F64, active: float, cw_each_kgs: float, pump_ok: float, p: PlantRecord, dt_s: float, out: F64
) -> float:
    """Pumps, return volumes, economizer, chillers, supply volumes; returns heat into the condenser water [W]."""
    returned_c = out[P_CHW_KGS]
    running = 0.0
    for i in range(machines.shape[0]):
        running += 1.0 if machines[i, ch.C_MODE] == ch.RUNNING else 0.0
    s[S_DP] += (u[U_CHW_DP] * pump_ok * pump_ok - s[S_DP]) * (1.0 - math.exp(-dt_s / DP_TAU_S))
    coil_kgs = out[P_CHW_WANTED]
    primary_kgs = running * p.chiller.evaporator_flow_nom_kgs * pump_ok
    flow_kgs = max(coil_kgs, 0.02)
    if p.primary_secondary < 0.5:
        flow_kgs = max(flow_kgs, p.chiller.evaporator_min_ratio * primary_kgs)
        primary_kgs = flow_kgs
    back_c = (coil_kgs * returned_c + (flow_kgs - coil_kgs) * s[S_SUPPLY2]) / flow_kgs  # minimum-flow bypass
    quarter_kg = 0.25 * p.loop_kg
    s[S_RETURN1] = mix(s[S_RETURN1], back_c, flow_kgs, quarter_kg, dt_s)
    s[S_RETURN2] = mix(s[S_RETURN2], s[S_RETURN1], flow_kgs, quarter_kg, dt_s)
    q = flow_kgs / p.chw_flow_nom_kgs
    head_pa = s[S_DP] + p.chw_friction_pa * q * q + s[S_HX] * p.hx_dp_pa * (flow_kgs / p.hx_flow_nom_kgs) ** 2
    pumps = clamp(math.ceil(flow_kgs / p.chw_pump_nom_kgs - 0.03), 1.0, p.chw_pumps)
    out[P_CHW_PUMP] = pump_w(flow_kgs, head_pa, pumps, p.chw_pump_nom_kgs, p.chw_pump_eta, p.chw_pump_floor_w)
    if p.primary_secondary > 0.5:
        out[P_CHW_PUMP] += pump_w(
            primary_kgs, p.primary_head_pa, running, p.chiller.evaporator_flow_nom_kgs, p.chw_pump_eta, p.chw_pump_floor_w
        )
    entering_c = s[S_RETURN2] + out[P_CHW_PUMP] / (flow_kgs * CP_WATER)
    out[P_CHW_KGS] = flow_kgs
    # Economizer: its control valve never cools below the setpoint.
    plate_kgs = plate_water_kgs(out[P_CW_KGS], active, s[S_HX], p)
    plate_w = s[S_HX] * plate_heat_w(entering_c, flow_kgs, s[S_BASIN], plate_kgs, p.hx_ua, p.hx_flow_nom_kgs)
    plate_w = clamp(plate_w, 0.0, max(flow_kgs * CP_WATER * (entering_c - u[U_CHWST]), 0.0))
    out[P_HX] = plate_w
    ahead_c = entering_c - plate_w / (flow_kgs * CP_WATER)
    condenser_in_c = s[S_BASIN]
    if p.hx_parallel < 0.5 and plate_kgs > 0.1:
        condenser_in_c += plate_w / (plate_kgs * CP_WATER)
    # The decoupler: what the chillers pump beyond the halls' flow comes round cold, what they lack comes back warm.
    around_kgs, back_kgs = max(primary_kgs - flow_kgs, 0.0), max(flow_kgs - primary_kgs, 0.0)
    into_c = (ahead_c * (primary_kgs - around_kgs) + s[S_LEAVING] * around_kgs) / max(primary_kgs, 1e-6)
    carried_w, power_w = chillers_step(machines, u, primary_kgs, into_c, condenser_in_c, cw_each_kgs, running, p, dt_s, out)
    out[P_CHILLER] = power_w
    out[P_CHILLER_HEAT] = carried_w
    leaving_c = into_c - carried_w / (max(primary_kgs, 1e-6) * CP_WATER)
    leaving_c = (leaving_c * (flow_kgs - back_kgs) + ahead_c * back_kgs) / flow_kgs
    s[S_LEAVING] = mix(s[S_LEAVING], leaving_c, flow_kgs, EVAPORATOR_KG, dt_s)
    s[S_SUPPLY1] = mix(s[S_SUPPLY1], s[S_LEAVING], flow_kgs, quarter_kg + p.buffer_kg, dt_s)
    s[S_SUPPLY2] = mix(s[S_SUPPLY2], s[S_SUPPLY1], flow_kgs, quarter_kg, dt_s)
    return plate_w + carried_w + power_w


@kernel
def condenser_pumps(active: float, economizer: float, p: PlantRecord) -> float:
    """Condenser pumps that run: one a chiller, and for plates in use a duty set, the same in series, its own in parallel."""
    duty = p.duty if economizer > 0.01 else 0.0
    if p.hx_parallel > 0.5:
        return min(active + duty, max(p.cw_pumps, active))
    return max(active, duty)


@kernel
def plate_water_kgs(cw_kgs: float, active: float, economizer: float, p: PlantRecord) -> float:
    """Condenser water through the plates [kg/s]."""
    if p.hx_parallel < 0.5:
        return cw_kgs
    return cw_kgs * p.duty / (p.duty + active) if economizer > 0.01 else 0.0


@kernel
def chillers_step(
    machines: F64, u: F64, flow_kgs: float, ahead_c: float, condenser_in_c: float, cw_each_kgs: float,
    running: float, p: PlantRecord, dt_s: float, out: F64,
) -> tuple[float, float]:  # fmt: skip
    """Share the load among the running machines; returns heat carried and compressor power [W]."""
    carried_w = 0.0
    power_w = 0.0
    out[P_CAPACITY] = 0.0
    if running < 0.5:
        return 0.0, 0.0
    each_kgs = flow_kgs / running
    wanted_w = max(each_kgs * CP_WATER * (ahead_c - u[U_CHWST]), 0.0)
    for i in range(machines.shape[0]):
        load_w = ch.carry(machines[i], wanted_w, u[U_CHWST], condenser_in_c, p.chiller, dt_s)
        if machines[i, ch.C_MODE] == ch.RUNNING:
            out[P_CAPACITY] += ch.capacity_w(u[U_CHWST], condenser_in_c, p.chiller)
            power_w += ch.power_w(load_w, u[U_CHWST], condenser_in_c, cw_each_kgs, p.chiller)
        carried_w += load_w
    return carried_w, power_w


@kernel
def sequence_step(machines: F64, u: F64, chillers_ok: F64, p: PlantRecord, dt_s: float, out: F64) -> float:
    """Run the start and stop sequences for the wanted count: those already on first, then the least started."""
    n = machines.shape[0]
    wanted = u[U_CHILLERS]
    taken = 0.0
    available = 0.0
    active = 0.0
    for i in range(n):
        if chillers_ok[i] > 0.5:
            available += 1.0
    keep = np.zeros(n)
    for i in range(n):
        if machines[i, ch.C_MODE] != ch.OFF and chillers_ok[i] > 0.5 and taken < wanted - 0.5:
            keep[i] = 1.0
            taken += 1.0
    while taken < wanted - 0.5:
        best = -1
        for i in range(n):
            free = keep[i] < 0.5 and chillers_ok[i] > 0.5
            if free and (
                best < 0
                or machines[i, ch.C_LOCK] + 60.0 * machines[i, ch.C_STARTS]
                < machines[best, ch.C_LOCK] + 60.0 * machines[best, ch.C_STARTS]
            ):
                best = i
        if best < 0:
            break
        keep[best] = 1.0
        taken += 1.0
    running = 0.0
    for i in range(n):
        ch.sequence(machines[i], keep[i] > 0.5, chillers_ok[i] > 0.5, p.chiller, dt_s)
        active += 1.0 if machines[i, ch.C_MODE] != ch.OFF else 0.0
        running += 1.0 if machines[i, ch.C_MODE] == ch.RUNNING else 0.0
    out[P_RUNNING] = running
    out[P_AVAILABLE] = available
    return active


@kernel
def condenser_step(
    s: F64, u: F64, oadb_c: float, oawb_c: float, pressure_pa: float, active: float, pump_ok: float, tower_ok: float,
    rejected_w: float, p: PlantRecord, dt_s: float, out: F64,
) -> None:  # fmt: skip
    """Towers with their fan loop, and the basin."""
    cw_kgs = out[P_CW_KGS]
    cells = clamp(u[U_CELLS], 1.0, p.cells)
    units = condenser_pumps(active, s[S_HX], p)
    q = cw_kgs / max(units * p.cw_pump_nom_kgs, 1e-6) if units > 0.0 else 0.0
    head_pa = p.cw_static_pa + p.cw_friction_pa * q * q
    if p.hx_parallel < 0.5 or active < 0.5:
        head_pa += s[S_HX] * p.hx_dp_pa * (cw_kgs / p.hx_flow_nom_kgs) ** 2
    out[P_CW_PUMP] = pump_w(cw_kgs, head_pa, units, p.cw_pump_nom_kgs, p.cw_pump_eta, p.cw_pump_floor_w)
    error_k = s[S_BASIN] - u[U_CWST]
    s[S_TOWER_I] = clamp(s[S_TOWER_I] + TOWER_INTEGRAL_PER_KS * error_k * dt_s, 0.0, 1.0)
    target = clamp(s[S_TOWER_I] + TOWER_GAIN_PER_K * error_k, p.tower.speed_min, 1.0) * tower_ok
    s[S_TOWER] += clamp(target - s[S_TOWER], -TOWER_PER_S * dt_s, TOWER_PER_S * dt_s)
    out[P_REJECTED] = 0.0
    out[P_TOWER] = 0.0
    out[P_WATER] = 0.0
    if cw_kgs < 0.5:
        return
    s[S_CWRT] = s[S_BASIN] + rejected_w / (cw_kgs * CP_WATER)
    leaving_c = tw.leaving_c(s[S_CWRT], cw_kgs / cells, s[S_TOWER], oawb_c, pressure_pa, p.tower)
    out[P_REJECTED] = cw_kgs * CP_WATER * (s[S_CWRT] - leaving_c)
    out[P_TOWER] = cells * tw.fan_power_w(s[S_TOWER], oadb_c, pressure_pa, p.tower) * tower_ok
    each_w = max(out[P_REJECTED], 0.0) / cells
    out[P_WATER] = cells * tw.makeup_kgs(each_w, s[S_TOWER], oadb_c, oawb_c, pressure_pa, p.tower)
    s[S_BASIN] = mix(s[S_BASIN], leaving_c, cw_kgs, p.basin_kg, dt_s)


@kernel
def step(
    x: F64, s: F64, machines: F64, inlet_c: F64, gain: F64, offset_k: F64, starts, it_w: F64, u: F64, weather: F64,  # type: ignore[no-untyped-def]
    health: F64, chillers_ok: F64, plant_ok: F64, rows: F64, p: PlantRecord, dt_s: float, y: F64, out: F64,
) -> None:  # fmt: skip
    """One step of `dt_s` ≤ 5 s. `weather`: dry bulb, wet bulb [°C], pressure [Pa], humidity ratio [kg/kg];
    `plant_ok`: chilled water pumps, condenser pumps, towers (1 = healthy, less = weak)."""
    halls_step(x, inlet_c, gain, offset_k, starts, it_w, u, s, weather[3], weather[2], health, rows, p, dt_s, y, out)
    active = sequence_step(machines, u, chillers_ok, p, dt_s, out)
    economizer = 1.0 if u[U_ECONOMIZER] > 0.5 and p.hx_present > 0.5 else 0.0
    s[S_HX] += clamp(economizer - s[S_HX], -HX_PER_S * dt_s, HX_PER_S * dt_s)
    units = condenser_pumps(active, s[S_HX], p)
    s[S_CW] += clamp(u[U_CW_FLOW] - s[S_CW], -CW_PER_S * dt_s, CW_PER_S * dt_s)
    out[P_CW_KGS] = s[S_CW] * units * p.chiller.condenser_flow_nom_kgs * plant_ok[1]
    cw_each_kgs = out[P_CW_KGS] / max(units, 1.0)
    if p.hx_parallel > 0.5:
        cw_each_kgs = (out[P_CW_KGS] - plate_water_kgs(out[P_CW_KGS], active, s[S_HX], p)) / max(active, 1.0)
    rejected_w = chilled_water_step(s, machines, u, active, cw_each_kgs, plant_ok[0], p, dt_s, out)
    condenser_step(s, u, weather[0], weather[1], weather[2], active, plant_ok[1], plant_ok[2], rejected_w, p, dt_s, out)


@kernel
def steps(
    count: int, x: F64, s: F64, machines: F64, inlet_c: F64, gain: F64, offset_k: F64, starts, it_w: F64, u: F64, weather: F64,  # type: ignore[no-untyped-def]
    health: F64, chillers_ok: F64, plant_ok: F64, rows: F64, p: PlantRecord, dt_s: float, y: F64, out: F64,
) -> None:  # fmt: skip
    """`count` steps of `dt_s` under the same setpoints, load and weather."""
    for _ in range(count):
        step(
            x,
            s,
            machines,
            inlet_c,
            gain,
            offset_k,
            starts,
            it_w,
            u,
            weather,
            health,
            chillers_ok,
            plant_ok,
            rows,
            p,
            dt_s,
            y,
            out,
        )


@kernel
def fan_speed_for(ratio: float, drawn_kgs: float, sat_c: float, pressure_pa: float, row: F64) -> float:
    """CRAH speed at which the supplied air is `ratio` times the air drawn by the servers; not clamped."""
    density = pressure_pa / (287.055 * (sat_c + 273.15))
    return ratio * drawn_kgs / (row[H_AIR_NOM] * density / 1.2 * (1.0 - row[H_LEAK]))
