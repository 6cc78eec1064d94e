"""What Prometheus sees of a running daemon: named as the trade names it, complete from the start, and true."""

from __future__ import annotations

import math
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import SITE
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from stack import Stack

from coolctl.edge.broker import free_port
from coolctl.edge.metrics import MetricsServer, MetricsView
from coolctl.site import Site

pytestmark = [pytest.mark.hil, pytest.mark.alone]
BASE_UNITS = ("_bytes", "_seconds", "_watts", "_celsius", "_kelvin", "_ratio", "_total", "_info", "_code")
# One family holds several quantities, each in its base unit; the label `unit` names it. A mode has no unit.
WITHOUT_A_UNIT = {
    "coolctl_setpoint", "coolctl_point_value", "coolctl_mode", "coolctl_granted_mode", "process_open_fds", "process_max_fds",
}  # fmt: skip


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5.0) as answer:
        return str(answer.read().decode())


def families(text: str) -> dict[str, Metric]:
    return {f.name: f for f in text_string_to_metric_families(text)}


def value(found: dict[str, Metric], family: str, **labels: str) -> float:
    samples = [s for s in found[family].samples if labels.items() <= s.labels.items()]
    assert len(samples) == 1, (family, labels, samples)
    return float(samples[0].value)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(SITE, tmp_path_factory.mktemp("metrics"), metrics_port=free_port(), gateway_metrics_port=free_port())
    made.start("gateway")
    made.start("daemon")
    made.start_plant(60.0, "--load", "0.6")
    made.wait("the policy is in charge", lambda lines: len(lines) > 400 and not lines[-1].local, 120.0)
    yield made
    made.close()


def test_names_help_and_labels_are_as_the_trade_has_them(stack: Stack) -> None:
    text = scrape(stack.metrics_port)
    found = families(text)
    assert len(found) > 20
    for name, family in found.items():
        assert name.startswith(("coolctl_", "process_")) and family.documentation.strip()
        if family.type != "counter":
            assert name.endswith(BASE_UNITS) or name in WITHOUT_A_UNIT, name
    series = [line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series)) < 500
    # The same series a minute of plant time later: no label grows with time.
    time.sleep(1.0)
    later = {line.rsplit(" ", 1)[0] for line in scrape(stack.metrics_port).splitlines() if not line.startswith("#")}
    assert later == set(series)


def test_values_are_those_of_the_plant(stack: Stack) -> None:
    found = families(scrape(stack.metrics_port))
    assert value(found, "coolctl_mode", mode="auto") == 1.0 and value(found, "coolctl_mode", mode="fallback") == 0.0
    assert 20.0 < value(found, "coolctl_rack_inlet_max_celsius") <= 26.5
    assert value(found, "coolctl_rack_inlet_limit_celsius") == 26.0
    assert 2e4 < value(found, "coolctl_cooling_power_watts") < 4e5
    powers = [value(found, "coolctl_point_value", point=f"{p}_power") for p in ("chiller", "tower", "chw_pump", "cw_pump")]
    fans = value(found, "coolctl_point_value", point="hall1.crah_fan_power")
    assert value(found, "coolctl_cooling_power_watts") == pytest.approx(sum(powers) + fans, rel=1e-6)
    for point in ("chwst_sp", "hall1.sat_sp"):
        stages = [value(found, "coolctl_setpoint", point=point, stage=s) for s in ("proposed", "shielded", "applied")]
        assert all(5.0 < s < 30.0 for s in stages) and abs(stages[1] - stages[2]) < 0.5
    assert 5.0 < value(found, "coolctl_point_value", point="hall1.rack01.rack_inlet") < 30.0
    assert value(found, "coolctl_point_quality_code", point="chwst") == 1.0
    ticks = value(found, "coolctl_ticks")
    buckets = [s for s in found["coolctl_tick_duration_seconds"].samples if s.labels.get("stage") == "compute"]
    assert next(s.value for s in buckets if s.labels.get("le") == "+Inf") == pytest.approx(ticks, abs=2)
    before = ticks
    time.sleep(0.5)
    assert value(families(scrape(stack.metrics_port)), "coolctl_ticks") > before


def test_gateway_has_metrics_of_its_own(stack: Stack) -> None:
    found = families(scrape(stack.gateway_metrics_port))
    ours, theirs = (value(f, "process_resident_memory_bytes") for f in (found, families(scrape(stack.metrics_port))))
    assert 5e7 < ours < 3e8 and 5e7 < theirs < 7e8
    found = {name: family for name, family in found.items() if name.startswith("coolctl_")}
    assert all(n.startswith("coolctl_gateway_") and (f.type == "counter" or n.endswith(BASE_UNITS)) for n, f in found.items())
    assert not found.keys() & families(scrape(stack.metrics_port)).keys()
    assert value(found, "coolctl_gateway_leased_ratio") == value(found, "coolctl_gateway_proven_ratio") == 1.0
    assert value(found, "coolctl_gateway_output_blocked_ratio") == 0.0 and value(found, "coolctl_gateway_leases") > 0


def test_promtool_finds_nothing_to_say(stack: Stack) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    for port in (stack.metrics_port, stack.gateway_metrics_port):
        run = subprocess.run([promtool, "check", "metrics"], input=scrape(port), capture_output=True, text=True)
        assert run.returncode == 0 and not run.stdout + run.stderr


def test_only_the_loopback_is_listened_on(stack: Stack) -> None:
    for host in {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}:
        if not str(host).startswith("127."):
            with socket.socket() as probe:
                probe.settimeout(1.0)
                assert probe.connect_ex((str(host), stack.metrics_port)) != 0
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{stack.metrics_port}/other", timeout=5.0)


def view(site: Site, number: float) -> MetricsView:
    n, setpoints = len(site.table), (("chwst_sp", "celsius"),)
    one = np.full(1, number)
    points = tuple((p.id, p.role, "x") for p in site.table.points)
    values, codes = np.full(n, number), np.ones(n, dtype=np.int8)
    gauges = {"coolctl_cooling_power_watts": number}
    return MetricsView(
        site.name, "auto", "auto", ("auto", "fallback"), setpoints, one, one, one, points, values, values, codes, gauges, {}, {},
        {}, {"rack_inlet": (number, "K")}, {"I-03": 0}, {"crah_fan": (number, 0.1)}, "", "",
    )  # fmt: skip


def test_server_answers_before_the_first_tick_and_while_ticks_go_on(site: Site) -> None:
    server = MetricsServer("127.0.0.1", 0)
    try:
        assert "coolctl_build_info" in families(scrape(server.port))
        for k in range(100):
            server.publish(view(site, float(k)), {"compute": 1e-3, "publish": 1e-4})
            found = families(scrape(server.port))
            numbers = {s.value for s in found["coolctl_point_value"].samples}
            assert (
                numbers
                == {float(k)}
                == {value(found, "coolctl_cooling_power_watts")}
                == {value(found, "coolctl_limit_price_watts"), value(found, "coolctl_calibration_factor_ratio")}
            )  # one tick, never a mixture
        server.publish(view(site, math.nan), {})
        assert math.isnan(value(families(scrape(server.port)), "coolctl_cooling_power_watts"))
    finally:
        server.close()


def test_taken_port_is_said_and_the_daemon_goes_on(site: Site) -> None:
    first = MetricsServer("127.0.0.1", 0)
    second = MetricsServer("127.0.0.1", first.port)
    try:
        assert str(first.port) in second.error and not first.error
        second.publish(view(site, 1.0), {"compute": 1e-3, "publish": 1e-4})
    finally:
        second.close()
        first.close()
