"""Mutants that change nothing anyone could see, each with the reason: they count neither way (`make mutants`)."""

from __future__ import annotations

from typing import NamedTuple


class Equal(NamedTuple):
    """The line where the change begins, before and after, and why no test can tell them apart."""

    file: str
    before: str
    after: str
    why: str


EQUALS: tuple[Equal, ...] = ()
