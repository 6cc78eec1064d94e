"""The live page in a real browser: everything is there and alive, it says when it is not, and nothing is executed."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Window, chromium, needs_browser
from conftest import SITE
from stack import Stack

from coolctl.edge.mqtt import MqttClient, MqttSettings
from coolctl.edge.web import PageServer

pytestmark = [pytest.mark.hil, pytest.mark.alone]
DECISION = "coolctl/v1/hall1mw/decision"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(SITE, tmp_path_factory.mktemp("page"))
    for name in ("gateway", "daemon", "web"):
        made.start(name)
    made.start_plant(60.0, "--load", "0.6")
    made.wait("the plant follows a lease for some minutes", lambda lines: len(lines) > 450 and not lines[-1].local, 120.0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(stack: Stack) -> str:
    found = re.search(r"http://\S+", (stack.folder / "web.log").read_text())
    assert found
    return found[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


def number(w: Window, selector: str) -> float:
    return float(re.findall(r"-?\d+(?:\.\d+)?", w.text(selector))[0])


@needs_browser
def test_page_shows_the_living_plant_and_why(browser: Any, address: str, tmp_path: Path) -> None:
    w = Window(browser, address, viewport={"width": 1440, "height": 1040})
    assert w.text("#mode").lower() == "auto" and "in charge" in w.text("#charge")
    assert 20.0 < number(w, "#k-power") < 400.0 and number(w, "#k-baseline") > number(w, "#k-power") * 0.5
    assert 15.0 < number(w, "#k-inlet") < 26.5 and "26.0 °C" in w.text("#k-inlet")
    rows = [row.split("\t") for row in w.text("#sps").splitlines() if "_sp" in row]
    assert len(rows) == 9 and all(len(row) == 5 and row[1] and row[4].strip() for row in rows)
    assert {row[0] for row in rows} >= {"chwst_sp", "hall1.sat_sp", "hall1.fan_speed_sp"}
    assert w.page.locator("#racks rect, #racks circle, #racks path, #racks line").count() >= 32
    w.until(lambda: w.count(".trend polyline") >= 8 and w.count(".trend rect.m-auto") == 1)
    w.until(lambda: "auto" in w.text("#changes") and "clean for 300 s" in w.text("#changes"))
    w.until(lambda: " per " in w.text("#limits") and "holds the plan" in w.text("#limits"))
    assert re.search(r"\d+ %|ample", w.text("#k-weak")) and "N-1" in w.text("#limits")
    w.until(lambda: w.count("#outlook-rows tr") >= 6)
    assert re.search(r"all chilled water pumps\s+\d+\.\d °C", w.text("#outlook-rows")) and "over 32 °C after" in w.text(
        "#outlook-table"
    )
    plant, setpoints = w.page.text_content("#plant"), w.text("#sps")
    w.until(lambda: w.page.text_content("#plant") != plant and w.text("#sps") != setpoints)
    assert w.text("#banner") == "" and w.hosts == {"127.0.0.1"} and not w.faults
    picture = w.page.screenshot(path=tmp_path / "page.png")
    assert len(picture) > 40_000  # a blank page of this size compresses to a tenth
    w.page.close()


@needs_browser
@pytest.mark.parametrize("width", [400, 820, 1280])
def test_page_fits_small_screens(browser: Any, address: str, width: int) -> None:
    w = Window(browser, address, viewport={"width": width, "height": 900}, color_scheme="dark")
    assert w.fits() and not w.faults
    w.page.close()


@needs_browser
def test_page_shows_hostile_text_as_text(browser: Any, address: str, stack: Stack) -> None:
    w = Window(browser, address)
    client = MqttClient(MqttSettings("127.0.0.1", stack.broker.port, "hostile"), [])
    deadline_s = time.monotonic() + 10.0
    while not client.ready and time.monotonic() < deadline_s:
        client.run_until(time.monotonic() + 0.1)
    now_s = json.loads(read(int(address.rsplit(":", 1)[1].strip("/")), "/state.json"))["now_s"]
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    setpoint = f'{{"value":1.0,"proposed":null,"baseline":null,"reason":"{evil}","unit":"{evil}"}}'
    power = '"power":{"measured_w":1000.0,"baseline_w":"x","model_w":null}'
    events = f'"events":[{{"t_s":1,"text":"{evil}"}},"{evil}",7]'
    decision = (
        f'{{"t_s":{now_s + 30.0},"mode":"{evil}","mode_reason":"{evil}",{power},{events},"setpoints":{{"{evil}":{setpoint}}}}}'
    )
    for raw in (
        decision,
        decision.replace("1000.0", "NaN"),
        decision.replace(f"{now_s + 30.0}", '"x"'),
        "[1]",
        "{",
        '{"events":"abc","t_s":1}',
    ):
        client.publish(DECISION, raw.encode())
        client.run_until(time.monotonic() + 0.1)
    w.until(lambda: evil in w.text("#changes"))
    w.page.wait_for_timeout(1500)
    assert w.page.locator("img, body script").count() == 0 and not [f for f in w.faults if "dialog" in f or "onerror" in f]
    assert stack.processes["web"].poll() is None and w.text("#mode").lower() == "auto"
    client.close()
    w.page.close()


@needs_browser
def test_page_says_that_it_hears_nothing_and_comes_back(browser: Any, address: str, stack: Stack) -> None:
    w = Window(browser, address)
    stack.broker.kill()
    w.until(lambda: "broker" in w.text("#banner") or "stale" in w.text("#banner"))
    w.until(lambda: "no data since" in w.text("#banner"))
    assert w.page.locator("#banner").is_visible()
    stack.broker.restart()
    w.until(lambda: w.text("#banner") == "", 60.0)
    w.until(lambda: w.count(".trend polyline") >= 8)
    assert not w.page.locator("#banner").is_visible() and w.text("#mode")
    w.page.close()


@needs_browser
@pytest.mark.nightly
def test_held_setpoint_is_shown_with_its_reason(browser: Any, address: str, stack: Stack) -> None:
    w = Window(browser, address)
    words = ["mode", "--hold", "hall1.sat_sp=22.5", "--reason", "filter change, J. Li", "--for", "2h"]
    assert stack.ask(*words) == 0
    w.until(lambda: "filter change, J. Li" in w.text("#held") and "in 2 h" in w.text("#held"))
    w.until(lambda: "by a person" in w.text("#changes") and "held at 22.5" in w.text("#changes"))
    assert "held" in w.text("#sps") and not w.faults
    w.page.close()


@needs_browser
@pytest.mark.nightly
def test_page_says_since_when_the_controller_is_silent(browser: Any, address: str, stack: Stack) -> None:
    w = Window(browser, address)
    stack.kill("daemon")
    w.until(lambda: "No decision" in w.text("#banner"))
    assert re.search(r"no data since \d\d:\d\d:\d\d", w.text("#banner")) and "itself" in w.text("#banner")
    stack.start("daemon")
    w.until(lambda: w.text("#banner") == "", 60.0)
    w.until(lambda: w.count(".gap") >= 1)  # the silence stays to be seen
    assert not w.faults
    w.page.close()


def ask(port: int, method: str, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    connection.request(method, path)
    answer = connection.getresponse()
    answer.read()
    return answer


def read(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    connection.request("GET", path)
    return connection.getresponse().read()


@pytest.fixture
def server() -> Iterator[PageServer]:
    made = PageServer("127.0.0.1", 0, {"name": "x"})
    yield made
    made.close()


def test_server_only_reads_and_only_known_paths(server: PageServer) -> None:
    good = ask(server.port, "GET", "/")
    assert good.status == 200 and good.getheader("X-Content-Type-Options") == "nosniff"
    policy = good.getheader("Content-Security-Policy") or ""
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert ask(server.port, "GET", "/runbooks.html").status == 200 and ask(server.port, "GET", "/trends/hour.json").status == 404
    for path in ("/nothing", "/../coolctl/web.py", "/%2e%2e/x", "//x"):
        assert ask(server.port, "GET", path).status == 404
    for method in ("POST", "PUT", "DELETE"):
        assert ask(server.port, method, "/").status == 501


def test_server_is_not_held_up_by_a_client_that_does_not_read(server: PageServer) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for s in silent:
        s.sendall(b"GET /events HTTP/1.1\r\n\r\n")
    begun_s = time.monotonic()
    for k in range(200):
        server.update({"k": k, "text": "x" * 10_000})
    assert time.monotonic() - begun_s < 2.0
    assert ask(server.port, "GET", "/state.json").status == 200
    for s in silent:
        s.close()
