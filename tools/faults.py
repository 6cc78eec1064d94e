"""Plays the whole fault matrix, tier by tier, and writes its table into docs/SAFETY.md: `make faults`.

Every result is a line of a file as it comes, so a run that was ended goes on where it stopped; a change of the sources
starts it anew. `--seeds N` plays each row with N seeds, `--table` only writes what is known.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from coolctl.jit import source_hash as product_hash  # noqa: E402
from tools.marks import write_between  # noqa: E402

PAGE, MARK = ROOT / "docs" / "SAFETY.md", "matrix"
RESULTS = ROOT / "build" / "faults.jsonl"
CLASSES = {
    "P": "plant", "S": "sensors", "T": "telemetry and transport", "C": "controller process", "M": "model and policy",
    "G": "gateway and fallback", "X": "security", "O": "operators",
}  # fmt: skip


def source_hash() -> str:
    """Of the product and of the rows."""
    digest = hashlib.sha256(product_hash().encode())
    for path in sorted([*(ROOT / "tests" / "faults").glob("*.py"), ROOT / "tests" / "virtual.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Job(NamedTuple):
    row: str
    seed: int


def play(job: Job) -> dict[str, Any]:
    """One row with one seed, in this process."""
    from test_faults import ROWS

    run = next(r.run for r in ROWS if r.id == job.row)
    assert run is not None
    began_s = time.monotonic()
    ok, seen = on_stage(run, job.seed)
    result = {"row": job.row, "seed": job.seed, "ok": ok, "seen": seen, "sources": source_hash()}
    return {**result, "seconds": round(time.monotonic() - began_s, 1)}


def on_stage(run: Callable[[Any], str], seed: int, prepare: Callable[[Any], None] = lambda patch: None) -> tuple[bool, str]:
    """Whether a row passes, and what it says; `prepare` may patch what it plays with."""
    import pytest
    from conftest import SITE
    from faults.scenes import Stage

    from coolctl.edge.onnx_policy import load_policy
    from coolctl.site import load_site

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        prepare(patch)
        try:
            return True, run(Stage(load_site(SITE), load_policy("default"), Path(folder), patch, seed))
        except Exception as error:  # a row that fails is a result, the others go on
            where = traceback.extract_tb(error.__traceback__)[-1]
            return False, f"{type(error).__name__}: {str(error)[:160]} ({where.name})"


def known() -> dict[tuple[str, int], dict[str, Any]]:
    """Results of these very sources."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    if RESULTS.exists():
        for line in RESULTS.read_text(encoding="utf-8").splitlines():
            result = json.loads(line)
            if result["sources"] == source_hash():
                found[result["row"], result["seed"]] = result
    return found


def run(tiers: str, seeds: int, jobs: int, only: str) -> int:
    """Play what is not known yet; the number of failures."""
    from test_faults import ROWS

    done = known()
    wanted = [r.id for r in ROWS if r.run and r.tier in tiers and (not only or r.id in only.split(","))]
    todo = [Job(i, s) for s in range(1, seeds + 1) for i in wanted if (i, s) not in done]
    print(f"{len(wanted)} rows × {seeds} seeds, {len(todo)} to play", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    context = multiprocessing.get_context("spawn")
    failures = sum(not r["ok"] for r in done.values())
    with RESULTS.open("a", encoding="utf-8") as stream, context.Pool(jobs) as pool:
        for k, result in enumerate(pool.imap_unordered(play, todo), 1):
            stream.write(json.dumps(result, ensure_ascii=False) + "\n")
            stream.flush()
            failures += not result["ok"]
            print(
                f"[{k}/{len(todo)}] {result['row']} seed {result['seed']}: {'ok' if result['ok'] else 'FAILED'} {result['seen']}",
                flush=True,
            )
    return failures


def table() -> str:
    """The matrix as Markdown, from the rows and the newest results."""
    from test_faults import ROWS

    done = known()
    counts: Counter[str] = Counter()
    lines = ["| id | fault | must | seen |", "|---|---|---|---|"]
    for row in ROWS:
        results = [r for (i, _s), r in sorted(done.items()) if i == row.id]
        state, seen = _state(row, results)
        counts[state] += 1
        lines.append(f"| {row.id} {row.tier} | {row.title} | {row.expected} | {seen} |")
    played = {r["row"] for r in done.values()}
    said = ", ".join(
        f"{counts[s]} {s}" for s in ("pass", "fall short", "FAIL", "held by a test", "not applicable yet", "open", "not played")
    )
    head = f"{len(ROWS)} rows: {said}. {len(done)} plays of {len(played)} rows. Kinds: " + ", ".join(
        f"{k} {v}" for k, v in CLASSES.items()
    )
    return "\n".join([head + ". Tiers: P with every change, N and R with `make faults`.", "", *lines])


def _state(row: Any, results: list[dict[str, Any]]) -> tuple[str, str]:
    if row.run is None:
        if row.held_by:
            return "held by a test", f"`{row.held_by}`"
        return ("not applicable yet" if "not applicable yet" in row.why_not else "open"), row.why_not
    if not results:
        return "not played", "not played"
    bad = [r for r in results if not r["ok"]]
    if bad:
        return "FAIL", f"**FAIL** seed {bad[0]['seed']}: {bad[0]['seen']}".replace("|", "/")
    text = results[0]["seen"].replace("|", "/") + (f" ({len(results)} seeds)" if len(results) > 1 else "")
    return ("fall short", f"**falls short** {row.short}: {text}") if row.short else ("pass", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiers", default="PNR")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--without-shield", action="store_true", help="play the rows with the shield off: at least 25 must fail")
    args = parser.parse_args()
    if args.without_shield:
        from tools import unshielded

        found = unshielded.bite(args.tiers, args.jobs)
        write_between(PAGE, unshielded.MARK, unshielded.table(found))
        return 0 if len(unshielded.failing(found)) >= unshielded.LEAST else 1
    failures = 0 if args.table else run(args.tiers, args.seeds, args.jobs, args.only)
    write_between(PAGE, MARK, table())
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
