"""The mutation run itself: known changes are made and noticed, one that nothing can notice is said, and nothing is done twice."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from equal_mutants import EQUALS, Equal

from tools import mutants as tool
from tools.marks import marks
from tools.mutations import Mutant, mutants

TOY = '''"""A toy."""

MOST = 5


def inside(x: float, least: float = 1) -> bool:
    if x < least or x > MOST:
        return False
    return True


def countdown(n: int) -> int:
    steps = 0
    while n > 0:
        n -= 1
        steps += 1
    return steps


def same(x: float) -> float:
    return x + 0
'''
TOY_TEST = """
import toy

def test_inside():
    assert toy.inside(1) and toy.inside(5) and toy.inside(0.9) is toy.inside(5.1) is False

def test_countdown():
    assert toy.countdown(3) == 3 and toy.countdown(0) == 0

def test_same():
    assert toy.same(2) == 2
"""
PLAY = """
import sys
from pathlib import Path
from tools import mutants as tool

tool.SPARE_S = 0.5
root = Path(sys.argv[1])
ids = frozenset(sys.argv[5].split()) if len(sys.argv) > 5 else frozenset()
tool.run(root, (sys.argv[2],), [sys.argv[3]], Path(sys.argv[4]), only=ids, patience_s=5.0)
"""


def play(root: Path, file: str, test: str, results: Path, ids: str = "") -> str:
    """A run in a process of its own, as `make mutants` has it; what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PLAY, str(root), file, test, str(results), *([ids] if ids else [])]
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_changes_of_a_toy_are_noticed_but_the_one_that_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "test_toy.py").write_text(TOY_TEST)
    results = tmp_path / "build" / "mutants.jsonl"
    said = play(tmp_path, "toy.py", "test_toy.py", results)
    made = {m.id: m for m in mutants(tmp_path / "toy.py", tmp_path)}
    done = tool.known(results)
    assert set(done) == set(made) and len(made) > 20
    states = {(made[i].before, made[i].after): r["state"] for i, r in done.items()}
    for change in (
        ("if x < least or x > MOST:", "if x <= least or x > MOST:"),
        ("if x < least or x > MOST:", "if x < least and x > MOST:"),
        ("MOST = 5", "MOST = 6"),
        ("def inside(x: float, least: float = 1) -> bool:", "def inside(x: float, least: float = 2) -> bool:"),
        ("return False", "return True"),
        ("steps += 1", "pass"),
    ):
        assert states[change] == tool.KILLED, change
    assert states["n -= 1", "pass"] == states["n -= 1", "n += 1"] == tool.HANGS
    assert [c for c, state in states.items() if state == tool.SURVIVED] == [("return x + 0", "return x - 0")]
    assert "SURVIVED toy.py:21 (arithmetic) return x + 0  →  return x - 0" in said
    assert "0 mutants to try" in play(tmp_path, "toy.py", "test_toy.py", results)  # nothing is done twice
    (score,) = tool.scores(tmp_path, ("toy.py",), results)
    assert score.killed == len(made) - 1 and len(score.survivors) == 1 and score.untried == 0
    (score,) = tool.scores(tmp_path, ("toy.py",), results, [Equal("toy.py", "return x + 0", "return x - 0", "nought", "same")])
    assert (
        score.ratio == 1.0 and score.equal == 1 and f"| {len(made)} | {len(made) - 1} | 0 | 1 | 100.0 % |" in tool.table([score])
    )


KNOWN = (
    ("coolctl/gateway.py", '(m.seq > self.seq, "seq"),', '(m.seq >= self.seq, "seq"),'),
    ("coolctl/gateway.py", "ECHO_MAX_S = 5.0", "ECHO_MAX_S = 5.5"),
    ("coolctl/lease.py", "if _checksum(o) != crc:", "if _checksum(o) == crc:"),
    ("coolctl/lease.py", 'raise Rejected("crc")', "pass"),
    ("coolctl/strict_json.py", "if len(found) != len(pairs):", "if len(found) == len(pairs):"),
    ("coolctl/control/mode.py", "if e.over_alarm or e.no_cooling:", "if e.over_alarm and e.no_cooling:"),
    (
        "coolctl/control/shield.py",
        "if c.est.quorum and below and c.confirmed and room:",
        "if c.est.quorum and below and True and room:",
    ),
    ("coolctl/control/shield.py", 'self._set(u, slewed, bits, "rate")', "pass"),
    (
        "coolctl/control/shield.py",
        "PLANT_WARM_SIGN = (1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0)",
        "PLANT_WARM_SIGN = (1.0, 1.0, -1.0, 1.0, -1.0, -1.0, -1.0)",
    ),
)


@functools.cache
def listed(file: str) -> list[Mutant]:
    return mutants(ROOT / file, ROOT)


@pytest.mark.parametrize(("file", "before", "after"), KNOWN)
def test_change_that_matters_is_among_those_that_are_tried(file: str, before: str, after: str) -> None:
    assert sum((m.before, m.after) == (before, after) for m in listed(file)) >= 1


def test_changes_of_the_product_are_noticed(tmp_path: Path) -> None:
    file, wanted = "coolctl/lease.py", {(before, after) for f, before, after in KNOWN if f == "coolctl/lease.py"}
    ids = [m.id for m in listed(file) if (m.before, m.after) in wanted]
    results = tmp_path / "mutants.jsonl"
    play(ROOT, file, "tests/test_messages.py", results, " ".join(ids))
    assert {i: r["state"] for i, r in tool.known(results).items()} == dict.fromkeys(ids, tool.KILLED) and len(ids) == len(wanted)


@pytest.mark.parametrize("file", tool.FILES)
def test_every_mutant_is_a_program_with_a_name_of_its_own(file: str) -> None:
    found = listed(file)
    least = {"coolctl/dialects/route.py": 50, "coolctl/control/ranges.py": 35}.get(file, 90)
    assert len({m.id for m in found}) == len(found) > least
    text = (ROOT / file).read_text(encoding="utf-8")
    assert all(m.text != text for m in found)
    for m in found[::10]:  # the run itself compiles every one
        compile(m.text, m.file, "exec")


def test_names_do_not_change_with_what_stands_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    before = [m.id for m in mutants(tmp_path / "toy.py", tmp_path)]
    (tmp_path / "toy.py").write_text(TOY.replace("MOST = 5\n", "MOST = 5\n# a comment\nOTHER = None\n"))
    assert [m.id for m in mutants(tmp_path / "toy.py", tmp_path)] == before


@pytest.mark.parametrize("equal", EQUALS, ids=lambda e: f"{Path(e.file).stem}: {e.before[:40]} → {e.after[:40]}")
def test_mutant_that_is_said_to_change_nothing_is_one_and_has_its_reason(equal: Equal) -> None:
    assert any((m.before, m.after) == (equal.before, equal.after) and equal.place in ("", m.place) for m in listed(equal.file))
    assert len(equal.why) > 20


def test_mutants_that_change_nothing_are_few_and_each_is_listed_once() -> None:
    assert len(set(EQUALS)) == len(EQUALS)
    for file in tool.FILES:
        assert sum(e.file == file for e in EQUALS) <= 0.06 * len(listed(file)), file


def test_page_names_every_file_and_its_score() -> None:
    page = tool.PAGE.read_text(encoding="utf-8")
    begin, end = marks(tool.MARK)
    table = page.split(begin)[1].split(end)[0]
    for file in tool.FILES:
        assert f"| `{file}` |" in table
    assert "not tried" not in table and page.count(begin) == page.count(end) == 1
