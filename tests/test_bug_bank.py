"""The bank of bugs stays applicable; `make bugs` applies it."""

from __future__ import annotations

from collections import Counter

import pytest
from bug_bank import BUGS, Bug
from conftest import ROOT


@pytest.mark.parametrize("bug", BUGS, ids=lambda b: f"{b.file}:{b.good[:30]}")
def test_bug_can_be_put_in_and_has_tests_to_catch_it(bug: Bug) -> None:
    text = (ROOT / bug.file).read_text(encoding="utf-8")
    assert text.count(bug.good) == 1 and bug.good != bug.bad
    compile(text.replace(bug.good, bug.bad), bug.file, "exec")
    assert bug.tests and all((ROOT / t).exists() for t in bug.tests)


def test_bank_has_fifty_bugs_all_over_the_safety_code() -> None:
    assert len(BUGS) >= 50
    per_file = Counter(b.file for b in BUGS)
    for name in ("gateway", "proof", "lease", "control/mode", "control/shield", "control/health", "strict_json"):
        assert per_file[f"coolctl/{name}.py"] >= 3, name
