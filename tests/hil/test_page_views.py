"""The live page's trends, decisions and alarms in a real browser, fed with two known hours: by eye, by keyboard and on paper."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import Window, chromium, needs_browser
from conftest import ROOT
from page_feed import GAP_S, decision, page, tell

from coolctl.edge.web import PageServer
from coolctl.site import Site, load_site
from coolctl.web import describe
from coolctl.web.listener import Listener

pytestmark = [pytest.mark.hil, needs_browser]
CHARTS = 6
A4_PX = 279.0 / 25.4 * 96.0
"""What is left of the sheet's height between its margins."""

# The lightest contrast between a text and what it stands on, the text beside it; SVG text on its own coloured box left out.
CONTRAST = r"""(() => {
  const rgb = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const light = ([r, g, b]) => { const f = [r, g, b].map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
  const under = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; } return [255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()), box = e.getBoundingClientRect();
    if (!own || box.width < 2 || e.closest("#plant") || (e.closest(".modes svg") && !e.classList.contains("dim"))) continue;
    const style = getComputedStyle(e), a = light(rgb(e.closest("svg") ? style.fill : style.color)), b = light(under(e));
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.textContent.slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0])[0];
})()"""


@pytest.fixture(scope="module")
def made(site: Site) -> Iterator[tuple[Listener, PageServer]]:
    listener, server = page(site)
    yield listener, server
    server.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def window(browser: Any, made: tuple[Listener, PageServer]) -> Iterator[Window]:
    yield from opened(browser, made, 1280)


def opened(browser: Any, made: tuple[Listener, PageServer], width: int, **settings: Any) -> Iterator[Window]:
    listener, server = made
    server.update(listener.state())
    w = Window(browser, f"http://127.0.0.1:{server.port}/", viewport={"width": width, "height": 900}, **settings)
    w.until(lambda: w.count("#changes tr") > 3 and w.count(".trend svg .axis") == CHARTS + 1)
    yield w
    w.page.close()


def readout(w: Window) -> str:
    return w.focused("aria-valuetext")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_everything_is_there_and_fits_without_an_error(
    browser: Any, made: tuple[Listener, PageServer], width: int, scheme: str
) -> None:
    for w in opened(browser, made, width, color_scheme=scheme):
        assert w.fits() and not w.faults and w.hosts == {"127.0.0.1"}
        assert w.count(".trend polyline") >= 8 and w.count(".trend polygon") >= 8
        assert w.count(".trend .lim") == 1 and "limit 26 °C" in (w.page.text_content(".trend:nth-child(2) svg") or "")
        assert w.count(".gap") == CHARTS and "no data" in (w.page.text_content("#charts") or "")  # the silence, in each of them
        assert w.text("#k-power") == "67.9 kW" and w.text("#k-pue") == "1.113" and w.text("#k-saving") == "40 %"
        assert w.text("#k-weak") == "84 %" and "chiller" in w.text("#k-weak-of")
        assert "filter change" in w.text("#held") and "22.5 °C" in w.text("#held") and "in 2 h" in w.text("#held")
        assert (
            "held" in w.text("#sps") and "5.20 kW per K" in w.text("#limits") and "nothing is acknowledged" in w.text("#alarms")
        )
        ratio, text = w.page.evaluate(CONTRAST)
        assert ratio >= 4.5, text


def test_alarm_is_listed_with_cause_and_leads_to_its_runbook_by_keyboard(window: Window) -> None:
    assert "a single failure could not be carried" in window.text("#alarm-rows") and "84 % is left" in window.text("#alarm-rows")
    assert "warning: a single failure" in window.text("#alarm-said") and window.text("#alarm-count") == "1"
    window.page.focus("#alarm-rows a")
    window.page.wait_for_timeout(700)  # newer states have come meanwhile
    window.press("Enter")
    window.until(lambda: window.page.url.endswith("/runbooks.html#coolctlnoredundancy"))
    assert window.text("h2:target") == "CoolctlNoRedundancy"
    assert not [f for f in window.faults if "/events" not in f]  # the stream is left with the page
    window.press("Tab", "Enter")
    window.until(lambda: window.count("#charts") == 1)


@pytest.mark.nightly
def test_tab_leads_through_the_page_in_its_order_and_can_be_seen(window: Window) -> None:
    seen, tops = [], []
    for _ in range(40):
        window.press("Tab")
        name, top, outline = window.page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e.matches('.choice input') ? e.nextSibling : e);"
            " return [e === document.body ? '' : e.id || e.getAttribute('href') || e.getAttribute('aria-label') || e.value || e.textContent,"
            " e.getBoundingClientRect().top + scrollY, s.outlineStyle + parseFloat(s.outlineWidth)]; })()"
        )
        if name in seen or name == "":
            break
        assert outline not in ("none0", "none3") and float(re.sub(r"\D*", "", outline)) >= 2, f"{name}: focus is not seen"
        seen.append(name)
        tops.append(top)
    assert seen[0] == "#main" and seen[1:8] == ["#alarms", "#plant-now", "#trends", "#setpoints", "#outlook", "#history", "print"]
    assert sum("arrow keys" in s for s in seen) == CHARTS + 1
    assert {"mode", "setpoint", "person"} <= set(seen) and "History of decisions" in seen
    assert all(b > a - 80 for a, b in itertools.pairwise(tops[1:])), "the order of the eye"
    window.page.evaluate("scrollTo(0, 0)")
    window.page.focus(".skip")
    window.press("Enter")
    assert window.page.evaluate("document.activeElement.id") == "main"


def test_arrow_keys_read_a_trend_and_all_trends_at_once(window: Window) -> None:
    window.page.focus(".trend:nth-child(2) svg")
    window.press("End")
    assert re.fullmatch(r"2:00:00: hottest rack inlet 24\.\d\d °C, supply air no data", readout(window)), readout(window)
    window.press("ArrowLeft", "ArrowLeft")
    assert readout(window).startswith("1:59:40: ") and {t.inner_text() for t in window.page.locator(".at").all()} == {"1:59:40"}
    assert window.count(".cursor line") == CHARTS + 1 and "kW" in window.text(".trend:nth-child(4) .legend")
    window.press("PageUp", "Home")
    assert readout(window).startswith("1:00:10: ")
    for _ in range(int((GAP_S[0] + 60 - 3610) / 100)):
        window.press("Shift+ArrowRight")
    assert readout(window).endswith("hottest rack inlet no data, supply air no data")  # in the gap
    window.press("Escape")
    assert {t.inner_text() for t in window.page.locator(".at").all()} == {"now"} and window.count(".cursor") == 0
    window.page.hover(".trend:nth-child(3) svg")
    assert window.count(".cursor line") == CHARTS + 1 and not window.faults


@pytest.mark.nightly
def test_day_shows_the_second_above_the_alarm(window: Window) -> None:
    window.page.focus("input[value=hour]")
    window.press("ArrowRight")
    window.until(lambda: "last day" in (window.page.locator(".trend svg").nth(1).get_attribute("aria-label") or ""))
    window.page.focus(".trend:nth-child(2) svg")
    window.press("End", *["ArrowLeft"] * 35)
    assert readout(window).startswith("0:50:00: ")
    assert "… 29.50" in window.text(".trend:nth-child(2) .legend")
    window.page.click("#summary-of")
    assert "last day" in window.text("#summary-of") and "29.50 °C" in window.text("#summary-rows tr:first-child")


def test_decisions_are_filtered_by_keyboard(window: Window) -> None:
    rows = window.text("#changes")
    assert "chillers_on_sp" in rows and "1 → 2" in rows and "18.0 °C → 19.2 °C" in rows and "filter change" in rows
    assert "the plan stood on rack inlet (5.20 kW per K)" in rows
    every = window.count("#changes tr")
    window.page.focus("#kinds input[value=setpoint]")
    window.press("Space")
    assert "chwst_sp" not in window.text("#changes") and "chillers_on_sp" in window.text("#changes")
    assert 0 < window.count("#changes tr") < every and f"of {every} entries" in window.text("#shown")
    window.press("Space")
    assert window.count("#changes tr") == every


@pytest.mark.nightly
def test_structure_can_be_heard(window: Window) -> None:
    look = window.page.evaluate
    assert [window.count(tag) for tag in ("h1", "header", "nav", "main", "footer")] == [1] * 5
    assert look(
        "[...document.querySelectorAll('section')].every((s) => s.getAttribute('aria-label') || document.getElementById(s.getAttribute('aria-labelledby')))"
    )
    assert look(
        "[...document.querySelectorAll('th')].every((t) => t.scope) && !document.querySelector('[tabindex]:not([tabindex=\"0\"]):not([tabindex=\"-1\"])')"
    )
    live = look("[...document.querySelectorAll('[aria-live],[role=status],[role=alert]')].map((e) => e.id)")
    assert sorted(live) == ["alarm-said", "banner", "mode"]
    assert look("document.documentElement.lang") == "en" and "hall1mw" in window.page.title()


def test_handover_sheet_is_one_page_with_the_last_hour(window: Window) -> None:
    window.page.focus("input[value=hour]")
    window.press("ArrowRight")  # the day is shown on the screen
    pdf = window.page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1 and len(pdf) > 30_000
    assert [round(float(x)) for x in re.findall(rb"/MediaBox \[([\d. ]+)\]", pdf)[0].split()] == [0, 0, 595, 842]
    window.page.emulate_media(media="print")
    window.page.set_viewport_size({"width": 726, "height": 1050})
    window.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown = {
        name: window.page.locator(name).first.is_visible()
        for name in ("#printed", "#sps", "#limits", "#alarm-rows", "#held", ".trend svg", "nav", "#plant", "#history")
    }
    assert shown == {name: name not in ("nav", "#plant", "#history") for name in shown}
    assert "last hour" in (window.page.locator(".trend svg").nth(1).get_attribute("aria-label") or "")
    assert window.page.evaluate("document.documentElement.scrollHeight") <= A4_PX and window.fits() and not window.faults


@pytest.mark.nightly
def test_page_without_its_server_says_since_when(site: Site, browser: Any) -> None:
    listener = Listener(site, "127.0.0.1:1")
    server = PageServer("127.0.0.1", 0, describe(site), listener.documents())
    tell(listener, decision(100.0))
    server.update(listener.state())
    w = Window(browser, f"http://127.0.0.1:{server.port}/")
    server.close()
    w.until(lambda: "lost its server" in w.text("#banner"))
    assert re.search(r"no data since \d\d:\d\d:\d\d", w.text("#banner")) and w.count("body.stale") == 1
    w.page.close()


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["campus10mw", "two_halls_no_economizer"])
def test_halls_of_other_sites_do_not_run_into_each_other(browser: Any, name: str) -> None:
    listener, server = page(load_site(ROOT / "config" / "sites" / f"{name}.toml"))
    for w in opened(browser, (listener, server), 1280):
        inside, apart, whole = w.page.evaluate(
            "(() => { const b = (s) => [...document.querySelectorAll(s)].map((e) => e.getBoundingClientRect()), halls = b('#plant .box').slice(2);"
            " const inside = b('#plant .r-none').every((r) => halls.some((h) => r.top >= h.top && r.bottom <= h.bottom));"
            " const apart = halls.every((h, i) => !i || h.top >= halls[i - 1].bottom), svg = b('#plant')[0];"
            " return [inside, apart, b('#plant *').every((r) => r.right <= svg.right && r.bottom <= svg.bottom)]; })()"
        )
        assert inside and apart and whole and w.fits() and not w.faults
    server.close()
