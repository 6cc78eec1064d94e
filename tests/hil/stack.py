"""Real processes over a real broker: what the hardware-in-the-loop tests start, kill and watch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from coolctl.edge.broker import Broker

ROOT = Path(__file__).resolve().parent.parent.parent


class Line(NamedTuple):
    """One step of the plant's noise-free log."""

    t_s: float
    local: bool
    hottest_c: float


class Stack:
    """Broker, gateway, daemon and plant; `close` ends what was started here, by pid."""

    def __init__(self, site: Path, folder: Path, *, kind: str = "auto", metrics_port: int = -1, gateway_metrics_port: int = -1):
        self.site, self.folder, self.metrics_port, self.gateway_metrics_port = site, folder, metrics_port, gateway_metrics_port
        self.broker = Broker(kind)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *more: str) -> None:
        """Start or restart one of `gateway`, `daemon`, `web`, with more arguments."""
        state = ["--state", str(self.folder / "state")]
        words = {
            "gateway": ["gateway", *state, "--metrics-port", str(self.gateway_metrics_port)],
            "daemon": ["run", *state, "--metrics-port", str(self.metrics_port), "--record", str(self.folder / "rec")],
            "web": ["web", "--port", "0"],
        }[name]
        self._spawn(name, ["-m", "coolctl", *words, *more])

    def start_plant(self, speed: float, *more: str) -> None:
        self._spawn("plant", ["-m", "sim_plant", "--speed", str(speed), "--truth", str(self.folder / "truth.csv"), *more])

    def _spawn(self, name: str, words: list[str]) -> None:
        command = [sys.executable, *words, "--site", str(self.site), "--broker", f"127.0.0.1:{self.broker.port}"]
        log = (self.folder / f"{name}.log").open("ab")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.processes[name] = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )

    def ask(self, *words: str) -> int:
        """Run a command of an operator to its end; its exit code."""
        command = [sys.executable, "-m", "coolctl", *words, "--site", str(self.site), "--broker", f"127.0.0.1:{self.broker.port}"]
        return subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode

    def kill(self, name: str) -> None:
        """As a crash would."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def log(self) -> list[Line]:
        """The plant's log so far; a line that is still being written is left out."""
        path = self.folder / "truth.csv"
        if not path.exists():
            return []
        lines = []
        for text in path.read_text().rpartition("\n")[0].splitlines():
            t, local, hottest, _ = text.split(",", 3)
            lines.append(Line(float(t), local == "1", float(hottest)))
        return lines

    def wait(self, what: str, condition: Callable[[list[Line]], bool], seconds: float) -> float:
        """Seconds until the log satisfies `condition`; fails with every process's output after `seconds`."""
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < seconds:
            if condition(self.log()):
                return time.monotonic() - begun_s
            time.sleep(0.1)
        outputs = "\n".join(f"--- {p.name}\n{p.read_text()[-1500:]}" for p in self.folder.glob("*.log"))
        raise AssertionError(f"not within {seconds} s: {what}\n{outputs}")

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.broker.close()
