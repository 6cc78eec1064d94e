"""With the shield off the tests must fail, or they prove nothing of it: the whole matrix, and hostile policies, every night."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools import unshielded
from tools.faults import PAGE
from tools.marks import marks
from tools.unshielded import CALM, CALM_STACK, SHIELDED, UNSHIELDED


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_rows_fail_and_hostile_policies_heat_racks_without_the_shield(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """About six minutes of one core. The figures of the page are 81 rows, 20-odd of them by more than a calm day, and a third of
    the episodes: well above these bounds."""
    monkeypatch.setattr(unshielded, "RESULTS", tmp_path / "unshielded.jsonl")
    found = unshielded.bite()
    assert len(unshielded.failing(found)) >= unshielded.LEAST, unshielded.failing(found)
    assert len(unshielded.beyond_calm(found)) >= 15, unshielded.beyond_calm(found)
    assert len(unshielded.hot_episodes(found, UNSHIELDED)) >= 5
    assert not any(found[i]["broken"] for i in found if i.startswith(f"{SHIELDED}:"))


def result(missed: list[str], broken: list[str], stack: bool = False, refused: int = 0) -> dict[str, Any]:
    return {"missed": missed, "broken": broken, "stack": stack, "refused": refused, "hottest_c": 30.0}


def test_a_row_counts_twice_only_for_more_than_a_calm_day_breaks() -> None:
    inv = [unshielded.INVARIANTS]
    found = {
        CALM: result(inv, ["I-03"]), CALM_STACK: result(inv, ["I-03", "I-07"], stack=True),
        "P01": result(inv, ["I-03"]), "P02": result(inv, ["I-03", "I-07"]), "T01": result(inv, ["I-03", "I-07"], stack=True, refused=2),
        "T02": result([unshielded.RACKS], [], stack=True), "O01": result([], []),
        f"{SHIELDED}:0": result([], []), f"{UNSHIELDED}:0": result([unshielded.RACKS, *inv], ["R2"]),
    }  # fmt: skip
    assert unshielded.failing(found) == ["P01", "P02", "T01", "T02"]
    assert unshielded.beyond_calm(found) == {"P02": "I-07", "T02": unshielded.RACKS}
    assert unshielded.hot_episodes(found, UNSHIELDED) == [f"{UNSHIELDED}:0"] and not unshielded.hot_episodes(found, SHIELDED)
    text = unshielded.table(found)
    assert "**4 of 5** rows" in text and "**2** rows fail by more" in text and "In 1 of the 2 rows with the whole stack" in text
    assert "| not at all | 1 | O01 |" in text


def test_page_says_how_many_rows_fail_and_it_is_enough() -> None:
    begin, end = marks(unshielded.MARK)
    text = PAGE.read_text(encoding="utf-8").split(begin)[1].split(end)[0]
    assert int(text.split("**")[1].split(" ")[0]) >= unshielded.LEAST
