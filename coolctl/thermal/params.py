"""The site file's equipment as kernel parameters: every field a float, built once when the site is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coolctl.thermal.chiller import ChillerParams
from coolctl.thermal.economizer import EconomizerParams
from coolctl.thermal.plant import PlantParams
from coolctl.thermal.pump_fan import PumpParams
from coolctl.thermal.room import DEWPOINT_DRY_C, HALL_COLUMNS, HallParams
from coolctl.thermal.tower import TowerParams

if TYPE_CHECKING:
    from coolctl.equipment_schema import PumpRecord
    from coolctl.site import Site


def _pump(record: PumpRecord) -> PumpParams:
    return PumpParams(
        float(record.flow_nom_kgs),
        float(record.head_static_pa),
        float(record.head_friction_pa),
        float(record.efficiency_ratio),
        float(record.power_floor_w),
    )


def _chiller(site: Site) -> ChillerParams:
    c = site.chiller
    curves = [*c.capacity_ft, *c.eir_ft, *c.eir_fplr]
    # The record's machine is scaled to the site's size: same curves, same COP.
    return ChillerParams(  # type: ignore[call-arg]
        float(site.file.chillers.capacity_nom_w),
        float(c.cop_ref),
        *(float(x) for x in curves),
        float(c.chwst_fit_c[0]),
        float(c.chwst_fit_c[1]),
        float(c.cwst_fit_c[0]),
        float(c.cwst_fit_c[1]),
        float(c.plr_min_ratio),
        float(c.lift_min_k),
        float(c.lift_exponent),
        1.0,
        float(site.file.chillers.condenser_flow_nom_kgs),
    )


def _tower(site: Site) -> TowerParams:
    t, cycles = site.tower, float(site.file.towers.concentration_cycles)
    return TowerParams(
        float(t.air_flow_nom_kgs),
        float(t.fan_power_nom_w),
        float(t.water_flow_nom_kgs),
        float(t.ntu_coefficient),
        float(t.ntu_exponent),
        float(t.speed_min_ratio),
        1.0,
        cycles / (cycles - 1.0),
    )


def _economizer(site: Site) -> EconomizerParams:
    e = site.economizer
    if e is None:
        return EconomizerParams(0.0, 1.0, 1.0, 0.0, 0.0)
    parallel = 1.0 if site.file.economizer and site.file.economizer.topology == "parallel" else 0.0
    return EconomizerParams(1.0, float(e.ua_nom_wk), float(e.flow_nom_kgs), float(e.pressure_drop_nom_pa), parallel)


def plant_params(site: Site) -> PlantParams:
    """The plant of `site` as the controller's model sees it, before any calibration."""
    f = site.file
    coil_kgs = sum(h.crahs * c.coil_water_flow_nom_kgs for h, c in zip(f.halls, site.crahs, strict=True))
    return PlantParams(
        _chiller(site),
        float(f.chillers.count),
        float(f.chillers.redundant),
        float(f.chillers.evaporator_flow_nom_kgs),
        float(f.chillers.evaporator_flow_min_ratio),
        _tower(site),
        float(f.towers.cells),
        _pump(site.chw_pump),
        float(f.chw_pumps.count),
        float(coil_kgs),
        _pump(site.cw_pump),
        float(f.cw_pumps.count),
        _economizer(site),
        float(f.chw_loop.volume_m3),
        float(f.chw_loop.buffer_m3),
        1.0 if f.chw_loop.arrangement == "primary_secondary" else 0.0,
        float(f.chw_loop.primary_head_pa),
    )


def hall_array(site: Site) -> NDArray[np.float64]:
    """One row of `HallParams` per hall."""
    rows = np.empty((len(site.halls), HALL_COLUMNS))
    for h, (hall, crah, servers) in enumerate(zip(site.file.halls, site.crahs, site.servers, strict=True)):
        rows[h] = HallParams(
            it_power_nom_w=hall.it_power_nom_w,
            crahs=hall.crahs,
            air_flow_nom_kgs=hall.crahs * crah.air_flow_nom_kgs,
            fan_power_nom_w=crah.fan_power_nom_w,
            fan_exponent=crah.fan_exponent,
            fan_power_floor_w=crah.fan_power_floor_w,
            fan_speed_min_ratio=crah.speed_min_ratio,
            coil_ua_nom_wk=(hall.crahs - 1 + hall.crah_worst_ua_ratio) * crah.coil_ua_nom_wk,
            coil_water_flow_nom_kgs=hall.crahs * crah.coil_water_flow_nom_kgs,
            leak_ratio=hall.leak_ratio,
            recirculation_ratio=hall.recirculation_ratio,
            hot_spot_gain=hall.hot_spot_gain,
            hot_spot_offset_k=hall.hot_spot_offset_k,
            misc_heat_w=hall.misc_heat_w,
            server_fan_ratio=servers.fan_power_ratio,
            server_fan_slope_per_k=servers.fan_slope_per_k,
            server_fan_knee_c=servers.fan_knee_c,
            server_delta_t_nom_k=servers.delta_t_nom_k,
            server_leakage_per_k=servers.leakage_per_k,
            structure_jk=hall.structure_jk,
            crah_worst_ua_ratio=hall.crah_worst_ua_ratio,
            coil_bypass_ratio=hall.coil_bypass_ratio,
            dewpoint_c=DEWPOINT_DRY_C,
        )
    return rows
