"""Checks of a site file that need more than one key: limits against each other, accepts against points and rules."""

from __future__ import annotations

import itertools
import zoneinfo
from collections.abc import Iterator
from typing import NamedTuple

from coolctl.dialects import wiring
from coolctl.equipment_schema import RECORDS, Record
from coolctl.errors import Fault, nearest
from coolctl.points import HALL_SETPOINTS, PLANT_SETPOINTS, ROLES, Point
from coolctl.site_nominal import check_nominal
from coolctl.site_points import topic_fault
from coolctl.site_schema import RULE_ALIASES, GridFile, Rule, SiteFile
from coolctl.toml_lines import Lines, Path, line_of

SETPOINTS = (*PLANT_SETPOINTS, *HALL_SETPOINTS)
NEEDED_ROLES = ("it_power", "rack_inlet", "chwst", "chillers_on")
RACK_INLETS_MIN = 2  # one sensor alone can lie; the controller's quorum is never fewer
LADDER = ("rack_inlet_limit_c", "rack_inlet_recommended_c", "rack_inlet_alarm_c", "rack_inlet_allowable_c")
SUFFIX = {"sat_sp": "c", "fan_speed_sp": "ratio", "chwst_sp": "c", "chw_dp_sp": "pa", "cwst_sp": "c", "cw_flow_sp": "ratio"}
RULES_FOR = {
    "chwst_sp": ("fixed", "demand"),
    "chw_dp_sp": ("fixed", "demand"),
    "chillers_on_sp": ("fixed", "load_ratio", "demand"),
    "cwst_sp": ("fixed", "approach"),
    "tower_cells_on_sp": ("fixed", "per_chiller"),
    "cw_flow_sp": ("fixed", "per_chiller"),
    "economizer_on_sp": ("fixed", "integrated", "non_integrated"),
    "sat_sp": ("fixed", "demand"),
    "fan_speed_sp": ("fixed", "demand"),
}

Findings = Iterator[tuple[Path, str]]


class Draft(NamedTuple):
    """A site file that is well formed by itself, with the records and points that it leads to."""

    file: SiteFile
    records: dict[str, Record]
    points: list[Point]


def record_references(file: SiteFile) -> list[tuple[Path, str, str]]:
    """Every reference to an equipment record: path of its key, the name, and the kind it must be."""
    found: list[tuple[Path, str, str]] = [
        (("chillers", "record"), file.chillers.record, "chiller"),
        (("towers", "record"), file.towers.record, "tower"),
        (("chw_pumps", "record"), file.chw_pumps.record, "pump"),
        (("cw_pumps", "record"), file.cw_pumps.record, "pump"),
    ]
    if file.economizer:
        found.append((("economizer", "record"), file.economizer.record, "economizer"))
    for i, hall in enumerate(file.halls):
        found += [(("halls", i, "crah"), hall.crah, "crah"), (("halls", i, "servers"), hall.servers, "servers")]
    return found


def check_site(file: SiteFile, path: str, lines: Lines, records: dict[str, Record], points: list[Point]) -> list[Fault]:
    """Every cross-key fault of the file."""
    draft = Draft(file, records, points)
    found = [f for check in CHECKS for f in check(draft)]
    found += check_nominal(file, records)
    return [Fault(path, line_of(lines, key), ".".join(map(str, key)), message) for key, message in found]


def _limits(d: Draft) -> Findings:
    limits = d.file.limits
    for low, high in itertools.pairwise(LADDER):
        if getattr(limits, low) > getattr(limits, high):
            yield ("limits", low), f"{getattr(limits, low)} is above {high} = {getattr(limits, high)}"
    for table in ("limits", "gateway"):
        for name, suffix in SUFFIX.items():
            low, high = f"{name}_min_{suffix}", f"{name}_max_{suffix}"
            values = getattr(d.file, table)
            if hasattr(values, high) and not getattr(values, low) < getattr(values, high):
                yield (table, low), f"{getattr(values, low)} is not below {high} = {getattr(values, high)}"
    if limits.cwst_sp_min_c < d.file.towers.cwst_min_c:
        yield ("limits", "cwst_sp_min_c"), f"{limits.cwst_sp_min_c} is below towers.cwst_min_c = {d.file.towers.cwst_min_c}: ice"


def _enforced(d: Draft) -> Findings:
    """What the controller may ask must lie inside the enforcer's list and the points' ranges, or each lease is refused whole."""
    for name, suffix in SUFFIX.items():
        for side, outside in (("min", float.__lt__), ("max", float.__gt__)):
            key = f"{name}_{side}_{suffix}"
            asked = float(getattr(d.file.limits, key))
            allowed = getattr(d.file.gateway, key, None)
            if allowed is not None and outside(asked, float(allowed)):
                yield ("limits", key), f"{asked:g} lies outside the gateway's own {key} = {allowed:g}"
            for p in _destinations(d, name):
                bound = p.low if side == "min" else p.high
                if outside(asked, bound):
                    yield ("limits", key), f"{asked:g} lies outside the range of point {p.id!r}, which ends at {bound:g}"
    for name, count in (("chillers_on_sp", d.file.chillers.count), ("tower_cells_on_sp", d.file.towers.cells)):
        for p in _destinations(d, name):
            if p.high < count or p.low > 0:
                yield ("points",), f"the range of point {p.id!r} is {p.low:g} … {p.high:g}, but there are 0 … {count} to run"


def _destinations(d: Draft, setpoint: str) -> list[Point]:
    return [p for p in d.points if p.role == setpoint and setpoint in d.file.plant.accepts]


def _records(d: Draft) -> Findings:
    for key, name, kind in record_references(d.file):
        record = d.records.get(name)
        if record is not None and not isinstance(record, RECORDS[kind]):
            yield key, f"record {name!r} does not describe a {kind} but a {getattr(record, 'kind', '?')}"
    chillers = d.file.chillers
    if chillers.redundant >= chillers.count:
        yield ("chillers", "redundant"), f"{chillers.redundant} of {chillers.count} leaves none on duty"


def _accepts(d: Draft) -> Findings:
    accepts, key = d.file.plant.accepts, ("plant", "accepts")
    for i, name in enumerate(accepts):
        if name not in SETPOINTS:
            yield key, f"unknown setpoint {name!r}{nearest(name, SETPOINTS)}"
        elif name in accepts[:i]:
            yield key, f"{name!r} is named twice"
        elif name == "economizer_on_sp" and d.file.economizer is None:
            yield key, f"{name!r} is accepted, but there is no [economizer]"
        else:
            machines = ["plant"] if name in PLANT_SETPOINTS else [h.name for h in d.file.halls]
            have = {p.machine for p in d.points if p.role == name}
            for machine in machines:
                if machine not in have:
                    yield key, f"{name!r} has no row in [[points]] for {machine!r}"


def _rules(d: Draft) -> Findings:
    plant = d.file.plant
    for name in SETPOINTS:
        idle = name == "economizer_on_sp" and d.file.economizer is None
        if name not in plant.accepts and plant.rule_for(name) is None and not idle:
            yield ("plant", "rules"), f"{name!r} is not accepted, so say how the plant handles it: {', '.join(RULES_FOR[name])}"
    for given, rule in plant.rules.items():
        key, name = ("plant", "rules", given), RULE_ALIASES.get(given, given)
        name = name if name in SETPOINTS else f"{name}_sp"
        if name not in SETPOINTS:
            yield key, f"unknown setpoint {given!r}{nearest(given, [*SETPOINTS, *RULE_ALIASES])}"
        elif name in plant.accepts:
            yield key, f"{name!r} is accepted too: either coolctl sets it or the plant's own rule does"
        else:
            yield from ((key, message) for message in _rule_faults(name, rule))


def _rule_faults(name: str, rule: Rule) -> Iterator[str]:
    if rule.rule not in RULES_FOR[name]:
        yield f"{rule.rule!r} is no rule for {name!r}; allowed: {', '.join(RULES_FOR[name])}"
        return
    role = ROLES[name]
    if rule.rule == "fixed" and (rule.value is None or not role.low <= rule.value <= role.high):
        yield f"'fixed' needs value = {role.low:g} … {role.high:g}"
    if rule.rule == "approach" and (rule.value is None or not 0.0 < rule.value <= 20.0):
        yield "'approach' needs value = kelvin above wet bulb, more than 0, at most 20"
    if rule.rule == "load_ratio" and (rule.up is None or rule.down is None or not 0.0 < rule.down < rule.up <= 1.5):
        yield "'load_ratio' needs 0 < down < up <= 1.5"


def _measured(d: Draft) -> Findings:
    have = {p.role for p in d.points}
    for role in NEEDED_ROLES:
        if role not in have:
            yield ("points",), f"no point with role {role!r}: it cannot be controlled without"


def _halls(d: Draft) -> Findings:
    names = [h.name for h in d.file.halls]
    for i, name in enumerate(names):
        if name in names[:i] or name == "plant":
            yield ("halls", i, "name"), f"{name!r} is already taken"
        if not any(p.role == "it_power" and p.machine == name for p in d.points):
            yield ("points",), f"hall {name!r} has no 'it_power'"
        inlets = sum(p.role == "rack_inlet" and p.machine.startswith(name + ".") for p in d.points)
        if inlets < RACK_INLETS_MIN:
            yield ("points",), f"hall {name!r} has {inlets} 'rack_inlet': at least {RACK_INLETS_MIN} are needed"


def _wiring(d: Draft) -> Findings:
    f = d.file
    for key, topic in ((("telemetry", "topic"), f.telemetry.topic), (("gateway", "bms_topic"), f.gateway.bms_topic)):
        if message := topic_fault(topic, ("site",) if key[0] == "gateway" else ("site", "point", "machine")):
            yield key, message
    if f.metrics.port == f.web.port != 0 and f.metrics.host == f.web.host:
        yield ("web", "port"), f"{f.web.port} is the port of [metrics] already"
    if f.switchback.enabled and not f.switchback.start and not f.site.simulated:
        yield ("switchback", "start"), "say on which day the test begins: its schedule is fixed beforehand"
    known = zoneinfo.available_timezones()  # empty on a machine without a time zone database: then nothing can be said
    if known and f.site.timezone not in known:
        yield ("site", "timezone"), f"unknown time zone {f.site.timezone!r}{nearest(f.site.timezone, known)}"


def _dialects(d: Draft) -> Findings:
    yield from wiring.site_faults(d.file, d.points)


def grid_faults(tables: SiteFile | GridFile) -> Findings:
    """What is wrong with tariff and objective, of a site or of a grid file (whose missing tables are not judged)."""
    for i, band in enumerate(tables.tariff.bands if tables.tariff else []):
        if not band.from_h < band.to_h:
            yield ("tariff", "bands", i, "to_h"), f"{band.to_h:g} is not after from_h = {band.from_h:g}; split a band at midnight"
    o, tariff, carbon = tables.objective, tables.tariff, tables.carbon
    if o is None:
        return
    price, factor = (tariff.price_per_kwh if tariff else 1.0), (carbon.factor_kg_per_kwh if carbon else 1.0)
    if not o.energy_weight + o.price_weight * price + o.carbon_weight * factor > 0.0:
        yield (
            ("objective", "energy_weight"),
            "energy, its price and its carbon count for nothing: cooling would be without limit",
        )


def _plates(d: Draft) -> Findings:
    f = d.file
    if f.economizer and f.economizer.topology == "parallel" and f.cw_pumps.count <= f.chillers.count:
        yield ("cw_pumps", "count"), f"{f.cw_pumps.count} pumps for {f.chillers.count} chillers leave none for plates in parallel"


def _grid(d: Draft) -> Findings:
    yield from grid_faults(d.file)


CHECKS = (_limits, _enforced, _records, _accepts, _rules, _measured, _halls, _wiring, _dialects, _plates, _grid)
