"""The controller's plant: a steady network from setpoints to power, temperatures and the limits that they meet.

Halls on one chilled water loop, a plate economizer in series ahead of identical chillers, towers and condenser water
pumps. `evaluate_plant` answers what a setpoint vector would cost and where it would strain, in some ten microseconds,
so that the optimiser, the shield and the baseline meter can ask often. Excludes losses of the electrical plant.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import Parameters, kernel
from coolctl.num import clamp
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL
from coolctl.psychro import CP_AIR_JKGK, CP_WATER_JKGK
from coolctl.thermal import chiller, economizer, pump_fan, room, tower
from coolctl.thermal.air import crah_air_kgs, hall_air
from coolctl.thermal.chiller import ChillerParams
from coolctl.thermal.economizer import EconomizerParams
from coolctl.thermal.pump_fan import PumpParams
from coolctl.thermal.tower import TowerParams

F64 = NDArray[np.float64]

# Conditions: the plant's, then one entry per hall (IT work without server fans [W]).
W_OADB, W_OAWB, W_PRESSURE, W_HALL = range(4)

OUTPUTS = (
    "chiller_w", "tower_w", "chw_pump_w", "cw_pump_w", "crah_fan_w", "server_fan_increase_w", "cooling_w",
    "rack_inlet_max_c", "airflow_ratio_min", "valve_max", "unmet_w", "chwst_c", "chwrt_c", "chw_flow_kgs",
    "cwst_c", "cwrt_c", "cw_flow_kgs", "tower_speed", "economizer_w", "chiller_load_w", "plr", "evaporator_ratio",
    "heat_w", "capacity_w", "cell_flow_ratio", "server_w", "makeup_kgs",
)  # fmt: skip
(
    O_CHILLER, O_TOWER, O_CHW_PUMP, O_CW_PUMP, O_CRAH_FAN, O_SERVER_FAN, O_COOLING,
    O_INLET, O_AIRFLOW, O_VALVE, O_UNMET, O_CHWST, O_CHWRT, O_CHW_FLOW,
    O_CWST, O_CWRT, O_CW_FLOW, O_TOWER_SPEED, O_ECONOMIZER, O_CHILLER_LOAD, O_PLR, O_EVAPORATOR,
    O_HEAT, O_CAPACITY, O_CELL_FLOW, O_SERVER, O_MAKEUP,
) = range(len(OUTPUTS))  # fmt: skip

CONDENSER_ITERATIONS = 24
CWST_TOLERANCE_K = 0.01
BRACKET_K = 2.0  # the crossing lies within this of the first answer, beyond it where chillers share the load
ECONOMIZER_PULL_K = 0.2  # an economizer alone holds its setpoint to this


class _PlantFields(NamedTuple):
    chiller: ChillerParams
    chillers: float
    chillers_redundant: float
    evaporator_flow_nom_kgs: float
    evaporator_min_ratio: float
    tower: TowerParams
    cells: float
    chw_pump: PumpParams
    chw_pumps: float
    chw_flow_nom_kgs: float
    cw_pump: PumpParams
    cw_pumps: float
    economizer: EconomizerParams
    loop_volume_m3: float
    buffer_m3: float
    primary_secondary: float  # 0 or 1
    primary_head_pa: float


class PlantParams(_PlantFields, Parameters):
    """The plant behind the halls. Counts are floats: one compiled signature."""


@kernel
def plant_of(r: F64) -> PlantParams:
    """A `PlantParams.row` as named parameters: for kernels that are called from Python."""
    return PlantParams(
        ChillerParams(
            r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15], r[16],
            r[17], r[18], r[19], r[20], r[21], r[22], r[23], r[24], r[25],
        ),
        r[26], r[27], r[28], r[29],
        TowerParams(r[30], r[31], r[32], r[33], r[34], r[35], r[36], r[37]), r[38],
        PumpParams(r[39], r[40], r[41], r[42], r[43]), r[44], r[45],
        PumpParams(r[46], r[47], r[48], r[49], r[50]), r[51],
        EconomizerParams(r[52], r[53], r[54], r[55], r[56]), r[57], r[58], r[59], r[60],
    )  # fmt: skip


PLANT_COLUMNS = 61
_PLAIN: Any = getattr(plant_of, "py_func", plant_of)
PLACES: Any = _PLAIN(range(PLANT_COLUMNS))
"""Each field's place in `PlantParams.row`, under the field's own name."""


@kernel
def condenser_units(chillers_on: float, economizer_on: float, p: PlantParams) -> float:
    """Condenser pumps in operation: one per running chiller, and for the economizer a duty set: the same where it is in
    series with the condensers, its own beside them."""
    duty = economizer_on * duty_units(p)
    if p.economizer.parallel > 0.5:
        return min(chillers_on + duty, max(p.cw_pumps, chillers_on))
    return max(chillers_on, duty)


@kernel
def duty_units(p: PlantParams) -> float:
    """Chillers of the design load, without the redundant ones."""
    return max(p.chillers - p.chillers_redundant, 1.0)


@kernel
def plate_water_kgs(chillers_on: float, cw_kgs: float, p: PlantParams) -> float:
    """Condenser water through the plates [kg/s] while they are in use: all of it, or their share beside the condensers."""
    if p.economizer.parallel < 0.5:
        return cw_kgs
    return cw_kgs * duty_units(p) / (duty_units(p) + chillers_on)


@kernel
def condenser_water_kgs(chillers_on: float, economizer_on: float, cw_kgs: float, p: PlantParams) -> float:
    """Condenser water through each running chiller [kg/s]: its own pump's, or what the plates beside it leave.

    Where more pumps run for the plates than chillers, the water of the others goes past those that run: were it counted as
    theirs, plates without any heat to move would seem to pay as a second pump.
    """
    if p.economizer.parallel > 0.5 and economizer_on > 0.5:
        return (cw_kgs - plate_water_kgs(chillers_on, cw_kgs, p)) / chillers_on
    return cw_kgs / condenser_units(chillers_on, economizer_on, p)


@kernel
def chw_pump_w(flow_kgs: float, dp_pa: float, chillers_on: float, economizer_on: float, p: PlantParams) -> float:
    """Power of the chilled water pumps [W]: those of the halls, and of each running chiller where it has its own."""
    q = flow_kgs / p.chw_flow_nom_kgs
    head_pa = dp_pa + p.chw_pump.head_friction_pa * q * q
    if economizer_on > 0.5:
        q_hx = flow_kgs / p.economizer.flow_nom_kgs
        head_pa += p.economizer.pressure_drop_nom_pa * q_hx * q_hx
    pumps = clamp(np.ceil(flow_kgs / p.chw_pump.flow_nom_kgs - 0.03), 1.0, p.chw_pumps)
    total_w = pump_fan.pump_power_w(flow_kgs, head_pa, pumps, p.chw_pump)
    if p.primary_secondary > 0.5 and chillers_on > 0.5:
        primary_kgs = chillers_on * p.evaporator_flow_nom_kgs
        total_w += pump_fan.pump_power_w(primary_kgs, p.primary_head_pa, chillers_on, p.chw_pump)
    return total_w


@kernel
def cw_pump_w(cw_kgs: float, chillers_on: float, economizer_on: float, p: PlantParams) -> float:
    """Power of the condenser water pumps [W]; beside running condensers the plates add no head of their own."""
    units = condenser_units(chillers_on, economizer_on, p)
    if not units > 0.0:
        return 0.0
    pumps = max(units, 1.0)
    q = cw_kgs / (pumps * p.cw_pump.flow_nom_kgs)
    head_pa = p.cw_pump.head_static_pa + p.cw_pump.head_friction_pa * q * q
    if economizer_on > 0.5 and (p.economizer.parallel < 0.5 or chillers_on < 0.5):
        q_hx = cw_kgs / p.economizer.flow_nom_kgs
        head_pa += p.economizer.pressure_drop_nom_pa * q_hx * q_hx
    return pump_fan.pump_power_w(cw_kgs, head_pa, pumps, p.cw_pump)


@kernel
def air_side(u: F64, w: F64, halls: F64, p: PlantParams, out: F64) -> None:
    """Halls and coils: fills fan powers, inlets, airflow, valves, heat, chilled water flow and unmet heat of `out`."""
    fans_w = 0.0
    increase_w = 0.0
    heat_w = 0.0
    unmet_w = 0.0
    flow_kgs = 0.0
    valve_max = 0.0
    inlet_max_c = -273.0
    airflow_min = 1e9
    server_w = 0.0
    open_ratio = (u[U_CHW_DP] / p.chw_pump.head_static_pa) ** 0.5
    for h in range(halls.shape[0]):
        hall = room.hall_params(halls[h])
        sat_c = u[U_HALL + 2 * h]
        base_w = w[W_HALL + h]
        a = hall_air(u[U_CHWST], sat_c, u[U_HALL + 2 * h + 1], base_w, w[W_PRESSURE], open_ratio, hall)
        fans_w += a.fan_w
        server_w += a.server_w
        increase_w += room.server_fan_increase_w(a.server_w, base_w, hall)
        heat_w += a.load_w + room.coil_latent_w(u[U_CHWST], sat_c, a.air_kgs, w[W_PRESSURE], hall)
        unmet_w += a.short_w
        flow_kgs += a.water_ratio * hall.coil_water_flow_nom_kgs
        valve_max = max(valve_max, a.weakest_water_ratio / open_ratio)
        inlet_max_c = max(inlet_max_c, a.hottest_c)
        airflow_min = min(airflow_min, a.airflow_ratio)
    out[O_CRAH_FAN] = fans_w
    out[O_SERVER_FAN] = increase_w
    out[O_SERVER] = server_w
    out[O_HEAT] = heat_w
    out[O_UNMET] = unmet_w
    out[O_CHW_FLOW] = flow_kgs
    out[O_VALVE] = valve_max
    out[O_INLET] = inlet_max_c
    out[O_AIRFLOW] = airflow_min


@kernel
def hottest_inlets_c(u: F64, w: F64, halls: F64, found: F64) -> None:
    """Hottest inlet [°C] of every hall at `u` under `w`, into `found`."""
    for h in range(halls.shape[0]):
        hall = room.hall_params(halls[h])
        sat_c = u[U_HALL + 2 * h]
        air_kgs = crah_air_kgs(u[U_HALL + 2 * h + 1], sat_c, w[W_PRESSURE], hall)
        found[h] = room.inlets_c(w[W_HALL + h], sat_c, air_kgs, hall)[1]


@kernel
def chilled_water(u: F64, p: PlantParams, out: F64) -> None:
    """Chilled water loop: flow with the bypass of the evaporators' least, return temperature and pump power into `out`."""
    running = u[U_CHILLERS]
    flow_kgs = out[O_CHW_FLOW]
    if p.primary_secondary < 0.5:
        flow_kgs = max(flow_kgs, running * p.evaporator_min_ratio * p.evaporator_flow_nom_kgs)
    heat_w = out[O_HEAT] - out[O_UNMET]
    out[O_CHW_PUMP] = chw_pump_w(flow_kgs, u[U_CHW_DP], running, u[U_ECONOMIZER], p)
    out[O_HEAT] = heat_w + out[O_CHW_PUMP] + out[O_UNMET]
    out[O_CHW_FLOW] = flow_kgs
    out[O_CHWRT] = u[U_CHWST] + (heat_w + out[O_CHW_PUMP]) / (flow_kgs * CP_WATER_JKGK)
    out[O_EVAPORATOR] = flow_kgs / max(running * p.evaporator_flow_nom_kgs, 1e-6) if running > 0.0 else 0.0


@kernel
def split_load(u: F64, cwst_c: float, cw_kgs: float, p: PlantParams, out: F64) -> None:
    """Share the load between economizer and chillers at `cwst_c`; chiller power, PLR and heat not met into `out`."""
    load_w = out[O_CHW_FLOW] * CP_WATER_JKGK * (out[O_CHWRT] - u[U_CHWST])
    moved_w = 0.0
    if u[U_ECONOMIZER] > 0.5 and p.economizer.present > 0.5:
        plate_kgs = plate_water_kgs(u[U_CHILLERS], cw_kgs, p)
        moved_w = economizer.heat_w(out[O_CHWRT], out[O_CHW_FLOW], cwst_c, plate_kgs, p.economizer)
        moved_w = clamp(moved_w, 0.0, load_w)
    running = u[U_CHILLERS]
    left_w = load_w - moved_w
    out[O_ECONOMIZER] = moved_w
    out[O_CHILLER] = 0.0
    out[O_PLR] = 0.0
    out[O_CAPACITY] = 0.0
    out[O_CHILLER_LOAD] = 0.0
    if running < 0.5:
        out[O_CHWST] = u[U_CHWST] + left_w / (out[O_CHW_FLOW] * CP_WATER_JKGK)
        return
    entering_c = cwst_c + (moved_w / (cw_kgs * CP_WATER_JKGK) if p.economizer.parallel < 0.5 else 0.0)
    each_w = left_w / running
    each_kgs = condenser_water_kgs(running, u[U_ECONOMIZER], cw_kgs, p)
    power_w, plr = chiller.power_w(each_w, u[U_CHWST], entering_c, each_kgs, p.chiller)
    over_w = max(each_w * (1.0 - 1.0 / plr), 0.0) if plr > 1.0 else 0.0
    out[O_CHILLER] = running * power_w
    out[O_PLR] = plr
    out[O_CAPACITY] = running * each_w / plr if plr > 0.0 else 0.0
    out[O_CHILLER_LOAD] = left_w - running * over_w
    out[O_CHWST] = u[U_CHWST] + running * over_w / (out[O_CHW_FLOW] * CP_WATER_JKGK)
    if p.primary_secondary > 0.5:
        # What the halls draw beyond the running chillers' flow comes back through the decoupler as it returned.
        back_ratio = max(1.0 - running * p.evaporator_flow_nom_kgs / out[O_CHW_FLOW], 0.0)
        ahead_c = out[O_CHWRT] - moved_w / (out[O_CHW_FLOW] * CP_WATER_JKGK)
        out[O_CHWST] += back_ratio * (ahead_c - u[U_CHWST])


@kernel
def tower_makes(
    cwst_c: float, u: F64, w: F64, cells: float, cw_kgs: float, p: PlantParams, out: F64
) -> tuple[float, float, float]:
    """Water that the towers make [°C], their speed and the heat rejected [W] while the machines are given `cwst_c`."""
    split_load(u, cwst_c, cw_kgs, p, out)
    rejected_w = out[O_ECONOMIZER] + out[O_CHILLER_LOAD] + out[O_CHILLER]
    made_c, speed = tower.operate(u[U_CWST], cw_kgs / cells, rejected_w / cells, w[W_OAWB], w[W_PRESSURE], p.tower)
    return made_c, speed, rejected_w


@kernel
def settle_condenser(
    cwst_c: float, u: F64, w: F64, cells: float, cw_kgs: float, p: PlantParams, out: F64
) -> tuple[float, float, float]:
    """Condenser water that the towers make and the machines are given [°C], from `cwst_c`; tower speed, heat rejected [W].

    Warmer water leaves less to the plates, so what the towers make falls as what they are given rises: one crossing.
    It is bracketed, because substitution swings for ever where the economizer carries most of the load.
    """
    made_c, speed, rejected_w = tower_makes(cwst_c, u, w, cells, cw_kgs, p, out)
    lo_c = min(cwst_c, made_c - BRACKET_K)
    hi_c = max(cwst_c, made_c + BRACKET_K)
    gap_lo_k = gap_hi_k = np.nan
    if made_c < cwst_c:
        gap_hi_k = made_c - cwst_c
    else:
        gap_lo_k = made_c - cwst_c
    for k in range(CONDENSER_ITERATIONS):
        if abs(made_c - cwst_c) < CWST_TOLERANCE_K:
            break
        if gap_lo_k == gap_lo_k and gap_hi_k == gap_hi_k and k % 3 != 2:
            cwst_c = (lo_c * gap_hi_k - hi_c * gap_lo_k) / (gap_hi_k - gap_lo_k)
        elif gap_lo_k == gap_lo_k and gap_hi_k == gap_hi_k:
            cwst_c = 0.5 * (lo_c + hi_c)  # every third step halves, so that no side stays for ever
        else:
            cwst_c = made_c if k == 0 else (hi_c if gap_lo_k == gap_lo_k else lo_c)
        made_c, speed, rejected_w = tower_makes(cwst_c, u, w, cells, cw_kgs, p, out)
        if made_c < cwst_c:
            hi_c, gap_hi_k = cwst_c, made_c - cwst_c
            lo_c = min(lo_c, hi_c - BRACKET_K) if gap_lo_k != gap_lo_k else lo_c
        else:
            lo_c, gap_lo_k = cwst_c, made_c - cwst_c
            hi_c = max(hi_c, lo_c + BRACKET_K) if gap_hi_k != gap_hi_k else hi_c
    return cwst_c, speed, rejected_w


@kernel
def condenser_side(u: F64, w: F64, p: PlantParams, out: F64) -> None:
    """Economizer, chillers, towers and condenser pumps, iterated on the water that the towers can make."""
    units = condenser_units(u[U_CHILLERS], u[U_ECONOMIZER], p)
    cells = max(u[U_CELLS], 1.0)
    cw_kgs = max(u[U_CW_FLOW] * p.chiller.condenser_flow_nom_kgs * max(units, 1.0), 0.1)
    cwst_c = max(u[U_CWST], w[W_OAWB])
    cwst_c, speed, rejected_w = settle_condenser(cwst_c, u, w, cells, cw_kgs, p, out)
    out[O_CW_PUMP] = cw_pump_w(cw_kgs, u[U_CHILLERS], u[U_ECONOMIZER], p)
    out[O_TOWER] = cells * tower.fan_power_w(speed, w[W_OADB], w[W_PRESSURE], p.tower) if units > 0.0 else 0.0
    out[O_TOWER_SPEED] = speed
    out[O_CWST] = cwst_c
    out[O_CWRT] = cwst_c + rejected_w / (cw_kgs * CP_WATER_JKGK)
    out[O_CW_FLOW] = cw_kgs
    out[O_CELL_FLOW] = cw_kgs / (cells * p.tower.water_flow_nom_kgs)


@kernel
def evaluate_plant(u: F64, w: F64, halls: F64, plant: F64, out: F64) -> None:
    """What the setpoints `u` cost and reach in steady state under conditions `w`; fills `out` (see `OUTPUTS`).

    `halls` has a row of `HallParams` each, `plant` is the row of `PlantParams`.

    Heat that a coil or the machines cannot carry is `unmet_w`; the temperatures then read as if it had been, so the
    caller must treat `unmet_w > 0` as infeasible. NaN in, NaN out.
    """
    p = plant_of(plant)
    air_side(u, w, halls, p, out)
    water_side(u, w, p, out)
    makeup_water(u, w, p, out)


@kernel
def evaluate_air(u: F64, w: F64, halls: F64, plant: F64, out: F64) -> None:
    """The first half of `evaluate_plant` alone: fans, inlets, coils and the water that they draw."""
    air_side(u, w, halls, plant_of(plant), out)


@kernel
def water_side(u: F64, w: F64, p: PlantParams, out: F64) -> None:
    """The second half of `evaluate_plant`: loop, machines and towers for what `air_side` has left in `out`; without the
    make-up water, which costs a tenth of the whole and is often worth nothing."""
    chilled_water(u, p, out)
    machine_side(u, w, p, out)


@kernel
def machine_side(u: F64, w: F64, p: PlantParams, out: F64) -> None:
    """What is left of `water_side` after `chilled_water`, which adds its pumps' heat and so must not be asked twice."""
    condenser_side(u, w, p, out)
    # Water that arrives warmer than asked for is heat left in the loop.
    short_k = out[O_CHWST] - u[U_CHWST]
    if short_k > ECONOMIZER_PULL_K:
        out[O_UNMET] += short_k * out[O_CHW_FLOW] * CP_WATER_JKGK
    out[O_COOLING] = out[O_CHILLER] + out[O_TOWER] + out[O_CHW_PUMP] + out[O_CW_PUMP] + out[O_CRAH_FAN] + out[O_SERVER_FAN]


@kernel
def makeup_water(u: F64, w: F64, p: PlantParams, out: F64) -> None:
    """Make-up water of the towers for what `water_side` has left in `out`."""
    out[O_MAKEUP] = 0.0
    if condenser_units(u[U_CHILLERS], u[U_ECONOMIZER], p) > 0.0:
        cells = max(u[U_CELLS], 1.0)
        each_w = (out[O_ECONOMIZER] + out[O_CHILLER_LOAD] + out[O_CHILLER]) / cells
        each_kgs = tower.makeup_kgs(out[O_TOWER_SPEED], each_w, w[W_OADB], w[W_OAWB], w[W_PRESSURE], p.tower)
        out[O_MAKEUP] = cells * each_kgs


__all__ = ["CP_AIR_JKGK", "OUTPUTS", "PlantParams", "evaluate_plant"]
