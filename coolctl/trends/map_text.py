"""The map that a probe writes: TOML that says outright what was guessed, with the reason of each row beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from coolctl.points import ROLES
from coolctl.site import Site
from coolctl.trends.findings import span_text
from coolctl.trends.layout import Layout
from coolctl.trends.map_schema import quoted
from coolctl.trends.stamps import Guess
from coolctl.units import UNITS

HOLDS = 3.0
NICE_S = (5, 10, 15, 30, 60, 120, 180, 300, 600, 900, 1800, 2700, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass
class ColumnGuess:
    """What one column, or one point of a long log, seems to be."""

    name: str
    role: str = ""
    role_why: str = ""
    unit: str = ""
    unit_why: str = ""
    point: str = ""
    interval_s: float = float("nan")


def nice_s(seconds: float) -> float:
    """The next customary length of time."""
    return float(next((n for n in NICE_S if n >= seconds * 0.99), NICE_S[-1]))


def map_text(layout: Layout, form: Guess, tz: str, interval_s: float, columns: list[ColumnGuess], site: Site | None) -> str:
    """The whole map; `columns` are what is known of each column, and `site` whose points they are."""
    step_s = min(max(round(interval_s), 1), 60) if interval_s == interval_s else 60
    names = layout.names

    def column(k: int) -> str:
        return quoted(names[k] if names.count(names[k]) == 1 else f"#{k + 1}")

    lines = [
        "# Written by `coolctl import --probe`. Look at each row; what is wrong here is wrong in the recording.",
        "format_version = 1",
        "",
        "[log]",
        f"layout = {quoted(layout.kind)}",
        f"separator = {quoted(layout.separator)}",
        f"decimal = {quoted(layout.decimal)}",
        f"header_line = {layout.header_line}",
        f"units_line = {layout.units_line}",
        f"data_line = {layout.data_line}",
        "",
        "[time]",
        f"column = {column(layout.time_at)}",
    ]
    lines += [f"clock_column = {column(layout.clock_at)}"] if layout.clock_at >= 0 else []
    lines += [f"format = {quoted(form.form)}  # {form.why}".replace("\n", " "), f"tz = {quoted(tz)}"]
    lines += ["day_month_exchanged = true"] if form.day_month_exchanged else []
    if layout.kind in ("long", "per_point"):
        lines += ["", "[long]"] + ([f"point = {column(layout.point_at)}"] if layout.point_at >= 0 else [])
        lines += [f"value = {column(layout.value_at)}"] + (
            [f"status = {column(layout.status_at)}"] if layout.status_at >= 0 else []
        )
    lines += ["", "[grid]", f"step_s = {float(step_s)}", f"max_hold_s = {nice_s(HOLDS * interval_s)}"]
    taken: set[str] = set()
    for group in _groups(columns):
        parts = [group]
        if group[0].point in taken:  # the same point in another unit: one of the two is something else
            why = f"{group[0].point} is another row's already"
            parts = [[replace(c, point="", role="", role_why=why)] for c in group]
        taken |= {group[0].point} - {""}
        for part in parts:
            lines += ["", *_row(part, interval_s, site)]
    lines += _running(columns, site)
    return "\n".join(lines) + "\n"


def _groups(columns: list[ColumnGuess]) -> list[list[ColumnGuess]]:
    """Columns of one point, and one unit, together."""
    groups: dict[tuple[str, ...], list[ColumnGuess]] = {}
    for k, c in enumerate(columns):
        key = (c.point, c.unit) if c.point else (str(k),)
        groups.setdefault(key, []).append(c)
    return list(groups.values())


def _row(group: list[ColumnGuess], interval_s: float, site: Site | None) -> list[str]:
    first = group[0]
    lines = ["[[points]]"]
    if len(group) == 1:
        lines.append(f"column = {quoted(first.name)}")
    else:
        how = "sum" if ROLES[first.role].suffix in ("w", "kgs", "count") else "max" if first.role == "rack_inlet" else "mean"
        lines += [f"columns = [{', '.join(quoted(c.name) for c in group)}]", f'combine = "{how}"']
    if first.point:
        lines.append(f"point = {quoted(first.point)}  # {first.role_why}")
    elif first.role and first.unit:
        lines.append(
            f"role = {quoted(first.role)}  # {first.role_why}"
            + ("" if site else "; name the site's `point`, or probe with --site")
        )
    else:
        lines.append(f"# no point: {first.role_why}")
    lines.append(f"unit = {quoted(first.unit)}  # {first.unit_why}" if first.unit else "# unit: not told; a point needs one")
    hold_s = max((c.interval_s for c in group if c.interval_s == c.interval_s), default=0.0)
    if hold_s > 1.5 * interval_s:
        lines.append(f"max_hold_s = {nice_s(HOLDS * hold_s)}  # 99 of 100 samples follow within {span_text(hold_s)}")
    return lines


def _running(columns: list[ColumnGuess], site: Site | None) -> list[str]:
    """How many chillers run, from their power, where the log has no column for it."""
    powers = [c for c in columns if c.role == "chiller_power" and c.unit]
    if not powers or site is None or "chillers_on" not in site.table.index or any(c.point == "chillers_on" for c in columns):
        return []
    names = ", ".join(quoted(c.name) for c in powers)
    low_w = 0.03 * site.file.chillers.capacity_nom_w / 5.0
    unit = UNITS[powers[0].unit]
    return [
        "",
        "[[points]]",
        f"columns = [{names}]  # a chiller runs where it takes power",
        'combine = "sum"',
        'point = "chillers_on"',
        'unit = "count"',
        f"on_above = {round(low_w / unit.scale, 3)}",
    ]
