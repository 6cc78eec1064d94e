"""`coolctl report`: what recordings say is saved, with its uncertainty, the service kept and the key figures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from coolctl.cli_args import emit_json, folder, output
from coolctl.control.mode import MODES
from coolctl.errors import EXIT_OK, RecordingError
from coolctl.savings.measurement.findings import findings
from coolctl.savings.measurement.gather import Gathered, gather
from coolctl.savings.measurement.page import render
from coolctl.savings.measurement.pictures import pictures
from coolctl.savings.measurement.watched import HOURS_MIN, WATCHING, watched


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", nargs="+", metavar="RECORDING", help=".cool files, or folders with all of their runs")
    parser.add_argument("--out", type=folder, default="", metavar="DIR", help="report.html and report.json go here (default: .)")
    parser.add_argument("--json", type=output, metavar="FILE|-", help="the JSON alone, unless --out is given too")


def main(args: argparse.Namespace) -> int:
    groups = gather(args.recordings)
    if not groups or not any(g.total("good_s") > 0.0 for g in groups):
        damage = next((d for g in groups for d in g.damage), "no moment in which IT and all cooling meters were known")
        raise RecordingError(f"{args.recordings[0]}: nothing to report: {damage}")
    main_group = groups[0]
    seen = watched(args.recordings, main_group.site.config_hash) if watching_h(main_group) >= HOURS_MIN else None
    found = findings(groups, seen)
    for line in found["damage"]:
        print(f"damage: {line}", file=sys.stderr)
    free = emit_json(found, args.json)
    if args.out or not args.json:
        place = Path(args.out or ".")
        place.mkdir(exist_ok=True)
        (place / "report.html").write_text(render(found, pictures(main_group, found, seen)), encoding="utf-8")
        emit_json(found, str(place / "report.json"))
        if free:
            print(f"{place / 'report.html'} and report.json written")
    if free:
        print(sentence(found))
    return EXIT_OK


def watching_h(g: Gathered) -> float:
    """Hours in which the controller watched and set nothing."""
    return sum(float(g.mode_s[MODES.index(m)]) for m in WATCHING) / 3600.0


def sentence(found: dict[str, Any]) -> str:
    """The result in a line or two."""
    s, gaps = found["saving"], found["gaps"]
    text = str(s["label"])
    if s["method"] != "none":
        text += f": {100 * s['ratio']:.1f} % ({100 * s['low_ratio']:.1f} to {100 * s['high_ratio']:.1f} %) of cooling energy"
    if w := found["shadow"]:
        text += (f"\nin shadow for {w['hours']:.1f} h: {100 * w['ratio']:.1f} % ({100 * w['low_ratio']:.1f} to "
                 f"{100 * w['high_ratio']:.1f} %) of cooling energy, {w['label']}")  # fmt: skip
    if gaps["count"] or gaps["unmetered_h"] >= 0.01:
        text += f"\ngaps: {gaps['count']}, {gaps['hours']:.2f} h without rows, {gaps['unmetered_h']:.2f} h without every meter"
    return text
