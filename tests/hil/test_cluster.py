"""Sweeps on a dask cluster of real processes: the same bytes as here, also when a worker is killed in the middle."""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SITE

from coolctl import backend, cli
from coolctl.backend import local, sweep
from coolctl.edge.broker import free_port
from coolctl.errors import EXIT_OK, EXIT_UNREACHABLE
from coolctl.training.dataset import CHUNK, make

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.hil, pytest.mark.nightly]
CHUNKS = 4


class Cluster:
    """A scheduler and workers on loopback, each a process without a nanny that would start it again."""

    def __init__(self, folder: Path, workers: int, path: Path = ROOT):
        self.folder, self.address, self._path = folder, f"tcp://127.0.0.1:{free_port()}", path
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._start("scheduler", "--host", self.address, "--no-dashboard")
        for k in range(workers):
            own = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", f"w{k}", "--host", "127.0.0.1")
            self._start(f"w{k}", self.address, *own, "--local-directory", str(folder))

    def _start(self, name: str, *words: str) -> None:
        module = f"distributed.cli.dask_{'scheduler' if name == 'scheduler' else 'worker'}"
        log = (self.folder / f"{name}.log").open("wb")
        environment = {**os.environ, "PYTHONPATH": str(self._path)}
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", module, *words], stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=self.folder
        )

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def busy(self, client: Any) -> list[str]:
        """Workers that have a task now."""
        names = {address: worker["name"] for address, worker in client.scheduler_info()["workers"].items()}
        return [names[address] for address, keys in client.processing().items() if keys and address in names]

    def close(self) -> None:
        for process in reversed(self.processes.values()):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, workers=2)
    with distributed.Client(made.address, timeout=30, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    yield made
    made.close()


def on(cluster: Cluster) -> argparse.Namespace:
    return argparse.Namespace(backend="dask", scheduler=cluster.address)


def sha256(cache: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(cache.glob("*.npz"))]


def when_busy(cluster: Cluster, then: Callable[[str], None]) -> threading.Thread:
    """A thread that does something to the first worker that is seen with a task."""

    def watch() -> None:
        with distributed.Client(cluster.address, set_as_default=False) as client:
            end_s = time.monotonic() + 60.0
            while time.monotonic() < end_s:
                if found := cluster.busy(client):
                    time.sleep(0.3)  # into the task
                    then(found[0])
                    return
                time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_evaluate_gives_the_same_ledger(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the site by its path from here; the workers stand elsewhere
    words = ["evaluate", "--site", str(SITE.relative_to(ROOT)), "--controllers", "b1,b2,ai", "--step", "60", "--hours", "0:1"]
    words += ["--plants", "2", "--mismatch", "0.1"]
    here, there = tmp_path / "here.json", tmp_path / "there.json"
    assert cli.main([*words, "--json", str(here)]) == EXIT_OK
    assert cli.main([*words, "--json", str(there), "--backend", "dask", "--scheduler", cluster.address]) == EXIT_OK
    assert here.read_bytes() == there.read_bytes() and b'"model_hash"' in here.read_bytes()


def test_labels_are_the_same_when_a_worker_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    lost: list[str] = []

    def kill(name: str) -> None:
        cluster.kill(name)
        lost.append(name)

    with local(1) as over:
        make([str(SITE)], CHUNKS * CHUNK, 7, tmp_path / "here", over)
    with sweep(on(cluster), 1) as over:
        watch = when_busy(cluster, kill)
        x, y = make([str(SITE)], CHUNKS * CHUNK, 7, tmp_path / "there", over)
        watch.join()
    assert len(lost) == 1, "a worker was killed while it had a task"
    assert len(x) == len(y) == CHUNKS * CHUNK
    assert sha256(tmp_path / "here") == sha256(tmp_path / "there") and len(sha256(tmp_path / "there")) == CHUNKS


def test_a_scheduler_that_dies_is_said(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    watch = when_busy(cluster, lambda _name: cluster.kill("scheduler"))
    words = ["evaluate", "--site", str(SITE), "--controllers", "b2", "--hours", "0:24", "--season-days", "8", "--step", "5"]
    begun_s = time.monotonic()
    code = cli.main([*words, "--backend", "dask", "--scheduler", cluster.address])
    watch.join()
    assert code == EXIT_UNREACHABLE and "went away" in capsys.readouterr().err
    assert time.monotonic() - begun_s < 90.0, "dask itself looks for it for half a minute"


def test_a_cluster_without_workers_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "WORKERS_S", 1.0)
    made = Cluster(tmp_path, workers=0)
    try:
        with distributed.Client(made.address, timeout=30, set_as_default=False):
            pass
        with pytest.raises(backend.SweepError, match="no worker") as error, sweep(on(made), 1):
            pass
        assert error.value.exit_code == EXIT_UNREACHABLE
    finally:
        made.close()


def test_a_cluster_without_this_coolctl_is_said(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/coolctl.py").touch()  # before any other on the path, and without a `backend`
    made = Cluster(tmp_path, workers=1, path=tmp_path / "old")
    try:
        with pytest.raises(backend.SweepError, match=r"older one, at tcp://\S+, the scheduler$"), sweep(on(made), 1):
            pass
    finally:
        made.close()
