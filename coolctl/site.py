"""The site file: read, checked as a whole, and turned into what the rest of the house works with.

All faults are collected before any is raised, each with file, line, key, what was found and what is allowed. The
checks that need more than one key are in `site_checks.py`.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from coolctl.errors import ConfigError, Fault, nearest
from coolctl.paths import shared_folder
from coolctl.points import PointTable, u_names
from coolctl.psychro import pressure_at_altitude_pa
from coolctl.site_checks import check_site
from coolctl.site_points import build_points, u_point_index
from coolctl.site_schema import (
    RECORDS,
    ChillerRecord,
    CrahRecord,
    EconomizerRecord,
    PumpRecord,
    Record,
    ServerRecord,
    SiteFile,
    TowerRecord,
)
from coolctl.toml_lines import key_lines, line_of

FILE_MAX_BYTES = 4 << 20
REPAIRS_MAX = 3
R = TypeVar("R", bound=Record)


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


def load_site(path: str | Path) -> Site:
    """Read and check a site file. Raises `ConfigError` carrying every fault found."""
    path = Path(path)
    return parse_site(_read_text(path), str(path), _read_records)


def parse_site(text: str, path: str, read_records: Any) -> Site:
    """A site from its text; `read_records(site file, path) -> {record name: text}` finds the equipment."""
    file, lines, faults = _parse(text, path, SiteFile)
    if file is None:
        raise ConfigError(faults)
    texts, record_faults = read_records(file, path, lines)
    faults += record_faults
    records: dict[str, Record] = {}
    for name, record_text in texts.items():
        record, found = _parse_record(record_text, f"{name}.toml")
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


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Fault(str(path), None, "file", f"cannot be read: {error.strerror}")]) from error
    if len(raw) > FILE_MAX_BYTES:
        raise ConfigError([Fault(str(path), None, "file", f"is larger than {FILE_MAX_BYTES} bytes")])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start})"
        raise ConfigError([Fault(str(path), None, "file", message)]) from error


def _read_records(file: SiteFile, path: str, lines: Any) -> tuple[dict[str, str], list[Fault]]:
    """Texts of the equipment records named in the site file: beside it in `equipment/`, else the shipped ones."""
    near = Path(path).resolve().parent
    folders = [near / "equipment", near.parent / "equipment", shared_folder("config") / "equipment"]
    texts: dict[str, str] = {}
    faults: list[Fault] = []
    known = sorted({p.stem for folder in folders if folder.is_dir() for p in folder.glob("*.toml")})
    for key, name in record_names(file):
        found = next((f / f"{name}.toml" for f in folders if (f / f"{name}.toml").is_file()), None)
        if found is None:
            message = f"no equipment record {name!r}" + nearest(name, known)
            faults.append(Fault(path, line_of(lines, key), ".".join(map(str, key)), message))
            continue
        try:
            texts[name] = _read_text(found)
        except ConfigError as error:
            faults += error.faults
    return texts, faults


def record_names(file: SiteFile) -> list[tuple[tuple[str | int, ...], str]]:
    """Every reference to an equipment record: path of its key, and the name."""
    names: list[tuple[tuple[str | int, ...], str]] = [
        (("chillers", "record"), file.chillers.record),
        (("towers", "record"), file.towers.record),
        (("chw_pumps", "record"), file.chw_pumps.record),
        (("cw_pumps", "record"), file.cw_pumps.record),
    ]
    if file.economizer:
        names.append((("economizer", "record"), file.economizer.record))
    for i, hall in enumerate(file.halls):
        names += [(("halls", i, "crah"), hall.crah), (("halls", i, "servers"), hall.servers)]
    return names


M = TypeVar("M", bound=BaseModel)


def _parse(text: str, path: str, model: type[M]) -> tuple[M | None, dict[Any, int], list[Fault]]:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        # tomllib tells the place in words: "… (at line 3, column 1)".
        message = str(error)
        digits = message.partition("at line ")[2].partition(",")[0]
        return None, {}, [Fault(path, int(digits) if digits.isdigit() else None, "syntax", message[:200])]
    lines = key_lines(text)
    faults: list[Fault] = []
    for _ in range(REPAIRS_MAX):
        try:
            return model.model_validate(data), lines, faults
        except ValidationError as error:
            items = error.errors(include_url=False)
            faults += [_fault(item, path, lines, model) for item in items]
            # Put aside what is wrong and look again, so that one misspelt key does not hide every other fault.
            items.sort(key=lambda item: item["type"] == "missing")  # a key given another name may be the missing one
            cured = [_set_aside(data, item, model) for item in items]
            if not all(cured):
                break
    return None, lines, faults


def _set_aside(data: Any, item: Any, model: type[BaseModel]) -> bool:
    """Take a faulty key out of `data`, or give an unknown one the name that was probably meant; False if it cannot be."""
    *parents, last = item["loc"]
    node = data
    for part in parents:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return False
    if item["type"] == "missing" or not isinstance(node, dict) or last not in node:
        return item["type"] == "missing" and isinstance(node, dict) and last in node
    value = node.pop(last)
    meant = nearest(str(last), _keys_at(model, tuple(parents)))
    if item["type"] == "extra_forbidden" and meant:
        node.setdefault(meant.split("'")[1], value)
    return True


def _parse_record(text: str, path: str) -> tuple[Record | None, list[Fault]]:
    try:
        kind = tomllib.loads(text).get("kind")
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        return None, [Fault(path, None, "syntax", str(error)[:200])]
    if not isinstance(kind, str) or kind not in RECORDS:
        message = f"{kind!r} is not one of {', '.join(RECORDS)}" + nearest(str(kind), list(RECORDS))
        return None, [Fault(path, line_of(key_lines(text), ("kind",)), "kind", message)]
    record, _lines, faults = _parse(text, path, RECORDS[kind])
    return record, faults


def _fault(item: Any, path: str, lines: dict[Any, int], model: type[BaseModel]) -> Fault:
    """One pydantic error as a fault: key path, line, the value found, the nearest valid key."""
    loc = tuple(item["loc"])
    message = item["msg"]
    if item["type"] == "extra_forbidden":
        message = "unknown key" + nearest(str(loc[-1]), _keys_at(model, loc[:-1]))
    elif item["type"] == "missing":
        message = "missing"
    elif not isinstance(item.get("input"), dict | list):
        message = f"{item['input']!r}: {message}"
    return Fault(path, line_of(lines, loc), ".".join(map(str, loc)) or "file", message)


def _keys_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Valid keys of the table at `loc`, found by walking the schema."""
    schema = model.model_json_schema()
    node: Any = schema
    for part in loc:
        node = _resolve(schema, node)
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
    return list(_resolve(schema, node).get("properties", {}))


def _resolve(schema: Any, node: Any) -> Any:
    for option in node.get("anyOf", ()):
        if "$ref" in option:
            node = option
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node
