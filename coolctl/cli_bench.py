"""`coolctl bench`: the product's speed on this machine, each figure beside a reference of the same run."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

from coolctl.bench import machine, runner
from coolctl.bench.rows import MEASURED
from coolctl.bench.table import ENTRIES
from coolctl.cli_args import emit_json, output
from coolctl.errors import EXIT_OK

FORMAT_VERSION = 1


def ids(text: str) -> list[str]:
    """`P1,P4` as a list in the table's order."""
    wanted = {w.strip().upper() for w in text.split(",") if w.strip()}
    unknown = sorted(wanted - ENTRIES.keys())
    if unknown or not wanted:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is not among {', '.join(ENTRIES)}")
    return [id for id in ENTRIES if id in wanted]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", type=ids, default=list(ENTRIES), metavar="P1,P4", help="these rows alone")
    parser.add_argument(
        "--json", type=output, nargs="?", const="-", metavar="FILE|-", help="machine-readable, on standard output by default"
    )


def main(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the row in hand is ended too
    data = measure(args.only)
    if emit_json(data, args.json):
        print(render(data))
    return EXIT_OK


def measure(wanted: list[str]) -> dict[str, Any]:
    """The rows and curves of the ids `wanted`, with the facts of the machine."""
    data: dict[str, Any] = {"format_version": FORMAT_VERSION, "machine": machine.facts(), "rows": [], "curves": [], "seconds": {}}
    for id in wanted:
        entry = ENTRIES[id]
        print(f"{id}: {entry.title} …", file=sys.stderr, flush=True)
        for line in runner.run(id, entry.limit_s, what=entry.title):
            if runner.ROW in line:
                data["rows"].append(line[runner.ROW])
                print("  " + line_of(line[runner.ROW]), file=sys.stderr, flush=True)
            elif runner.CURVE in line:
                data["curves"].append({"id": id, **line[runner.CURVE]})
            else:
                data["seconds"][id] = line["seconds"]
    return data


def line_of(row: dict[str, Any]) -> str:
    """A row in words."""
    if row["status"] != MEASURED:
        return f"{row['id']:<4} {row['what']}: {row['status']}: {row['why']}"
    value = f"{row['value']:g}" if row["value"] is not None else "nan"
    spread = f" [{row['spread'][0]:g} … {row['spread'][1]:g}]" if row["spread"] else ""
    verdict = {True: "met", False: "MISSED", None: ""}[row["met"]]
    against = f", beside {row['reference']}" if row["reference"] else ""
    target = f" ({row['target']} {verdict})" if row["target"] else ""
    return f"{row['id']:<4} {row['what']}: {value}{spread} {row['unit']}{target}{against}" + (
        f" — {row['why']}" if row["why"] else ""
    )


def render(data: dict[str, Any]) -> str:
    """The table for people."""
    facts = data["machine"]
    head = f"{facts['cores']} cores, {facts['processor']}, Python {facts['python']}, numba {facts['numba']}"
    rows = [line_of(r) for r in data["rows"]]
    met = sum(r["met"] is True for r in data["rows"])
    asked = sum(bool(r["target"]) for r in data["rows"])
    return "\n".join([head, *rows, f"{met} of {asked} targets met"])
