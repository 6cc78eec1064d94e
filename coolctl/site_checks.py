"""Checks of a site file that need more than one key: limits against each other, accepts against points and rules."""

from __future__ import annotations

import itertools
from typing import Any

from coolctl.errors import Fault, nearest
from coolctl.points import HALL_SETPOINTS, PLANT_SETPOINTS, Point
from coolctl.site_schema import RECORDS, Record, SiteFile
from coolctl.toml_lines import line_of

SETPOINTS = (*PLANT_SETPOINTS, *HALL_SETPOINTS)
NEEDED_ROLES = ("it_power", "rack_inlet", "chwst", "chillers_on")
LADDER = ("rack_inlet_limit_c", "rack_inlet_recommended_c", "rack_inlet_alarm_c", "rack_inlet_allowable_c")
LIMIT_PAIRS = ("sat_sp", "fan_speed_sp", "chwst_sp", "chw_dp_sp", "cwst_sp", "cw_flow_sp")
SUFFIX = {"sat_sp": "c", "fan_speed_sp": "ratio", "chwst_sp": "c", "chw_dp_sp": "pa", "cwst_sp": "c", "cw_flow_sp": "ratio"}

Found = list[tuple[tuple[str | int, ...], str]]


def check_site(file: SiteFile, path: str, lines: Any, records: dict[str, Record], points: list[Point]) -> list[Fault]:
    """Every cross-key fault of the file."""
    found: Found = []
    for check in (_limits, _gateway, _records, _accepts, _measured, _halls):
        check(file, records, points, found)
    return [Fault(path, line_of(lines, key), ".".join(map(str, key)), message) for key, message in found]


def _limits(file: SiteFile, records: dict[str, Record], points: list[Point], found: Found) -> None:
    limits = file.limits
    for low, high in itertools.pairwise(LADDER):
        if getattr(limits, low) > getattr(limits, high):
            found.append((("limits", low), f"{getattr(limits, low)} is above {high} = {getattr(limits, high)}"))
    for name in LIMIT_PAIRS:
        low, high = f"{name}_min_{SUFFIX[name]}", f"{name}_max_{SUFFIX[name]}"
        if not getattr(limits, low) < getattr(limits, high):
            found.append((("limits", low), f"{getattr(limits, low)} is not below {high} = {getattr(limits, high)}"))


def _gateway(file: SiteFile, records: dict[str, Record], points: list[Point], found: Found) -> None:
    """The controller's limits must lie inside the enforcer's own list, or each lease would be refused."""
    for name in LIMIT_PAIRS:
        for side, outside in (("min", float.__lt__), ("max", float.__gt__)):
            key = f"{name}_{side}_{SUFFIX[name]}"
            allowed = getattr(file.gateway, key, None)
            if allowed is not None and outside(float(getattr(file.limits, key)), float(allowed)):
                message = f"{getattr(file.limits, key)} lies outside the gateway's own {key} = {allowed}"
                found.append((("limits", key), message))


def _records(file: SiteFile, records: dict[str, Record], points: list[Point], found: Found) -> None:
    wanted: list[tuple[tuple[str | int, ...], str, str]] = [
        (("chillers", "record"), file.chillers.record, "chiller"),
        (("towers", "record"), file.towers.record, "tower"),
        (("chw_pumps", "record"), file.chw_pumps.record, "pump"),
        (("cw_pumps", "record"), file.cw_pumps.record, "pump"),
    ]
    if file.economizer:
        wanted.append((("economizer", "record"), file.economizer.record, "economizer"))
    for i, hall in enumerate(file.halls):
        wanted += [(("halls", i, "crah"), hall.crah, "crah"), (("halls", i, "servers"), hall.servers, "servers")]
    for key, name, kind in wanted:
        record = records.get(name)
        if record is not None and not isinstance(record, RECORDS[kind]):
            found.append((key, f"record {name!r} does not describe a {kind}"))
    if file.chillers.redundant >= file.chillers.count:
        found.append((("chillers", "redundant"), f"{file.chillers.redundant} of {file.chillers.count} leaves none on duty"))


def _accepts(file: SiteFile, records: dict[str, Record], points: list[Point], found: Found) -> None:
    have = {p.role for p in points if p.writable}
    for name in file.plant.accepts:
        if name not in SETPOINTS:
            hint = nearest(name, SETPOINTS)
            found.append((("plant", "accepts"), f"unknown setpoint {name!r}{hint}"))
        elif name not in have:
            found.append((("plant", "accepts"), f"{name!r} has no row in [[points]]"))
    for name in SETPOINTS:
        rule_name = name.removesuffix("_sp")
        idle = name == "economizer_on_sp" and file.economizer is None
        if name not in file.plant.accepts and name not in file.plant.rules and rule_name not in file.plant.rules and not idle:
            found.append((("plant", "rules"), f"{name!r} is not accepted, so say how the plant handles it"))
    for name in file.plant.rules:
        if name not in SETPOINTS and f"{name}_sp" not in SETPOINTS:
            hint = nearest(name, SETPOINTS)
            found.append((("plant", "rules", name), f"unknown setpoint {name!r}{hint}"))


def _measured(file: SiteFile, records: dict[str, Record], points: list[Point], found: Found) -> None:
    have = {p.role for p in points}
    for role in NEEDED_ROLES:
        if role not in have:
            found.append((("points",), f"no point with role {role!r}: it cannot be controlled without"))


def _halls(file: SiteFile, records: dict[str, Record], points: list[Point], found: Found) -> None:
    names = [h.name for h in file.halls]
    for i, name in enumerate(names):
        if name in names[:i] or name == "plant":
            found.append((("halls", i, "name"), f"{name!r} is already taken"))
        for role in ("it_power", "rack_inlet"):
            if not any(p.role == role and (p.machine == name or p.machine.startswith(name + ".")) for p in points):
                found.append((("points",), f"hall {name!r} has no {role!r}"))
