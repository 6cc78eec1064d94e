"""Where a sweep runs: order kept, a killed process loses nothing, and what cannot be reached is said in one line, soon."""

from __future__ import annotations

import argparse
import functools
import os
import pickle
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import SITE

from coolctl import backend, cli
from coolctl.backend import SweepError, Task, local, stamp, sweep
from coolctl.errors import EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE

ITEMS = [3, 1, 2, 0]


def later(k: int) -> int:
    time.sleep(0.03 * k)
    return 10 * k


def killed_once(mark: Path, k: int) -> int:
    """The first process that takes item 2 is killed in the middle of it."""
    if k == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 10 * k


def killed(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    backend.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_items(jobs: int) -> None:
    with sweep(asked(), jobs) as over:
        assert list(over(later, ITEMS)) == [10 * k for k in ITEMS]
        assert list(over(later, [])) == []


def test_a_killed_process_loses_no_result(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with local(2) as over:
        assert list(over(functools.partial(killed_once, mark), ITEMS)) == [10 * k for k in ITEMS]
    assert mark.exists(), "it was killed"


def test_what_kills_every_process_is_given_up() -> None:
    with local(2) as over, pytest.raises(SweepError, match="killed 4 times"):
        list(over(killed, ITEMS))


def test_a_scheduler_goes_with_dask_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--site", str(SITE), "--controllers", "b1", "--scheduler", "tcp://127.0.0.1:1"]
    assert cli.main(words) == EXIT_USAGE
    assert capsys.readouterr() == ("", "--scheduler goes with --backend dask\n")


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SweepError, match=r"coolctl\[cluster\]") as error, sweep(asked("--backend", "dask"), 1):
        pass
    assert error.value.exit_code == EXIT_FAILED


@pytest.mark.nightly
def test_train_says_so_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = ["train", "--site", str(SITE), "--out", str(tmp_path / "x"), "--cache", str(tmp_path), "--backend", "dask"]
    assert cli.main(words) == EXIT_FAILED
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "coolctl[cluster]" in err


@pytest.mark.parametrize("listens", [False, True], ids=["nobody", "silent"])
def test_a_scheduler_that_does_not_answer_is_said_soon(listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(backend, "CONNECT_S", 0.25)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if listens:
            taken.listen(1)
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        begun_s = time.monotonic()
        with pytest.raises(SweepError) as error, sweep(asked("--backend", "dask", "--scheduler", address), 1):
            pass
    assert error.value.exit_code == EXIT_UNREACHABLE and address in str(error.value) and "\n" not in str(error.value)
    assert time.monotonic() - begun_s < 5.0, "half a second, on a busy machine"


def test_a_worker_with_other_source_or_without_the_files_refuses(tmp_path: Path) -> None:
    assert Task(later, stamp(), str(tmp_path))(1) == 10
    with pytest.raises(SweepError, match="would not be the same") as other:
        Task(later, stamp().replace("numba ", "numba 9"), str(tmp_path))(1)
    with pytest.raises(SweepError, match="no folder"):
        Task(later, stamp(), str(tmp_path / "elsewhere"))(1)
    again = pickle.loads(pickle.dumps(other.value))
    assert str(again) == str(other.value) and again.exit_code == EXIT_FAILED


def test_a_worker_with_threads_computes_one_task_at_a_time(tmp_path: Path) -> None:
    """What a task keeps between calls, the buffers of a policy say, is its process's."""
    inside: list[int] = []
    most: list[int] = []

    def counted(k: int) -> str:
        inside.append(k)
        time.sleep(0.02)
        most.append(len(inside))
        inside.remove(k)
        return os.getcwd()

    before = os.getcwd()
    task = Task(counted, stamp(), str(tmp_path))
    threads = [threading.Thread(target=task, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1] and os.getcwd() == before
