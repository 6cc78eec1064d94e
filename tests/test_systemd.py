"""The unit files, offline: well formed, hardened, and what the processes say to systemd."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT
from virtual import VirtualStack

from coolctl.edge.sdnotify import notify, reloading
from coolctl.site import Site

SERVICES = sorted((ROOT / "systemd").glob("*.service"))
needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with programs that exist, as `verify` looks for them."""
    for path in (ROOT / "systemd").iterdir():
        text = path.read_text().replace("/opt/coolctl/bin/coolctl", "/bin/true").replace("/opt/coolctl/bin/python", "/bin/true")
        (tmp_path / path.name).write_text(text)
    return tmp_path


@needs_analyze
@pytest.mark.parametrize("unit", SERVICES, ids=lambda p: p.name)
def test_a_unit_is_well_formed_and_hardened(unit: Path, installed: Path) -> None:
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(installed / unit.name)], capture_output=True, text=True
    )
    mine = [line for line in verified.stderr.splitlines() if "coolctl" in line]
    assert not mine, mine
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(unit)]
    scored = subprocess.run(words, capture_output=True, text=True)
    assert scored.returncode == 0, scored.stdout[-400:]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda p: p.name)
def test_a_unit_keeps_off_what_breaks_it_and_says_why(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    settings = [line for line in lines if line and line[0] not in "#["]
    for switch in ("MemoryDenyWriteExecute", "ProcSubset"):
        assert not any(line.startswith(switch) for line in settings), switch
        assert any(line.startswith("#") and switch in line for line in lines), f"{switch}: the reason stands beside"
    assert "StartLimitIntervalSec=0" in settings and "RestartPreventExitStatus=78" in settings
    assert any("ORT_DISABLE_TELEMETRY=1" in line for line in settings)
    assert not any("NUMBA_CACHE_DIR" in line for line in settings), "the kernel cache is keyed by the sources, in CACHE_DIRECTORY"


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_speaks_to_the_socket_that_systemd_names(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1"), "nobody listens"
    name = f"coolctl-test-{tmp_path.name}" if abstract else str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        assert notify("READY=1", "STATUS=x")
        assert listener.recv(100) == b"READY=1\nSTATUS=x"
    assert not notify("WATCHDOG=1"), "a listener that has gone is no reason to fail"


def test_a_reload_tells_systemd_when_it_began_and_when_it_is_over(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that Type=notify-reload waits for, the time on the clock that it compares with; good and bad file alike."""
    stack = VirtualStack(monkeypatch, site, tmp_path / "v")
    text = stack.site_path.read_text()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "s"))
        for content, answer in ((text, "was read anew"), ("nonsense = 1", "the old one stays")):
            stack.site_path.write_text(content)
            asked_us = time.monotonic_ns() // 1000
            stack.one.reload()
            began = dict(line.split("=", 1) for line in listener.recv(4096).decode().splitlines())
            assert began.keys() == {"RELOADING", "MONOTONIC_USEC"} and began["RELOADING"] == "1"
            assert asked_us <= int(began["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            over = listener.recv(4096).decode()
            assert over.startswith("READY=1\nSTATUS=") and answer in over
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not reloading()
