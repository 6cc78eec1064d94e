"""Where a sweep runs: processes of this machine, or a dask cluster. The same results in the same order from both.

A task is a pure function of its arguments, so one that is lost with its process is simply computed again: the local pool is
made anew here, a cluster's scheduler gives the task to another worker.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

from coolctl.errors import EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, CoolctlError
from coolctl.jit import source_hash

BACKENDS = ("local", "dask")
SCHEDULER = "tcp://127.0.0.1:8786"  # dask's own port; another machine is never guessed
CONNECT_S, WORKERS_S = 5.0, 10.0
LOSSES_MAX = 3  # as dask's `allowed-failures`: what ends its process every time would do so for ever
EXACT = ("numba", "numpy", "onnxruntime")  # results are the same bytes for the same versions of these


class SweepError(CoolctlError):
    """A sweep cannot be run where it was asked to; `exit_code` says of what kind the cause is."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED):
        super().__init__(message)
        self.message, self.exit_code = message, exit_code

    def __reduce__(self) -> tuple[type[SweepError], tuple[str, int]]:
        return type(self), (self.message, self.exit_code)  # survives the way back from a worker


class Sweep(Protocol):
    """Applies a function to many items."""

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any], /) -> Iterator[Any]:
        """One result an item, in the order of the items, each as soon as those before it are there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", choices=BACKENDS, default="local", help="processes of this machine, or a dask cluster")
    parser.add_argument("--scheduler", metavar="ADDRESS", help=f"of the dask cluster (default {SCHEDULER})")


@contextlib.contextmanager
def sweep(args: argparse.Namespace, jobs: int) -> Iterator[Sweep]:
    """What `--backend` asks for: `jobs` local processes at a time, or as many tasks as the cluster has workers."""
    if args.backend == "dask":
        with _cluster(args.scheduler or SCHEDULER) as over:
            yield over
        return
    if args.scheduler:
        raise SweepError("--scheduler goes with --backend dask", EXIT_USAGE)
    with local(jobs) as over:
        yield over


@contextlib.contextmanager
def local(jobs: int) -> Iterator[Sweep]:
    """`jobs` processes of this machine; a single job stays in this one."""
    if jobs <= 1:
        yield map
        return
    pool = _Pool(jobs)
    try:
        yield pool
    finally:
        pool.close()


class _Pool:
    """A pool of processes that is made anew when one of them is killed."""

    def __init__(self, jobs: int):
        self._jobs, self._executor = jobs, ProcessPoolExecutor(jobs)

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        done = losses = 0
        while done < len(items):
            try:
                for result in self._executor.map(function, items[done:]):
                    done += 1
                    yield result
            except BrokenProcessPool:
                losses += 1
                self.close()
                if losses > LOSSES_MAX:
                    raise SweepError(f"a worker process was killed {losses} times; is there memory for {self._jobs}?") from None
                self._executor = ProcessPoolExecutor(self._jobs)

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[Sweep]:
    """A client of the scheduler at `address`, once there is a worker; TLS and time-outs are dask's own configuration."""
    try:
        import distributed
    except ImportError as missing:
        raise SweepError(f"--backend dask needs coolctl[cluster]: no {missing.name}") from None
    try:
        asyncio.run(asyncio.wait_for(_knock(address), 2.0 * CONNECT_S))  # what listens may be no scheduler, and silent
        client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise SweepError(f"no dask scheduler answers at {address}: {reason}", EXIT_UNREACHABLE) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError:
            raise SweepError(f"the scheduler at {address} has no worker", EXIT_UNREACHABLE) from None
        _look(client)
        yield _Cluster(client, address)


def _look(client: Any) -> None:
    """Refuse a scheduler or a worker without this module: a worker dies of a task that it cannot unpack, and nobody is told."""
    found = client.run(importlib.util.find_spec, __name__, on_error="return")
    try:
        found["the scheduler"] = client.run_on_scheduler(importlib.util.find_spec, __name__)
    except ImportError:
        found["the scheduler"] = None
    without = [where for where, spec in found.items() if spec is None or isinstance(spec, Exception)]
    if without:
        raise SweepError(f"no coolctl, or an older one, at {', '.join(without)}")


async def _knock(address: str) -> None:
    """Shake hands and leave: a client that fails to come about takes ten seconds to go, and prints a trace."""
    from distributed import Security
    from distributed.comm import connect

    comm = await connect(address, timeout=CONNECT_S, **Security().get_connection_args("client"))
    await comm.close()


class _Cluster:
    """A sweep over the workers of one dask client."""

    def __init__(self, client: Any, address: str):
        self._client, self._address = client, address

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        # Not `pure`: a key of dask's own for each task, so that no result of another sweep is taken for one of this.
        futures = self._client.map(Task(function, stamp(), os.getcwd()), items, pure=False)
        for future in futures:
            yield self._result(future)
            future.release()

    def _result(self, future: Any) -> Any:
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            lost = f"a task ended {LOSSES_MAX + 1} workers one after the other, the last at {error.last_worker.address}"
            raise SweepError(f"{lost}; have they memory enough?") from None
        except CancelledError:
            raise SweepError(f"the scheduler at {self._address} went away", EXIT_UNREACHABLE) from None


_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Task:
    """A function on its way to a worker, with what the worker must have in common with the sender.

    One at a time in a process, whatever its number of threads: a policy's buffers and the working folder are the process's.
    """

    function: Callable[[Any], Any]
    stamp: str
    folder: str

    def __call__(self, item: Any) -> Any:
        if stamp() != self.stamp:
            raise SweepError(f"a worker has {stamp()} where this sweep has {self.stamp}: its results would not be the same")
        if not os.path.isdir(self.folder):
            raise SweepError(f"a worker has no folder {self.folder}, where this sweep's files are")
        with _ONE_AT_A_TIME, contextlib.chdir(self.folder):
            return self.function(item)


def stamp() -> str:
    """What decides the bytes of a result: the hash of coolctl's source and the versions of what computes."""
    return " ".join([f"coolctl {_SOURCE}", *(f"{name} {version(name)}" for name in EXACT)])


_SOURCE = source_hash()  # of what was imported, not of what lies there when a task comes
