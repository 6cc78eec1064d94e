"""Which line of a TOML file a key stands on: tomllib does not tell, and a fault without its line is half a fault."""

from __future__ import annotations

import re

_TABLE = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\"'.-]+)\s*=\s*(.*)$")

Path = tuple[str | int, ...]


def key_lines(text: str) -> dict[Path, int]:
    """Map every `(table, index, key)` path to its line, counted from 1. Tables map to their header."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    array: Path | None = None  # an array of inline tables spread over lines
    for number, line in enumerate(text.splitlines(), start=1):
        if array is not None:
            if line.lstrip().startswith("{"):
                lines[(*array, counts[array])] = number
                counts[array] += 1
            elif line.lstrip().startswith("]"):
                array = None
            continue
        if header := _TABLE.match(line):
            table = tuple(part.strip().strip("\"'") for part in header.group(2).split("."))
            if header.group(1) == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            path = (*table, *(part.strip("\"'") for part in key.group(1).split(".")))
            lines.setdefault(path, number)
            if key.group(2).split("#")[0].strip() == "[":
                array, counts[path] = path, 0
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """Line of `path`, or of its nearest parent that stands in the file."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None
