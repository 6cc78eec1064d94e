"""Compilers of this machine, and the C twin as a library of the process."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

COMPILERS = ("gcc", "clang")
STRICT = ("-O3", "-march=native", "-ffp-contract=off")
FAST = ("-Ofast", "-march=native")
COMPILE_LIMIT_S = 60.0


class Twin(NamedTuple):
    """A compiled twin and what made it."""

    library: ctypes.CDLL
    compiler: str


class NoTwin(Exception):
    """Why there is no twin: no compiler, or it failed."""


def compilers() -> list[str]:
    """Those that are installed."""
    return [c for c in COMPILERS if shutil.which(c)]


@functools.cache
def twin(compiler: str = "gcc", flags: tuple[str, ...] = STRICT, source: str = "twin.c") -> Twin:
    """Compile the twin in `source` with `compiler`. Raises `NoTwin`."""
    if not shutil.which(compiler):
        raise NoTwin(f"no {compiler} on this machine")
    path = Path(__file__).with_name(source)
    with tempfile.TemporaryDirectory(prefix="coolctl-bench-") as folder:
        target = Path(folder) / "twin.so"
        command = [compiler, *flags, "-shared", "-fPIC", str(path), "-o", str(target), "-lm"]
        try:
            made = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_LIMIT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoTwin(f"{compiler}: {type(error).__name__}") from error
        if made.returncode:
            raise NoTwin(f"{compiler} refuses the twin: {made.stderr.strip().splitlines()[:1]}")
        library = ctypes.CDLL(str(target))  # stays mapped when the file is gone
    said = subprocess.run([compiler, "-dumpfullversion", "-dumpversion"], capture_output=True, text=True, timeout=COMPILE_LIMIT_S)
    return Twin(library, f"{compiler} {said.stdout.strip()} {' '.join(flags)}")
