"""From a snapshot to what the controller believes: measured where measured, a stated substitute where not.

Substitutes lean to the safe side (warm weather, full load, no spare machine). What was substituted is named, so that
the mode machine can judge the evidence and the operator can see it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.sums import Groups, gather, pairwise_sum, sum_of_group
from coolctl.jit import kernel
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL, Snapshot
from coolctl.psychro import dew_point_from_wet_bulb_c, saturation_pressure_pa, wet_bulb_c
from coolctl.thermal import room
from coolctl.thermal.plant import W_HALL, W_OADB, W_OAWB, W_PRESSURE

if TYPE_CHECKING:
    from coolctl.site import Site

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I8 = NDArray[np.int8]

WEATHER_HOLD_S = 3600.0
POWER_HOLD_S = 30.0
DRY_OVER_WET_K = 8.0  # on the design day
MOISTER_RATIO, MOISTER_RATIO_PER_S = 0.05, 0.01 / 3600.0  # outdoor air that nobody measures: so much over what it held last
DP_MIN_PA, FAN_SPEED_MIN = 1e3, 0.05  # the model takes a root of one and divides by the other
LATEST_ROLES = (
    "chwst", "chwrt", "chw_flow", "chw_dp", "cwst", "cwrt", "cw_flow", "tower_speed", "tower_cells_on",
    "chillers_on", "chillers_available", "economizer_on", "hand", "bms_remote",
    "energy_price", "energy_price_ahead", "carbon_factor",
)  # fmt: skip
POWER_ROLES = ("chiller_power", "tower_power", "chw_pump_power", "cw_pump_power", "crah_fan_power")


class Estimate(NamedTuple):
    """What is believed at `now_s`. Arrays have one entry per hall; NaN = not known and not substituted."""

    now_s: float
    w: F64
    it_w: F64
    inlet_mean_c: F64
    inlet_max_c: F64
    sat_c: F64
    fan_speed: F64
    valve: F64
    aisle_dp_pa: F64
    dewpoint_c: float
    hottest_c: float
    quorum: bool
    plant: dict[str, float]
    measured_w: float
    substituted: tuple[str, ...]


# Rows of a hall's figures: the first four are points read as they are, then what is made of several points.
E_SAT, E_FAN, E_VALVE, E_AISLE, E_IT, E_MEAN, E_MAX = range(7)
HALL_ROLES = ("sat", "crah_fan_speed", "valve", "aisle_dp")
# What is held of the weather, and what is made of several points of the plant.
V_OADB, V_OAWB, V_OADB_SEEN_S, V_OAWB_SEEN_S, V_VAPOUR_PA = range(5)
S_DEWPOINT, S_HOTTEST, S_MEASURED, S_ASSUMED = range(4)


@kernel
def only_numbers(value: F64) -> None:
    """Infinities become NaN: an infinity is no measurement, from here on there are numbers and NaN only."""
    for i in range(value.shape[0]):
        if math.isinf(value[i]):
            value[i] = math.nan


@kernel
def pick(value: F64, at: I64, found: F64) -> None:
    """The values at the positions `at` into `found`; NaN where there is no such point (-1)."""
    for k in range(at.shape[0]):
        found[k] = value[at[k]] if at[k] >= 0 else math.nan


@kernel
def largest(values: F64) -> float:
    """The largest known one of some values; NaN when none is known."""
    most = math.nan
    for k in range(len(values)):
        if values[k] > most or math.isnan(most):
            most = values[k]
    return most


@kernel
def follow_meters(
    value: F64, at: I64, start: I64, halls: F64, now_s: float, it_w: F64, seen_s: F64, scratch: F64, assumed: I8
) -> None:
    """IT power of each hall into `it_w` [W], held from call to call: a silent meter holds for a while, then counts as the
    design load, and the hall is marked in `assumed`."""
    for h in range(halls.shape[0]):
        total_w = sum_of_group(value, at[start[h] : start[h + 1]], scratch)
        assumed[h] = 0
        if total_w > 0.0:
            it_w[h], seen_s[h] = total_w, now_s
        elif now_s - seen_s[h] > POWER_HOLD_S:
            it_w[h] = room.hall_params(halls[h]).it_power_nom_w
            assumed[h] = 1


@kernel
def read_racks(value: F64, at: I64, start: I64, quorum_ratio: float, scratch: F64, mean_c: F64, max_c: F64) -> bool:
    """Mean and hottest known inlet of each hall [°C], NaN where none is known; whether enough racks are known in every hall."""
    quorum = True
    for h in range(mean_c.shape[0]):
        racks = start[h + 1] - start[h]
        gather(value, at[start[h] : start[h + 1]], scratch)
        known = 0
        for k in range(racks):
            if not math.isnan(scratch[k]):
                scratch[known] = scratch[k]
                known += 1
        max_c[h] = largest(scratch[:known])
        mean_c[h] = pairwise_sum(scratch[:known]) / known if known > 0 else math.nan
        quorum = quorum and known >= max(2.0, quorum_ratio * racks)
    return quorum


@kernel
def moister_wet_bulb_c(oadb_c: float, vapour_pa: float, silent_s: float, pressure_pa: float) -> float:
    """Wet bulb [°C] of air at this dry bulb that held so much vapour [Pa] when it was last known, and may hold more by now."""
    more = 1.0 + MOISTER_RATIO + MOISTER_RATIO_PER_S * silent_s
    return wet_bulb_c(oadb_c, min(more * vapour_pa / saturation_pressure_pa(oadb_c), 1.0), pressure_pa)


@kernel
def follow_weather(
    value: F64, at: I64, now_s: float, design_wb_c: float, pressure_pa: float, held: F64, assumed: I8
) -> None:  # fmt: skip
    """Dry and wet bulb into `held` [°C]; stale weather is held for an hour, then the design day is assumed, and marked. A dry
    bulb alone is assumed over the wet bulb that is known: the design day's beside a winter's is no weather. A wet bulb alone
    is that of the last known moisture and some more, at most the design day's."""
    for k in range(2):
        now_c = value[at[k]] if at[k] >= 0 else math.nan
        assumed[k] = 0
        if not math.isnan(now_c):
            held[k], held[V_OADB_SEEN_S + k] = now_c, now_s
        elif now_s - held[V_OADB_SEEN_S + k] > WEATHER_HOLD_S:
            held[k] = design_wb_c
            assumed[k] = 1
    if held[V_OADB_SEEN_S] == now_s and held[V_OAWB_SEEN_S] == now_s:
        dewpoint_c = dew_point_from_wet_bulb_c(held[V_OADB], min(held[V_OAWB], held[V_OADB]), pressure_pa)
        held[V_VAPOUR_PA] = saturation_pressure_pa(dewpoint_c)
    if assumed[V_OADB] == 1:
        held[V_OADB] = held[V_OAWB] + DRY_OVER_WET_K
    elif assumed[V_OAWB] == 1 and not math.isnan(held[V_VAPOUR_PA]):
        moist_c = moister_wet_bulb_c(held[V_OADB], held[V_VAPOUR_PA], now_s - held[V_OAWB_SEEN_S], pressure_pa)
        held[V_OAWB] = min(moist_c, design_wb_c)


@kernel
def fill_conditions(held: F64, pressure_pa: float, it_w: F64, mean_c: F64, halls: F64, w: F64) -> None:
    """The conditions `w` of weather `held` [°C] and the halls' IT power [W] at their mean inlets [°C]."""
    w[W_OADB], w[W_OAWB], w[W_PRESSURE] = held[V_OADB], min(held[V_OAWB], held[V_OADB]), pressure_pa
    for h in range(halls.shape[0]):
        hall = room.hall_params(halls[h])
        inlet_c = hall.server_fan_knee_c if math.isnan(mean_c[h]) else mean_c[h]
        w[W_HALL + h] = max(room.it_base_w(it_w[h], inlet_c, hall), 1.0)


@kernel
def summarise(value: F64, dewpoints: I64, power: I64, max_c: F64, scratch: F64, found: F64) -> None:
    """The largest dew point and the hottest inlet that are known [°C], and the power that is measured [W], into `found`."""
    gather(value, dewpoints, scratch)
    found[S_DEWPOINT] = largest(scratch[: len(dewpoints)])
    found[S_HOTTEST] = largest(max_c)
    found[S_MEASURED] = sum_of_group(value, power, scratch)


@kernel
def estimate_all(
    value: F64, meters: I64, meter_start: I64, racks: I64, rack_start: I64, own: I64, weather: I64, latest: I64,
    dewpoints: I64, power: I64, halls: F64, now_s: float, design_wb_c: float, pressure_pa: float, quorum_ratio: float,
    it_last_w: F64, it_seen_s: F64, held: F64, scratch: F64, assumed: I8, w: F64, seen: F64, plant: F64, summary: F64,
) -> bool:  # fmt: skip
    """All of an estimate at once: what several small calls would spend is overhead. `own` [4, halls] are the positions of
    `HALL_ROLES`; fills `w`, `seen` [7, halls] by its rows E_, `plant` by `latest`, `summary` by S_; returns the quorum."""
    only_numbers(value)
    count = halls.shape[0]
    follow_meters(value, meters, meter_start, halls, now_s, it_last_w, it_seen_s, scratch, assumed[:count])
    seen[E_IT] = it_last_w
    quorum = read_racks(value, racks, rack_start, quorum_ratio, scratch, seen[E_MEAN], seen[E_MAX])
    follow_weather(value, weather, now_s, design_wb_c, pressure_pa, held, assumed[count:])
    fill_conditions(held, pressure_pa, it_last_w, seen[E_MEAN], halls, w)
    for k in range(own.shape[0]):
        pick(value, own[k], seen[k])
    pick(value, latest, plant)
    summarise(value, dewpoints, power, seen[E_MAX], scratch, summary)
    summary[S_ASSUMED] = assumed.sum()
    return quorum


@kernel
def measured_setpoints(
    chwst_c: float, dp_pa: float, chillers: float, cwst_c: float, cells: float, economizer: float, sat_c: F64, fan_speed: F64,
    u: F64,
) -> None:  # fmt: skip
    """The setpoint vector `u` that describes the plant as measured; NaN where it is silent."""
    u[U_CHWST], u[U_CHILLERS], u[U_CWST], u[U_CELLS], u[U_ECONOMIZER] = chwst_c, chillers, cwst_c, cells, economizer
    u[U_CHW_DP], u[U_CW_FLOW] = np.maximum(dp_pa, DP_MIN_PA), math.nan
    for h in range(sat_c.shape[0]):
        u[U_HALL + 2 * h], u[U_HALL + 2 * h + 1] = sat_c[h], np.maximum(fan_speed[h], FAN_SPEED_MIN)


def as_setpoints(est: Estimate) -> F64:
    """The setpoint vector that describes the plant as measured; NaN where it is silent."""
    plant, u = est.plant, np.empty(U_HALL + 2 * len(est.sat_c))
    measured_setpoints(
        plant["chwst"], plant["chw_dp"], plant["chillers_on"], plant["cwst"], plant["tower_cells_on"], plant["economizer_on"],
        est.sat_c, est.fan_speed, u,
    )  # fmt: skip
    return u


class Estimator:
    """Holds the last good values that substitutes are made of, and the point indices of each role."""

    def __init__(self, site: Site, halls: F64):
        table, names = site.table, site.halls
        self._halls = halls
        self._pressure_pa = site.pressure_pa
        self._design_wb_c = site.file.weather.wetbulb_design_c
        self._quorum_ratio = site.file.control.quorum_ratio
        self._latest = np.array([table.one(role) for role in LATEST_ROLES], dtype=np.int64)
        self._weather = np.array([table.one("oadb"), table.one("oawb")], dtype=np.int64)
        self._meters = Groups([table.by_role("it_power", hall) for hall in names])
        self._racks = Groups([table.by_role("rack_inlet", hall) for hall in names])
        self._own = np.array([[table.one(role, hall) for hall in names] for role in HALL_ROLES], dtype=np.int64)
        self._dewpoints = table.by_role("room_dewpoint")
        power = [table.by_role(role) for role in POWER_ROLES]
        self._power = np.concatenate(power) if all(len(p) for p in power) else np.zeros(0, dtype=np.int64)
        count = len(names)
        self._it_last_w = np.array([room.hall_params(row).it_power_nom_w for row in halls])
        self._it_seen_s = np.full(count, -np.inf)
        self._held = np.array([self._design_wb_c + DRY_OVER_WET_K, self._design_wb_c, -np.inf, -np.inf, np.nan])
        self._value, self._scratch = np.zeros(len(table)), np.zeros(len(table))
        self._assumed = np.zeros(count + 2, dtype=np.int8)
        self._assumptions = (*(f"it_power[{h}]" for h in range(count)), "oadb", "oawb")

    def assess(self, snap: Snapshot) -> Estimate:
        """The estimate of this snapshot. Never raises for any values."""
        count = len(self._halls)
        self._value[:] = snap.value  # a view or one that may not be written is another signature
        w, seen = np.empty(W_HALL + count), np.empty((E_MAX + 1, count))
        plant, summary = np.empty(len(LATEST_ROLES)), np.empty(S_ASSUMED + 1)
        quorum = estimate_all(
            self._value, self._meters.at, self._meters.start, self._racks.at, self._racks.start, self._own,
            self._weather, self._latest, self._dewpoints, self._power, self._halls, snap.now_s, self._design_wb_c,
            self._pressure_pa, self._quorum_ratio, self._it_last_w, self._it_seen_s, self._held, self._scratch, self._assumed,
            w, seen, plant, summary,
        )  # fmt: skip
        dewpoint_c, hottest_c, measured_w, assumed = summary.tolist()
        sat_c, fan_speed, valve, aisle_dp_pa, it_w, mean_c, max_c = seen
        return Estimate(
            snap.now_s, w, it_w, mean_c, max_c, sat_c, fan_speed, valve, aisle_dp_pa, dewpoint_c, hottest_c, quorum,
            dict(zip(LATEST_ROLES, plant.tolist(), strict=True)), measured_w, self._substituted() if assumed else (),
        )  # fmt: skip

    def _substituted(self) -> tuple[str, ...]:
        """Names of what is assumed now."""
        return tuple(name for name, is_so in zip(self._assumptions, self._assumed.tolist(), strict=True) if is_so)


def largest_known(values: F64, otherwise: float) -> float:
    """The largest of the values that are known; `otherwise` when none is."""
    known = values[values == values]
    return float(known.max()) if len(known) else otherwise
