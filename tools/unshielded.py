"""Plays the fault matrix with the shield off: a row that then still passes proves nothing of it.

`python -m tools.faults --without-shield`. The shield is taken off in the harness alone; there is no switch in the product. A row
does not end at its first bar here: what is missed is noted and the row goes on, so that it is known whether only the invariants
speak or the racks feel it too, and whether it is more than a day without any fault breaks without the shield. Beside the matrix
stand episodes of the soak in which a hostile policy's wishes go straight to the shield. Results are lines of
build/unshielded.jsonl; a run that was ended goes on where it stopped.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tools.faults import ROOT, on_stage, source_hash

RESULTS = ROOT / "build" / "unshielded.jsonl"
MARK = "unshielded"
LEAST = 25
# The bars that rows share, by the function that holds them; what a row asserts by itself is `ITS_OWN`.
INVARIANTS, RACKS, ITS_OWN = "invariants", "racks", "a bar of its own"
BARS = {"stays_safe": RACKS, "never_worse": RACKS}
CALM, CALM_STACK = "calm", "calm stack"
CALM_S = 600
EPISODES, STRIDE_S = 30, 5.0
SHIELDED, UNSHIELDED = "adversary", "unshielded adversary"
OF_RACKS = {"R2", "I-29", "I-30"}  # too hot, and warming too fast


def take_shield_off(patch: Any) -> None:
    """Everything wished is published: only to see that the rows notice."""
    import numpy as np

    from coolctl.control.shield import Shield

    def limit(self: Shield, wish: Any, c: Any, dt_s: float) -> tuple[Any, Any]:
        self.last = np.where(np.isfinite(wish), wish, c.baseline_u)
        return self.last.copy(), np.zeros(len(wish), dtype=np.int64)

    patch.setattr(Shield, "limit", limit)


def note_bars(patch: Any, missed: set[str], broken: set[str]) -> None:
    """Bars note what is missed in `missed`, and invariants what they are in `broken`, and let the row go on."""
    from faults import controller_rows, plant_rows, scenes, sensor_rows, transport_rows
    from virtual import VirtualStack

    def noting(bar: Callable[[Any], None], kind: str) -> Callable[[Any], None]:
        def note(seen: Any) -> None:
            try:
                bar(seen)
            except AssertionError:
                missed.add(kind)

        return note

    def clean(seen: Any) -> None:
        found = seen.violations() if isinstance(seen, VirtualStack) else seen.violations
        broken.update(violation.id for _t, violation in found)
        missed.update({INVARIANTS} if found else ())

    for name, noted in {"clean": clean, **{n: noting(getattr(scenes, n), kind) for n, kind in BARS.items()}}.items():
        for module in (scenes, plant_rows, sensor_rows, transport_rows, controller_rows):
            if hasattr(module, name):
                patch.setattr(module, name, noted)


def calm(stage: Any) -> str:
    """No fault at all, beside the plant's own control."""
    from faults import scenes

    seen = stage.play(scenes.Play())
    for bar in (scenes.clean, scenes.stays_safe, scenes.never_worse):
        bar(seen)
    return str(seen.text())


def calm_stack(stage: Any) -> str:
    """No fault at all, the whole stack."""
    from faults import transport_rows

    return transport_rows.done(stage.armed().run(CALM_S))


def play(name: str) -> dict[str, Any]:
    """One row, or one episode with the shield or without, in this process: what it misses."""
    began_s = time.monotonic()
    found = _episode(*name.split(":")) if ":" in name else _row(name)
    return {"name": name, **found, "sources": source_hash(), "seconds": round(time.monotonic() - began_s, 1)}


def _row(name: str) -> dict[str, Any]:
    from test_faults import ROWS
    from virtual import VirtualStack

    run = {CALM: calm, CALM_STACK: calm_stack}.get(name) or next(r.run for r in ROWS if r.id == name)
    assert run is not None
    missed: set[str] = set()
    broken: set[str] = set()
    stacks: list[Any] = []
    build = VirtualStack.__init__

    def built(stack: Any, *args: Any, **more: Any) -> None:
        build(stack, *args, **more)
        stacks.append(stack)

    def prepare(patch: Any) -> None:
        take_shield_off(patch)
        note_bars(patch, missed, broken)
        patch.setattr(VirtualStack, "__init__", built)

    ok, seen = on_stage(run, 1, prepare)
    missed.update(() if ok else {ITS_OWN})
    refused = sum(s.gateway.core.rejects.get("outside_limits", 0) for s in stacks)
    return {"missed": sorted(missed), "broken": sorted(broken), "stack": bool(stacks), "refused": refused, "seen": seen}


def _episode(kind: str, seed: str) -> dict[str, Any]:
    import pytest

    from tools import soak

    with pytest.MonkeyPatch.context() as patch:
        if kind == UNSHIELDED:
            take_shield_off(patch)
        result = soak.play(soak.stage(), "adversary", int(seed), STRIDE_S)
    broken = sorted(result.get("by", {"raises": 1}))
    missed = [RACKS] * bool(OF_RACKS & set(broken)) + [INVARIANTS] * bool(broken)
    return {"missed": missed, "broken": broken, "hottest_c": result.get("hottest_c"), "seen": result.get("wish", "")}


def known() -> dict[str, dict[str, Any]]:
    """Results of these very sources."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    sources = source_hash()
    return {r["name"]: r for r in map(json.loads, lines) if r["sources"] == sources}


def names(tiers: str) -> list[str]:
    """What is played: the rows, and beside them what they are compared with."""
    from test_faults import ROWS

    episodes = [f"{kind}:{seed}" for kind in (SHIELDED, UNSHIELDED) for seed in range(EPISODES)]
    return [CALM, CALM_STACK, *(r.id for r in ROWS if r.run and r.tier in tiers), *episodes]


def bite(tiers: str = "PNR", jobs: int = 1) -> dict[str, dict[str, Any]]:
    """Every row of these tiers without the shield, what is known not again."""
    done = known()
    todo = [i for i in names(tiers) if i not in done]
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as stream, multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for k, result in enumerate(pool.imap_unordered(play, todo), 1):
            stream.write(json.dumps(result, ensure_ascii=False) + "\n")
            stream.flush()
            said = ", ".join(result["missed"] + result["broken"]) or "passes"
            print(f"[{k}/{len(todo)}] {result['name']}: {said}: {result['seen']}", flush=True)
    found = known()
    return {i: found[i] for i in names(tiers)}


def rows_of(found: dict[str, dict[str, Any]]) -> list[str]:
    return [i for i in found if ":" not in i and i not in (CALM, CALM_STACK)]


def failing(found: dict[str, dict[str, Any]]) -> list[str]:
    """Rows of the matrix that fail."""
    return [i for i in rows_of(found) if found[i]["missed"]]


def beyond_calm(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Rows that fail by more than what a day without any fault breaks too, and by what."""
    why = {}
    for i in failing(found):
        before = set(found[CALM_STACK if found[i]["stack"] else CALM]["broken"])
        more = [kind for kind in found[i]["missed"] if kind != INVARIANTS] + sorted(set(found[i]["broken"]) - before)
        if more:
            why[i] = ", ".join(more)
    return why


def hot_episodes(found: dict[str, dict[str, Any]], kind: str) -> list[str]:
    """Episodes of a kind in which racks come too hot or warm too fast."""
    return [i for i in found if i.startswith(f"{kind}:") and RACKS in found[i]["missed"]]


def table(found: dict[str, dict[str, Any]]) -> str:
    """What was seen, as Markdown."""
    rows, fail, more = rows_of(found), failing(found), beyond_calm(found)
    counts = Counter(kind for i in rows for kind in found[i]["missed"])
    stacks = [i for i in rows if found[i]["stack"]]
    refused = sum(found[i]["refused"] > 0 for i in stacks)
    every = sorted({b for i in (CALM, CALM_STACK) for b in found[i]["broken"]})
    said = ", ".join(f"{counts[kind]} by {kind}" for kind in (INVARIANTS, RACKS, ITS_OWN))
    lines = [
        f"**{len(fail)} of {len(rows)}** rows fail without the shield, {LEAST} are asked for: {said}. But a day without a fault "
        f"breaks {', '.join(every)} too where nothing holds rates and evidence; **{len(more)}** rows fail by more than that. In "
        f"{refused} of the {len(stacks)} rows with the whole stack the gateway refused a lease by its own limits.",
        "",
        "| fails | rows | which |",
        "|---|---|---|",
        f"| by more than a calm day | {len(more)} | {'; '.join(f'{i} ({w})' for i, w in more.items())} |",
        f"| by what a calm day breaks too | {len(fail) - len(more)} | {', '.join(i for i in fail if i not in more)} |",
        f"| not at all | {len(rows) - len(fail)} | {', '.join(i for i in rows if i not in fail) or '-'} |",
        "",
        f"Beside the matrix, {EPISODES} episodes of the soak in which a hostile policy's wishes go straight to the shield:",
        "",
        "| hostile policy | episodes | that break an invariant | racks too hot or warming too fast | hottest |",
        "|---|---|---|---|---|",
    ]
    for kind, said in ((SHIELDED, "with the shield"), (UNSHIELDED, "without")):
        mine = [r for i, r in found.items() if i.startswith(f"{kind}:")]
        hottest_c = max(r["hottest_c"] or 0.0 for r in mine)
        bad = sum(bool(r["broken"]) for r in mine)
        lines.append(f"| {said} | {len(mine)} | {bad} | {len(hot_episodes(found, kind))} | {hottest_c:.1f} °C |")
    return "\n".join(lines)
