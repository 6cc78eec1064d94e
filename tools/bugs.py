"""Puts each bug of the bank into a copy of the tree and runs the tests that must catch it: `make bugs`.

The copy stays in one place, so that kernels whose files did not change come from the cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
FOLDERS = ("coolctl", "sim_plant", "tests", "tools", "config", "models", "docs", "systemd")
FILES = ("pyproject.toml", "README.md", "Makefile", "constraints.txt", "CHANGELOG.md")
LIMIT_S = 600.0


def copy_tree(folder: Path) -> None:
    """What the tests need of this tree, into `folder`."""
    for name in FOLDERS:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, folder / name)


def caught_by(folder: Path, tests: tuple[str, ...], environment: dict[str, str]) -> str:
    """The first test that fails in `folder`; empty where none does."""
    for test in tests:  # the quickest first
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "not slow and not hil and not alone",
            test,
        ]
        try:
            run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"{test} (ended after {LIMIT_S:.0f} s)"
        if run.returncode not in (0, 5):
            failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
            return failed[0].split(" - ")[0] if failed else test
    return ""


def main() -> int:
    from bug_bank import BUGS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="first", type=int, default=1, metavar="N", help="go on with bug N")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth")
    args = parser.parse_args()
    escaped = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tree(folder)
        cache = folder / "cache"
        environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(cache)}
        for k, bug in enumerate(BUGS, 1):
            if k < args.first or (k - args.first) % args.every:
                continue
            path, began_s = folder / bug.file, time.monotonic()
            text = path.read_text(encoding="utf-8")
            assert text.count(bug.good) == 1, (bug.file, bug.good)
            path.write_text(text.replace(bug.good, bug.bad), encoding="utf-8")
            # Machine code of callers goes stale with a callee: only a file without kernels may keep the cache.
            fresh = (
                {**environment, "NUMBA_CACHE_DIR": str(folder / f"cache{k}")}
                if "@kernel" in text or "njit" in text
                else environment
            )
            found = caught_by(folder, bug.tests, fresh)
            path.write_text(text, encoding="utf-8")
            escaped += not found
            print(
                f"[{k}/{len(BUGS)}] {bug.file}: {bug.bad[:60]!r}: {found or 'ESCAPED'} ({time.monotonic() - began_s:.0f} s)",
                flush=True,
            )
    print(f"{escaped} escaped")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
