"""`coolctl import`: trend logs become a recording; `--probe` says what they seem to be and writes the map.

The recording holds the inputs of each tick and no decisions: `replay` asks what the controller would have done,
`calibrate` what the machines are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from coolctl.cli_args import emit_json, folder, output
from coolctl.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, TrendError
from coolctl.recording import encode_events
from coolctl.site import Site, load_site, read_text
from coolctl.trace import header
from coolctl.trends.findings import Finding, render, span_text, utc_text
from coolctl.trends.importer import Importer
from coolctl.trends.map_schema import load_map, parse_map
from coolctl.trends.probe import as_json, probe
from coolctl.trends.source import log_files
from coolctl.trends.write import RowWriter

PROBE_CELLS = 50e6  # some ten seconds


def step(text: str) -> float:
    """Seconds between ticks, 1 to 60: what a tick may be called at."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1.0 <= value <= 60.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds between 1 and 60")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("logs", nargs="+", metavar="FILE", help="trend logs, or a folder of them; .gz too")
    parser.add_argument("--site", default="", metavar="SITE", help="the site file whose points the columns are")
    parser.add_argument("--map", default="", metavar="MAP", help="which column is which point; --probe writes it")
    parser.add_argument("--out", type=folder, default="", metavar="DIR", help="folder of the recording")
    parser.add_argument("--probe", action="store_true", help="say what the logs seem to be, and print or write the map")
    parser.add_argument("--step", type=step, default=0.0, metavar="S", help="seconds between ticks, 1 to 60 (default: the map's)")
    parser.add_argument("--json", type=output, metavar="FILE|-")


def main(args: argparse.Namespace) -> int:
    lacking = [f"--{name}" for name in ("site", "map", "out") if not getattr(args, name)]
    if not args.probe and lacking:
        print(f"coolctl import needs {', '.join(lacking)}; or --probe, to see what the logs are", file=sys.stderr)
        return EXIT_USAGE
    if args.probe and args.map and Path(args.map).exists():
        print(f"{args.map} is there already and may be somebody's work: name another, or remove it", file=sys.stderr)
        return EXIT_USAGE
    paths = log_files(args.logs)
    site = load_site(args.site) if args.site else None
    if args.probe:
        return _probe(paths, site, args)
    assert site is not None
    return _import(paths, site, args)


def _probe(paths: list[Path], site: Site | None, args: argparse.Namespace) -> int:
    found = probe(paths, site)
    # The map as it stands in the answer is what is tried, so that it is known to work.
    trial = Importer(paths, parse_map(found.map_text, "the map of --probe"), site, args.step, PROBE_CELLS)
    trial.run()
    findings = [*found.findings, *trial.findings()]
    if args.map:
        Path(args.map).write_text(found.map_text, encoding="utf-8")
    data = {"files": [p.name for p in paths], **as_json(found), "findings": [f.json() for f in findings]}
    if not emit_json(data, args.json):
        return EXIT_OK
    lay, form = found.layout, found.form
    names = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
    print(
        f"{len(paths)} file{'s' if len(paths) > 1 else ''}: {lay.kind.replace('_', ' ')}, {names[lay.separator]} between cells, "
        f"decimal {'comma' if lay.decimal == ',' else 'point'}, header in line {lay.header_line}"
    )
    print(f"time in {lay.names[lay.time_at]!r}: {form.form}, {form.why}; zone {found.tz}: {found.tz_why}")
    print(f"one sample in {span_text(found.interval_s)}\n")
    print(f"{'column':<30}{'unit':<8}{'role':<18}{'point':<22}why")
    for c in found.columns:
        why = "; ".join(w for w in (c.role_why, c.unit_why) if w)
        print(f"{c.name[:29]:<30}{c.unit or '?':<8}{c.role or '–':<18}{c.point or '–':<22}{why}")
    print("\n" + "\n".join(render(findings) or ["nothing remarkable found"]))
    print(f"\nthe map: {args.map}" if args.map else f"\n# ---- MAP.toml ----\n{found.map_text}", end="\n" if args.map else "")
    return EXIT_OK


def _import(paths: list[Path], site: Site, args: argparse.Namespace) -> int:
    file = load_map(args.map, site)
    work = Importer(paths, file, site, args.step)
    head = header(site, "", "", "shadow")
    head["imported"] = {
        "files": [p.name for p in paths],
        "map": read_text(Path(args.map)),
        "step_s": work.step_s,
        "clock": "unix",
    }
    writer = RowWriter(Path(args.out), site, head)
    try:
        work.run(writer.append)
        findings = work.findings()
        if not work.digest.ticks:
            raise TrendError(paths[0], None, "no row has a time that can be read; nothing is written")
        writer.event(encode_events([f.json() for f in findings], work.digest.ticks))
        first = writer.close()
    finally:
        writer.discard()
    return _report(work, first, findings, args)


def _report(work: Importer, first: Path | None, findings: list[Finding], args: argparse.Namespace) -> int:
    assert work.site is not None
    d, mapped = work.digest, {row.point for row in work.file.points if row.point}
    absent = [p.id for p in work.site.table.points if p.id not in mapped]
    good = float(d.known.sum() / max(d.ticks * len(d.known), 1))
    data: dict[str, Any] = {
        "recording": str(first),
        "ticks": d.ticks,
        "step_s": work.step_s,
        "from": utc_text(d.first_s),
        "to": utc_text(d.last_s),
        "points": len(mapped),
        "points_without_column": absent,
        "known_ratio": round(good, 4),
        "findings": [f.json() for f in findings],
    }
    if emit_json(data, args.json):
        print(
            f"{d.ticks} ticks of {work.step_s:g} s from {data['from']} to {data['to']}, {len(mapped)} points, "
            f"{100.0 * good:.1f} % of the values known"
        )
        if absent:
            print(f"{len(absent)} points of the site have no column: {', '.join(absent[:8])}{' …' if len(absent) > 8 else ''}")
        print("\n".join(render(findings)) or "nothing remarkable found")
        print(f"recording: {first}")
    return EXIT_OK if first else EXIT_FAILED
