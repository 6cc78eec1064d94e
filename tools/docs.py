"""Writes the reference pages that follow from the code, and the live page's own runbooks: `make docs`. --check only compares."""

from __future__ import annotations

import sys
import types
import typing
from pathlib import Path

import markdown
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from coolctl.equipment_schema import RECORDS
from coolctl.invariants import CHECKS, NOT_PER_TICK
from coolctl.points import ROLES
from coolctl.site_schema import RULE_ALIASES, SiteFile
from coolctl.units import UNITS
from tools import metrics_page

ROOT = Path(__file__).resolve().parent.parent
DOCS, LIVE = ROOT / "docs", ROOT / "coolctl" / "edge" / "page"
WRITTEN = "<!-- Written by `make docs` from the code; change it there. -->\n"
INTRODUCTION = """One TOML file describes a plant; `coolctl check-config` reports every fault in it at once. Units stand at
the end of each name: `_c` °C, `_k` kelvin, `_w` watt, `_pa` pascal, `_kgs` kg/s, `_ratio` 0 … 1, `_s` seconds."""


def _kind(annotation: object) -> str:
    """A type in words."""
    origin = typing.get_origin(annotation)
    arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin is typing.Literal:
        return " / ".join(f"`{a}`" for a in arguments)
    if origin in (list, dict):
        return f"{'list' if origin is list else 'table'} of {_kind(arguments[-1])}"
    if origin in (typing.Union, types.UnionType):
        return _kind(arguments[0])
    return {str: "text", float: "number", int: "whole number", bool: "true / false"}.get(annotation, "table")  # type: ignore[call-overload]


def _range(metadata: typing.Iterable[object]) -> str:
    """Bounds in words."""
    words = []
    for m in metadata:
        for kind, sign, attribute in ((Ge, "≥", "ge"), (Gt, ">", "gt"), (Le, "≤", "le"), (Lt, "<", "lt")):
            if isinstance(m, kind):
                words.append(f"{sign} {getattr(m, attribute):g}")
        if isinstance(m, MinLen | MaxLen):
            words.append(
                f"{'at least' if isinstance(m, MinLen) else 'at most'} {getattr(m, 'min_length', getattr(m, 'max_length', 0))}"
            )
        if isinstance(m, FieldInfo):
            words.append(_range(m.metadata))
    return ", ".join(w for w in dict.fromkeys(words) if w)


def _bounds(info: FieldInfo) -> str:
    """Bounds of a field, also where they stand on one half of `X | None`."""
    inner = [m for a in typing.get_args(info.annotation) for m in getattr(a, "__metadata__", ())]
    return _range([*info.metadata, *inner])


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "**needed**"
    value = info.default
    if isinstance(value, BaseModel) or value in (None, "", {}):
        return ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _rows(model: type[BaseModel]) -> list[str]:
    rows = ["| key | what | range | default | meaning |", "|---|---|---|---|---|"]
    for name, info in model.model_fields.items():
        cells = (f"`{name}`", _kind(info.annotation), _bounds(info), _default(info), info.description or "")
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _table_of(annotation: object) -> type[BaseModel] | None:
    for a in (annotation, *typing.get_args(annotation)):
        if isinstance(a, type) and issubclass(a, BaseModel):
            return a
        if typing.get_origin(a) is list:
            return _table_of(typing.get_args(a)[0])
    return None


def config() -> str:
    """The page of the site file and the equipment records."""
    lines = [WRITTEN, "# The site file", "", INTRODUCTION, ""]
    for name, info in SiteFile.model_fields.items():
        table = _table_of(info.annotation)
        if table is None:
            lines += [f"`{name}` = {_kind(info.annotation)}: the version of this format.", ""]
            continue
        many = typing.get_origin(info.annotation) is list
        lines += [f"## {'[[' if many else '['}{name}{']]' if many else ']'}", ""]
        if table.__doc__ and table.__doc__ != BaseModel.__doc__ and "A table that refuses" not in table.__doc__:
            lines += [table.__doc__.strip(), ""]
        lines += [*_rows(table), ""]
        if name == "plant":
            rule = _table_of(typing.get_args(table.model_fields["rules"].annotation)[1])
            assert rule is not None
            also = ", ".join(f"`{a}` for `{s}`" for a, s in RULE_ALIASES.items())
            lines += [
                "### [plant.rules]",
                "",
                f"One entry per setpoint, its name with or without `_sp`; also {also}.",
                "",
                *_rows(rule),
                "",
            ]
    lines += ["# Equipment records", "", "`config/equipment/<name>.toml`, one machine each; `kind` names the table.", ""]
    for kind, model in RECORDS.items():
        lines += [f"## {kind}", "", *_rows(model), ""]
    lines += [
        "# Roles of points",
        "",
        "| role | quantity | at | plausible range | set from outside | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for name, role in ROLES.items():
        outside = "yes" if role.writable else ""
        cells = (f"`{name}`", role.suffix, role.level, f"{role.low:g} … {role.high:g}", outside, role.description)
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "# Units on the wire", "", "| unit | is turned into | times | plus |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {u.suffix} | {u.scale:.9g} | {u.offset:.6g} |" for name, u in UNITS.items()]
    return "\n".join(lines) + "\n"


def invariants() -> str:
    """The page of what must hold on every tick."""
    lines = [
        WRITTEN,
        "# Invariants",
        "",
        "Held on every tick of every closed-loop test (`coolctl/invariants.py`, fed by `coolctl/audit.py`).",
        "",
    ]
    lines += ["| id | what must hold |", "|---|---|", *(f"| {i} | {statement} |" for i, statement, _ in CHECKS), ""]
    lines += ["Not a matter of single ticks:", "", "| id | where it is held |", "|---|---|"]
    return "\n".join(lines + [f"| {i} | {where} |" for i, where in NOT_PER_TICK.items()]) + "\n"


def metrics() -> str:
    """The page of metrics, recording rules and alerts."""
    return metrics_page.page(WRITTEN)


def runbooks() -> str:
    """docs/RUNBOOKS.md as the live page serves it, so that an alarm leads to its section where there is no other network."""
    book = (ROOT / "docs" / "RUNBOOKS.md").read_text(encoding="utf-8")
    # The table of contents gives each heading its anchor, as it is in the alerts' links.
    text = markdown.markdown(book, extensions=["toc"])
    return f"""<!doctype html>
{WRITTEN.replace("the code", "docs/RUNBOOKS.md")}<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Runbooks – coolctl</title>
<link rel="stylesheet" href="page.css">
</head>
<body class="book">
<header><a href="./">← live page</a></header>
<main>
{text}
</main>
</body>
</html>
"""


PAGES = {"CONFIG.md": config, "INVARIANTS.md": invariants, "METRICS.md": metrics}
LIVE_PAGES = {"runbooks.html": runbooks}


def main(arguments: list[str]) -> int:
    """Write, or with --check say which page is not what the code says."""
    pages = {DOCS / n: page for n, page in PAGES.items()} | {LIVE / n: page for n, page in LIVE_PAGES.items()}
    old = [path for path, page in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != page()]
    if "--check" in arguments:
        print(*(f"{p.parent.name}/{p.name} is not what the code says: make docs" for p in old), sep="\n", end="\n" if old else "")
        return 1 if old else 0
    for path in old:
        path.write_text(pages[path](), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
