"""A lock of what is installed at run time: `name==version --hash=sha256:…`, from what pip itself resolves.

`python -m tools.lock --out build/requirements.lock [--python PYTHON] [WHAT…]`, WHAT being coolctl's own run-time requirements
unless given. The file names no index: hashes are those of the published files, wherever they come from. It is made for one
Python and one kind of processor, at build time; kept beside a release, it makes the next build refuse anything else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def requirements() -> list[str]:
    """What coolctl needs to run, without extras."""
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"])


def resolve(python: str, wanted: list[str], *more: str) -> dict[str, Any]:
    """pip's own report of what it would install, nothing being there yet. Raises CalledProcessError."""
    words = [python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run", "--ignore-installed"]
    words += ["--only-binary", ":all:", "--report", "-", "--constraint", str(ROOT / "constraints.txt"), *more, *wanted]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def lines(report: dict[str, Any]) -> list[str]:
    """One line for each file; ValueError for one that came without a hash."""
    found = []
    for item in report["install"]:
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        sha256 = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256", "")
        if not sha256:
            raise ValueError(f"{name} {version}: no hash is known for it")
        found.append(f"{name}=={version} --hash=sha256:{sha256}")
    return sorted(found, key=str.lower)


def read(text: str) -> dict[str, tuple[str, str]]:
    """`{name: (version, sha256)}` of a lock."""
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {pin.split("==")[0]: (pin.split("==")[1], digest.removeprefix("--hash=sha256:")) for pin, digest in rows}


def main(arguments: list[str] | None = None) -> int:
    """Write the lock."""
    parser = argparse.ArgumentParser("python -m tools.lock")
    parser.add_argument("wanted", nargs="*", metavar="WHAT")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        found = lines(resolve(args.python, args.wanted or requirements()))
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        return 1
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
    print(f"{args.out}: {len(found)} files")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
