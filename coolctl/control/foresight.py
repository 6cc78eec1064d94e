"""This command, then the fallback: is it still early enough for the plant's own rules once nobody is there any more?

Each tick a small lumped prediction asks: this command is published, the controller is lost in the same moment, the lease
runs out, the plant's own rules take over. Does a rack get hotter than it may, although it would not if the rules took over
now? Then the command goes towards them until it passes (black-box simplex, SAFETY.md of the design §2.1). The prediction
starts from what is measured and moves with the worst plausible gains: more heat, weaker coils, less air, lighter masses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.control.fixed_rules import B1
from coolctl.jit import kernel
from coolctl.num import clamp, first_order
from coolctl.points import U_CHILLERS, U_CHW_DP, U_CHWST, U_CWST, U_ECONOMIZER, U_HALL
from coolctl.psychro import CP_AIR_JKGK, CP_WATER_JKGK
from coolctl.thermal import economizer, room
from coolctl.thermal.air import crah_air_kgs
from coolctl.thermal.dynamics import AIR_JK_PER_W, HEATSINK_JK_PER_W, RACK_JK_PER_W, STRUCTURE_WK_PER_W
from coolctl.thermal.plant import W_HALL, W_PRESSURE, PlantParams, condenser_units, plant_of, plate_water_kgs

F64 = NDArray[np.float64]

HORIZON_S = 300.0
STEP_LEASED_S, STEP_OWN_S = 5.0, 15.0
# How the plant takes itself back: temperatures, pressure and fans towards its own; what it stops asking for stays off.
OWN_K_PER_S, OWN_PA_PER_S, FAN_UP_PER_S, OWN_FAN_MIN = 2.0 / 60.0, 1000.0, 0.0334, 0.35
OWN_AIRFLOW = B1.AIRFLOW
SUPPLY_UP_TAU_S, SUPPLY_DOWN_TAU_S = 20.0, 90.0  # supply air behind its setpoint: quick to warm, slow to cool
HEAT, COIL, AIR, MASS, MACHINES = 1.05, 0.85, 0.95, 0.8, 0.9  # worst plausible, over the model's
WATER_RISE_MIN_K = 2.0
BISECTIONS, TOLERANCE_K = 6, 0.05
# Racks are minutes behind their supply air: what they stood above the model then is not forgotten because the air has warmed.
OFF_TAU_S, OFF_MAX_K, DT_MAX_S = 120.0, 3.0, 60.0


class Now(NamedTuple):
    """The plant as measured, with what was published last where it is silent."""

    supply_c: float
    return_c: float
    cwst_c: float
    chillers: float
    plates: float


N_SAT, N_FAN, N_INLET, N_MASS, N_STRUCT, N_BIAS, N_COIL, N_OFF = range(8)
STATES = 8


@kernel
def _begin(last: F64, w: F64, now: Now, halls: F64, p: PlantParams, seen: F64, state: F64) -> tuple[float, float]:
    """Copy what is seen into `state` with what makes the model stand where the plant stands; heat [W] and its share that
    the machines are known to carry over what their records say [-]."""
    open_ratio = (max(last[U_CHW_DP], 1e3) / p.chw_pump.head_static_pa) ** 0.5
    heat_w = 0.0
    for h in range(halls.shape[0]):
        hall = room.hall_params(halls[h])
        sat_c, fan = seen[h, N_SAT], seen[h, N_FAN]
        air_kgs = AIR * crah_air_kgs(max(fan, 0.05), sat_c, w[W_PRESSURE], hall)
        inlet_c, hottest_c, _ratio = room.inlets_c(HEAT * w[W_HALL + h], sat_c, air_kgs, hall)
        hall_w = HEAT * (room.server_power_w(w[W_HALL + h], inlet_c, hall) + hall.misc_heat_w)
        mass_c = sat_c + hall_w / (air_kgs * CP_AIR_JKGK)
        most_w = COIL * room.coil_heat_w(
            open_ratio, now.supply_c, mass_c, air_kgs, air_kgs / hall.air_flow_nom_kgs, hall.coil_ua_nom_wk, hall
        )
        off_k = state[h, N_OFF] = seen[h, N_INLET] - hottest_c
        lately_k = seen[h, N_OFF]
        bias_k = lately_k if not off_k >= lately_k and lately_k == lately_k else off_k
        state[h, N_SAT], state[h, N_FAN] = sat_c, fan
        state[h, N_MASS], state[h, N_STRUCT] = mass_c, mass_c - 2.0
        state[h, N_BIAS] = bias_k if bias_k == bias_k else 0.0
        state[h, N_COIL] = COIL * max(hall_w / most_w, 1.0) if most_w > 0.0 else COIL
        heat_w += hall_w
    flow_kgs = heat_w / (CP_WATER_JKGK * max(now.return_c - now.supply_c, WATER_RISE_MIN_K))
    able_w = _able_w(now.chillers, now.plates, now.return_c, flow_kgs, now.cwst_c, last, p)
    return heat_w, max(heat_w / able_w, 1.0) if able_w > 0.0 else 1.0


@kernel
def _able_w(chillers: float, plates: float, return_c: float, flow_kgs: float, cwst_c: float, u: F64, p: PlantParams) -> float:
    """Heat that chillers and plates can take out of the loop [W]."""
    able_w = MACHINES * chillers * p.chiller.capacity_ref_w
    if plates > 0.5 and p.economizer.present > 0.5:
        cw_kgs = condenser_units(chillers, plates, p) * p.cw_pump.flow_nom_kgs
        plate_kgs = plate_water_kgs(chillers, cw_kgs, p)
        able_w += MACHINES * max(economizer.heat_w(return_c, flow_kgs, cwst_c, plate_kgs, p.economizer), 0.0)
    return able_w


@kernel
def foresee_c(
    u: F64, last: F64, own: F64, leased_s: float, w: F64, now: Now, halls: F64, plant: F64, seen: F64, state: F64
) -> float:
    """Hottest inlet [°C] of the next minutes if `u` holds for `leased_s` and the plant's own rules, `own`, follow.

    `seen` has per hall supply air [°C], fan speed [-] and hottest inlet [°C] as they are, and what that was above the model
    lately; `state` (as `seen`, STATES wide) is scratch. Machines that `u` stops stay stopped; those that it starts are not
    counted: they need minutes.
    """
    p = plant_of(plant)
    heat_w, carried = _begin(last, w, now, halls, p, seen, state)
    rise_k = max(now.return_c - now.supply_c, WATER_RISE_MIN_K)
    half_jk = 0.5 * p.loop_volume_m3 * 998.0 * CP_WATER_JKGK
    supply_jk = half_jk + p.buffer_m3 * 998.0 * CP_WATER_JKGK
    supply_c, return_c = now.supply_c, now.supply_c + rise_k
    chillers, plates = min(now.chillers, u[U_CHILLERS]), min(now.plates, u[U_ECONOMIZER])
    cwst_c = max(now.cwst_c, min(u[U_CWST], return_c)) if u[U_CWST] > last[U_CWST] else now.cwst_c
    hottest_c, t_s = -273.0, 0.0
    while t_s < HORIZON_S:
        since_s = t_s - leased_s
        step_s = STEP_LEASED_S if since_s < 0.0 else STEP_OWN_S
        if since_s < 0.0:
            step_s = min(step_s, -since_s)
        water_c = _towards(u[U_CHWST], own[U_CHWST], OWN_K_PER_S * max(since_s, 0.0))
        dp_pa = _towards(u[U_CHW_DP], own[U_CHW_DP], OWN_PA_PER_S * max(since_s, 0.0))
        open_ratio = (max(dp_pa, 1e3) / p.chw_pump.head_static_pa) ** 0.5
        taken_w = 0.0
        for h in range(halls.shape[0]):
            inlet_c, coil_w = _hall(h, u, own, since_s, step_s, w, supply_c, open_ratio, halls, state)
            hottest_c = max(hottest_c, inlet_c)
            taken_w += coil_w
        flow_wk = max(taken_w, 0.1 * heat_w) / rise_k
        able_w = carried * _able_w(chillers, plates, return_c, flow_wk / CP_WATER_JKGK, cwst_c, u, p)
        leaving_c = min(max(water_c, return_c - able_w / flow_wk), return_c)
        share = min(step_s * flow_wk / supply_jk, 1.0)
        back_c = supply_c + taken_w / flow_wk
        supply_c += share * (leaving_c - supply_c)
        return_c += min(step_s * flow_wk / half_jk, 1.0) * (back_c - return_c)
        t_s += step_s
    return hottest_c


@kernel
def _hall(
    h: int, u: F64, own: F64, since_s: float, step_s: float, w: F64, supply_c: float, open_ratio: float, halls: F64, state: F64
) -> tuple[float, float]:
    """One hall one step on; its hottest inlet [°C] and the heat that its coils take [W]."""
    hall = room.hall_params(halls[h])
    k = U_HALL + 2 * h
    sat_sp_c = _towards(u[k], own[k], OWN_K_PER_S * max(since_s, 0.0))
    fan_sp = u[k + 1] if since_s < 0.0 else own[k + 1]
    fan = state[h, N_FAN] = min(fan_sp, state[h, N_FAN] + FAN_UP_PER_S * step_s)
    air_kgs = AIR * crah_air_kgs(max(fan, 0.05), state[h, N_SAT], w[W_PRESSURE], hall)
    air_wk, mass_c = air_kgs * CP_AIR_JKGK, state[h, N_MASS]
    most_w = state[h, N_COIL] * room.coil_heat_w(
        open_ratio, supply_c, mass_c, air_kgs, air_kgs / hall.air_flow_nom_kgs, hall.coil_ua_nom_wk, hall
    )
    tau_s = SUPPLY_UP_TAU_S if sat_sp_c > state[h, N_SAT] else SUPPLY_DOWN_TAU_S
    sat_c = state[h, N_SAT] + min(step_s / tau_s, 1.0) * (sat_sp_c - state[h, N_SAT])
    sat_c = state[h, N_SAT] = clamp(sat_c, mass_c - max(most_w, 0.0) / air_wk, max(mass_c, sat_sp_c))
    inlet_c, hottest_c, _ratio = room.inlets_c(HEAT * w[W_HALL + h], sat_c, air_kgs, hall)
    heat_w = HEAT * (room.server_power_w(w[W_HALL + h], inlet_c, hall) + hall.misc_heat_w)
    coil_w = max(air_wk * (mass_c - sat_c), 0.0)
    to_structure_w = STRUCTURE_WK_PER_W * hall.it_power_nom_w * (mass_c - state[h, N_STRUCT] - 2.0)
    mass_jk = MASS * (RACK_JK_PER_W + HEATSINK_JK_PER_W + AIR_JK_PER_W) * hall.it_power_nom_w
    state[h, N_MASS] += step_s * (heat_w - coil_w - to_structure_w) / mass_jk
    state[h, N_STRUCT] += step_s * to_structure_w / hall.structure_jk
    return hottest_c + state[h, N_BIAS], coil_w


@kernel
def _towards(begin: float, end: float, most: float) -> float:
    return begin + clamp(end - begin, -most, most)


@kernel
def look_at_halls(
    sat_c: F64, fan_speed: F64, inlet_c: F64, last: F64, demand_speed: F64, dt_s: float, state: F64, seen: F64, own: F64
) -> None:
    """Per hall what is measured, else what was published last, into `seen`, with what the hottest rack stood above the model
    lately; and the plant's own fans, which follow the air that the servers draw, into `own`."""
    for h in range(seen.shape[0]):
        k = U_HALL + 2 * h
        seen[h, N_OFF] = first_order(seen[h, N_OFF], clamp(state[h, N_OFF], -OFF_MAX_K, OFF_MAX_K), OFF_TAU_S, dt_s)
        seen[h, N_SAT] = sat_c[h] if np.isfinite(sat_c[h]) else last[k]
        seen[h, N_FAN] = fan_speed[h] if np.isfinite(fan_speed[h]) else last[k + 1]
        seen[h, N_INLET] = inlet_c[h]
        own[k + 1] = clamp(OWN_AIRFLOW * demand_speed[h], OWN_FAN_MIN, 1.0) if np.isfinite(demand_speed[h]) else 1.0


class Foresight:
    """Asks for one site; arrays are made once."""

    def __init__(self, halls: F64, p: PlantParams, limit_c: float, leased_s: float):
        self._halls, self._p, self._limit_c, self._leased_s = halls, p, limit_c, leased_s
        count = len(halls)
        self._seen, self._state = np.zeros((count, STATES)), np.zeros((count, STATES))
        self._seen[:, N_OFF] = self._state[:, N_OFF] = np.nan
        self.own = np.full(U_HALL + 2 * count, np.nan)
        self.own[[U_CHWST, U_CHW_DP]] = B1.CHWST_C, B1.DP_PA
        self.own[U_HALL::2] = B1.SAT_C
        self._blend = np.zeros(U_HALL + 2 * count)
        self.hottest_c = self._bar_c = self._read_s = np.nan
        self._now = Now(*[np.nan] * len(Now._fields))

    def look(self, u: F64, last: F64, est: Estimate, demand_speed: F64) -> bool:
        """Whether `u` comes too late for the plant's own rules, though these would manage now."""
        dt_s = min(max(est.now_s - self._read_s, 0.0), DT_MAX_S) if self._read_s == self._read_s else 0.0
        self._read_s = est.now_s
        look_at_halls(est.sat_c, est.fan_speed, est.inlet_max_c, last, demand_speed, dt_s, self._state, self._seen, self.own)
        self._now = self._read(last, est.plant)
        self.hottest_c = self._foresee(u, last, est.w, self._leased_s)
        if self.hottest_c <= self._limit_c:
            return False
        self._bar_c = max(self._limit_c, self._foresee(last, last, est.w, 0.0)) + TOLERANCE_K
        return not self.hottest_c <= self._bar_c

    def nearest(self, u: F64, colder: F64, last: F64, est: Estimate) -> F64:
        """The first on the way from `u`, which comes too late, to `colder` that does not; `colder` itself where none is."""
        low, high = 0.0, 1.0
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            passes = self._foresee(self._mixed(u, colder, middle), last, est.w, self._leased_s) <= self._bar_c
            low, high = (low, middle) if passes else (middle, high)
        return self._mixed(u, colder, high).copy()

    def _mixed(self, u: F64, colder: F64, share: float) -> F64:
        """Between the two; machines are either, and the colder one's as soon as anything is."""
        self._blend[:] = u + share * (colder - u)
        self._blend[[U_CHILLERS, U_ECONOMIZER]] = colder[[U_CHILLERS, U_ECONOMIZER]]
        return self._blend

    def _foresee(self, u: F64, last: F64, w: F64, leased_s: float) -> float:
        return float(foresee_c(u, last, self.own, leased_s, w, self._now, self._halls, self._p.row, self._seen, self._state))

    def _read(self, last: F64, plant: Mapping[str, float]) -> Now:
        """What is measured of the plant, else what was published last."""
        supply_c = _known(plant["chwst"], last[U_CHWST])
        return Now(
            supply_c, _known(plant["chwrt"], supply_c), _known(plant["cwst"], last[U_CWST]),
            _known(plant["chillers_on"], last[U_CHILLERS]), _known(plant["economizer_on"], last[U_ECONOMIZER]),
        )  # fmt: skip


def _known(value: float, otherwise: float) -> float:
    return float(value) if value == value else float(otherwise)
