"""Dimension checks at nominal: a figure in the wrong unit makes a ratio that no plant has, and is seen before it is used.

The bands are wide on purpose: they let every real plant pass and catch kW for W, m³/h for kg/s and °F for °C.
"""

from __future__ import annotations

from collections.abc import Iterator

from coolctl.equipment_schema import ChillerRecord, CrahRecord, PumpRecord, Record, ServerRecord, TowerRecord
from coolctl.errors import Fault
from coolctl.num import biquadratic
from coolctl.psychro import CP_AIR_JKGK, CP_WATER_JKGK
from coolctl.site_schema import SiteFile
from coolctl.toml_lines import Lines, Path, line_of

Finding = tuple[Path, str]
CURVE_AT_REFERENCE = (0.9, 1.1)  # a fit's own residual is below 5 %; a misplaced coefficient moves it far more
WATER_RANGE_K = (2.0, 20.0)
SUPPLY_OVER_LOAD_MIN = 0.5  # half-built halls are real; a plant of kilowatts for a hall of megawatts is not
HEAD_PA = (2e4, 2e6)
FLOW_RATIO = (0.2, 5.0)
FAN_RISE_PA = (50.0, 5000.0)
AIR_DENSITY_KGM3 = 1.2


def check_record(record: Record, path: str, lines: Lines) -> list[Fault]:
    """What is wrong with an equipment record taken by itself."""
    found = []
    if isinstance(record, ChillerRecord):
        found = [*_chiller(record)]
    elif isinstance(record, PumpRecord):
        found = [*_pump(record)]
    elif isinstance(record, TowerRecord | CrahRecord):
        # Power over volume flow is the pressure rise over the fan's efficiency.
        rise_pa = record.fan_power_nom_w * AIR_DENSITY_KGM3 / record.air_flow_nom_kgs
        found = [*_outside(("fan_power_nom_w",), "fan power over air flow [Pa]", rise_pa, FAN_RISE_PA)]
    return [Fault(path, line_of(lines, key), ".".join(map(str, key)), message) for key, message in found]


def _outside(key: Path, what: str, value: float, band: tuple[float, float]) -> Iterator[Finding]:
    if not band[0] <= value <= band[1]:
        yield key, f"{what} comes to {value:.3g}, outside {band[0]:g} … {band[1]:g}: check the units and figures"


def _chiller(r: ChillerRecord) -> Iterator[Finding]:
    for name, bounds, reference in (("chwst", r.chwst_fit_c, r.chwst_ref_c), ("cwst", r.cwst_fit_c, r.cwst_ref_c)):
        if not bounds[0] < bounds[1]:
            yield (f"{name}_fit_c",), f"{bounds[0]:g} is not below {bounds[1]:g}"
        elif not bounds[0] - 1.0 <= reference <= bounds[1] + 1.0:
            yield (f"{name}_ref_c",), f"{reference:g} lies outside {name}_fit_c = {bounds}"
    at = (r.chwst_ref_c, r.cwst_ref_c)
    curves = (("capacity_ft", _curve(r.capacity_ft, *at)), ("eir_ft", _curve(r.eir_ft, *at)), ("eir_fplr", sum(r.eir_fplr)))
    for key, value in curves:
        yield from _outside((key,), "the curve at its reference", value, CURVE_AT_REFERENCE)


def _curve(c: list[float], x: float, y: float) -> float:
    c0, c1, c2, c3, c4, c5 = c
    return float(biquadratic(c0, c1, c2, c3, c4, c5, x, y))


def _pump(r: PumpRecord) -> Iterator[Finding]:
    yield from _outside(("head_friction_pa",), "the head [Pa]", r.head_static_pa + r.head_friction_pa, HEAD_PA)


def check_nominal(file: SiteFile, records: dict[str, Record]) -> list[Finding]:
    """What cannot be true of the machines together. Records of the wrong kind are another check's business."""
    return [*_water(file, records), *_supply(file, records)]


def _water(file: SiteFile, records: dict[str, Record]) -> Iterator[Finding]:
    c = file.chillers
    range_k = c.capacity_nom_w / (c.evaporator_flow_nom_kgs * CP_WATER_JKGK)
    yield from _outside(("chillers", "evaporator_flow_nom_kgs"), "the evaporator's range [K]", range_k, WATER_RANGE_K)
    range_k = 1.2 * c.capacity_nom_w / (c.condenser_flow_nom_kgs * CP_WATER_JKGK)
    yield from _outside(("chillers", "condenser_flow_nom_kgs"), "the condenser's range [K]", range_k, WATER_RANGE_K)
    duty = max(c.count - c.redundant, 1)
    for table, pumps, needed_kgs in (
        ("chw_pumps", file.chw_pumps, duty * c.evaporator_flow_nom_kgs),
        ("cw_pumps", file.cw_pumps, duty * c.condenser_flow_nom_kgs),
    ):
        record = records.get(pumps.record)
        if isinstance(record, PumpRecord):
            ratio = pumps.count * record.flow_nom_kgs / needed_kgs
            yield from _outside((table, "record"), "all pumps' flow over the chillers' on duty", ratio, FLOW_RATIO)
    tower = records.get(file.towers.record)
    if isinstance(tower, TowerRecord):
        ratio = file.towers.cells * tower.water_flow_nom_kgs / (duty * c.condenser_flow_nom_kgs)
        yield from _outside(("towers", "record"), "all cells' water over the chillers' on duty", ratio, FLOW_RATIO)


def _supply(file: SiteFile, records: dict[str, Record]) -> Iterator[Finding]:
    load_w = sum(h.it_power_nom_w for h in file.halls)
    ratio = file.chillers.count * file.chillers.capacity_nom_w / load_w
    if ratio < SUPPLY_OVER_LOAD_MIN:
        yield ("chillers", "capacity_nom_w"), f"all chillers carry {100.0 * ratio:.3g} % of the halls' it_power_nom_w: watts?"
    for i, hall in enumerate(file.halls):
        crah, servers = records.get(hall.crah), records.get(hall.servers)
        if isinstance(crah, CrahRecord) and isinstance(servers, ServerRecord):
            needed_kgs = hall.it_power_nom_w / (CP_AIR_JKGK * servers.delta_t_nom_k)
            ratio = hall.crahs * crah.air_flow_nom_kgs / needed_kgs
            if ratio < SUPPLY_OVER_LOAD_MIN:
                yield ("halls", i, "crahs"), f"the CRAHs move {100.0 * ratio:.3g} % of the air that the servers draw"
