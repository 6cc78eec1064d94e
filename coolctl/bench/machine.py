"""What the figures were measured on, without names or paths, and whether the machine has time for it."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from coolctl import __version__

PACKAGES = ("numba", "numpy", "onnxruntime", "orjson", "paho-mqtt", "prometheus-client")
BUSY_RATIO = 0.6
LOOK_S = 0.5


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def facts() -> dict[str, Any]:
    """Processor, memory and versions."""
    found: dict[str, Any] = {"coolctl": __version__, "python": platform.python_version(), "cores": cores()}
    found["processor"], found["memory_gb"] = (
        _processor(),
        round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
    )
    found["system"] = f"{platform.system()} {platform.machine()}"
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    found["load_before"] = round(os.getloadavg()[0], 2)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _ticks() -> tuple[float, float]:
    """Busy and all processor ticks so far, of all cores."""
    words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    values = [float(w) for w in words]
    idle = values[3] + values[4]
    return sum(values) - idle, sum(values)


def busy_ratio(look_s: float = LOOK_S) -> float:
    """Share of all cores that others use while this process sleeps `look_s` [s]; NaN where the system does not tell."""
    try:
        before = _ticks()
        time.sleep(look_s)
        after = _ticks()
    except (OSError, ValueError, IndexError):
        return float("nan")
    return (after[0] - before[0]) / max(after[1] - before[1], 1.0)


def too_busy(least_cores: int = 2, busy_max: float = BUSY_RATIO, wait_s: float = 20.0) -> str:
    """Why latencies cannot be measured now, or nothing; waits up to `wait_s` [s] for a quiet half second."""
    if cores() < least_cores:
        return f"needs {least_cores} cores, here is {cores()}"
    deadline_s = time.monotonic() + wait_s
    while (share := busy_ratio()) > busy_max:
        if time.monotonic() >= deadline_s:
            return f"the machine is busy: others use {100.0 * share:.0f} % of its cores"
    return ""
