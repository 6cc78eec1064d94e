"""The plant with its halls as one zone and few racks: cheap enough for the millions of ticks of a soak.

The same points, machines, faults, instruments and local control as `SimPlant`; equations of its own for air, loop and
towers: heat leaves the servers with one lag, aisles mix at once, the loop is two volumes, towers are an effectiveness
instead of a walk through the fill. Racks stand for groups of the fine plant's, the hottest one for itself. How far it
is from the fine plant stands in `tests/test_lumped.py`; judge energies with the fine one.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import ConfigError, Fault
from coolctl.jit import kernel
from coolctl.num import clamp
from coolctl.points import U_CELLS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL
from coolctl.psychro import LATENT_JKG, saturation_enthalpy_jkg
from coolctl.site import Site, parse_site
from sim_plant import physics, room
from sim_plant.equipment import chiller as ch
from sim_plant.equipment import tower as tw
from sim_plant.equipment.exchange import CP_AIR, CP_WATER, coil, effectiveness, plate_heat_w, pump_w
from sim_plant.load import Load
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
    PATTERN_SEED,
    PlantRecord,
    hall_pattern,
)  # fmt: skip
from sim_plant.physics import (
    P_CHILLER,
    P_CHILLER_HEAT,
    P_CHW_KGS,
    P_CHW_PUMP,
    P_CHW_WANTED,
    P_CW_KGS,
    P_CW_PUMP,
    P_FAN_TRAVEL,
    P_HX,
    P_REJECTED,
    P_TOWER,
    P_VALVE_TRAVEL,
    P_WATER,
    S_BASIN,
    S_CW,
    S_CWRT,
    S_DP,
    S_HX,
    S_LEAVING,
    S_RETURN1,
    S_RETURN2,
    S_SUPPLY1,
    S_SUPPLY2,
    S_TOWER,
    S_TOWER_I,
)  # fmt: skip
from sim_plant.plant import SimPlant
from sim_plant.room import (
    LOOP_GAIN,
    LOOP_STICTION,
    LOOP_STUCK,
    LOOP_WIND_UP,
    X_CHASSIS,
    X_COLD,
    X_FAN,
    X_HOT,
    X_HUMID,
    X_SAT,
    X_SINK,
    X_SRV_FAN,
    X_STRUCT,
    X_SUPPLIED,
    X_VALVE,
    X_VALVE_I,
    X_VALVE_WORST,
    Y_AISLE_DP,
    Y_COIL,
    Y_CRAH,
    Y_DEMAND,
    Y_INLET,
    Y_IT,
    Y_LATENT,
    Y_RAT,
    Y_SRV_FAN,
    Y_SRV_FAN_IDLE,
    Y_WATER_KGS,
    Y_WATER_OUT,
)  # fmt: skip
from sim_plant.weather import Weather

F64 = NDArray[np.float64]

RACKS, RACKS_MEANT = 6, 32
SUBSTEP_S, PIECE_S = 1.0, 5.0  # equations, and BMS, load and weather within a longer step
TYPICAL_RISE_K = 0.5  # of cold aisle over supply air, to tell which racks are alike


@kernel
def zone(x: F64, it_w: float, crah_kgs: float, row: F64, dt_s: float, y: F64) -> float:
    """Servers, aisles and structure of the hall over `dt_s` [s]; returns the air temperature back at the CRAHs [°C]."""
    it_w *= room.kept_ratio(x[X_COLD])
    hinge = max(x[X_COLD] - row[H_KNEE], 0.0)
    speed = 1.0 + row[H_FAN_SLOPE] * hinge
    x[X_SRV_FAN] = speed
    y[Y_SRV_FAN_IDLE] = it_w * row[H_FAN_SHARE]
    y[Y_SRV_FAN] = y[Y_SRV_FAN_IDLE] * speed * speed * speed
    work_w = it_w * (1.0 + row[H_LEAKAGE] * hinge)
    y[Y_IT] = work_w + y[Y_SRV_FAN]
    given = x[X_SINK] - x[X_COLD]  # [K] over the inlet: a conductance carries the heat, as in the fine plant
    conductance_wk = room.SINK_JK_PER_W * row[H_IT_NOM] / room.SINK_TAU_S
    x[X_SINK] += (work_w / conductance_wk - given) * (1.0 - math.exp(-dt_s / room.SINK_TAU_S))
    from_sink_w = conductance_wk * given
    drawn_kgs = max(from_sink_w, 0.1 * row[H_IT_NOM]) / (CP_AIR * row[H_DT]) * speed
    air_wk = drawn_kgs * CP_AIR
    middle_c = x[X_COLD] + 0.5 * from_sink_w / air_wk
    from_chassis_w = room.CHASSIS_JK_PER_W * row[H_IT_NOM] / room.CHASSIS_TAU_S * (x[X_CHASSIS] - middle_c)
    x[X_CHASSIS] -= dt_s * (x[X_CHASSIS] - middle_c) / room.CHASSIS_TAU_S
    supplied_kgs = (1.0 - row[H_LEAK]) * crah_kgs
    gap_kgs, width_kgs = (1.0 - row[H_RECIRC]) * drawn_kgs - supplied_kgs, 0.02 * drawn_kgs
    missing_kgs = 0.5 * (gap_kgs + math.sqrt(gap_kgs * gap_kgs + width_kgs * width_kgs))
    round_kgs = min(row[H_RECIRC] * drawn_kgs + missing_kgs, 0.95 * drawn_kgs)
    fresh_kgs = drawn_kgs - round_kgs
    to_structure_w = room.STRUCTURE_WK_PER_W * row[H_IT_NOM] * (x[X_HOT] - x[X_STRUCT])
    heat_w = from_sink_w + from_chassis_w + y[Y_SRV_FAN] + row[H_MISC] - to_structure_w
    x[X_STRUCT] += dt_s * to_structure_w / row[H_STRUCTURE]
    # The air of both aisles as one small mass: what a step warms it by is shared as the flows mix.
    cold_c = (fresh_kgs * x[X_SAT] + round_kgs * x[X_HOT]) / drawn_kgs
    renewed = 1.0 - math.exp(-dt_s * air_wk / (room.COLD_JK_PER_W * row[H_IT_NOM]))
    x[X_COLD] += (cold_c - x[X_COLD]) * renewed
    x[X_SUPPLIED] += (x[X_SAT] - x[X_SUPPLIED]) * renewed
    hot_c = x[X_COLD] + heat_w / air_wk
    x[X_HOT] += (hot_c - x[X_HOT]) * (1.0 - math.exp(-dt_s * air_wk / (room.HOT_JK_PER_W * row[H_IT_NOM])))
    y[Y_AISLE_DP], y[Y_DEMAND], y[Y_INLET] = 40.0 * (supplied_kgs / drawn_kgs - 1.0), drawn_kgs, x[X_COLD]
    spill_kgs = max(crah_kgs - fresh_kgs, 0.0)
    y[Y_RAT] = (fresh_kgs * x[X_HOT] + spill_kgs * x[X_SAT]) / max(fresh_kgs + spill_kgs, 1e-3)
    return y[Y_RAT]


@kernel
def air_handlers(
    x: F64, u: F64, water_c: float, open_ratio: float, outdoor_w: float, pressure_pa: float, health: F64, row: F64, dt_s: float,
    y: F64,
) -> float:  # fmt: skip
    """All CRAHs as one: fans, valve, coil and room humidity over `dt_s` [s]; returns the valve's travel [-]."""
    ok, loop = health[0], health[1:]
    x[X_FAN] += clamp(u[U_HALL + 1] - x[X_FAN], -room.FAN_DOWN_PER_S * dt_s, room.FAN_UP_PER_S * dt_s)
    thinner = pressure_pa / (287.055 * (x[X_SAT] + 273.15)) / 1.2
    air_kgs = max(row[H_AIR_NOM] * ok * x[X_FAN] * thinner, 0.01)
    y[Y_CRAH] = row[H_CRAHS] * ok * (row[H_FAN_W] * x[X_FAN] ** row[H_FAN_EXP] * thinner + row[H_FAN_FLOOR])
    error_k = x[X_SAT] - u[U_HALL]
    most = room.WOUND_UP if loop[LOOP_WIND_UP] > 0.5 else 1.0
    x[X_VALVE_I] = clamp(x[X_VALVE_I] + loop[LOOP_GAIN] * room.VALVE_INTEGRAL_PER_KS * error_k * dt_s, 0.0, most)
    target = clamp(x[X_VALVE_I] + loop[LOOP_GAIN] * room.VALVE_GAIN_PER_K * error_k, 0.0, 1.0)
    moved = clamp(target - x[X_VALVE], -room.VALVE_PER_S * dt_s, room.VALVE_PER_S * dt_s)
    if abs(target - x[X_VALVE]) < loop[LOOP_STICTION]:
        moved = 0.0
    if loop[LOOP_STUCK] == loop[LOOP_STUCK]:
        moved = loop[LOOP_STUCK] - x[X_VALVE]
    x[X_VALVE] += moved
    x[X_VALVE_WORST] = x[X_VALVE]
    water_nom_kgs = row[H_WATER_NOM] * ok
    y[Y_WATER_KGS] = water_nom_kgs * x[X_VALVE] * open_ratio
    hot_c = y[Y_RAT] + y[Y_CRAH] / (air_kgs * CP_AIR)
    sensible_w, latent_w, condensate_kgs = coil(
        hot_c, x[X_HUMID], air_kgs, water_c, y[Y_WATER_KGS], row[H_UA] * ok, row[H_AIR_NOM] * ok, water_nom_kgs, pressure_pa,
        row[H_BYPASS],
    )  # fmt: skip
    off_c = hot_c - sensible_w / (air_kgs * CP_AIR)
    x[X_SAT] += (off_c - x[X_SAT]) * (1.0 - math.exp(-dt_s / room.SAT_TAU_S))
    makeup_w = clamp(outdoor_w, room.MAKEUP_DRY, max(row[H_MAKEUP_HUMID], room.MAKEUP_DRY))
    makeup_kgs = room.MAKEUP_KGS_PER_W * row[H_MAKEUP] * row[H_IT_NOM]
    dried_kgs = makeup_kgs * (makeup_w - x[X_HUMID]) - condensate_kgs
    x[X_HUMID] = max(x[X_HUMID] + dt_s * dried_kgs / (room.ROOM_AIR_KG_PER_W * row[H_IT_NOM]), 1e-4)
    y[Y_COIL], y[Y_LATENT] = sensible_w + latent_w, condensate_kgs * LATENT_JKG
    warmer_k = (sensible_w + latent_w) / (max(y[Y_WATER_KGS], 1e-3) * CP_WATER)
    y[Y_WATER_OUT] = water_c + (warmer_k if y[Y_WATER_KGS] > 1e-3 else 0.0)
    return abs(moved)


@kernel
def loop_step(
    s: F64,
    machines: F64,
    u: F64,
    active: float,
    cw_each_kgs: float,
    pump_ok: float,
    y: F64,
    p: PlantRecord,
    dt_s: float,
    out: F64,
) -> float:
    """Pumps, two volumes of water, economizer in series and chillers; returns heat into the condenser water [W]."""
    running = 0.0
    for i in range(machines.shape[0]):
        running += 1.0 if machines[i, ch.C_MODE] == ch.RUNNING else 0.0
    s[S_DP] += (u[U_CHW_DP] * pump_ok * pump_ok - s[S_DP]) * (1.0 - math.exp(-dt_s / physics.DP_TAU_S))
    coil_kgs = out[P_CHW_WANTED] = y[Y_WATER_KGS]
    least_kgs = p.chiller.evaporator_min_ratio * running * p.chiller.evaporator_flow_nom_kgs * pump_ok
    flow_kgs = max(coil_kgs, least_kgs, 0.02)
    back_c = (coil_kgs * y[Y_WATER_OUT] + (flow_kgs - coil_kgs) * s[S_SUPPLY1]) / flow_kgs
    half_kg = 0.5 * p.loop_kg
    s[S_RETURN1] = s[S_RETURN2] = physics.mix(s[S_RETURN1], back_c, flow_kgs, half_kg, dt_s)
    q = flow_kgs / p.chw_flow_nom_kgs
    head_pa = s[S_DP] + p.chw_friction_pa * q * q + s[S_HX] * p.hx_dp_pa * (flow_kgs / p.hx_flow_nom_kgs) ** 2
    pumps = clamp(math.ceil(flow_kgs / p.chw_pump_nom_kgs - 0.03), 1.0, p.chw_pumps)
    out[P_CHW_PUMP] = pump_w(flow_kgs, head_pa, pumps, p.chw_pump_nom_kgs, p.chw_pump_eta, p.chw_pump_floor_w)
    out[P_CHW_KGS] = flow_kgs
    water_wk = flow_kgs * CP_WATER
    entering_c = s[S_RETURN1] + out[P_CHW_PUMP] / water_wk
    plate_w = s[S_HX] * plate_heat_w(entering_c, flow_kgs, s[S_BASIN], out[P_CW_KGS], p.hx_ua, p.hx_flow_nom_kgs)
    plate_w = out[P_HX] = clamp(plate_w, 0.0, max(water_wk * (entering_c - u[U_CHWST]), 0.0))
    ahead_c = entering_c - plate_w / water_wk
    into_c = s[S_BASIN] + (plate_w / (out[P_CW_KGS] * CP_WATER) if out[P_CW_KGS] > 0.1 else 0.0)
    carried_w, power_w = physics.chillers_step(machines, u, flow_kgs, ahead_c, into_c, cw_each_kgs, running, p, dt_s, out)
    out[P_CHILLER], out[P_CHILLER_HEAT] = power_w, carried_w
    leaving_c = ahead_c - carried_w / water_wk
    s[S_LEAVING] = physics.mix(s[S_LEAVING], leaving_c, flow_kgs, physics.EVAPORATOR_KG, dt_s)
    s[S_SUPPLY1] = s[S_SUPPLY2] = physics.mix(s[S_SUPPLY1], s[S_LEAVING], flow_kgs, half_kg + p.buffer_kg, dt_s)
    return plate_w + carried_w + power_w


@kernel
def tower_leaving_c(ewt_c: float, water_kgs: float, speed: float, wet_bulb_c: float, pressure_pa: float, t: tw.Tower) -> float:
    """Water leaving one cell [°C]: counter-flow effectiveness on saturated air of a mean specific heat (Braun, Klein and
    Mitchell, ASHRAE Transactions 95-2, 1989, equations 10 to 13)."""
    if ewt_c <= wet_bulb_c + 1e-3 or water_kgs <= 0.0:
        return ewt_c
    density = pressure_pa / (287.055 * (wet_bulb_c + 273.15))
    air_kgs = max(t.air_flow_nom_kgs * max(speed, t.speed_min) * density / tw.AIR_DENSITY_NOM_KGM3, 0.05)
    merkel = t.ntu_coefficient * (water_kgs / air_kgs) ** t.ntu_exponent
    rise_jkg = saturation_enthalpy_jkg(ewt_c, pressure_pa) - saturation_enthalpy_jkg(wet_bulb_c, pressure_pa)
    air_wk, water_wk = air_kgs * rise_jkg / (ewt_c - wet_bulb_c), water_kgs * CP_WATER
    # Merkel's number counts on the water side: as a conductance it is that much of the water's capacity rate, in the
    # terms of saturated air.
    conductance_wk = merkel * water_kgs * rise_jkg / (ewt_c - wet_bulb_c)
    share = effectiveness(conductance_wk, water_wk, air_wk) * min(water_wk, air_wk) / water_wk
    return ewt_c - share * (ewt_c - wet_bulb_c)


@kernel
def towers_step(
    s: F64, u: F64, weather: F64, active: float, tower_ok: float, rejected_w: float, p: PlantRecord, dt_s: float, out: F64
) -> None:
    """Condenser pumps, tower fans' loop and the basin."""
    cw_kgs = out[P_CW_KGS]
    cells = clamp(u[U_CELLS], 1.0, p.cells)
    units = physics.condenser_pumps(active, s[S_HX], p)
    q = cw_kgs / max(units * p.cw_pump_nom_kgs, 1e-6) if units > 0.0 else 0.0
    head_pa = p.cw_static_pa + p.cw_friction_pa * q * q + s[S_HX] * p.hx_dp_pa * (cw_kgs / p.hx_flow_nom_kgs) ** 2
    out[P_CW_PUMP] = pump_w(cw_kgs, head_pa, units, p.cw_pump_nom_kgs, p.cw_pump_eta, p.cw_pump_floor_w)
    error_k = s[S_BASIN] - u[U_CWST]
    s[S_TOWER_I] = clamp(s[S_TOWER_I] + physics.TOWER_INTEGRAL_PER_KS * error_k * dt_s, 0.0, 1.0)
    target = clamp(s[S_TOWER_I] + physics.TOWER_GAIN_PER_K * error_k, p.tower.speed_min, 1.0) * tower_ok
    s[S_TOWER] += clamp(target - s[S_TOWER], -physics.TOWER_PER_S * dt_s, physics.TOWER_PER_S * dt_s)
    out[P_REJECTED] = out[P_TOWER] = out[P_WATER] = 0.0
    if cw_kgs < 0.5:
        return
    s[S_CWRT] = s[S_BASIN] + rejected_w / (cw_kgs * CP_WATER)
    leaving_c = tower_leaving_c(s[S_CWRT], cw_kgs / cells, s[S_TOWER], weather[1], weather[2], p.tower)
    out[P_REJECTED] = cw_kgs * CP_WATER * (s[S_CWRT] - leaving_c)
    out[P_TOWER] = cells * tw.fan_power_w(s[S_TOWER], weather[0], weather[2], p.tower) * tower_ok
    out[P_WATER] = max(out[P_REJECTED], 0.0) / LATENT_JKG * p.tower.cycles / (p.tower.cycles - 1.0)
    s[S_BASIN] = physics.mix(s[S_BASIN], leaving_c, cw_kgs, p.basin_kg, dt_s)


@kernel
def lumped_steps(
    count: int, x: F64, s: F64, machines: F64, inlet_c: F64, gain: F64, offset_k: F64, it_w: float, u: F64, weather: F64,
    health: F64, chillers_ok: F64, plant_ok: F64, row: F64, p: PlantRecord, dt_s: float, y: F64, out: F64,
) -> None:  # fmt: skip
    """`count` steps of `dt_s` ≤ 2 s under the same setpoints, load and weather; arrays as in `physics.step`."""
    moved = 1.0 - math.exp(-dt_s / room.RACK_TAU_S)
    for _ in range(count):
        fan_before = x[X_FAN]
        density = weather[2] / (287.055 * (x[X_SAT] + 273.15))
        zone(x, it_w, max(row[H_AIR_NOM] * health[0] * x[X_FAN] * density / 1.2, 0.01), row, dt_s, y)
        open_ratio = math.sqrt(max(s[S_DP], 0.0) / p.chw_dp_nom_pa)
        out[P_VALVE_TRAVEL] += air_handlers(x, u, s[S_SUPPLY2], open_ratio, weather[3], weather[2], health, row, dt_s, y)
        out[P_FAN_TRAVEL] += abs(x[X_FAN] - fan_before)
        room.racks(inlet_c, x[X_SUPPLIED], x[X_COLD], x[X_HOT], gain, offset_k, moved)
        active = physics.sequence_step(machines, u, chillers_ok, p, dt_s, out)
        economizer = 1.0 if u[U_ECONOMIZER] > 0.5 and p.hx_present > 0.5 else 0.0
        s[S_HX] += clamp(economizer - s[S_HX], -physics.HX_PER_S * dt_s, physics.HX_PER_S * dt_s)
        s[S_CW] += clamp(u[U_CW_FLOW] - s[S_CW], -physics.CW_PER_S * dt_s, physics.CW_PER_S * dt_s)
        units = physics.condenser_pumps(active, s[S_HX], p)
        out[P_CW_KGS] = s[S_CW] * units * p.chiller.condenser_flow_nom_kgs * plant_ok[1]
        cw_each_kgs = out[P_CW_KGS] / max(units, 1.0)
        rejected_w = loop_step(s, machines, u, active, cw_each_kgs, plant_ok[0], y, p, dt_s, out)
        towers_step(s, u, weather, active, plant_ok[2], rejected_w, p, dt_s, out)


def lumped_site(site: Site, racks: int = RACKS) -> Site:
    """`site` with that many rack sensors in its hall, for controller and lumped plant alike."""
    text, count = re.subn(r"(?m)^racks = \d+", f"racks = {racks}", site.text)
    if count != 1:
        raise ConfigError([Fault(site.path, None, "racks", "the lumped plant knows only one hall")])
    return parse_site(text, site.path, lambda *_: (site.record_texts, []))


class LumpedPlant(SimPlant):
    """`SimPlant` on the equations above, for a `lumped_site`; its racks stand for `racks_meant`.

    Raises `ConfigError` for anything but one hall of CRAHs that are alike, with the economizer in series or none, on a
    loop without primary pumps.
    """

    _settle_s = PIECE_S

    def __init__(
        self, site: Site, weather: Weather | None = None, load: Load | None = None, *, racks_meant: int = RACKS_MEANT, **more: Any
    ):
        f = site.file
        beyond = (
            len(f.halls) != 1,
            f.economizer is not None and f.economizer.topology == "parallel",
            f.chw_loop.arrangement == "primary_secondary",
            any(h.crah_worst_ua_ratio < 1.0 for h in f.halls),
        )
        if any(beyond):
            raise ConfigError([Fault(site.path, None, "plant", "the lumped plant has no such machines")])
        self._racks_meant = racks_meant
        super().__init__(site, weather, load, **more)
        self._piece_s = PIECE_S

    def _pattern(self) -> list[tuple[F64, F64]]:
        hall = self.site.file.halls[0]
        return [grouped(*hall_pattern(hall, self._racks_meant, np.random.default_rng(PATTERN_SEED)), hall.racks)]

    def _integrate(self, count: int, it_w: F64, u: F64, dt_s: float) -> None:
        count = max(count, math.ceil(dt_s / SUBSTEP_S))
        lumped_steps(
            count, self._x[0], self._s, self._machines, self._inlet, self._gain, self._offset, float(it_w[0]), u,
            self._weather_now, self._health[0], self._chillers_ok, self._plant_ok, self._rows[0], self._p, dt_s / count,
            self._y[0], self._out,
        )  # fmt: skip


def grouped(gain: F64, offset_k: F64, groups: int) -> tuple[F64, F64]:
    """Racks that are alike as one each, the hottest one for itself: gain and offset of each group."""
    order = np.argsort(gain * TYPICAL_RISE_K + offset_k)
    parts = [*np.array_split(order[:-1], groups - 1), order[-1:]]
    return np.array([gain[p].mean() for p in parts]), np.array([offset_k[p].mean() for p in parts])
