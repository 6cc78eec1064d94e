"""Small pieces of a page: escaped text, figures that may not be known, tables that can be scrolled and read aloud."""

from __future__ import annotations

import html
from typing import Any


def cell(value: Any) -> str:
    """Text as HTML."""
    return html.escape(str(value))


def percent(ratio: float | None, signed: bool = False) -> str:
    """A ratio in percent."""
    return "not known" if ratio is None else f"{100 * ratio:+.1f} %" if signed else f"{100 * ratio:.1f} %"


def number(value: float | None, form: str = ".2f") -> str:
    """A figure."""
    return "not known" if value is None else format(value, form)


def table(head: list[str], rows: list[list[str]], name: str) -> str:
    """A table; the first column is text, the others are figures."""
    if not rows:
        return "<p>None.</p>"
    top = "".join(f'<th scope="col"{"" if k == 0 else " class=n"}>{cell(h)}</th>' for k, h in enumerate(head))
    lines = "".join(
        "<tr>" + "".join(f"<td{'' if k == 0 else ' class=n'}>{cell(c)}</td>" for k, c in enumerate(row)) + "</tr>" for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{cell(name)}"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )
