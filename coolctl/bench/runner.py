"""Runs rows in processes of their own: a row that hangs is ended by its process number, and the next one begins."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from coolctl.bench.rows import not_run

GRACE_S = 8.0
ROW, CURVE = "row", "curve"
Say = Callable[[str], None]


def run(id: str, limit_s: float, command: Sequence[str] = (), what: str = "") -> list[dict[str, Any]]:
    """Everything that the rows of `id` yield within `limit_s` [s], as lines of JSON; what is missing says why."""
    words = list(command) or [sys.executable, "-m", "coolctl.bench.child", id]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.monotonic()
        child = subprocess.Popen(words, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True)
        why = ""
        try:
            code = child.wait(limit_s)
            if code:
                why = f"ended with code {code}: {_last_line(err)}"
        except subprocess.TimeoutExpired:
            why = f"not finished within its {limit_s:.0f} s"
        finally:
            end(child)
        found = _lines(out)
    if why:
        found.append({ROW: not_run(id, "rest", what or f"what is left of {id}", why).as_dict()})
    found.append({"id": id, "seconds": round(time.monotonic() - begun, 1)})
    return found


def end(child: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started: asked first, so that it can clean up, then by force."""
    if child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
    if child.poll() is None:
        below = descendants(child.pid)
        child.kill()
        child.wait()
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Process numbers below `pid`."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, todo = [], [pid]
    while todo:
        above = todo.pop()
        below = [child for child, parent in parents.items() if parent == above]
        found += below
        todo += below
    return found


def _lines(stream: IO[bytes]) -> list[dict[str, Any]]:
    stream.seek(0)
    found = []
    for line in stream.read().splitlines():
        with contextlib.suppress(ValueError):  # a line that was cut off when the process was ended
            data = json.loads(line)
            if isinstance(data, dict) and (ROW in data or CURVE in data):
                found.append(data)
    return found


def _last_line(stream: IO[bytes]) -> str:
    stream.seek(0)
    lines = stream.read().decode(errors="replace").strip().splitlines()
    # Paths of this machine are nobody's business.
    return " ".join(w for w in (lines[-1] if lines else "no message").split() if "/" not in w)[:200]
