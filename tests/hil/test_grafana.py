"""Dashboards: as generated, by the linter's rules, and every query answered by a Prometheus that has watched a real run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ROOT, SITE
from stack import Stack

from coolctl.edge.broker import free_port
from tools.dashboards import DASHBOARDS, FOLDER, dashboard_json

PROMETHEUS = shutil.which("prometheus")
DRAWN = [dashboard_json(d) for d in DASHBOARDS]
PANELS = [(d["uid"], p) for d in DRAWN for p in d["panels"]]
UNITS = {"short", "none", "celsius", "s", "watt", "percentunit", "cps"}


def test_files_are_what_the_table_says() -> None:
    for d in DRAWN:
        assert json.loads((FOLDER / f"{d['uid']}.json").read_text()) == d, "run `python -m tools.dashboards`"
    assert len(list(FOLDER.iterdir())) == len(DRAWN)


@pytest.mark.parametrize("drawn", DRAWN, ids=lambda d: d["uid"])
def test_a_dashboard_keeps_to_the_linters_rules(drawn: dict[str, Any]) -> None:
    variables = {v["name"]: v for v in drawn["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["site"]["allValue"] == ".*"
    assert drawn["editable"] is False and drawn["description"] and drawn["uid"]
    taken: set[tuple[int, int]] = set()
    for p in drawn["panels"]:
        assert p["title"] and p["description"] and p["datasource"]["uid"] == "${datasource}"
        assert p["fieldConfig"]["defaults"]["unit"] in UNITS
        g = p["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, "panels overlap"
        taken |= cells
        for target in p["targets"]:
            expr = target["expr"]
            assert not re.search(r"rate\([^[]*\[\d", expr), "a rate's window is $__rate_interval"
            counters = re.findall(r"coolctl_\w+_total", expr)
            if any(c for c in counters if "violations" not in c):
                assert "rate(" in expr or ":" in expr, f"a counter is shown as a rate: {expr}"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that has scraped a running daemon each second for a while."""
    folder = tmp_path_factory.mktemp("grafana")
    stack = Stack(SITE, folder, metrics_port=free_port())
    stack.start("gateway")
    stack.start("daemon")
    stack.start_plant(30.0, "--load", "0.6")
    stack.wait("the policy is in charge", lambda lines: len(lines) > 400 and not lines[-1].local, 120.0)
    for name in ("recording.yml", "alerts.yml"):
        text = (ROOT / "config/prometheus" / name).read_text().replace("interval: 30s", "interval: 1s")
        (folder / name).write_text(text)
    settings = (
        (ROOT / "config/prometheus/prometheus.yml").read_text().replace("15s", "1s").replace("9464", str(stack.metrics_port))
    )
    (folder / "prometheus.yml").write_text(settings)
    port = free_port()
    words = [str(PROMETHEUS), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen([*words, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        end_s = time.monotonic() + 60.0
        while time.monotonic() < end_s and not _answered(address, "site:coolctl_deadline_misses:rate5m"):
            time.sleep(0.5)
        time.sleep(3.0)
        yield address
    finally:
        server.terminate()
        server.wait(10.0)
        stack.close()


def ask(address: str, expr: str) -> list[dict[str, Any]]:
    for name, value in (("$site", ".*"), ("$__rate_interval", "30s")):
        expr = expr.replace(name, value)
    with urllib.request.urlopen(f"{address}/api/v1/query?query={urllib.parse.quote(expr)}", timeout=10.0) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def _answered(address: str, expr: str) -> bool:
    try:
        return bool(ask(address, expr))
    except OSError:
        return False


@pytest.mark.hil
@pytest.mark.skipif(not PROMETHEUS, reason="prometheus is not installed")
def test_every_query_finds_a_series_on_a_real_run(watched: str) -> None:
    empty = [f"{uid} · {p['title']}: {t['expr']}" for uid, p in PANELS for t in p["targets"] if not ask(watched, t["expr"])]
    assert not empty, "\n".join(empty)


@pytest.mark.hil
@pytest.mark.skipif(not PROMETHEUS, reason="prometheus is not installed")
def test_a_healthy_run_raises_no_alarm(watched: str) -> None:
    firing = {s["metric"]["alertname"] for s in ask(watched, 'ALERTS{alertstate="firing"}')}
    assert firing <= {"CoolctlLoopStopped"}, firing


def test_a_typo_in_a_query_would_be_found() -> None:
    names = {n for _u, p in PANELS for t in p["targets"] for n in re.findall(r"coolctl_\w+", t["expr"])}
    from test_alerts import KNOWN

    recorded = set(re.findall(r"record: site:(\w+):", (ROOT / "config/prometheus/recording.yml").read_text()))
    assert names <= KNOWN | recorded, names - KNOWN - recorded
