"""The fault matrix, tier by tier: `P` here, everything with `make faults`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT
from faults import controller_rows, plant_rows, sensor_rows, transport_rows
from faults.rows import Row
from faults.scenes import Stage

from coolctl.site import Site

ROWS: tuple[Row, ...] = (*plant_rows.ROWS, *sensor_rows.ROWS, *transport_rows.ROWS, *controller_rows.ROWS)


@pytest.mark.parametrize("row", [pytest.param(r, id=r.id) for r in ROWS if r.run and r.tier == "P"])
def test_fault(row: Row, site: Site, policy: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert row.run is not None
    print(row.run(Stage(site, policy, tmp_path, monkeypatch, 1)))


# -- the page beside it

PAGE = (ROOT / "docs" / "SAFETY.md").read_text(encoding="utf-8")


def test_every_row_is_one_thing_and_stands_on_the_page() -> None:
    assert len({r.id for r in ROWS}) == len(ROWS) > 140
    for row in ROWS:
        assert (row.run is not None) + bool(row.held_by) + bool(row.why_not) == 1, row.id
        assert f"| {row.id} {row.tier} | {row.title} |" in PAGE, f"{row.id}: `make faults` writes the page anew"
    assert "**FAIL**" not in PAGE


def test_every_test_that_holds_a_row_exists() -> None:
    for row in ROWS:
        if row.held_by:
            path, name = row.held_by.split("::")
            text = (ROOT / path).read_text(encoding="utf-8")
            assert f"def {name.split('[')[0]}(" in text, row.held_by
            if "[" in name:
                assert name.split("[")[1].rstrip("]") in {r.id for r in ROWS}


def test_every_incident_and_every_failure_of_the_fallback_leads_to_rows() -> None:
    ids = {r.id for r in ROWS}
    lines = [line for line in PAGE.splitlines() if re.match(r"\| [IF]\d", line)]
    named = " ".join(lines)
    for kind, count in (("I", 20), ("F", 18)):
        assert all(re.search(rf"\b{kind}{n}\b", named) for n in range(1, count + 1))
    for line in lines:
        rows = line.split("|")[-2].split(",")
        assert rows and {r.strip() for r in rows} <= ids, line
