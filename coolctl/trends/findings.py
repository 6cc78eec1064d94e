"""Findings: what is wrong, or worth knowing, in a log; each with a name, a place and what to do."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ERROR, WARNING, NOTE = "error", "warning", "note"
RANK = {ERROR: 0, WARNING: 1, NOTE: 2}


class Finding(NamedTuple):
    """One finding. `where` is a column, or a file with its line."""

    name: str
    severity: str
    where: str
    text: str
    cure: str

    def json(self) -> dict[str, str]:
        """As JSON would have it."""
        return self._asdict()


def render(findings: list[Finding]) -> list[str]:
    """Findings as lines, the worst first."""
    lines = []
    for f in sorted(findings, key=lambda f: RANK[f.severity]):
        lines.append(f"{f.severity:<8}{f.name}: {f.where}: {f.text}")
        if f.cure:
            lines.append(f"{'':<8}→ {f.cure}")
    return lines


def utc_text(unix_s: float) -> str:
    """A moment, UTC, to the second."""
    return datetime.datetime.fromtimestamp(unix_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span_text(seconds: float) -> str:
    """A length of time in the unit that people would use."""
    if seconds != seconds:
        return "a time that one row does not tell"
    for unit, length_s in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length_s:
            return f"{seconds / length_s:.3g} {unit}"
    return f"{seconds:.3g} s"


@dataclass
class Tally:
    """How often something happened, and where first."""

    count: int = 0
    where: str = ""
    example: str = ""


@dataclass
class Notes:
    """What reading met on its way, by name; made into findings at the end."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    words: dict[tuple[str, str], Tally] = field(default_factory=dict)
    """Texts that nobody understands, by column."""

    def add(self, name: str, where: str, count: int = 1, example: str = "") -> None:
        """Count what happened at `where`."""
        if count > 0:
            tally = self.tallies.setdefault(name, Tally(0, where, example))
            tally.count += count

    def word(self, column: str, text: str, where: str) -> None:
        """Count a text that is no value."""
        if len(self.words) < 1000 or (column, text) in self.words:
            self.words.setdefault((column, text), Tally(0, where)).count += 1

    def findings(self) -> list[Finding]:
        """As findings."""
        found = [
            Finding(name, severity, tally.where, text.format(n=tally.count, example=tally.example), cure)
            for name, (severity, text, cure) in MEANING.items()
            if (tally := self.tallies.get(name))
        ]
        by_column: dict[str, list[Any]] = {}
        for (column, text), tally in self.words.items():
            by_column.setdefault(column, []).append((text, tally))
        for column, seen in by_column.items():
            shown = ", ".join(f"{text[:30]!r} x {tally.count}" for text, tally in seen[:4])
            cure = f"say what it means: states = {{{seen[0][0][:30]!r} = 1}} in this column's row of the map"
            if all(re.fullmatch(r"[+-]?\d+[.,]\d+", text) for text, _ in seen):
                cure = "figures with the other decimal mark: set decimal under [log]"
            where = f"first at {seen[0][1].where}"
            found.append(Finding("text_not_understood", WARNING, column, f"{shown}; {where}; taken as no good value", cure))
        return found


_SUMMER = 'a logger that does not know summer time has a fixed offset: tz = "+01:00" or the like'
# What happened on the way: severity, text with the count and an example, what to do.
MEANING = {
    "stamp_not_understood": (
        WARNING, "{n} rows have a time that cannot be read, such as {example!r}; left out", "check [time] format in the map",
    ),
    "ragged_rows": (WARNING, "{n} rows have fewer cells than the header; what lacks is not known", "look at this line"),
    "long_rows": (
        WARNING, "{n} rows have more cells than the header; the surplus is not read",
        "decimal commas under a `,` separator, or a comma in a name?",
    ),
    "duplicate_stamps": (NOTE, "{n} stamps occur more than once; the last counts", ""),
    "clock_set_back": (
        WARNING, "{n} rows lie before what was logged already (first by {example}); left out",
        "was the logger's clock set, or does the log not know summer time? see [time] tz",
    ),
    "clock_jump_ahead": (
        WARNING, "{n} rows lie ahead of those that follow (first by {example}); left out",
        "a logger that lost its clock: check the time at this place",
    ),
    "not_in_order": (NOTE, "{n} rows were not in the order of time; sorted", ""),
    "newest_first": (NOTE, "the log begins with its newest row; turned round", ""),
    "repeated_hour": (
        NOTE, "{n} stamps lie in the hour that comes twice when summer time ends; told apart by their order ({example})", "",
    ),
    "repeated_hour_once": (
        WARNING, "{n} stamps lie in the hour that comes twice, but the log has it once; taken as the {example}", _SUMMER,
    ),
    "missing_hour": (
        WARNING, "{n} stamps lie in the hour that is left out when summer time begins ({example})", _SUMMER,
    ),
    "looked_at_the_beginning": (NOTE, "a large log: looked at up to {example}", "the import itself looks at all of it"),
    "bad_status": (NOTE, "{n} samples carry a status that says they are not good, such as {example!r}; not believed", ""),
    "point_not_mapped": (NOTE, "{n} rows belong to points that the map does not name, such as {example!r}", ""),
    "zero_rows": (NOTE, "{n} rows in which every temperature is exactly 0 were taken as no answer", ""),
}  # fmt: skip
