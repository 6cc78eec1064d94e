"""The `[[points]]` rows of a site file as a point table: defaults filled in, `hall1.rack*` spread over the racks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.dialects import NAMES, dsx, wiring
from coolctl.edge_schema import PointTableRow
from coolctl.errors import Fault, nearest
from coolctl.points import HALL_SETPOINTS, PLANT_SETPOINTS, ROLES, Point, PointTable
from coolctl.site_schema import SiteFile
from coolctl.tariff import price_points
from coolctl.toml_lines import Lines, line_of
from coolctl.units import UNITS

TOPIC_MAX_BYTES = 65535
OWN_KINDS = (
    "sp",
    "shadow",
    "proposal",
    "decision",
    "ack",
    "gw_tick",
    "claim",
    "cmd",
    "status",
    "clock",
    "done",
    "bms",
    "bms_tick",
)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def topic_fault(topic: str, placeholders: Iterable[str]) -> str:
    """Why `topic` cannot be published to, or nothing."""
    known = tuple(placeholders)
    unknown = next((name for name in _PLACEHOLDER.findall(topic) if name not in known), None)
    if unknown is not None:
        return f"unknown placeholder {{{unknown}}}" + nearest(unknown, known)
    if not topic or len(topic.encode()) > TOPIC_MAX_BYTES or any(c in topic for c in "+#\0"):
        return f"{topic[:80]!r} is no topic: not empty, without + # and NUL"
    return ""


def rack_machines(hall: str, racks: int) -> list[str]:
    """Machine names of a hall's racks."""
    return [f"{hall}.rack{r + 1:02d}" for r in range(racks)]


def _machines(file: SiteFile, pattern: str) -> list[str]:
    """Machines that a row's `machine` names; empty when it names none."""
    if pattern == "plant":
        return ["plant"]
    for hall in file.halls:
        if pattern == hall.name:
            return [hall.name]
        racks = rack_machines(hall.name, hall.racks)
        if pattern == f"{hall.name}.rack*":
            return racks
        if pattern in racks:
            return [pattern]
    return []


def _row_faults(file: SiteFile, row: PointTableRow) -> list[tuple[str, str]]:
    """What is wrong with one row: key and message."""
    faults = []
    role = ROLES.get(row.role)
    if role is None:
        faults.append(("role", f"unknown role {row.role!r}" + nearest(row.role, ROLES)))
    if row.unit not in UNITS:
        faults.append(("unit", f"unknown unit {row.unit!r}" + nearest(row.unit, UNITS)))
    elif role is not None and UNITS[row.unit].suffix != role.suffix:
        allowed = ", ".join(name for name, unit in UNITS.items() if unit.suffix == role.suffix)
        faults.append(("unit", f"{row.unit!r} does not measure {row.role}; allowed: {allowed}"))
    dialect = row.dialect or file.telemetry.dialect
    if dialect not in NAMES:
        faults.append(("dialect", f"unknown dialect {dialect!r}" + nearest(dialect, NAMES)))
    machines = _machines(file, row.machine)
    if not machines:
        names = ["plant", *(h.name for h in file.halls), *(f"{h.name}.rack*" for h in file.halls)]
        faults.append(("machine", f"no machine {row.machine!r}" + nearest(row.machine, names)))
    elif role is not None:
        level = "plant" if row.machine == "plant" else "rack" if ".rack" in row.machine else "hall"
        if level != role.level:
            faults.append(("machine", f"{row.role} belongs to a {role.level}, not to a {level}"))
    if row.topic is not None and (message := topic_fault(row.topic, ("site", "point", "machine"))):
        faults.append(("topic", message))
    if row.field is not None and (message := _field_fault(row.field)):
        faults.append(("field", message))
    if row.id is not None and (not row.id or len(machines) > 1):
        faults.append(("id", "an id names one point: it is not empty, and `rack*` gives each rack its own"))
    if role is not None:
        low, high = _range(role, row)
        if not low < high:
            key = "low" if row.low is not None else "high"
            faults.append((key, f"the range is empty: nothing lies in {low:g} … {high:g} (in {role.suffix}, as the role allows)"))
    if not faults and role is not None and not role.writable:
        found = (wiring.row_fault(point, row.field is not None) for point in _points_of(file, row))
        faults += list(filter(None, found))[:1]
    return faults


def _field_fault(field: str) -> str:
    """Why `field` selects nothing, or nothing."""
    known = ("point", "machine")
    unknown = next((name for name in _PLACEHOLDER.findall(field) if name not in known), None)
    if unknown is not None:
        return f"unknown placeholder {{{unknown}}}" + nearest(unknown, known)
    return "" if field else "a field is not empty"


def _range(role: Any, row: PointTableRow) -> tuple[float, float]:
    """Accepted range in internal units; `low` and `high` of the file are in the row's own unit."""
    unit = UNITS.get(row.unit)
    low = role.low if row.low is None or unit is None else max(role.low, row.low * unit.scale + unit.offset)
    high = role.high if row.high is None or unit is None else min(role.high, row.high * unit.scale + unit.offset)
    return low, high


def _points_of(file: SiteFile, row: PointTableRow) -> list[Point]:
    role = ROLES[row.role]
    machines = _machines(file, row.machine)
    low, high = _range(role, row)
    points = []
    for machine in machines:
        default_id = row.role if machine == "plant" else f"{machine}.{row.role}"
        point_id = row.id if row.id and len(machines) == 1 else default_id
        default_topic = f"coolctl/v1/{file.site.name}/sp" if role.writable else file.telemetry.topic
        topic = _filled(row.topic or default_topic, point_id, machine).replace("{site}", file.site.name)
        dialect = row.dialect or file.telemetry.dialect
        field = _filled(row.field, point_id, machine) if row.field else point_id
        age_max_s = row.age_max_s or max(file.telemetry.age_max_s, dsx.AGE_MAX_S if dialect == "dsx" else 0.0)
        points.append(Point(point_id, row.role, machine, row.unit, topic, dialect, field, age_max_s, low, high))
    return points


def _filled(text: str, point_id: str, machine: str) -> str:
    return text.replace("{point}", point_id).replace("{machine}", machine)


def build_points(file: SiteFile, path: str, lines: Lines) -> tuple[list[Point], list[Fault]]:
    """All points of the file, and the faults of its rows. A faulty row gives no point."""
    placed: list[tuple[int, Point]] = []
    found: dict[tuple[int, str], str] = {}
    for i, row in enumerate(file.points):
        faults = _row_faults(file, row)
        found |= {(i, key): message for key, message in faults}
        if not faults:
            placed += [(i, point) for point in _points_of(file, row)]
    for i, key, message in _clashes(placed, file.site.name):
        found.setdefault((i, key), message)
    faults_at = [Fault(path, line_of(lines, ("points", i, key)), f"points.{i}.{key}", found[i, key]) for i, key in sorted(found)]
    taken = {row.role for row in file.points}
    topic = file.telemetry.topic.replace("{site}", file.site.name)
    return [point for _, point in placed] + price_points(file.tariff, topic, taken), faults_at


def _clashes(placed: list[tuple[int, Point]], site_name: str) -> Iterator[tuple[int, str, str]]:
    """Rows that would silently shadow an earlier one, or never be heard: row, key and message."""
    first: dict[tuple[str, ...], tuple[int, Point]] = {}
    own = {f"coolctl/v1/{site_name}/{kind}" for kind in OWN_KINDS}

    def claim(row: int, point: Point, *what: str) -> tuple[int, Point]:
        return first.setdefault(what, (row, point))

    for row, point in placed:
        holder, held = claim(row, point, "id", point.id)
        if held is not point:
            yield row, "id", f"{point.id!r} is already the point of row {holder}"
            continue
        if not may_be_several(point.role):
            holder, held = claim(row, point, "role", point.role, point.machine)
            if held is not point:
                yield row, "role", f"{point.role} of {point.machine} is already the point of row {holder}"
        if point.writable:
            continue  # leases of all setpoints share a topic, each under its id
        if point.topic in own:
            yield row, "topic", f"{point.topic!r} is a topic of coolctl's own messages"
        holder, held = claim(row, point, "topic", point.topic)
        if held.dialect != point.dialect:
            yield row, "dialect", f"{point.topic!r} speaks {held.dialect!r} since row {holder}"
        elif point.dialect in ("scalar", "dsx") and held is not point:
            message = f"a {point.dialect} carries one value, and {point.topic!r} is read by row {holder}"
            yield row, "topic", f"{message}: use {{point}} in the topic"
        holder, held = claim(row, point, "field", point.topic, point.field)
        if held is not point:
            yield row, "field", f"field {point.field!r} of {point.topic!r} is already read by row {holder}"


def may_be_several(role: str) -> bool:
    """Whether a machine may have several points of `role`: power meters add up, inlets and dew points count by the worst."""
    return ROLES[role].suffix == "w" or role in ("rack_inlet", "room_dewpoint")


def u_point_index(table: PointTable, halls: tuple[str, ...]) -> NDArray[np.int64]:
    """Index of the writable point behind each entry of the setpoint vector, -1 where the site has none."""
    index = [table.one(role) for role in PLANT_SETPOINTS]
    index += [table.one(role, hall) for hall in halls for role in HALL_SETPOINTS]
    return np.array(index, dtype=np.int64)
