"""`coolctl demo` as a newcomer runs it: it ends well, twice at once, on Ctrl-C, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stack import ROOT

pytestmark = [pytest.mark.hil, pytest.mark.alone]


def demo(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "coolctl", "demo", "--no-web", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(pid: int) -> set[int]:
    """Processes below `pid`, from the kernel's own list."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(p) for p in found} | {q for p in found for q in children(int(p))}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_two_demos_at_once_end_with_their_tables(tmp_path: Path) -> None:
    ledgers = [tmp_path / "a.json", tmp_path / "b.json"]
    runs = [demo("--plant-hours", "0.75", "--speed", "0", "--json", str(p), "--record", str(tmp_path / p.stem)) for p in ledgers]
    for run, path in zip(runs, ledgers, strict=True):
        out, err = run.communicate(timeout=200)
        assert run.returncode == 0, err[-2000:]
        assert all(f"[{k}/4]" in err for k in (1, 2, 3, 4)) and "cooling kWh" in out
        first = next(line for line in err.splitlines() if "hottest rack" in line)
        assert first.endswith("leased"), "the plant has waited in vain for its controller"
        ledger = json.loads(path.read_text())
        ai, b1 = ledger["controllers"]["ai"], ledger["controllers"]["b1"]
        assert ai["energy_kwh"]["cooling_total"] < b1["energy_kwh"]["cooling_total"] and ai["fallback_hours"] < 0.1
        assert list((tmp_path / path.stem).rglob("*.cool"))


def test_ctrl_c_ends_everything_that_was_started() -> None:
    run = demo("--duration", "600", "--speed", "60")
    deadline_s = time.monotonic() + 60.0
    assert run.stderr is not None
    while "[3/4]" not in run.stderr.readline():
        assert time.monotonic() < deadline_s
    started = children(run.pid)
    assert len(started) >= 3  # broker, gateway, controller
    os.kill(run.pid, signal.SIGINT)
    run.communicate(timeout=30)
    assert run.returncode == 0
    assert not [pid for pid in started if alive(pid)]


def test_the_default_hours_are_ordinary_ones() -> None:
    """Neither the best of the year nor the worst: the middle fifth of its wet bulbs."""
    from coolctl.demo import START
    from sim_plant.weather import from_statistics

    year = from_statistics("CHN_Guiyang")
    wet_bulbs_c = sorted(year.at(3600.0 * hour)[1] for hour in range(8760))
    shown_c = [year.starting(START).at(3600.0 * hour)[1] for hour in range(3)]
    assert wet_bulbs_c[int(0.4 * 8760)] < sum(shown_c) / 3 < wet_bulbs_c[int(0.6 * 8760)]
