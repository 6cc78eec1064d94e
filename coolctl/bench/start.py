"""P15: from the start of the daemon's process to its first setpoint, its memory, and what it compiles afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from coolctl import jit
from coolctl.bench.rows import Row, not_run
from coolctl.bench.runner import end
from coolctl.bench.sites import default_text, of_points, of_text
from coolctl.controller import Controller
from coolctl.edge.broker import Broker, mosquitto_path
from coolctl.edge.mqtt import MqttClient, MqttSettings
from coolctl.edge.onnx_policy import load_policy
from coolctl.warmup import warm_up
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant

FIRST_LIMIT_S = 150.0
WARM_ROUNDS = 3
DAY_TICKS, RECORDED = 86_400, 600
SETTLED = 5_000


class Stage:
    """Broker, gateway and plant of a site, waiting for a daemon."""

    def __init__(self, text: str, folder: Path):
        self.folder, self.path = folder, folder / "site.toml"
        self.path.write_text(text, encoding="utf-8")
        self.broker = Broker()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.spawn("coolctl", "gateway", "--state", str(folder / "gateway"), "--metrics-port", "-1")
        self.spawn("sim_plant", "--speed", "1")

    def spawn(self, module: str, *words: str, cache: str = "") -> subprocess.Popen[bytes]:
        """One of the site's processes."""
        environment = {**os.environ, **({"COOLCTL_CACHE_DIR": cache} if cache else {})}
        if cache:
            environment.pop("NUMBA_CACHE_DIR", None)
        command = [sys.executable, "-m", module, *words, "--site", str(self.path), "--broker", f"127.0.0.1:{self.broker.port}"]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._processes.append(process)
        return process

    def first_setpoint(self, name: str, cache: str = "") -> tuple[float, float, float]:
        """Start a daemon: seconds to its first setpoint, processor seconds until then, and memory then [MB]."""
        client = MqttClient(MqttSettings("127.0.0.1", self.broker.port, "bench"), ["coolctl/v1/+/sp"])
        client.run_until(time.monotonic() + 5.0, lambda: client.ready)
        begun = time.monotonic()
        words = ("run", "--state", str(self.folder / name), "--metrics-port", "0", "--record", str(self.folder / "rec"))
        daemon = self.spawn("coolctl", *words, cache=cache)
        try:
            while time.monotonic() < begun + FIRST_LIMIT_S:
                client.run_until(time.monotonic() + 1.0, lambda: bool(client.inbox))
                while client.inbox:
                    if json.loads(client.inbox.popleft().payload).get("sp"):
                        seconds = time.monotonic() - begun
                        return seconds, cpu_s(daemon.pid), rss_mb(daemon.pid)
            raise RuntimeError(f"no setpoint within {FIRST_LIMIT_S:g} s")
        finally:
            end(daemon)
            client.close()

    def close(self) -> None:
        """End what was started here."""
        for process in self._processes:
            end(process)
        self.broker.close()


def rss_mb(pid: int) -> float:
    """Resident memory [MB] of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024.0


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has spent."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def stage(text: str) -> Iterator[Stage]:
    """A `Stage` in a folder of its own, ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="coolctl-bench-") as folder:
        made = Stage(text, Path(folder))
        try:
            yield made
        finally:
            made.close()


def p15() -> Iterator[Row]:
    """Rows of P15."""
    yield from _within()
    if mosquitto_path() is None:
        yield not_run("P15", "start", "start to first setpoint", "no mosquitto on this machine")
        return
    with stage(default_text()) as here:
        here.first_setpoint("d0")  # the cache of the kernels is warm from here on
        warm = [here.first_setpoint(f"d{k}") for k in range(1, 1 + WARM_ROUNDS)]
        low, middle, high = np.percentile([w[0] for w in warm], (0, 50, 100))
        yield Row("P15", "warm", "start of the daemon to its first setpoint, kernels in the cache", float(middle), "s", 3.0,
                  spread=(float(low), float(high)), figures={"processor_s": float(np.median([w[1] for w in warm]))})  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="coolctl-bench-cache-") as cache:
            seconds, spent_s, _ = here.first_setpoint("cold", cache)
        what = "start of the daemon to its first setpoint, nothing compiled yet"
        yield Row("P15", "cold", what, seconds, "s", 10.0, figures={"processor_s": spent_s})
    for points, most_mb in ((500, 220.0), (5_000, 300.0)):
        with stage(of_points(points)) as here:
            _, _, memory_mb = here.first_setpoint("d")
        yield Row(
            "P15", f"rss_{points}", f"memory of the daemon at {points:,} points, at its first setpoint", memory_mb, "MB", most_mb
        )


def _within() -> Iterator[Row]:
    """A day of ticks on recorded snapshots in this process: what memory grows by, and what is compiled."""
    site, policy = of_text(of_points(500)), load_policy("default")
    warm_up(site, policy)
    controller, plant = Controller(site, policy, "auto"), SimPlant(site, load=synthetic())
    readings, kept = plant.reset(1), []
    for k in range(RECORDED):
        kept.append(readings)
        found = plant.step(controller.tick(readings, float(k)).setpoints, 1.0)
        assert found is not None
        readings = found
    compiled, before_mb = jit.signature_count(), 0.0
    budget_s, begun, done = 200.0, time.monotonic(), 0
    for k in range(RECORDED, DAY_TICKS):
        controller.tick(kept[k % RECORDED], float(k))
        done += 1
        if done == SETTLED:
            before_mb = rss_mb(os.getpid())
        if done % 1_000 == 0 and time.monotonic() - begun > budget_s:
            break
    what = f"growth of memory over {done:,} ticks after the first {SETTLED:,}"
    why = "" if done > DAY_TICKS - RECORDED - 1 else f"cut at its time; a day has {DAY_TICKS:,}"
    yield Row("P15", "growth", what, max(rss_mb(os.getpid()) - before_mb, 0.0), "MB", 2.0, why=why)
    yield Row("P15", "compiled", "kernels compiled after the warm-up", float(jit.signature_count() - compiled), "kernels", 0.0)
