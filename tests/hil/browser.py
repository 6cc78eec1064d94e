"""A real Chromium for the tests of pages: one window, and everything that went wrong in it."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None, reason="chromium or playwright is not installed"
)
# Its own background services off: the test sees only what the page itself asks for.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, ended with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


class Window:
    """A browser window and what went wrong in it."""

    def __init__(self, browser: Any, address: str, ready: str = "#k-power", **settings: Any):
        self.page = browser.new_page(**settings)
        self.faults: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("pageerror", lambda e: self.faults.append(str(e)))
        self.page.on("console", lambda m: self.faults.append(m.text) if m.type == "error" else None)
        self.page.on("requestfailed", lambda r: self.faults.append(f"{r.url} failed"))
        self.page.on("dialog", lambda d: (self.faults.append("a dialog opened"), d.dismiss()))
        self.page.on("request", lambda r: self.hosts.add(r.url.split("/")[2].split(":")[0]))
        self.page.goto(address)
        self.until(lambda: ready != "#k-power" or "kW" in self.text(ready))

    def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """The page's content policy forbids Playwright's own way of waiting, which evaluates a string."""
        deadline_s = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline_s, self.text("body")[:500]
            self.page.wait_for_timeout(100)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def count(self, selector: str) -> int:
        return int(self.page.locator(selector).count())

    def fits(self) -> bool:
        """Whether nothing sticks out to the right of the window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def focused(self, attribute: str) -> str:
        """An attribute of the element that has the focus."""
        return str(self.page.evaluate(f"document.activeElement.getAttribute('{attribute}') || ''"))
