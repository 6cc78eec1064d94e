"""A day of ticks in virtual time: memory, descriptors and threads of what runs on a site stand still."""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import SITE
from stack import Stack

from coolctl.edge.broker import free_port, mosquitto_path

pytestmark = [
    pytest.mark.hil,
    pytest.mark.nightly,
    pytest.mark.skipif(mosquitto_path() is None, reason="mosquitto is not installed"),
]

TICKS = int(os.environ.get("COOLCTL_DAY_TICKS", "86400"))
DAY_TICKS = 86_400
SAMPLES, SETTLING_RATIO = 200, 0.2  # rings and buffers fill first
TICKS_A_SECOND_MIN = 8.0
RSS_MAX_MB, RSS_SLOPE_MAX_MB_PER_DAY = 300.0, 1.0
PROCESSES = ("daemon", "gateway", "web")


class Held(NamedTuple):
    """What a process holds at a tick."""

    tick: float
    rss_mb: float
    descriptors: int
    threads: int


def held(pid: int, tick: float) -> Held:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    rss_mb = int(fields["VmRSS"].split()[0]) / 1024.0
    return Held(tick, rss_mb, len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"]))


def last_tick(path: Path) -> float:
    """The plant's seconds so far, from the end of its log."""
    if not path.exists():
        return 0.0
    with path.open("rb") as log:
        log.seek(max(path.stat().st_size - 2000, 0))
        lines = log.read().decode().rpartition("\n")[0].splitlines()
    return float(lines[-1].split(",")[0]) if len(lines) > 1 else 0.0


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(SITE, tmp_path, metrics_port=free_port())
    for name in PROCESSES:
        made.start(name)
    made.start_plant(0.0, "--wait-for-controller", "60")
    yield made
    made.close()


@pytest.mark.timeout(200.0 + TICKS / TICKS_A_SECOND_MIN)
def test_a_day_leaves_memory_descriptors_and_threads_as_they_were(stack: Stack) -> None:
    seen: dict[str, list[Held]] = {name: [] for name in PROCESSES}
    deadline_s = time.monotonic() + 120.0 + TICKS / TICKS_A_SECOND_MIN
    tick, due = 0.0, TICKS / SAMPLES
    while tick < TICKS:
        assert time.monotonic() < deadline_s, f"{tick:.0f} of {TICKS} ticks"
        time.sleep(0.2)
        tick = last_tick(stack.folder / "truth.csv")
        if tick < due:
            continue
        due += TICKS / SAMPLES
        for name, samples in seen.items():
            samples.append(held(stack.processes[name].pid, tick))
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.metrics_port}/metrics", timeout=10.0) as page:
            assert page.status == 200
    for name, samples in seen.items():
        tick_, rss_mb, descriptors, threads = np.array([s for s in samples if s.tick >= SETTLING_RATIO * TICKS]).T
        slope = float(np.polyfit(tick_, rss_mb, 1)[0]) * DAY_TICKS
        spans = [int(np.ptp(x)) for x in (descriptors, threads)]
        print(f"{name}: {len(tick_)} samples, at most {rss_mb.max():.0f} MB, {slope:+.2f} MB a day, descriptors ±{spans[0]}")
        assert rss_mb.max() <= RSS_MAX_MB, name
        assert slope <= RSS_SLOPE_MAX_MB_PER_DAY, f"{name} grows by {slope:.2f} MB a day"
        # A scrape that is being answered holds one of each for a moment.
        half = len(descriptors) // 2
        assert descriptors[half:].max() <= descriptors[:half].max(), name
        assert threads[half:].max() <= threads[:half].max(), name
