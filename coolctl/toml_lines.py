"""Which line of a TOML file a key stands on: tomllib does not tell, and a fault without its line is half a fault.

Only called on text that tomllib has accepted, so a line is either a header, a key, or the inside of a longer value. Every
pattern is linear: a hostile file may cost a slow parse, never a hang.
"""

from __future__ import annotations

import re

_TABLE = re.compile(r"^\s*(\[\[?)([^\[\]]*)\]")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\"'.-]+)\s*=\s*(.*)$")
_QUOTES = ('"""', "'''")

Path = tuple[str | int, ...]
Lines = dict[Path, int]


def key_lines(text: str) -> Lines:
    """Map every `(table, index, key)` path to its line, counted from 1. Tables map to their header."""
    lines: Lines = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    array: Path | None = None  # an array of inline tables spread over lines
    quote = ""  # the end of a string spread over lines: what looks like a key in there is none
    for number, line in enumerate(text.splitlines(), start=1):
        if quote:
            quote = "" if quote in line else quote
        elif array is not None:
            if line.lstrip().startswith("{"):
                lines[(*array, counts[array])] = number
                counts[array] += 1
            elif line.lstrip().startswith("]"):
                array = None
        elif header := _TABLE.match(line):
            table = tuple(part.strip().strip("\"'") for part in header.group(2).split("."))
            if header.group(1) == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            path = (*table, *(part.strip("\"'") for part in key.group(1).split(".")))
            lines.setdefault(path, number)
            quote = _opened(key.group(2))
            if key.group(2).split("#")[0].strip() == "[":
                array, counts[path] = path, 0
    return lines


def _opened(value: str) -> str:
    """The quotes that will end the string which `value` begins, or nothing when it ends on its own line."""
    return next((q for q in _QUOTES if value.startswith(q) and q not in value[3:]), "")


def line_of(lines: Lines, path: Path) -> int | None:
    """Line of `path`, or of its nearest parent that stands in the file; an array of tables stands at its first."""
    while path:
        if path in lines or (*path, 0) in lines:
            return lines.get(path, lines.get((*path, 0)))
        path = path[:-1]
    return None
