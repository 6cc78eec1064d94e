"""`coolctl points`: every point of a site with its role, unit, range, age limit, topic and dialect."""

from __future__ import annotations

import argparse

from coolctl.cli_args import emit_json, output
from coolctl.errors import EXIT_OK
from coolctl.site import load_site

COLUMNS = ("id", "role", "machine", "unit", "low", "high", "age_max_s", "topic", "dialect", "field", "writable")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--json", type=output, metavar="FILE|-")


def main(args: argparse.Namespace) -> int:
    site = load_site(args.site)
    rows = []
    for p in site.table.points:
        row = {c: getattr(p, c) for c in COLUMNS}
        row["low"], row["high"] = round(p.encode(p.low), 4), round(p.encode(p.high), 4)
        rows.append(row)
    if emit_json(rows, args.json):
        print(f"{'id':<30}{'role':<22}{'unit':<8}{'range':<26}{'age ≤ s':<9}{'dialect':<12}topic, field")
        for r in rows:
            span = f"{r['low']:g} … {r['high']:g}"
            where = r["topic"] if r["field"] == r["id"] else f"{r['topic']}  {r['field']}"
            print(f"{r['id']:<30}{r['role']:<22}{r['unit']:<8}{span:<26}{r['age_max_s']:<9g}{r['dialect']:<12}{where}")
    return EXIT_OK
