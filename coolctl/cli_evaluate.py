"""`coolctl evaluate`: closed-loop comparison on the simulated plant, in one process, on virtual time."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from coolctl.cli_args import hours, output, positive
from coolctl.controller import Controller, RuleController
from coolctl.edge.onnx_policy import load_policy
from coolctl.errors import EXIT_OK, EXIT_USAGE
from coolctl.savings.evaluate import Ledger, run
from coolctl.savings.table import render
from coolctl.site import Site, load_site

CONTROLLERS = ("b1", "b2lite", "b2", "ai")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--weather", default="", metavar="EPW|CSV|STATION", help="default: the site's station")
    parser.add_argument(
        "--load", default="", metavar="FILE[:COLUMN|sum]", help="default: synthetic AI load; a number is constant"
    )
    parser.add_argument("--load-scale", choices=("peak", "mean"), default="peak")
    parser.add_argument("--controllers", default=",".join(CONTROLLERS), help="of b1, b2lite, b2, ai")
    span = parser.add_mutually_exclusive_group()
    span.add_argument("--hours", type=hours, default=(0.0, 24.0), metavar="A:B", help="plant hours after --start (default 0:24)")
    span.add_argument("--days", type=positive, metavar="N")
    parser.add_argument("--start", default="07-15T00", metavar="MM-DDTHH")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--policy", default="", help="folder or name under models/ (default: the site's)")
    parser.add_argument("--json", type=output, metavar="FILE|-", help="write the ledger")


def main(args: argparse.Namespace) -> int:
    names = [n.strip() for n in args.controllers.split(",") if n.strip()]
    unknown = [n for n in names if n not in CONTROLLERS]
    if unknown or not names:
        print(f"--controllers: {', '.join(unknown) or 'none'} given; there are {', '.join(CONTROLLERS)}", file=sys.stderr)
        return EXIT_USAGE
    site = load_site(args.site)
    begin_h, length_h = (0.0, 24.0 * args.days) if args.days else args.hours
    ledger = compare(site, names, length_h, args, begin_h)
    write_ledger(ledger.as_dict(), args.json)
    return EXIT_OK


def compare(site: Site, names: list[str], length_h: float, args: argparse.Namespace, begin_h: float = 0.0) -> Ledger:
    """Run the named controllers on simulated plants of the same seed, load and weather."""
    accounts = {}
    labels: dict[str, str] = {}
    for name in names:
        plant = make_plant(site, args, begin_h)
        labels.update(weather=plant.weather.name, load=plant.load.name)
        controller: Any
        if name == "ai":
            policy = load_policy(args.policy or site.file.control.policy)
            labels["model_hash"] = policy.model_hash
            controller = Controller(site, policy, "auto")
        else:
            controller = RuleController(site, name)
        if sys.stderr.isatty():
            print(f"running {name} …", file=sys.stderr)
        accounts[name] = run(site, plant, controller, length_h, args.seed)
    return Ledger(site, length_h, args.seed, accounts, labels)


def make_plant(site: Site, args: argparse.Namespace, begin_h: float = 0.0) -> Any:
    """The simulated plant that the command line describes."""
    from sim_plant.load import load_load
    from sim_plant.plant import SimPlant
    from sim_plant.weather import hour_of_year, load_weather

    start = hour_of_year(args.start) + int(begin_h)
    weather = load_weather(args.weather or site.file.weather.station, start)
    return SimPlant(site, weather, load_load(args.load, getattr(args, "load_scale", "peak"), args.seed))


def write_ledger(ledger: dict[str, Any], target: str | None) -> None:
    """Print the table, and write the JSON where asked (`-` = standard output, then without the table)."""
    text = json.dumps(ledger, indent=1, allow_nan=False)
    if target == "-":
        print(text)
        return
    print(render(ledger))
    if target:
        Path(target).write_text(text + "\n", encoding="utf-8")
