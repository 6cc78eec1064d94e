"""The site file: read, checked as a whole, and turned into what the rest of the house works with.

All faults are collected before any is raised, each with file, line, key, what was found and what is allowed. The
checks that need more than one key are in `site_checks.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from coolctl.equipment_schema import (
    RECORDS,
    ChillerRecord,
    CrahRecord,
    EconomizerRecord,
    PumpRecord,
    Record,
    ServerRecord,
    TowerRecord,
)
from coolctl.errors import ConfigError, Fault, nearest
from coolctl.paths import shared_folder
from coolctl.points import PointTable, u_names
from coolctl.psychro import pressure_at_altitude_pa
from coolctl.schema_base import Table
from coolctl.site_checks import check_site, grid_faults, record_references
from coolctl.site_nominal import check_record
from coolctl.site_points import build_points, u_point_index
from coolctl.site_schema import GridFile, SiteFile
from coolctl.tariff import PRICE_ROLES, price_points
from coolctl.toml_lines import Lines, key_lines, line_of
from coolctl.toml_model import parse_model, parse_toml

FILE_MAX_BYTES = 4 << 20
R = TypeVar("R", bound=Record)
RecordReader = Callable[[SiteFile, str, Lines], tuple[dict[str, str], list[Fault]]]


@dataclass(frozen=True)
class Site:
    """A loaded site. `u_*` describe the setpoint vector (see points.py); records are in site-file order."""

    name: str
    path: str
    text: str
    record_texts: dict[str, str]
    config_hash: str
    file: SiteFile
    table: PointTable
    pressure_pa: float
    halls: tuple[str, ...]
    chiller: ChillerRecord
    tower: TowerRecord
    chw_pump: PumpRecord
    cw_pump: PumpRecord
    economizer: EconomizerRecord | None
    crahs: tuple[CrahRecord, ...]
    servers: tuple[ServerRecord, ...]
    u_names: tuple[str, ...]
    u_point: NDArray[np.int64]
    accepted: NDArray[np.bool_]

    def topic(self, kind: str) -> str:
        """MQTT topic of one of coolctl's own message kinds."""
        return f"coolctl/v1/{self.name}/{kind}"

    def at_limit(self, rack_inlet_limit_c: float) -> Site:
        """The same site with racks kept to another limit [°C], for comparisons; its hash says so."""
        limits = self.file.limits.model_copy(update={"rack_inlet_limit_c": rack_inlet_limit_c})
        return replace(
            self, file=self.file.model_copy(update={"limits": limits}), config_hash=self._altered(f"limit {rack_inlet_limit_c!r}")
        )

    def at_pressure(self, pressure_pa: float) -> Site:
        """The same site in air of another pressure [Pa], for comparisons under another place's weather."""
        return replace(self, pressure_pa=pressure_pa, config_hash=self._altered(f"pressure {pressure_pa!r}"))

    def in_grid(self, grid: GridFile, name: str) -> Site:
        """The same site with another tariff, carbon factor or objective, for comparisons; `name` goes into its hash.

        Raises `ConfigError` where the tables do not go with the site's own.
        """
        tables = {key: value for key, value in grid if isinstance(value, Table)}
        file = self.file.model_copy(update=tables)
        faults = [Fault(name, None, ".".join(map(str, key)), text) for key, text in grid_faults(file)]
        if faults:
            raise ConfigError(faults)
        rows = {row.role for row in file.points}
        own = [p for p in self.table.points if p.role not in PRICE_ROLES or p.role in rows]
        topic = file.telemetry.topic.replace("{site}", self.name)
        table = PointTable([*own, *price_points(file.tariff, topic, rows)])
        return replace(self, file=file, table=table, config_hash=self._altered(f"grid {name} {grid.model_dump_json()}"))

    def _altered(self, how: str) -> str:
        return hashlib.sha256(f"{self.config_hash} {how}".encode()).hexdigest()


def load_site(path: str | Path) -> Site:
    """Read and check a site file. Raises `ConfigError` carrying every fault found."""
    path = Path(path)
    text = read_text(path)
    return parse_site(text, str(path), _read_records, lambda name: str(_find_record(name, path) or f"{name}.toml"))


def load_grid(path: str | Path) -> GridFile:
    """Read a grid file, see `config/grids`. Raises `ConfigError` carrying every fault found."""
    text = read_text(Path(path))
    grid, lines, faults = parse_model(text, str(path), GridFile)
    if grid is not None:
        faults += [Fault(str(path), line_of(lines, key), ".".join(map(str, key)), text) for key, text in grid_faults(grid)]
    if grid is None or faults:
        raise ConfigError(faults)
    return grid


def parse_site(text: str, path: str, read_records: RecordReader, place: Callable[[str], str] = "{}.toml".format) -> Site:
    """A site from its text; `read_records` finds the texts of its equipment records, `place` names a record's file in faults."""
    file, lines, faults = parse_model(text, path, SiteFile)
    if file is None:
        raise ConfigError(faults)
    texts, record_faults = read_records(file, path, lines)
    faults += record_faults
    records: dict[str, Record] = {}
    for name, record_text in texts.items():
        record, found = _parse_record(record_text, place(name))
        faults += found
        if record is not None:
            records[name] = record
    points, point_faults = build_points(file, path, lines)
    faults += point_faults
    faults += check_site(file, path, lines, records, points)
    if faults:
        raise ConfigError(faults)
    return _assemble(file, path, text, texts, records, PointTable(points))


def _assemble(file: SiteFile, path: str, text: str, texts: dict[str, str], records: dict[str, Record], table: PointTable) -> Site:
    digest = hashlib.sha256(text.encode())
    for name in sorted(texts):
        digest.update(name.encode() + b"\0" + texts[name].encode())

    def record(name: str, kind: type[R]) -> R:
        found = records[name]
        assert isinstance(found, kind)  # check_site has refused any other
        return found

    halls = tuple(h.name for h in file.halls)
    u_point = u_point_index(table, halls)
    names = u_names(halls)
    accepted = np.array([n.split(".")[-1] in file.plant.accepts and u_point[i] >= 0 for i, n in enumerate(names)])
    pressure = file.site.pressure_pa
    return Site(
        name=file.site.name,
        path=path,
        text=text,
        record_texts=texts,
        config_hash=digest.hexdigest(),
        file=file,
        table=table,
        pressure_pa=pressure if pressure is not None else float(pressure_at_altitude_pa(file.site.altitude_m)),
        halls=halls,
        chiller=record(file.chillers.record, ChillerRecord),
        tower=record(file.towers.record, TowerRecord),
        chw_pump=record(file.chw_pumps.record, PumpRecord),
        cw_pump=record(file.cw_pumps.record, PumpRecord),
        economizer=record(file.economizer.record, EconomizerRecord) if file.economizer else None,
        crahs=tuple(record(h.crah, CrahRecord) for h in file.halls),
        servers=tuple(record(h.servers, ServerRecord) for h in file.halls),
        u_names=names,
        u_point=u_point,
        accepted=accepted,
    )


def read_text(path: Path) -> str:
    """A text file of reasonable size. Raises `ConfigError` for anything else."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Fault(str(path), None, "file", f"cannot be read: {error.strerror}")]) from error
    except ValueError as error:  # a NUL in the name
        raise ConfigError([Fault(repr(str(path)), None, "file", f"cannot be read: {error}")]) from error
    if len(raw) > FILE_MAX_BYTES:
        raise ConfigError([Fault(str(path), None, "file", f"is larger than {FILE_MAX_BYTES} bytes")])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start})"
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([Fault(str(path), line, "file", message)]) from error


def _record_folders(path: Path) -> list[Path]:
    """Where the equipment of the site file at `path` may lie: beside it in `equipment/`, else the shipped records."""
    near = path.resolve().parent
    return [near / "equipment", near.parent / "equipment", shared_folder("config") / "equipment"]


def _find_record(name: str, path: Path) -> Path | None:
    places = (folder / f"{name}.toml" for folder in _record_folders(path))
    return next((place for place in places if place.is_file()), None)


def record_texts(path: Path) -> dict[str, str]:
    """Texts of the equipment records of the site file at `path` that are its own, not shipped ones, by name."""
    file = load_site(path).file
    shipped = shared_folder("config") / "equipment"
    names = {name for _, name, _ in record_references(file)}
    found = {name: place for name in names if (place := _find_record(name, path)) and place.parent != shipped}
    return {name: read_text(place) for name, place in found.items()}


def _read_records(file: SiteFile, path: str, lines: Lines) -> tuple[dict[str, str], list[Fault]]:
    """Texts of the equipment records named in the site file."""
    texts: dict[str, str] = {}
    faults: list[Fault] = []
    known = sorted({p.stem for folder in _record_folders(Path(path)) for p in folder.glob("*.toml")})
    for key, name, _kind in record_references(file):
        found = _find_record(name, Path(path))
        if found is None:
            message = f"no equipment record {name!r}" + nearest(name, known)
            faults.append(Fault(path, line_of(lines, key), ".".join(map(str, key)), message))
        elif name not in texts:
            try:
                texts[name] = read_text(found)
            except ConfigError as error:
                faults += error.faults
    return texts, faults


def _parse_record(text: str, path: str) -> tuple[Record | None, list[Fault]]:
    data, faults = parse_toml(text, path)
    if data is None:
        return None, faults
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in RECORDS:
        message = f"{kind!r} is not one of {', '.join(RECORDS)}" + nearest(str(kind), RECORDS)
        return None, [Fault(path, line_of(key_lines(text), ("kind",)), "kind", message)]
    record, lines, faults = parse_model(text, path, RECORDS[kind])
    if record is not None:
        faults += check_record(record, path, lines)
    return record, faults
