"""Plays random episodes until it is ended, keeps every result, and writes the table of docs/SAFETY.md: `make soak`.

Results are lines of build/soak.jsonl, so a run goes on where it was ended; a change of the sources starts its count anew and
the table says so. `--again adversary:31` plays one episode and prints its violations; `--minutes N` ends by itself; `--table`
only writes what is known. One episode in a hundred is played again on the plant of all racks, second by second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from coolctl.edge.onnx_policy import load_policy  # noqa: E402
from coolctl.site import Site, load_site  # noqa: E402
from sim_plant.lumped import lumped_site  # noqa: E402
from tools.marks import write_between  # noqa: E402
from tools.soak_episodes import KINDS, YEAR_PIECES, draw, run  # noqa: E402

SITE, POLICY = ROOT / "config" / "sites" / "hall1mw.toml", "default"
PAGE, MARK = ROOT / "docs" / "SAFETY.md", "soak"
RESULTS = ROOT / "build" / "soak.jsonl"
ASKED = {"random": "30,000 episodes", "adversary": "10,000 episodes", "year": "31.5 M ticks"}
WHAT = {
    "random": "faults of plant, sensors, links, processes and people; the shipped policy",
    "adversary": "a policy that wants the hall hot, with up to two faults of sensors, links and processes",
    "year": "pieces of six hours of one calendar year, a fault every quarter of an hour",
}
TURN = ("adversary", "random") * 12 + ("year",)
FINE_EVERY = 100
BOUND_FROM = 30  # episodes: of fewer the rule of three says nothing


class Stage(NamedTuple):
    """The shipped site in both forms, and the shipped policy."""

    fine: Site
    lumped: Site
    policy: Any


def stage() -> Stage:
    fine = load_site(SITE)
    return Stage(fine, lumped_site(fine), load_policy(POLICY))


def sources() -> list[Path]:
    """Every module of this project that an episode can reach."""
    finder = ModuleFinder([str(ROOT)])
    finder.run_script(str(ROOT / "tools" / "soak_episodes.py"))
    files: list[str | None] = [module.__file__ for module in finder.modules.values()]  # type: ignore[attr-defined]
    return sorted(Path(name) for name in files if name)


def source_hash() -> str:
    """Of what an episode runs on: modules, site and policy. A change of anything else begins nothing anew."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.read_bytes())
    digest.update(load_site(SITE).config_hash.encode() + load_policy(POLICY).model_hash.encode())
    return digest.hexdigest()[:16]


def play(on: Stage, kind: str, seed: int, dt_s: float, fine: bool = False) -> dict[str, Any]:
    """One episode's result; what raises is a violation like any other."""
    try:
        return run(draw(kind, seed, on.lumped, dt_s), on.fine if fine else on.lumped, on.policy, fine)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"raises {type(error).__name__}: {str(error)[:200]} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})"
        return {"kind": kind, "seed": seed, "plant": "fine" if fine else "lumped", "dt_s": dt_s, "violations": [text], "count": 1}


def known() -> list[dict[str, Any]]:
    """Every result that there is, the newest sources' last."""
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()] if RESULTS.exists() else []


def todo(kinds: list[str], dt_s: float, sources: str) -> Iterator[tuple[str, int, bool]]:
    """Episodes that these sources have not played, kinds in turn, for ever."""
    done = {(r["kind"], r["seed"], r["plant"] == "fine") for r in known() if r["sources"] == sources and r["dt_s"] in (dt_s, 1.0)}
    turn = [k for k in TURN if k in kinds]
    next_seed = dict.fromkeys(kinds, 0)
    while True:
        for kind in turn:
            seed, next_seed[kind] = next_seed[kind], next_seed[kind] + 1
            if kind == "year" and seed >= YEAR_PIECES:
                continue
            for fine in (False, True) if seed % FINE_EVERY == FINE_EVERY - 1 and kind != "year" else (False,):
                if (kind, seed, fine) not in done:
                    yield kind, seed, fine


def soak(kinds: list[str], dt_s: float, minutes: float) -> int:
    """Play until the time is over; the number of episodes with a violation."""
    on, sources = stage(), source_hash()
    until_s = time.monotonic() + 60.0 * minutes
    RESULTS.parent.mkdir(exist_ok=True)
    bad = played = ticks = 0
    with RESULTS.open("a", encoding="utf-8") as stream:
        for kind, seed, fine in todo(kinds, dt_s, sources):
            if time.monotonic() >= until_s:
                break
            result = play(on, kind, seed, dt_s, fine)
            stream.write(json.dumps({**result, "sources": sources}, ensure_ascii=False) + "\n")
            stream.flush()
            played, ticks = played + 1, ticks + result.get("ticks", 0)
            if result["violations"]:
                bad += 1
                print(f"{kind}:{seed}{' fine' if fine else ''}: {result['violations']}", flush=True)
            if played % 50 == 0:
                print(f"{played} episodes, {ticks} ticks, {bad} with violations", flush=True)
    print(f"{played} episodes, {ticks} ticks, {bad} with violations", flush=True)
    return bad


def table() -> str:
    """What was played, as Markdown."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    newest = _newest(known())
    for r in newest:
        groups[r["kind"], r["plant"]].append(r)
    lines = ["| episodes | asked for | played | ticks | plant time | faults felt, messages touched | hottest | violations |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for kind in KINDS:
        for plant in ("lumped", "fine"):
            if rows := groups.get((kind, plant)):
                lines.append(_line(kind, plant, rows))
    if not newest:
        return "Nothing has been played yet."
    by: dict[str, int] = defaultdict(int)
    for r in newest:
        for name in r.get("by", {"raises": 1}):
            by[name] += 1
    found = ", ".join(f"{n} episodes {name}" for name, n in sorted(by.items())) or "none"
    return "\n".join([*lines, "", f"Sources `{newest[0]['sources']}`. Violations by kind: {found}."])


def _newest(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for r in results if r["sources"] == results[-1]["sources"]]


def _line(kind: str, plant: str, rows: list[dict[str, Any]]) -> str:
    ticks, n = sum(r.get("ticks", 0) for r in rows), len(rows)
    hours = sum(r.get("ticks", 0) * r["dt_s"] for r in rows) / 3600.0
    bad = sum(bool(r["violations"]) for r in rows)
    bound = "0" + (f", less than {3.0 / n:.1%} of episodes (95 %)" if n >= BOUND_FROM else "")
    bound = f"**{bad}**: {_seeds(rows)}" if bad else bound
    steps = "/".join(f"{s:g}" for s in sorted({r["dt_s"] for r in rows}))
    felt, touched = sum(r.get("felt", 0) for r in rows), sum(r.get("touched", 0) for r in rows)
    hottest_c = max((r.get("hottest_c", -math.inf) for r in rows if not r.get("machines")), default=math.nan)
    broken_c = max((r.get("hottest_c", -math.inf) for r in rows if r.get("machines")), default=math.nan)
    hot = " and ".join(
        f"{c:.1f} °C{said}" for c, said in ((hottest_c, ""), (broken_c, " with broken machines")) if math.isfinite(c)
    )
    what = f"**{kind}**: {WHAT[kind]}" if plant == "lumped" else f"{kind}, again on the fine plant"
    asked = ASKED[kind] if plant == "lumped" else "1 %"
    return f"| {what} | {asked} | {n:,} | {ticks:,} of {steps} s | {hours:,.1f} h | {felt:,}, {touched:,} | {hot} | {bound} |"


def _seeds(rows: Iterable[dict[str, Any]]) -> str:
    seeds = [f"{r['kind']}:{r['seed']}" for r in rows if r["violations"]]
    return ", ".join(seeds[:8]) + (" …" if len(seeds) > 8 else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--stride", type=float, default=5.0, help="seconds between ticks on the lumped plant")
    parser.add_argument("--again", default="", metavar="KIND:SEED", help="one episode, its violations printed")
    parser.add_argument("--fine", action="store_true", help="with --again: on the plant of all racks")
    parser.add_argument("--table", action="store_true", help="only write what is known")
    args = parser.parse_args()
    if args.again:
        kind, seed = args.again.split(":")
        print(json.dumps(play(stage(), kind, int(seed), args.stride, args.fine), indent=1, ensure_ascii=False))
        return 0
    if args.table:
        write_between(PAGE, MARK, table())
        return 0
    return 1 if soak(args.kinds.split(","), args.stride, args.minutes) else 0


if __name__ == "__main__":
    sys.exit(main())
