"""The written part of a page: what stands between two marks is a tool's, the rest is a person's."""

from __future__ import annotations

from pathlib import Path


def marks(mark: str) -> tuple[str, str]:
    """Where the written part begins, and where it ends."""
    return f"<!-- {mark} -->", f"<!-- end of {mark} -->"


def write_between(page: Path, mark: str, text: str) -> None:
    """Put `text` between the marks of that name. Raises `ValueError` where one of them is missing or stands there twice."""
    begin, end = marks(mark)
    old = page.read_text(encoding="utf-8")
    before, rest = old.split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
