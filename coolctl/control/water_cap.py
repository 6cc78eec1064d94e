"""How warm the chilled water may be: the warmest that still leaves what could be wanted of it within seconds.

The loop and its buffer take a quarter of an hour to cool down; a load that returns, or a machine that stops, must find
water that is cold enough already. Each question is asked by bisection between the site's lowest and highest setpoint.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel
from coolctl.num import clamp
from coolctl.points import U_CHW_DP, U_CHWST, U_HALL
from coolctl.thermal import room
from coolctl.thermal.air import airflow_speed
from coolctl.thermal.dynamics import ride_through_s
from coolctl.thermal.plant import O_UNMET, W_HALL, W_PRESSURE, air_side, plant_of

F64 = NDArray[np.float64]

BISECTIONS = 5
RETURN_OVER_SUPPLY_K = 8.0
PEAK_AIRFLOW = 1.05


@kernel
def warmest_riding_c(
    u: F64, w: F64, limit_c: float, required_s: float, lo_c: float, hi_c: float, halls: F64, plant: F64, state: F64
) -> float:
    """Warmest chilled water [°C] from which the racks stay below `limit_c` [°C] for `required_s` [s] without any chiller;
    `lo_c` where none does. `plant` is the row of `PlantParams`, `state` scratch of two entries per hall.
    """
    cold_c, warm_c, tried_c = lo_c, hi_c, hi_c
    for _ in range(1 + BISECTIONS):
        return_c = tried_c + RETURN_OVER_SUPPLY_K
        if ride_through_s(u, w, tried_c, return_c, limit_c, required_s, halls, plant, state) >= required_s:
            cold_c = tried_c
        else:
            warm_c = tried_c
        if cold_c == warm_c:
            break  # the very warmest will do
        tried_c = 0.5 * (cold_c + warm_c)
    return cold_c


@kernel
def warmest_carrying_c(
    u: F64, w: F64, peak_w: F64, dp_pa: float, lo_c: float, hi_c: float, halls: F64, plant: F64, out: F64
) -> float:
    """Warmest chilled water [°C] with which the coils carry `peak_w` [W per hall] at once, with all the air and at the
    pump pressure `dp_pa`; `lo_c` where none does. `plant` is the row of `PlantParams`, `out` scratch.
    """
    p, trial, more = plant_of(plant), u.copy(), w.copy()
    trial[U_CHW_DP] = dp_pa
    for h in range(halls.shape[0]):
        hall, sat_c = room.hall_params(halls[h]), u[U_HALL + 2 * h]
        more[W_HALL + h] = np.maximum(peak_w[h], w[W_HALL + h])  # NaN where either is not known
        speed = airflow_speed(more[W_HALL + h], sat_c, sat_c + 0.5, PEAK_AIRFLOW, w[W_PRESSURE], hall)
        trial[U_HALL + 2 * h + 1] = clamp(speed, 0.1, 1.0)
    cold_c, warm_c, tried_c = lo_c, hi_c, hi_c
    for _ in range(1 + BISECTIONS):
        trial[U_CHWST] = tried_c
        air_side(trial, more, halls, p, out)
        if out[O_UNMET] <= 0.0:
            cold_c = tried_c
        else:
            warm_c = tried_c
        if cold_c == warm_c:
            break
        tried_c = 0.5 * (cold_c + warm_c)
    return cold_c


@kernel
def one_crah_fewer_where_it_helps(u: F64, w: F64, halls: F64, fewer: F64, found: F64) -> None:
    """The `halls` with one CRAH less, as in `fewer`, into `found`, where the rest can move the air; where they cannot,
    colder water is no help. All three have a row of `HallParams` per hall."""
    for h in range(halls.shape[0]):
        sat_c = u[U_HALL + 2 * h]
        speed = airflow_speed(w[W_HALL + h], sat_c, sat_c + 0.5, 1.0, w[W_PRESSURE], room.hall_params(fewer[h]))
        found[h] = fewer[h] if speed <= 1.0 else halls[h]
