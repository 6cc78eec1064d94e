"""The map file: how a log is written, and which of its columns is which point of the site. Checked like a site file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from coolctl.errors import ConfigError, Fault, nearest
from coolctl.points import ROLES
from coolctl.schema_base import Positive, Table
from coolctl.site import Site, read_text
from coolctl.toml_lines import Lines, line_of
from coolctl.toml_model import parse_model
from coolctl.trends.unit_words import unit_of
from coolctl.trends.zone import ZoneFault, zone_of
from coolctl.units import UNITS

StepS = Annotated[float, Field(ge=1.0, le=60.0)]
COMBINE = ("mean", "sum", "min", "max")


class LogTable(Table):
    """How the file is written."""

    layout: Literal["wide", "long", "per_point"] = "wide"
    separator: Literal[",", ";", "\t", "|"] = ","
    decimal: Literal[".", ","] = "."
    header_line: Annotated[int, Field(ge=0, le=1000)] = 1
    """Counted from 1; 0: there is none, and columns are `#1`, `#2` …"""
    units_line: Annotated[int, Field(ge=0, le=1000)] = 0
    data_line: Annotated[int, Field(ge=0, le=1000)] = 0
    """First line of data; 0: behind header and units."""


class TimeTable(Table):
    column: str = "#1"
    clock_column: str = ""
    """Where date and time of day stand in two columns: the second."""
    format: Literal["iso", "ymd", "dmy", "mdy", "unix_s", "unix_ms", "excel"] = "iso"
    tz: str = "UTC"
    """Zone of stamps that carry no offset: a name of the tz database, or a fixed offset such as `+02:00`."""
    day_month_exchanged: bool = False
    """A spreadsheet has exchanged day and month wherever the day is up to 12."""


class LongTable(Table):
    """Columns of a long log."""

    point: str = "point"
    value: str = "value"
    status: str = ""
    good: list[str] = []
    """Statuses that let a value count, beside the usual ones (ok, good, 192 …)."""


class GridTable(Table):
    step_s: StepS = 60.0
    """Seconds between ticks of the recording."""
    max_hold_s: Positive = 900.0
    """How long a value stands for what follows it; then it is not known."""


class PointTableRow(Table):
    column: str = ""
    columns: list[str] = []
    """Several columns that together are one point; see `combine`."""
    combine: Literal["mean", "sum", "min", "max"] = "mean"
    point: str = ""
    """The site's point. Empty: the column is looked at by the checks, and not recorded."""
    role: str = ""
    """What the column is, for the checks, where it is not a point of the site."""
    unit: str = ""
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """Multiplies what is read, before the unit is applied: -1 for a wrong sign, 60 for a flow 60 times too small."""
    missing: list[float] = []
    """Values that this log writes for no answer, such as -40 or 0."""
    on_above: float | None = None
    """1 above this, else 0: a state from a power or a speed. In the log's own unit."""
    states: dict[str, float] = {}
    """What words mean in this column."""
    max_hold_s: Positive | None = None

    def sources(self) -> list[str]:
        """The columns that this row reads."""
        return [self.column] if self.column else self.columns


class CleanTable(Table):
    zero_rows: Literal["keep", "missing"] = "keep"
    """What a row means in which nearly every column is exactly 0: `missing`, the logger wrote zeros for no answer."""


class MapFile(Table):
    """A map file."""

    format_version: Literal[1] = 1
    log: LogTable = LogTable()
    time: TimeTable = TimeTable()
    long: LongTable = LongTable()
    grid: GridTable = GridTable()
    clean: CleanTable = CleanTable()
    states: dict[str, float] = {}
    """What words mean in every column, beside the usual on, off, true, false …"""
    points: list[PointTableRow] = []


def load_map(path: str, site: Site | None = None) -> MapFile:
    """Read and check a map file against `site`. Raises `ConfigError` carrying every fault found."""
    return parse_map(read_text(Path(path)), path, site)


def parse_map(text: str, path: str, site: Site | None = None) -> MapFile:
    """As `load_map`, from text."""
    file, lines, faults = parse_model(text, path, MapFile)
    if file is None or faults:
        raise ConfigError(faults)
    faults = _faults(file, path, lines, site)
    if faults:
        raise ConfigError(faults)
    return file


def _faults(file: MapFile, path: str, lines: Lines, site: Site | None) -> list[Fault]:
    found: list[tuple[tuple[str | int, ...], str]] = []
    try:
        zone_of(file.time.tz)
    except ZoneFault as error:
        found.append((("time", "tz"), str(error)))
    if not file.points:
        found.append((("points",), "no column is mapped to a point; `coolctl import FILE --probe` writes a map"))
    if site is not None and not any(row.point for row in file.points):
        found.append((("points",), "no row names a point of the site, so nothing would be recorded"))
    taken: dict[str, int] = {}
    for k, row in enumerate(file.points):
        found += [(("points", k, key), message) for key, message in _row_faults(row, site)]
        if row.point and taken.setdefault(row.point, k) != k:
            found.append(
                (("points", k, "point"), f"{row.point!r} is already row {taken[row.point]}: give both columns in one row")
            )
    return [Fault(path, line_of(lines, key), ".".join(map(str, key)), text) for key, text in found]


def _row_faults(row: PointTableRow, site: Site | None) -> list[tuple[str, str]]:
    found = []
    if bool(row.column) == bool(row.columns):
        found.append(("column", "name one `column`, or several `columns`"))
    if row.role and row.role not in ROLES:
        found.append(("role", f"unknown role {row.role!r}" + nearest(row.role, ROLES)))
    unit = unit_named(row.unit)
    if row.unit and not unit:
        found.append(("unit", f"unknown unit {row.unit!r}" + nearest(row.unit, UNITS)))
    role = ROLES.get(row.role)
    if row.point and site is not None:
        if row.point not in site.table.index:
            found.append(("point", f"no point {row.point!r} in site {site.name}" + nearest(row.point, site.table.index)))
        else:
            role = ROLES[site.table.points[site.table.index[row.point]].role]
    if role is not None and unit and row.on_above is None and UNITS[unit].suffix != role.suffix:
        allowed = ", ".join(name for name, u in UNITS.items() if u.suffix == role.suffix)
        found.append(("unit", f"{row.unit!r} does not measure {role.name}; allowed: {allowed}"))
    if row.point and not row.unit and row.on_above is None:
        found.append(("unit", "missing: the unit of the log's figures"))
    return found


def unit_named(text: str) -> str:
    """A unit by coolctl's name or as logs spell it; nothing where unknown."""
    return text if text in UNITS else unit_of(text)


def quoted(text: str) -> str:
    """A TOML string that any reader takes for `text`."""
    escaped = "".join(
        f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c for c in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    result = f'"{escaped}"'
    assert tomllib.loads(f"x = {result}")["x"] == text
    return result
