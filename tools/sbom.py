"""The bill of materials of what runs, CycloneDX JSON: `python -m tools.sbom --out build/coolctl.cdx.json`.

cyclonedx-py lists an environment; here it is held to what coolctl needs at run time, and each part bears the hash of the file
that it was installed from where a lock tells it. The standard's own schema judges the result.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from tools import lock

ROOT = Path(__file__).resolve().parent.parent
SPEC = "1.6"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(wanted: list[str]) -> set[str]:
    """Names of `wanted` and of all that it needs in turn, as the packages that are installed here say."""
    found: set[str] = set()
    open_ = [Requirement(text) for text in wanted]
    while open_:
        requirement = open_.pop()
        name = canonical(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        open_ += [Requirement(text) for text in metadata.requires(name) or ()]
    return found


def environment(python: str) -> dict[str, Any]:
    """What cyclonedx-py finds in the environment of `python`."""
    words = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml")]
    words += ["--output-reproducible", "--short-PURLs", "--spec-version", SPEC, python]
    found: dict[str, Any] = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return found


def held_to(bom: dict[str, Any], names: set[str], locked: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """`bom` with only `names`, hashes from the lock, and no word about the machine or the tool's own addresses."""
    parts = [part for part in bom["components"] if canonical(part["name"]) in names]
    digests = {canonical(name): digest for name, (_version, digest) in locked.items()}
    for part in parts:
        digest = digests.get(canonical(part["name"]))
        if digest:
            part["hashes"] = [{"alg": "SHA-256", "content": digest}]
        links = [r for r in part.get("externalReferences", []) if not r["url"].startswith("file:")]
        part.pop("externalReferences", None)
        part |= {"externalReferences": links} if links else {}
    for tool in bom["metadata"].get("tools", {}).get("components", []):
        tool.pop("externalReferences", None)
    refs = {part["bom-ref"] for part in parts} | {bom["metadata"]["component"]["bom-ref"]}
    dependencies = [d for d in bom["dependencies"] if d["ref"] in refs]
    for d in dependencies:
        if "dependsOn" in d:
            d["dependsOn"] = [ref for ref in d["dependsOn"] if ref in refs]
    return {**bom, "components": parts, "dependencies": dependencies}


def main(arguments: list[str] | None = None) -> int:
    """Write it; 1 where the schema refuses it or a part is missing."""
    parser = argparse.ArgumentParser("python -m tools.sbom")
    parser.add_argument("--python", default=sys.executable, help="of the environment to list")
    parser.add_argument("--lock", type=Path, default=None, help="where each file's hash stands")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    names = needed(lock.requirements())
    locked = lock.read(args.lock.read_text(encoding="utf-8")) if args.lock else {}
    bom = held_to(environment(args.python), names, locked)
    text = json.dumps(bom, indent=2) + "\n"
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    missing = names - {canonical(part["name"]) for part in bom["components"]}
    if fault or missing:
        print(fault or f"not installed there: {', '.join(sorted(missing))}", file=sys.stderr)
        return 1
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text, encoding="utf-8")
    print(f"{args.out}: {len(bom['components'])} parts")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
