"""The examples of the documentation: each message is read with the rows beside it, each row fits its dialect."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from coolctl.dialects import NAMES, Decoder, wiring
from coolctl.points import ROLES, Point, PointTable, Quality, each

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"^```(toml|json|text)(?: ([^\n]+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Section(NamedTuple):
    """A heading's rows and messages, each message with its topic."""

    title: str
    points: list[Point]
    messages: list[tuple[str, bytes]]


def sections(page: str, level: str) -> list[Section]:
    """The sections of a page that have rows of measured points."""
    found = []
    for part in re.split(rf"^{level} ", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, points, messages = part.split("\n", 1)[0], [], []
        for kind, topic, text in BLOCK.findall(part):
            if kind == "toml":
                points += [point(row, len(points)) for row in tomllib.loads(text).get("points", [])]
            elif topic:
                messages.append((topic, text.strip("\n").encode()))
        if points:
            found.append(Section(title, points, messages))
    return found


def point(row: dict[str, str | float], k: int) -> Point:
    role, dialect = ROLES[str(row["role"])], str(row.get("dialect", "json"))
    field = str(row.get("field", row["role"]))
    p = Point(
        f"{role.name} {k}", role.name, "plant", str(row["unit"]), str(row["topic"]), dialect, field, 5.0, role.low, role.high
    )
    assert role.writable or wiring.row_fault(p, "field" in row) is None
    return p


ALL = [*sections("MQTT.md", "###"), *sections("GATEWAYS.md", "##")]


@pytest.mark.parametrize("section", ALL, ids=lambda s: s.title)
def test_every_example_is_read_by_the_rows_beside_it(section: Section) -> None:
    d = Decoder(PointTable(section.points), 4096, 262144)
    good = set()
    for topic, raw in section.messages:
        found = list(each(d.decode(topic, raw)))
        assert "Metadata" in topic or [s for s in found if s.quality == Quality.GOOD], (topic, raw)
        good |= {s.i for s in found if s.quality == Quality.GOOD and d.table.low[s.i] <= s.value <= d.table.high[s.i]}
    assert not d.rejects.keys() - {"source_bad", "unknown_point"}
    binary = {i for i, p in enumerate(section.points) if p.dialect == "sparkplug-b" or p.writable}
    assert good | binary == set(range(len(section.points)))


def test_every_dialect_and_every_recipe_is_there() -> None:
    titles = [s.title for s in ALL]
    assert {f"`{name}`" for name in NAMES} - {"`json`", "`scalar`"} <= set(titles)
    assert any(t.startswith("Telegraf") for t in titles) and "EMQX Neuron" in titles and any("Node-RED" in t for t in titles)


def test_pages_say_plainly_what_was_never_run() -> None:
    text = (DOCS / "GATEWAYS.md").read_text()
    assert "None of the products was run against coolctl" in text
