"""What the optimiser minimises: electric power of cooling, what make-up water is worth beside it, and a price for every
limit that would be crossed.

Decision variables are few, because some setpoints follow from the others: the lowest pump pressure that keeps the
widest valve below its mark, as many tower cells as the water flow allows (fan power falls with the cube), and, while
the economizer is alone, the warmest tower water with which the plates carry the load.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.shield import EVAPORATOR_MAX
from coolctl.jit import Parameters, kernel
from coolctl.num import clamp
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL
from coolctl.psychro import CP_WATER_JKGK
from coolctl.site_schema import CELL_FLOW_MIN_RATIO, LimitsTable
from coolctl.thermal import room
from coolctl.thermal.air import airflow_speed
from coolctl.thermal.economizer import water_needed_c
from coolctl.thermal.plant import (
    O_AIRFLOW,
    O_CHW_FLOW,
    O_CHWRT,
    O_CHWST,
    O_COOLING,
    O_EVAPORATOR,
    O_INLET,
    O_MAKEUP,
    O_PLR,
    O_UNMET,
    O_VALVE,
    W_HALL,
    W_PRESSURE,
    PlantParams,
    air_side,
    chilled_water,
    condenser_units,
    evaluate_plant,
    machine_side,
    makeup_water,
    plant_of,
)

F64 = NDArray[np.float64]

# Free variables: plant's three, then two per hall.
Z_CHWST, Z_CWST, Z_CW_FLOW, Z_HALL = range(4)

VALVE_MARK = 0.90
PLAN_PLR_MAX = 0.95
PLAN_INLET_RESERVE_K = 0.1  # where no load is known that may be back: in labels
PENALTY_W = 200e3  # price of one whole unit over a limit; far above any saving
INFEASIBLE_W = 0.002 * PENALTY_W  # penalties up to this are the edge of a limit, not a limit crossed


class _LimitFields(NamedTuple):
    inlet_c: float
    inlet_bias_k: float
    airflow_min: float
    chw_dp_min_pa: float
    chw_dp_max_pa: float
    cwst_min_c: float
    cwst_max_c: float
    plr_max: float
    evaporator_max: float
    dewpoint_c: float
    sat_over_dewpoint_k: float
    fan_speed_min: float
    makeup_wkgs: float = 0.0


class Limits(_LimitFields, Parameters):
    """Limits of one optimisation and the worth of water in it, all floats. `inlet_bias_k` is measured minus modelled
    hottest inlet; `makeup_wkgs` what a kilogram of make-up water a second is worth [W]."""


@kernel
def limits_of(r: F64) -> Limits:
    """A `Limits.row` as named parameters: for kernels that are called from Python."""
    return Limits(r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12])


def planning_limits(
    lim: LimitsTable, limit_c: float, inlet_bias_k: float, dewpoint_c: float, makeup_wkgs: float = 0.0,
    reserve_k: float = PLAN_INLET_RESERVE_K,
) -> Limits:  # fmt: skip
    """What a plan must keep where racks may reach `limit_c`: the site's limits, with `reserve_k` more in hand."""
    return Limits(
        limit_c - lim.rack_inlet_margin_k - reserve_k, inlet_bias_k, lim.airflow_ratio_min,
        lim.chw_dp_sp_min_pa, lim.chw_dp_sp_max_pa, lim.cwst_sp_min_c, lim.cwst_sp_max_c, PLAN_PLR_MAX, EVAPORATOR_MAX,
        dewpoint_c, lim.dewpoint_margin_k, lim.fan_speed_sp_min_ratio, makeup_wkgs,
    )  # fmt: skip


@kernel
def place(z: F64, chillers: float, economizer: float, held: F64, w: F64, halls: F64, p: PlantParams, lim: Limits, u: F64) -> None:
    """Setpoint vector `u` from the free variables `z` and the machines, as far as it is known before the air side's answer.

    `held` has the value of each setpoint that the plant keeps for itself, NaN where it is free. The air side depends on
    chilled water, supply air and airflow alone.
    """
    u[U_CHWST] = z[Z_CHWST]
    u[U_CWST] = z[Z_CWST]
    u[U_CW_FLOW] = z[Z_CW_FLOW]
    u[U_CHILLERS] = chillers
    u[U_ECONOMIZER] = economizer
    units = max(condenser_units(chillers, economizer, p), 1.0)
    water_kgs = z[Z_CW_FLOW] * p.chiller.condenser_flow_nom_kgs * units
    u[U_CELLS] = clamp(np.floor(water_kgs / (CELL_FLOW_MIN_RATIO * p.tower.water_flow_nom_kgs)), 1.0, p.cells)
    for h in range(halls.shape[0]):
        hall = room.hall_params(halls[h])
        sat_c = z[Z_HALL + 2 * h]
        speed = airflow_speed(w[W_HALL + h], sat_c, sat_c + 0.5, z[Z_HALL + 2 * h + 1], w[W_PRESSURE], hall)
        u[U_HALL + 2 * h] = sat_c
        u[U_HALL + 2 * h + 1] = clamp(speed, max(lim.fan_speed_min, hall.fan_speed_min_ratio), 1.0)
    u[U_CHW_DP] = lim.chw_dp_max_pa
    for k in range(u.shape[0]):
        if held[k] == held[k]:
            u[k] = held[k]


@kernel
def complete(chillers: float, economizer: float, held: F64, w: F64, p: PlantParams, lim: Limits, u: F64, out: F64) -> None:
    """The setpoints that follow from the air side's answer `out`, into `u`; leaves `evaluate_plant`'s `out` behind, make-up
    water only where it is worth anything."""
    if held[U_CHW_DP] != held[U_CHW_DP]:
        widest = out[O_VALVE] / VALVE_MARK
        u[U_CHW_DP] = clamp(lim.chw_dp_max_pa * widest * widest, lim.chw_dp_min_pa, lim.chw_dp_max_pa)
        # Less pressure opens the valves; while the widest is not at its end, nothing else of the air side changes.
        out[O_VALVE] *= (lim.chw_dp_max_pa / u[U_CHW_DP]) ** 0.5
    chilled_water(u, p, out)
    if chillers < 0.5 and economizer > 0.5 and held[U_CWST] != held[U_CWST]:
        # The plates alone: colder tower water than they need costs fan power and buys nothing.
        load_w = out[O_CHW_FLOW] * CP_WATER_JKGK * (out[O_CHWRT] - u[U_CHWST])
        cw_kgs = u[U_CW_FLOW] * p.chiller.condenser_flow_nom_kgs * max(condenser_units(chillers, economizer, p), 1.0)
        needed_c = water_needed_c(load_w, out[O_CHWRT], out[O_CHW_FLOW], cw_kgs, p.economizer)
        u[U_CWST] = clamp(needed_c, lim.cwst_min_c, lim.cwst_max_c)
    machine_side(u, w, p, out)
    makeup_of_worth(u, w, p, lim, out)


@kernel
def makeup_of_worth(u: F64, w: F64, p: PlantParams, lim: Limits, out: F64) -> None:
    """Make-up water into `out`, nothing where it is worth nothing."""
    if lim.makeup_wkgs != 0.0:
        makeup_water(u, w, p, out)
    else:
        out[O_MAKEUP] = 0.0


@kernel
def over(value: float, limit: float) -> float:
    """By how much `value` exceeds `limit`; an unknown value counts as far over."""
    if not value <= limit:
        return value - limit if value == value else 1e3
    return 0.0


@kernel
def penalty_w(u: F64, halls: F64, p: PlantParams, lim: Limits, out: F64) -> float:
    """Price [W] of the limits crossed by `u`; zero when feasible."""
    total = over(out[O_INLET] + lim.inlet_bias_k, lim.inlet_c)
    total += 20.0 * over(lim.airflow_min, out[O_AIRFLOW])
    total += 5.0 * over(out[O_VALVE], 1.0)
    total += over(out[O_UNMET], 0.0) / 20e3
    total += over(out[O_CHWST], u[U_CHWST] + 0.2)
    if u[U_CHILLERS] > 0.5:
        total += 5.0 * over(out[O_PLR], lim.plr_max)
        total += 5.0 * over(p.chiller.plr_min, out[O_PLR])
        total += 2.0 * over(out[O_EVAPORATOR], lim.evaporator_max)
    for h in range(halls.shape[0]):
        sat_c = u[U_HALL + 2 * h]
        total += over(lim.dewpoint_c + lim.sat_over_dewpoint_k, sat_c) if lim.dewpoint_c == lim.dewpoint_c else 0.0
    return PENALTY_W * total


@kernel
def weighted_w(makeup_wkgs: float, out: F64) -> float:
    """Cooling power and what its make-up water is worth [W], at `makeup_wkgs` [W per kg/s]."""
    return out[O_COOLING] + makeup_wkgs * out[O_MAKEUP]


@kernel
def cost_w(
    z: F64, chillers: float, economizer: float, held: F64, w: F64, halls: F64, plant: F64, limits: F64, u: F64, out: F64
) -> float:
    """Weighted cooling power plus penalties [W] of the free variables; fills `u` and `out`. Infinite when not computable.

    `plant` and `limits` are the rows of `PlantParams` and `Limits`.
    """
    p, lim = plant_of(plant), limits_of(limits)
    place(z, chillers, economizer, held, w, halls, p, lim, u)
    air_side(u, w, halls, p, out)
    complete(chillers, economizer, held, w, p, lim, u, out)
    return priced_w(u, halls, p, lim, out)


@kernel
def setpoints_cost_w(u: F64, w: F64, halls: F64, plant: F64, limits: F64, out: F64) -> float:
    """The same [W] of a whole setpoint vector as it stands; `u` is only read."""
    evaluate_plant(u, w, halls, plant, out)
    return priced_w(u, halls, plant_of(plant), limits_of(limits), out)


@kernel
def priced_w(u: F64, halls: F64, p: PlantParams, lim: Limits, out: F64) -> float:
    """Weighted cooling power plus penalties [W] of what the model has left in `out`; infinite when not computable."""
    total = weighted_w(lim.makeup_wkgs, out) + penalty_w(u, halls, p, lim, out)
    return total if total == total else np.inf
