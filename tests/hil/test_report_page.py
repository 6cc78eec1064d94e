"""The report's page in a real browser: no error, nothing asked of a network, and readable on a desk, on a phone and on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Window, chromium, needs_browser
from test_report import report, rows, tested_site

__all__ = ["report", "rows", "tested_site"]  # the fixtures: four days of recordings with a known saving
pytestmark = [pytest.mark.hil, pytest.mark.nightly, needs_browser]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_report_fits_without_an_error(browser: Any, report: tuple[dict, str], tmp_path: Path, width: int, scheme: str) -> None:
    path = tmp_path / "report.html"
    path.write_text(report[1], encoding="utf-8")
    w = Window(browser, path.as_uri(), ready="h1", viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert w.fits() and not w.faults and w.hosts <= {""}
    inside = "[...document.querySelectorAll('p,h1,h2,svg,.big')].every((e) => e.getBoundingClientRect().right <= innerWidth + 1)"
    assert w.page.evaluate(inside)
    assert f"{100 * report[0]['saving']['ratio']:.1f} %" in w.text(".big") and w.count("svg[role=img]") == 3
    w.press("Tab")
    assert w.focused("class") == "skip"
    w.press("Enter", "Tab")
    assert w.focused("role") == "region"  # a table, which the keyboard can scroll
    assert len(w.page.pdf()) > 30_000
    w.page.close()
