"""Writes docs/PERFORMANCE.md and its plots from what `coolctl bench --json` measured.

    coolctl bench --json > build/bench.json
    python -m tools.performance build/bench.json

Several files are put together: an id of a later one takes the place of an earlier one's, so that single rows can be
measured anew. The figures are kept beside the plots, so that the page can be checked against them; `--check` only compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from coolctl.bench.table import ENTRIES

DOCS = Path(__file__).resolve().parent.parent / "docs"
FIGURES = DOCS / "performance" / "bench.json"
INTRODUCTION = """<!-- Written by `python -m tools.performance` from docs/performance/bench.json. -->
# Performance

`coolctl bench` measures what is below on the machine at hand, each figure beside a reference that it builds or starts in
the same run: a C twin of the plant's step (`coolctl/bench/twin.c`) by gcc and clang, mosquitto_sub, NumPy, scikit-learn,
prometheus_client, Parquet, EnergyPlus. Every row runs in a process of its own with a time limit. A reference that is
missing, one core or a busy machine give "not run" with the reason.

- A **ratio** is the median over interleaved pairs (A B A B …), with the quartiles in brackets. Times are processor time of
  the thread unless a row says otherwise, so that a neighbour costs cache lines and nothing else. Compare ratios between
  machines, not times.
- What a reference computes is **compared** with what the product computes; those rows say "differ", "difference" or "equal".
- What misses its target stands in the table, with what was found.

`make bench` measures everything and writes this page; `coolctl bench --only P1,P4` measures some.

A campus of 20,000 points, eight halls and 10 MW ran for an hour on its own clock, on two cores that three other programs kept
busy (`COOLCTL_CAMPUS_S=3600 .venv/bin/python -m pytest tests/hil/test_campus.py -m nightly -s`): all of 3,609 plant seconds
leased, no deadline missed; the daemon took 0.02 of a core and 495 MB, the gateway 0.01 and 187 MB.

On another machine, two cores of an Intel Xeon that are a third slower and busier with system calls, the whole bench met 37 of 57:
ratios of computing are what they are here, times are not (P6 4.8 M points/s and 0.20 of a core, P7 p50 43 ms in that run and 16 in
the next, P8 p99 1.6 ms, an append 79 µs, P13 1,550 and 14,100 x, P14 112 and 909 s a year, P15 4.1 and 43 s). There, beside 8,000
single messages a second, the setpoint was out after 10 ms instead of 25 (p50) where telemetry was heard by a process of its own
(`coolctl run --ingest-process`).

`tests/test_performance_guard.py` holds the ratios that are cheap to measure to `tests/performance_guard.json`, each within
its stated noise.
"""
# What was found where a target is missed: of the code, not of one run.
FOUND = {
    "P1.gcc_256": "95 % of the step does not depend on the racks (2.55 µs at 32, 2.64 at 256); half of it is the tower by Merkel's integral, some hundred exponentials",
    "P2.best": "a*b + c rounded once, as the C compiler does with -Ofast; without that 1.4 to 1.5. Strictly compiled C comes to the same within rounding",
    "P3.one_core_256": "a hall is one body of air, racks and structure; its racks differ by a constant, so that the hottest one stands for all 32 and the cost goes by the halls",
    "P4.hand": "onnxruntime takes some 10 µs a call beside the 2.5 µs that the network needs by hand; 1 % of a tick",
    "P5.qos0": "of some 20 µs a message decoding takes 4.3, the store 0.7, paho the rest (objects and callbacks for each packet); reading ahead of paho took 5 off. mosquitto_sub prints each payload and decodes none. Batches make it irrelevant: 0.25 µs a point",
    "P5.qos1": "as at QoS 0, and a PUBACK written for each",
    "P6.batch": "of some 175 ns a point orjson takes 56, the strict checks round it 37, names and arrays 64, the store 3",
    "P7.p50": "one of three runs of two minutes each on a shared machine: p50 4.9, 6.4, 5.2 ms; p99 65, 38, 11 ms",
    "P8.p99_500": "planning and screening fall into some ticks only; the median stands below",
    "P8.p99_5000": "as at 500 points; the median stands below",
    "P9.growth_expert": "the number of chillers is walked, not tried through; what is left is that each try costs as many halls as there are, and has two variables for each",
    "P11.cpu": "behind 2 ms of sleep, when little of it is in the caches, a bare write of the same 4 KB is above the target by itself, and it is what makes kill -9 lose nothing; the rest is looking for what has changed (10), the checksum (5) and Python round them. Back to back an append takes some 12. A mapped file would take 3 instead of the write, and end the controller by a signal when its disk fails",
    "P11.parquet_read": "of 9.7 ms zlib takes 4.0 (Huffman codes at 330 MB/s; the standard library has nothing faster), figures from their integers 1.5, the rows' memory 0.6, tables, planes and files the rest; without any zlib it would stay below 4 x",
    "P11.stall": "one append in two thousand, where a block is handed to the helper, on two cores with four at work; six runs so gave 1.5 to 11 ms, and the first format beside them 8 to 16",
    "P13.model_policy": "some 45 µs a row, of which the network is 12",
    "P13.whole": "a tick's arithmetic, see P8; reading the file, splitting its rows and comparing the decisions are some 9 % of it",
    "P14.energyplus": "both take one quasi-steady step a minute, ours of all machines, coils and racks at fixed setpoints, theirs with zones and sizing of flows beside it",
    "P14.energyplus_dynamic": "a step of 60 s of ours is 12 of 5 s with masses, sequences and a BMS, all sensors read through Python; EnergyPlus takes one quasi-steady step",
    "P14.lumped": "as the soak's plant, a zone a hall and a sensor a rack; with all masses and the tower by Merkel's integral it is 0.4",
    "P14.year_ai": "as with the rules, and a whole tick with screening, prediction and planning a minute",
    "P14.year_b2": "a step of 60 s is 12 physics steps, one BMS pass, one set of readings and one tick of the rules",
    "P15.cold": "numba compiles every kernel of the tick, the processor time stands below; `make setup` has done so before the daemon starts; the kernels that halved a tick doubled this",
    "P15.warm": "wall time beside broker, gateway, plant and whatever else ran; the processor time stands below",
}


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Several runs as one: each id from the last run that measured it. The machine is that of the first, as its last run saw it;
    what was measured on another stands in `machines` by id."""
    last: dict[str, dict[str, Any]] = {}
    for part in parts:
        last |= dict.fromkeys((r["id"] for r in part["rows"]), part)
    name = parts[0]["machine"]["processor"]
    together = {**[part for part in parts if part["machine"]["processor"] == name][-1]}
    together["seconds"] = {id: last[id]["seconds"].get(id) for id in ENTRIES if id in last}
    for key in ("rows", "curves"):
        together[key] = [item for id in ENTRIES if id in last for item in last[id][key] if item["id"] == id]
    of = {id: part.get("machines", {}).get(id, part["machine"]) for id, part in last.items()}
    together["machines"] = {id: of[id] for id in ENTRIES if id in of and of[id]["processor"] != name}
    return together


def page(data: dict[str, Any]) -> str:
    """The page."""
    facts = data["machine"]
    versions = ", ".join(
        f"{name} {facts[name]}" for name in ("numba", "numpy", "onnxruntime", "orjson", "paho-mqtt") if facts.get(name)
    )
    rows = data["rows"]
    asked = [r for r in rows if r["target"]]
    lines = [INTRODUCTION, "## This run", ""]
    lines += [f"{facts['cores']} cores ({facts['processor']}), {facts['system']}, Python {facts['python']}, {versions};"
              f" load {facts['load_before']:g} before the run. Met: {sum(r['met'] is True for r in asked)} of"
              f" {len(asked)} targets measured.", ""]  # fmt: skip
    for id, entry in ENTRIES.items():
        mine = [r for r in rows if r["id"] == id]
        lines += [f"## {id} · {entry.title}", ""]
        if not mine:
            lines += ["Not measured in this run.", ""]
            continue
        if other := data.get("machines", {}).get(id):
            lines += [f"Measured on {other['cores']} cores ({other['processor']}).", ""]
        lines += ["| what | measured | target | | beside |", "|---|---|---|---|---|", *map(_line, mine), ""]
        lines += [f"- {text}" for text in _remarks(mine)]
        lines += [""] if _remarks(mine) else []
        lines += [f"![{c['name']}](performance/{c['name']}.svg)\n" for c in data["curves"] if c["id"] == id]
    return "\n".join(lines).rstrip() + "\n"


def _line(r: dict[str, Any]) -> str:
    if r["status"] != "measured":
        return f"| {r['what']} | {r['status']}: {r['why']} | | | |"
    spread = f" [{r['spread'][0]:.3g} … {r['spread'][1]:.3g}]" if r["spread"] else ""
    value = f"{r['value']:.3g}" if r["value"] is not None else "not finite"
    verdict = {True: "met", False: "**missed**", None: ""}[r["met"]]
    return f"| {r['what']} | {value}{spread} {r['unit']} | {r['target']} | {verdict} | {r['reference']} |"


def _remarks(rows: list[dict[str, Any]]) -> list[str]:
    found = []
    for r in rows:
        more = "; ".join(f"{k.replace('_', ' ')} {v:.3g}" for k, v in r["figures"].items() if v is not None and k != "pairs")
        text = FOUND.get(f"{r['id']}.{r['name']}", "") if r["met"] is False else ""
        why = r["why"] if r["status"] == "measured" else ""
        parts = [p for p in (text, why, more) if p]
        if parts:
            found.append(f"`{r['name']}`: " + ". ".join(parts) + ".")
    return found


def draw(data: dict[str, Any], folder: Path) -> None:
    """A small SVG for each curve, both axes logarithmic."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "coolctl", "svg.fonttype": "none", "font.size": 8.0})
    import matplotlib.pyplot as plt

    for curve in data["curves"]:
        figure, axes = plt.subplots(figsize=(4.2, 2.4))
        for name, costs in curve["y"].items():
            axes.plot(curve["x"], costs, marker="o", markersize=3, linewidth=1.2, label=name)
        axes.set(xscale="log", yscale="log", xlabel=curve["x_label"], ylabel=curve["y_label"])
        axes.grid(True, which="major", alpha=0.3)
        axes.legend(frameon=False)
        figure.savefig(folder / f"{curve['name']}.svg", metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)


def main(arguments: list[str]) -> int:
    """Take new figures where a file is named, and write the page; or with --check compare it."""
    given = [a for a in arguments if not a.startswith("--")]
    if "--check" in arguments:
        target = DOCS / "PERFORMANCE.md"
        return int(not target.is_file() or target.read_text(encoding="utf-8") != page(json.loads(FIGURES.read_text())))
    if given:
        FIGURES.parent.mkdir(exist_ok=True)
        together = merged([json.loads(Path(name).read_text(encoding="utf-8")) for name in given])
        FIGURES.write_text(json.dumps(together, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    data = json.loads(FIGURES.read_text(encoding="utf-8"))
    (DOCS / "PERFORMANCE.md").write_text(page(data), encoding="utf-8")
    draw(data, FIGURES.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
