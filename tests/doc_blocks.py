"""The commands of the documents: fenced `sh` blocks, each to be run, or with the reason why it is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>.*?) -->\n)?```(?P<kind>sh|bash|console|shell)[^\n]*\n(?P<text>.*?)^```", re.M | re.S
)
BLOCK = re.compile(r"^```.*?^```[^\n]*\n", re.M | re.S)
# What a person would type; in code that is indented instead of fenced nobody would look for it.
TYPED = re.compile(r"^ {4}(?:\$ )?(?:sudo |coolctl |\.venv/bin/|make |systemctl |journalctl |pip |apt |mosquitto_sub ).*$", re.M)


class Commands(NamedTuple):
    """One block: the page, its line, the commands, and why they are not run (empty: they are)."""

    page: str
    line: int
    text: str
    why_not: str

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, text: str) -> list[Commands]:
    """Every block of commands of a page."""
    found = FENCE.finditer(text)
    return [Commands(page, text[: m.start("text")].count("\n") + 1, m["text"], m["why"] or "") for m in found]


def unfenced(text: str) -> list[str]:
    """Commands that stand in indented code, where no test runs them."""
    return TYPED.findall(BLOCK.sub("", text))


def all_blocks() -> list[Commands]:
    return [block for path in PAGES for block in blocks(path.name, path.read_text(encoding="utf-8"))]
