"""Compass search on the plant model: a few steps from a good start in the tick, many starts when labels are made.

The tower setpoint has several valleys when an economizer is in the loop, so a single descent sticks; every search
also tries cold, middling and warm condenser water. The result is never worse than the best of its starts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.control.objective import (
    Z_CHWST,
    Z_CW_FLOW,
    Z_CWST,
    Z_HALL,
    complete,
    cost_w,
    limits_of,
    place,
    priced_w,
)
from coolctl.jit import kernel
from coolctl.num import clamp
from coolctl.points import U_CHWST, U_CW_FLOW, U_CWST, U_HALL
from coolctl.site_schema import CELL_FLOW_MIN_RATIO
from coolctl.thermal import room
from coolctl.thermal.air import airflow_speed
from coolctl.thermal.plant import W_HALL, W_OAWB, W_PRESSURE, air_side, condenser_units, plant_of

F64 = NDArray[np.float64]

STEP_CHWST_K, STEP_CWST_K, STEP_CW_FLOW, STEP_SAT_K, STEP_AIRFLOW = 2.0, 3.0, 0.15, 1.0, 0.06
AIRFLOW_MAX = 1.35
JOINT_MOVES = 7
FINEST_K = 0.01
START_APPROACHES_K = (2.0, 4.5, 8.0, 15.0)
START_WATER_K = (-8.0, 0.0, 4.0, -2.0)


@kernel
def move(z: F64, k: int, sign: float, step: F64, cell_flow_ratio: float, lo: F64, hi: F64, trial: F64) -> None:
    """The `k`-th move from `z` into `trial`: each variable alone, then the joint moves.

    Limits couple the variables: along an edge of what is feasible no single one can move, but two or three together
    can. Water and tower, water and air, all three; less condenser water made up by colder, colder supply by less air.
    The last goes to the next flow at which one more tower cell can run (`cell_flow_ratio`), where the power has a step.
    """
    n = z.shape[0]
    trial[:] = z
    if k < n:
        trial[k] += sign * step[k]
    elif k == n:
        trial[Z_CHWST] += sign * step[Z_CHWST]
        trial[Z_CWST] += sign * step[Z_CHWST]
    elif k == n + 1:
        trial[Z_CWST] += sign * step[Z_CWST]
        trial[Z_CW_FLOW] += sign * step[Z_CW_FLOW]
    elif k == n + 2:
        cells = np.floor(z[Z_CW_FLOW] / cell_flow_ratio)
        if sign > 0.0:
            cells += 1.0
        elif z[Z_CW_FLOW] < cells * cell_flow_ratio * (1.0 + 1e-6):
            cells -= 1.0
        trial[Z_CW_FLOW] = cells * cell_flow_ratio * (1.0 + 1e-9)
    else:
        for i in range(Z_HALL, n, 2):
            trial[i] += sign * step[i]
            if k > n + 4:
                trial[i + 1] += (1.0 if k == n + 5 else 4.0) * sign * step[i + 1]
        if k < n + 5:
            trial[Z_CHWST] += sign * step[Z_HALL]
        if k == n + 4:
            trial[Z_CWST] += sign * step[Z_HALL]
    for i in range(n):
        trial[i] = clamp(trial[i], lo[i], hi[i])


@kernel
def _same(a: F64, b: F64) -> bool:
    for i in range(a.shape[0]):  # noqa: SIM110  a generator does not compile
        if a[i] != b[i]:
            return False
    return True


@kernel
def _ask_w(
    trial: F64, slot: int, z: F64, tried: F64, air: F64, trial_air: F64, chillers: float, economizer: float, held: F64,
    w: F64, halls: F64, plant: F64, limits: F64, u: F64, out: F64,
) -> float:  # fmt: skip
    """`cost_w` [W] of `trial`, a move from `z`; infinite where it has been asked already, since a point that was not better
    than the best then is not better than the best since.

    `tried` has the last point of each move in its `slot`. `air` is the air side's answer to `z`: the same for `trial` where
    the move leaves chilled water and halls alone, and left for it in `trial_air`.
    """
    if _same(trial, z):
        return np.inf
    for k in range(tried.shape[0]):
        if _same(trial, tried[k]):
            return np.inf
    tried[slot] = trial
    p, lim = plant_of(plant), limits_of(limits)
    place(trial, chillers, economizer, held, w, halls, p, lim, u)
    if trial[Z_CHWST] == z[Z_CHWST] and _same(trial[Z_HALL:], z[Z_HALL:]):
        out[:] = air
    else:
        air_side(u, w, halls, p, out)
    trial_air[:] = out
    complete(chillers, economizer, held, w, p, lim, u, out)
    return priced_w(u, halls, p, lim, out)


@kernel
def descend(
    z: F64, chillers: float, economizer: float, held: F64, w: F64, halls: F64, plant: F64, limits: F64,
    lo: F64, hi: F64, sweeps: int, step: F64, u: F64, out: F64,
) -> float:  # fmt: skip
    """Improve `z` in place by `sweeps` compass sweeps; returns its cost [W]. `u` and `out` are scratch.

    `plant` and `limits` are the rows of `PlantParams` and `Limits`. A sweep that helped is repeated as a whole (Hooke &
    Jeeves, J. ACM 8(2), 1961). `step` shrinks in place, so that a search can be continued where it was left.
    """
    n, p = z.shape[0], plant_of(plant)
    moves = n + JOINT_MOVES
    for i in range(n):
        z[i] = clamp(z[i], lo[i], hi[i])
    trial, before, tried = np.empty(n), np.full(n, np.nan), np.full((2 * moves + 2, n), np.nan)
    air, trial_air = np.empty_like(out), np.empty_like(out)
    rest = (tried, air, trial_air, chillers, economizer, held, w, halls, plant, limits, u, out)
    water_kgs = p.chiller.condenser_flow_nom_kgs * max(condenser_units(chillers, economizer, p), 1.0)
    cell_flow_ratio = CELL_FLOW_MIN_RATIO * p.tower.water_flow_nom_kgs / water_kgs
    best = _ask_w(z, 2 * moves, before, *rest)
    air[:] = trial_air
    for _ in range(sweeps):
        improved = False
        before[:] = z
        for k in range(moves):
            for side in range(2):
                move(z, k, 2.0 * side - 1.0, step, cell_flow_ratio, lo, hi, trial)
                cost = _ask_w(trial, 2 * k + side, z, *rest)
                if cost < best - 1e-6:
                    best, improved = cost, True
                    z[:], air[:] = trial, trial_air
                    break
        if improved:
            for i in range(n):
                trial[i] = clamp(2.0 * z[i] - before[i], lo[i], hi[i])
            cost = _ask_w(trial, 2 * moves + 1, z, *rest)
            if cost < best - 1e-6:
                best = cost
                z[:], air[:] = trial, trial_air
        else:
            if step[Z_CHWST] < FINEST_K:
                break
            for i in range(n):
                step[i] *= 0.5
    return best


@kernel
def first_steps(step: F64, shrink: float) -> None:
    """Steps that a search starts with, times `shrink`: large from an unknown start, smaller near a known one."""
    step[Z_CHWST] = STEP_CHWST_K * shrink
    step[Z_CWST] = STEP_CWST_K * shrink
    step[Z_CW_FLOW] = STEP_CW_FLOW * shrink
    for h in range((step.shape[0] - Z_HALL) // 2):
        step[Z_HALL + 2 * h] = STEP_SAT_K * shrink
        step[Z_HALL + 2 * h + 1] = STEP_AIRFLOW * shrink


@kernel
def free_variables(u: F64, w: F64, halls: F64, z: F64) -> None:
    """The free variables of a setpoint vector, airflow ratio from its fan speeds."""
    z[Z_CHWST] = u[U_CHWST]
    z[Z_CWST] = u[U_CWST]
    z[Z_CW_FLOW] = u[U_CW_FLOW]
    for h in range(halls.shape[0]):
        hall = room.hall_params(halls[h])
        sat_c = u[U_HALL + 2 * h]
        one = airflow_speed(w[W_HALL + h], sat_c, sat_c + 0.5, 1.0, w[W_PRESSURE], hall)
        z[Z_HALL + 2 * h] = sat_c
        z[Z_HALL + 2 * h + 1] = u[U_HALL + 2 * h + 1] / one


@kernel
def best_for_machines(
    z: F64, chillers: float, economizer: float, held: F64, w: F64, halls: F64, plant: F64, limits: F64,
    lo: F64, hi: F64, sweeps: int, u: F64, out: F64,
) -> float:  # fmt: skip
    """Best setpoints for given machines over several valleys of condenser water, left in `z`; returns the cost [W]."""
    best_z, step = z.copy(), np.empty_like(z)
    first_steps(step, 1.0)
    best = descend(best_z, chillers, economizer, held, w, halls, plant, limits, lo, hi, sweeps, step, u, out)
    for k in range(len(START_APPROACHES_K)):
        trial_z = z.copy()
        trial_z[Z_CWST] = w[W_OAWB] + START_APPROACHES_K[k]
        trial_z[Z_CHWST] += START_WATER_K[k]
        first_steps(step, 1.0)
        trial = descend(trial_z, chillers, economizer, held, w, halls, plant, limits, lo, hi, sweeps, step, u, out)
        if trial < best:
            best = trial
            best_z[:] = trial_z
    z[:] = best_z
    return best


@kernel
def _with_chillers(
    costs: F64, found: F64, chillers: int, start: F64, economizer: float, w: F64, halls: F64, plant: F64, limits: F64,
    lo: F64, hi: F64, sweeps: int, u: F64, out: F64,
) -> float:  # fmt: skip
    """Cost [W] of the best setpoints with so many chillers, searched once: kept in `costs`, the setpoints in `found`."""
    if costs[chillers] != costs[chillers]:
        free = np.full(U_HALL + 2 * halls.shape[0], np.nan)  # the expert may set everything
        found[chillers] = start
        costs[chillers] = best_for_machines(
            found[chillers], float(chillers), economizer, free, w, halls, plant, limits, lo, hi, sweeps, u, out
        )
    return float(costs[chillers])


@kernel
def _best_number(
    costs: F64, found: F64, guess: int, start: F64, economizer: float, w: F64, halls: F64, plant: F64, limits: F64,
    lo: F64, hi: F64, sweeps: int, u: F64, out: F64,
) -> int:  # fmt: skip
    """The cheapest number of chillers with the economizer so; `costs` and `found` have a row for each number.

    Too few cannot carry the load, too many run at low part load. The cost is walked from `guess` while it falls, so that
    a plant of many machines needs few tries more than a small one. Towards fewer machines one rise is passed over: the
    last that carry the load, fully loaded, can be a valley of their own. So can no chiller at all, since one alone may
    stand below its least load: it is tried wherever there are plates.
    """
    most, best_n = costs.shape[0] - 1, guess
    rest = (start, economizer, w, halls, plant, limits, lo, hi, sweeps, u, out)
    best = _with_chillers(costs, found, guess, *rest)
    if economizer > 0.5:
        without = _with_chillers(costs, found, 0, *rest)
        if without < best and most > 1 and _with_chillers(costs, found, 1, *rest) <= _with_chillers(costs, found, 2, *rest):
            return 0 if without < costs[1] else 1
    for direction, patience in ((1, 1), (-1, 2)):
        n, rises = guess + direction, 0
        while 1 <= n <= most and rises < patience:
            cost = _with_chillers(costs, found, n, *rest)
            rises = 0 if cost < best else rises + 1
            if cost < best:
                best, best_n = cost, n
            n += direction
    if economizer > 0.5 and costs[0] < best:
        best_n = 0
    return best_n


@kernel
def joint_optimum(
    z: F64, chillers_max: float, w: F64, halls: F64, plant: F64, limits: F64, lo: F64, hi: F64,
    sweeps: int, u: F64, out: F64,
) -> tuple[float, float, float]:  # fmt: skip
    """Best setpoints over all machine choices, left in `z`; returns cost [W], chillers and economizer. The expert."""
    most, p = int(chillers_max), plant_of(plant)
    start, found = z.copy(), np.empty((most + 1, z.shape[0]))
    best, best_chillers, best_economizer = np.inf, most, 0.0
    guess = int(clamp(np.ceil(w[W_HALL:].sum() / p.chiller.capacity_ref_w), 1.0, chillers_max))
    for economizer in range(2 if p.economizer.present > 0.5 else 1):
        costs = np.full(most + 1, np.nan)
        n = _best_number(costs, found, guess, start, float(economizer), w, halls, plant, limits, lo, hi, sweeps, u, out)
        if costs[n] < best:
            best, best_chillers, best_economizer = costs[n], n, float(economizer)
            z[:] = found[n]
        guess = max(n, 1)
    free = np.full(U_HALL + 2 * halls.shape[0], np.nan)
    cost_w(z, float(best_chillers), best_economizer, free, w, halls, plant, limits, u, out)
    z[Z_CWST] = u[U_CWST]
    return best, float(best_chillers), best_economizer
