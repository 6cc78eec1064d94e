"""`coolctl import --probe`: what a log seems to be, why, and the map that says it outright."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coolctl.errors import TrendError
from coolctl.points import ROLES
from coolctl.site import Site
from coolctl.trends.findings import NOTE, WARNING, Finding, Notes
from coolctl.trends.layout import Layout, decimal_of, guess_layout
from coolctl.trends.map_schema import MapFile
from coolctl.trends.map_text import ColumnGuess, map_text
from coolctl.trends.names import TEMPERATURE_ROLES, plain, role_of
from coolctl.trends.reading import rows_of
from coolctl.trends.source import stem
from coolctl.trends.stamps import Guess, StampReader, guess_form
from coolctl.trends.unit_words import bare_name, is_unit, unit_in_name, unit_of
from coolctl.trends.values import STATES, value_of
from coolctl.units import UNITS

STAMPS_MAX, CELLS_MAX = 400_000, 400
WARM_F = 38.0  # no chilled, condenser or supply air temperature of a plant is usually above this in °C, or below it in °F


class Sample(NamedTuple):
    """Texts of the stamps of a log, in its order, and texts of each column or point, from as much as was looked at."""

    stamps: list[str]
    cells: dict[str, list[str]]
    stamps_of: dict[str, list[str]]


class Probe(NamedTuple):
    """The whole guess."""

    layout: Layout
    form: Guess
    tz: str
    tz_why: str
    interval_s: float
    columns: list[ColumnGuess]
    map_text: str
    findings: list[Finding]


def probe(paths: list[Path], site: Site | None) -> Probe:
    """Look at the logs. Raises `TrendError` where they are none."""
    layout = guess_layout(paths[0])
    alone = layout.kind == "per_point"
    samples = [_sample(p, layout if p == paths[0] else guess_layout(p)) for p in paths[: None if alone else 8]]
    form = guess_form([s for sample in samples for s in sample.stamps]) if samples else None
    if form is None:
        raise TrendError(paths[0], layout.data_line, "the times of this log have no form that is known here")
    cells, stamps_of = _joined(paths, samples, alone)
    if layout.kind == "long":
        # The first lines may be states alone, where a log is sorted by its points.
        layout = layout._replace(decimal=decimal_of([list(found) for found in cells.values()], layout.separator))
    columns = [_column(name, found, layout) for name, found in cells.items()]
    _fill_units(columns, cells, layout.decimal)
    _name_points(columns, site)
    interval_s = _intervals(columns, samples, stamps_of, form)
    tz, tz_why, findings = _zone(samples[0], form, site)
    above = max(layout.header_line, layout.units_line)
    if above and layout.data_line > above + 1:
        where, cure = f"{paths[0].name}:{above + 1}", "data_line in the map says where the data begin"
        findings.append(Finding("lines_passed_over", NOTE, where, f"no stamp before line {layout.data_line}", cure))
    if not form.sure:
        findings.append(Finding("day_or_month_first", WARNING, str(paths[0].name), form.why, "set [time] format to dmy or mdy"))
    if form.day_month_exchanged:
        findings.append(
            Finding(
                "day_and_month_exchanged",
                WARNING,
                str(paths[0].name),
                form.why,
                "the map below exchanges them back; look at a day that you remember",
            )
        )
    text = map_text(layout, form, tz, interval_s, columns, site)
    return Probe(layout, form, tz, tz_why, interval_s, columns, text, findings)


def _sample(path: Path, layout: Layout) -> Sample:
    """Stamps of the whole log (up to a limit), cells of its first lines."""
    file = _file_of(layout)
    text_at = [k for k in (layout.time_at, layout.clock_at) if k >= 0]
    times = len(text_at)
    text_at += [layout.value_at, layout.point_at] if layout.kind == "long" else []
    stamps: list[str] = []
    points: list[str] = []
    values: list[str] = []
    for rows in rows_of(path, file, [], text_at, layout.names, Notes()):
        stamps += rows.texts[0] if times == 1 else [f"{a} {b}" for a, b in zip(*rows.texts[:2], strict=True)]
        points += rows.texts[-1] if layout.kind == "long" else []
        values += rows.texts[-2] if layout.kind == "long" else []
        if len(stamps) > STAMPS_MAX:
            break
    cells: dict[str, list[str]] = {}
    stamps_of: dict[str, list[str]] = {}
    if layout.kind == "long":
        for name, stamp, value in zip(points, stamps, values, strict=True):
            if name:
                stamps_of.setdefault(name, []).append(stamp)
                cells.setdefault(name, []).append(value)
        cells = {name: found[:: max(len(found) // CELLS_MAX, 1)] for name, found in cells.items()}
    else:
        skip = {layout.time_at, layout.clock_at, layout.status_at}
        names = [n if layout.names.count(n) == 1 else f"#{k + 1}" for k, n in enumerate(layout.names)]
        for k, name in enumerate(names):
            if k not in skip:
                cells[name] = [row[k] for row in layout.rows if len(row) > k]
    return Sample(stamps, cells, stamps_of)


def _file_of(layout: Layout) -> MapFile:
    return MapFile.model_validate(
        {
            "log": {
                "separator": layout.separator,
                "decimal": layout.decimal,
                "header_line": layout.header_line,
                "units_line": layout.units_line,
                "data_line": layout.data_line,
            }
        }
    )


def _joined(paths: list[Path], samples: list[Sample], alone: bool) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    cells: dict[str, list[str]] = {}
    stamps_of: dict[str, list[str]] = {}
    for path, sample in zip(paths, samples, strict=False):
        if alone:
            cells[stem(path)] = next(iter(sample.cells.values()), [])
            stamps_of[stem(path)] = sample.stamps
            continue
        for name, found in sample.cells.items():
            cells.setdefault(name, []).extend(found)
        for name, found in sample.stamps_of.items():
            stamps_of.setdefault(name, []).extend(found)
    return cells, stamps_of


def _column(name: str, cells: list[str], layout: Layout) -> ColumnGuess:
    """Role and unit from the name, the row of units, and what stands in the cells."""
    role, why = role_of(name)
    guess = ColumnGuess(name, role, why)
    if layout.units and name in layout.names and layout.names.index(name) < len(layout.units):
        spelled = layout.units[layout.names.index(name)]
        guess.unit, guess.unit_why = unit_of(spelled), f"{spelled!r} in the row of units" if is_unit(spelled) else ""
    if not guess.unit:
        guess.unit, guess.unit_why = unit_in_name(name)
    if not guess.unit and layout.kind == "per_point" and layout.value_at >= 0:
        guess.unit, guess.unit_why = unit_in_name(layout.names[layout.value_at])
    if not guess.unit:
        for cell in cells[:50]:  # "54.2 °F {ok}"
            parts = re.match(r"^[+-]?[\d.,]+\s*([^\d\s{]+[^{]*?)\s*(\{|$)", cell)
            if parts and (unit := unit_of(parts.group(1))):
                guess.unit, guess.unit_why = unit, f"{cell[:24]!r} in the cells"
                break
    words = {c.casefold() for c in cells} & set(STATES)
    if words and not guess.unit:
        suffix = ROLES[role].suffix if role else "flag"
        guess.unit, guess.unit_why = ("count" if suffix == "count" else "bool"), f"states such as {sorted(words)[0]!r}"
    if guess.unit and role and UNITS[guess.unit].suffix != ROLES[role].suffix and not _is_state(guess):
        guess.role, guess.role_why = "", f"{why}, but a unit of {guess.unit} is not that of {role}; checked, not recorded"
    return guess


def _is_state(guess: ColumnGuess) -> bool:
    return ROLES[guess.role].suffix in ("count", "flag") and UNITS[guess.unit].suffix in ("count", "flag")


def _fill_units(columns: list[ColumnGuess], cells: dict[str, list[str]], decimal: str) -> None:
    """Units from the size of the figures, where nothing else tells."""
    temperature = next((c.unit for c in columns if c.unit in ("degC", "degF")), "")
    for c in columns:
        figures = np.array([v for text in cells[c.name] if np.isfinite(v := value_of(text.encode(), decimal, {})[0])])
        suffix = ROLES[c.role].suffix if c.role else ""
        middle, highest = (
            float(np.median(figures[figures != 0.0])) if (figures != 0.0).any() else 0.0,
            float(figures.max()) if len(figures) else 0.0,
        )
        words = plain(c.name)
        if c.unit or not len(figures):
            if c.unit and c.role and _is_state(c):
                c.unit = "count" if suffix == "count" else "bool"
            continue
        if c.role in TEMPERATURE_ROLES:
            c.unit, c.unit_why = (
                ("degF", f"figures around {middle:.3g}") if middle > WARM_F else ("degC", f"figures around {middle:.3g}")
            )
        elif suffix == "ratio":
            c.unit, c.unit_why = ("ratio", "figures up to 1") if highest <= 1.2 else ("%", f"figures up to {highest:.3g}")
        elif suffix in ("count", "flag"):
            c.unit, c.unit_why = "count" if suffix == "count" else "bool", "a state"
        elif re.search(r"\b(kw|kilowatts?)\b", words):
            c.unit, c.unit_why = "kW", "the name says so"
        elif re.search(r"\b(temp|temperature|approach)\b", words):
            c.unit, c.unit_why = temperature or "degC", "a temperature; no unit told, taken as the others here"
            c.unit = {"degC": "K", "degF": "deltaF"}[c.unit] if "approach" in words else c.unit
        elif re.search(r"\b(press|pressure|delta p)\b", words):
            c.unit, c.unit_why = ("kPa", "figures this large are kPa") if highest > 500.0 else ("", "")
        if not temperature and c.unit in ("degC", "degF"):
            temperature = c.unit


def _name_points(columns: list[ColumnGuess], site: Site | None) -> None:
    """The site's point of each role: a hall's by the hall's name, or because there is one hall."""
    if site is None:
        return
    given = {bare_name(c.name) for c in columns}
    for c in columns:
        own = bare_name(c.name)
        if f"sp:{own}" in given:
            c.role_why = "what was decided stands in a column of its own"
            continue  # an export of coolctl's: the setpoint's point itself is never heard
        if own.removeprefix("sp:") in site.table.index:
            p = site.table.points[site.table.index[own.removeprefix("sp:")]]
            c.point, c.role, c.role_why, c.unit = p.id, p.role, "the name is the site's own", c.unit or p.unit
            continue
        if not c.role or not c.unit:
            continue
        mine = [p for p in site.table.points if p.role == c.role]
        if len(mine) > 1:
            words = plain(c.name).split()
            numbers = re.findall(r"\d+", c.name)
            halls = [p for p in mine if p.machine.split(".")[0] in words] or mine
            mine = [
                p for p in halls if ".rack" not in p.machine or (numbers and p.machine.endswith(f"rack{int(numbers[-1]):02d}"))
            ]
        if len(mine) == 1:
            c.point = mine[0].id
        else:
            c.role_why += "; the site has no such point" if not mine else f"; the site has {len(mine)} such points: say which"


def _intervals(columns: list[ColumnGuess], samples: list[Sample], stamps_of: dict[str, list[str]], form: Guess) -> float:
    """The usual time between samples [s], of each point of a long log for itself."""
    reader = StampReader(form.form, form.day_month_exchanged)

    def usual(texts: list[str], quantile: float) -> float:
        local_s = reader.read(texts)[0]
        steps = np.abs(np.diff(local_s[np.isfinite(local_s)]))
        steps = steps[steps > 0.0]
        return float(np.quantile(steps, quantile)) if len(steps) else float("nan")

    if not stamps_of:
        return usual(samples[0].stamps, 0.5)
    for c in columns:
        # A log of changes has long quiet stretches that are no gaps.
        c.interval_s = float(np.fmax(usual(stamps_of.get(c.name, []), 0.5), usual(stamps_of.get(c.name, []), 0.99)))
    shortest = [usual(texts, 0.5) for texts in stamps_of.values()]
    known = [s for s in shortest if s == s]
    return min(known) if known else 60.0


def _zone(sample: Sample, form: Guess, site: Site | None) -> tuple[str, str, list[Finding]]:
    """The zone of the stamps: in themselves, from the site, or not told."""
    reader = StampReader(form.form, form.day_month_exchanged)
    _, offset_s, names = reader.read(sample.stamps[:1000])
    if np.isfinite(offset_s).all():
        return "UTC", "the stamps carry their offset" if form.form == "iso" else "seconds since 1970 are UTC", []
    if site is not None:
        return site.file.site.timezone, "the site's own; stamps carry none", []
    why = f"not told by the log{' but for the word ' + names[0] if names else ''}: UTC is a guess"
    return "UTC", why, [Finding("zone_not_told", WARNING, "time", why, "set [time] tz, or probe with --site")]


def as_json(p: Probe) -> dict[str, Any]:
    """The guess, machine-readable."""
    return {
        "layout": p.layout.kind,
        "separator": p.layout.separator,
        "decimal": p.layout.decimal,
        "header_line": p.layout.header_line,
        "units_line": p.layout.units_line,
        "data_line": p.layout.data_line,
        "time": {
            "column": p.layout.names[p.layout.time_at],
            "format": p.form.form,
            "why": p.form.why,
            "sure": p.form.sure,
            "day_month_exchanged": p.form.day_month_exchanged,
            "tz": p.tz,
            "tz_why": p.tz_why,
        },
        "interval_s": p.interval_s if p.interval_s == p.interval_s else None,
        "columns": [
            {"name": c.name, "role": c.role, "role_why": c.role_why, "unit": c.unit, "unit_why": c.unit_why, "point": c.point}
            for c in p.columns
        ],
        "map": p.map_text,
    }
