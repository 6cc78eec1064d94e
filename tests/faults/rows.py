"""What a row of the matrix is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from faults.scenes import Stage

NOT_YET = "not applicable yet"


@dataclass(frozen=True)
class Row:
    """One fault: played by `run` (which asserts and says what it saw), held by a named test, or said why not.

    `short` says in what the row misses its bar; `run` then asserts what does hold.
    """

    id: str
    title: str
    expected: str
    run: Callable[[Stage], str] | None = None
    tier: str = "P"
    short: str = ""
    held_by: str = ""
    why_not: str = ""

    @property
    def kind(self) -> str:
        return self.id[0]
