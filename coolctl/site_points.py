"""The `[[points]]` rows of a site file as a point table: defaults filled in, `hall1.rack*` spread over the racks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import Fault, nearest
from coolctl.points import HALL_SETPOINTS, PLANT_SETPOINTS, ROLES, Point, PointTable
from coolctl.site_schema import PointTableRow, SiteFile
from coolctl.toml_lines import line_of
from coolctl.units import UNITS

DIALECTS = ("json", "scalar")


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
    if dialect not in DIALECTS:
        faults.append(("dialect", f"unknown dialect {dialect!r}" + nearest(dialect, DIALECTS)))
    machines = _machines(file, row.machine)
    if not machines:
        names = ["plant", *(h.name for h in file.halls), *(f"{h.name}.rack*" for h in file.halls)]
        faults.append(("machine", f"no machine {row.machine!r}" + nearest(row.machine, names)))
    elif role is not None:
        level = "plant" if row.machine == "plant" else "rack" if ".rack" in row.machine else "hall"
        if level != role.level:
            faults.append(("machine", f"{row.role} belongs to a {role.level}, not to a {level}"))
    if role is not None:
        low, high = _range(role, row)
        if not low < high:
            faults.append(("low", f"range {low} … {high} is empty"))
    return faults


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
        topic = (row.topic or default_topic).replace("{site}", file.site.name).replace("{point}", point_id)
        dialect = row.dialect or file.telemetry.dialect
        field = row.field or point_id
        age_max_s = row.age_max_s or file.telemetry.age_max_s
        points.append(Point(point_id, row.role, machine, row.unit, topic, dialect, field, age_max_s, low, high))
    return points


def build_points(file: SiteFile, path: str, lines: Any) -> tuple[list[Point], list[Fault]]:
    """All points of the file, and the faults of its rows. A faulty row gives no point."""
    points: list[Point] = []
    faults: list[Fault] = []
    seen: dict[str, int] = {}
    for i, row in enumerate(file.points):
        here: list[Fault] = []
        for key, message in _row_faults(file, row):
            where = ("points", i, key)
            here.append(Fault(path, line_of(lines, where), f"points.{i}.{key}", message))
        if not here:
            for point in _points_of(file, row):
                if point.id in seen:
                    message = f"{point.id!r} is already the point of row {seen[point.id]}"
                    here.append(Fault(path, line_of(lines, ("points", i)), f"points.{i}.id", message))
                    continue
                seen[point.id] = i
                points.append(point)
        faults += here
    return points, faults


def u_point_index(table: PointTable, halls: tuple[str, ...]) -> NDArray[np.int64]:
    """Index of the writable point behind each entry of the setpoint vector, -1 where the site has none."""
    index = [table.one(role) for role in PLANT_SETPOINTS]
    index += [table.one(role, hall) for hall in halls for role in HALL_SETPOINTS]
    return np.array(index, dtype=np.int64)
