"""The site file's equipment as the simulated plant's own parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.site import Site
from coolctl.site_schema import HallTable
from sim_plant.equipment.chiller import Chiller
from sim_plant.equipment.tower import Tower

# Columns of a hall's row
(
    H_IT_NOM, H_CRAHS, H_AIR_NOM, H_FAN_W, H_FAN_EXP, H_FAN_FLOOR, H_UA, H_WATER_NOM, H_LEAK, H_RECIRC, H_MISC,
    H_FAN_SHARE, H_FAN_SLOPE, H_KNEE, H_DT, H_LEAKAGE, H_STRUCTURE, H_WORST_UA,
    H_BYPASS, H_MAKEUP, H_MAKEUP_HUMID,
) = range(21)  # fmt: skip
HALL_COLUMNS = 21


class PlantRecord(NamedTuple):
    """Everything but the halls; floats only."""

    chiller: Chiller
    tower: Tower
    duty: float
    cells: float
    chw_pumps: float
    chw_pump_nom_kgs: float
    chw_pump_eta: float
    chw_pump_floor_w: float
    chw_dp_nom_pa: float
    chw_friction_pa: float
    chw_flow_nom_kgs: float
    cw_pumps: float
    cw_pump_nom_kgs: float
    cw_pump_eta: float
    cw_pump_floor_w: float
    cw_static_pa: float
    cw_friction_pa: float
    hx_present: float
    hx_ua: float
    hx_flow_nom_kgs: float
    hx_dp_pa: float
    hx_parallel: float
    primary_secondary: float
    primary_head_pa: float
    loop_kg: float
    buffer_kg: float
    basin_kg: float


def plant_record(site: Site) -> PlantRecord:
    """The plant of `site`."""
    f, c, t = site.file, site.chiller, site.tower
    chiller = Chiller(  # type: ignore[call-arg]
        float(f.chillers.capacity_nom_w), float(c.cop_ref),
        *(float(v) for v in (*c.capacity_ft, *c.eir_ft, *c.eir_fplr)),
        *(float(v) for v in (*c.chwst_fit_c, *c.cwst_fit_c)),
        float(c.plr_min_ratio), float(c.lift_min_k), float(c.lift_exponent), float(c.start_s), float(c.restart_s),
        float(c.load_ramp_ratio_per_min) / 60.0, float(f.chillers.condenser_flow_nom_kgs),
        float(f.chillers.evaporator_flow_nom_kgs), float(f.chillers.evaporator_flow_min_ratio),
    )  # fmt: skip
    tower = Tower(
        float(t.air_flow_nom_kgs), float(t.fan_power_nom_w), float(t.ntu_coefficient), float(t.ntu_exponent),
        float(t.speed_min_ratio), float(f.towers.concentration_cycles),
    )  # fmt: skip
    e = site.economizer
    water = sum(h.crahs * r.coil_water_flow_nom_kgs for h, r in zip(f.halls, site.crahs, strict=True))
    chw, cw = site.chw_pump, site.cw_pump
    return PlantRecord(
        chiller, tower, float(max(f.chillers.count - f.chillers.redundant, 1)), float(f.towers.cells),
        float(f.chw_pumps.count), float(chw.flow_nom_kgs), float(chw.efficiency_ratio), float(chw.power_floor_w),
        float(chw.head_static_pa), float(chw.head_friction_pa), float(water),
        float(f.cw_pumps.count), float(cw.flow_nom_kgs), float(cw.efficiency_ratio), float(cw.power_floor_w),
        float(cw.head_static_pa), float(cw.head_friction_pa),
        1.0 if e else 0.0, float(e.ua_nom_wk) if e else 0.0, float(e.flow_nom_kgs) if e else 1.0,
        float(e.pressure_drop_nom_pa) if e else 0.0,
        1.0 if f.economizer and f.economizer.topology == "parallel" else 0.0,
        1.0 if f.chw_loop.arrangement == "primary_secondary" else 0.0, float(f.chw_loop.primary_head_pa),
        f.chw_loop.volume_m3 * 998.0, f.chw_loop.buffer_m3 * 998.0, f.cw_loop.volume_m3 * 998.0,
    )  # fmt: skip


def hall_rows(site: Site) -> NDArray[np.float64]:
    """One row per hall, columns `H_*`; CRAH figures are the hall's total."""
    rows = np.empty((len(site.halls), HALL_COLUMNS))
    for h, (hall, crah, srv) in enumerate(zip(site.file.halls, site.crahs, site.servers, strict=True)):
        rows[h] = (
            hall.it_power_nom_w, hall.crahs, hall.crahs * crah.air_flow_nom_kgs, crah.fan_power_nom_w,
            crah.fan_exponent, crah.fan_power_floor_w, (hall.crahs - 1 + hall.crah_worst_ua_ratio) * crah.coil_ua_nom_wk,
            hall.crahs * crah.coil_water_flow_nom_kgs, hall.leak_ratio, hall.recirculation_ratio, hall.misc_heat_w,
            srv.fan_power_ratio, srv.fan_slope_per_k, srv.fan_knee_c, srv.delta_t_nom_k, srv.leakage_per_k,
            hall.structure_jk, hall.crah_worst_ua_ratio, hall.coil_bypass_ratio, hall.makeup_air_m3h_per_mw,
            hall.makeup_humidity_max_kgkg,
        )  # fmt: skip
    return rows


PATTERN_SEED = 20240407


def hall_pattern(hall: HallTable, racks: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How strongly each of a hall's racks feels recirculation (mean 1, worst = the hall's hot-spot gain), its offset [K]."""
    gain = rng.beta(1.2, 4.0, racks)
    gain = gain / gain.max() * hall.hot_spot_gain if racks > 1 else np.array([1.0])
    offset = rng.uniform(0.0, 1.0, racks)
    return gain, offset / offset.max() * hall.hot_spot_offset_k


def rack_pattern(site: Site, seed: int = PATTERN_SEED) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """`hall_pattern` of every hall. A property of the building, not of the run: its seed is fixed."""
    rng = np.random.default_rng(seed)
    return [hall_pattern(hall, hall.racks, rng) for hall in site.file.halls]
