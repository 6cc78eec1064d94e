"""`coolctl doctor` on sites that are well and on sites that are not: what it saw, what to do, and its exit code."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SITE
from stack import Stack

from coolctl import doctor
from coolctl.cli import main
from coolctl.edge.broker import free_port
from coolctl.edge.mqtt import MqttSettings
from coolctl.edge.mqtt_probe import tls_fault
from coolctl.site import Site, load_site

pytestmark = pytest.mark.hil


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(SITE, tmp_path_factory.mktemp("doctor"))
    stack.start("gateway")
    stack.start("daemon")
    stack.start_plant(10.0, "--load", "0.6")
    stack.wait("a lease", lambda lines: bool(lines) and not lines[-1].local, 90.0)
    yield stack
    stack.close()


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code = main(["doctor", *words, "--json", "-"])
    found = json.loads(capsys.readouterr().out)
    return code, {f["check"]: f for f in found}


def site_with(folder: Path, old: str, new: str) -> Path:
    path = folder / "site.toml"
    text = SITE.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    shutil.copytree(ROOT / "config/equipment", folder / "equipment", dirs_exist_ok=True)
    return path


def test_a_site_that_is_well(running: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    broker = f"127.0.0.1:{running.broker.port}"
    code, found = asked(capsys, "--site", str(SITE), "--broker", broker, "--listen", "3")
    assert code == 0, [f for f in found.values() if f["verdict"] == "FAULT"]
    for check in ("broker", "points", "gateway", "daemon", "policy", "setpoint topic", "privacy", "site file"):
        assert found[check]["verdict"] == "good", found[check]
    assert "follows the lease" in found["gateway"]["saw"] and "granted auto" in found["daemon"]["saw"]
    assert re.match(r"(\d+) of \1 heard", found["points"]["saw"])
    assert main(["doctor", "--site", str(SITE), "--broker", broker, "--listen", "1"]) == 0
    out = capsys.readouterr().out
    assert "good  broker" in out and "→" in out  # nothing is recorded: a hint


def test_every_hint_says_what_to_do(running: Stack) -> None:
    for f in doctor.examine(load_site(SITE), f"127.0.0.1:{running.broker.port}", 1.0):
        assert bool(f.do) == (f.verdict != doctor.GOOD), f


def test_points_that_are_silent_or_in_another_unit_are_named(
    running: Stack, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    row = 'role = "{}"\nmachine = "hall1"\nunit = "degC"'
    path = site_with(tmp_path, row.format("sat"), row.format("sat").replace("degC", "degF"))
    text = path.read_text()
    assert row.format("rat") in text
    path.write_text(text.replace(row.format("rat"), row.format("rat") + '\nfield = "nowhere"'))
    code, found = asked(capsys, "--site", str(path), "--broker", f"127.0.0.1:{running.broker.port}", "--listen", "3")
    assert code == 3
    assert found["points"]["verdict"] == "FAULT" and "hall1.rat" in found["points"]["saw"]
    assert "hall1.sat" in found["units"]["saw"]


def test_no_broker_is_told_from_a_broker_that_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = asked(capsys, "--site", str(SITE), "--broker", f"127.0.0.1:{free_port()}")
    assert code == 69 and "refused" in found["broker"]["saw"].lower() and "points" not in found


def test_nobody_listens_where_no_gateway_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stack = Stack(SITE, tmp_path)
    try:
        code, found = asked(capsys, "--site", str(SITE), "--broker", f"127.0.0.1:{stack.broker.port}", "--listen", "0.5")
    finally:
        stack.close()
    assert code == 3 and found["points"]["saw"].startswith("0 of")
    assert found["setpoint topic"]["verdict"] == "look" and "nobody listens" in found["setpoint topic"]["saw"]
    assert found["gateway"]["saw"] == "not heard" and found["daemon"]["saw"] == "not heard"


def test_what_others_may_change_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = site_with(tmp_path, "rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 26.0")
    path.chmod(0o666)
    assert [f.verdict for f in doctor.writable_by_others(load_site(path))] == ["FAULT"]
    path.chmod(0o640)
    tmp_path.chmod(0o700)
    assert [f.verdict for f in doctor.writable_by_others(load_site(path))] == ["good"]
    loose = tmp_path / "cache"
    loose.mkdir()
    loose.chmod(0o777)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(loose))
    assert doctor.kernel_cache().verdict == "FAULT"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    assert doctor.telemetry_of_others().verdict == "FAULT"


def test_a_policy_that_was_changed_and_a_full_disk_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "models/default", tmp_path / "policy")
    (tmp_path / "policy/policy.onnx").write_bytes(b"something else")
    site: Site = load_site(site_with(tmp_path, 'policy = "default"', f'policy = "{tmp_path}/policy"'))
    assert doctor.model(site).verdict == "FAULT" and "sha256" in doctor.model(site).saw
    site = load_site(site_with(tmp_path, "[weather]", f'[recorder]\nfolder = "{tmp_path}/not/yet"\n[weather]'))
    assert [f.verdict for f in doctor.recording(site)] == ["good"]
    monkeypatch.setattr(doctor, "DISK_MIN_BYTES", 1e18)
    assert [f.verdict for f in doctor.recording(site)] == ["look"]


def test_a_port_that_does_not_speak_tls_is_said(running: Stack) -> None:
    said = tls_fault(MqttSettings("127.0.0.1", running.broker.port, "x", tls=True))
    assert said
    assert tls_fault(MqttSettings("127.0.0.1", free_port(), "x", tls=True)) == "Connection refused"
