"""`coolctl evaluate`: closed-loop comparison on the simulated plant, in one process, on virtual time."""

from __future__ import annotations

import argparse
import datetime
import functools
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

from coolctl import backend
from coolctl.cli_args import emit_json, folder, hours, not_negative, output, positive, ratio
from coolctl.control.guideline36 import Tuning
from coolctl.controller import BASELINES, Controller, RuleController
from coolctl.edge.onnx_policy import OnnxPolicy, load_policy
from coolctl.errors import EXIT_OK, EXIT_USAGE
from coolctl.savings.best_static import search
from coolctl.savings.evaluate import Auditor, Ledger, run
from coolctl.savings.ledger import Account
from coolctl.savings.profile import Profile
from coolctl.savings.table import render
from coolctl.site import Site, load_grid, load_site

CONTROLLERS = (*BASELINES, "b3", "ai", "oracle")
SAT_OVER_MIN_K = 2.0  # a limit nearer to the coldest supply air leaves nothing to control
DEFAULT = ("b1", "b2lite", "b2", "ai")
# Student's t, 97.5 %, for 1 … 32 plants (one plant has no interval); 1.96 beyond.
T_975 = (0.0, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
         2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042, 2.040,
         1.96)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--weather", default="", metavar="EPW|CSV|STATION", help="default: the site's station")
    parser.add_argument(
        "--load", default="", metavar="FILE[:COLUMN|sum]", help="default: synthetic AI load; a number is constant"
    )
    parser.add_argument("--load-scale", choices=("peak", "mean"), default="peak")
    parser.add_argument("--load-mean", type=ratio, default=0.0, metavar="R", help="bring the load to this mean, shape kept")
    parser.add_argument("--load-row", type=positive, default=300.0, metavar="S", help="grid of a load file without times")
    parser.add_argument("--limit", type=positive, metavar="C", help="rack inlet limit [°C] (default: the site's)")
    parser.add_argument("--grid", default="", metavar="FILE", help="tariff, carbon and objective instead of the site's")
    parser.add_argument("--controllers", default=",".join(DEFAULT), help=f"of {', '.join(CONTROLLERS)}")
    span = parser.add_mutually_exclusive_group()
    span.add_argument("--hours", type=hours, default=(0.0, 24.0), metavar="A:B", help="plant hours after --start (default 0:24)")
    span.add_argument("--days", type=positive, metavar="N")
    parser.add_argument("--start", default="07-15T00", metavar="MM-DDTHH")
    parser.add_argument("--season-days", type=int, default=0, metavar="N", help="N days spread over the year instead of one span")
    parser.add_argument(
        "--days-each", type=int, default=0, metavar="N", help="of those days, N for each plant in turn (default: all of them)"
    )
    parser.add_argument("--step", type=positive, default=1.0, metavar="S", help="plant seconds a tick, 1 to 60 (default 1)")
    parser.add_argument("--mismatch", type=not_negative, default=0.0, metavar="P", help="true plants within ±P of the model")
    parser.add_argument("--plants", type=int, default=1, metavar="N", help="how many plants to draw (default 1)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time on this machine (default 1)")
    backend.add_arguments(parser)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--policy", default="", help="folder or name under models/ (default: the site's)")
    parser.add_argument(
        "--plots", type=folder, metavar="FOLDER", help="draw the first plant's runs as SVG (needs coolctl[report])"
    )
    parser.add_argument("--json", type=output, metavar="FILE|-", help="write the ledger")


def main(args: argparse.Namespace) -> int:
    names = [n.strip() for n in args.controllers.split(",") if n.strip()]
    unknown = [n for n in names if n not in CONTROLLERS]
    if unknown or not names:
        print(f"--controllers: {', '.join(unknown) or 'none'} given; there are {', '.join(CONTROLLERS)}", file=sys.stderr)
        return EXIT_USAGE
    if args.plants < 1 or args.season_days < 0 or args.jobs < 1 or args.step > 60.0:
        print("--plants and --jobs are 1 or more, --season-days 0 or more, --step at most 60", file=sys.stderr)
        return EXIT_USAGE
    if not 0 <= args.days_each <= args.season_days:
        print("--days-each takes some of --season-days, which is the larger number", file=sys.stderr)
        return EXIT_USAGE
    site = _site(str(args.site), args.limit, args.weather, args.grid)
    if args.limit and not SAT_OVER_MIN_K + site.file.limits.sat_sp_min_c <= args.limit < site.file.limits.rack_inlet_alarm_c:
        print(f"--limit {args.limit:g} leaves no room between the coldest supply air and the alarm", file=sys.stderr)
        return EXIT_USAGE
    make_plant(site, args)  # a wrong load or weather file is said before anything runs
    campaign = Campaign(site, names, args)
    ledger = campaign.run()
    write_ledger(ledger, args.json)
    if args.plots:
        from coolctl.savings.plots import draw

        for path in draw(args.plots, ledger, campaign.profiles, site.file.limits.rack_inlet_limit_c):
            print(f"wrote {path}", file=sys.stderr)
    return EXIT_OK


class Run(NamedTuple):
    """One controller on one plant over one span; everything a worker process needs."""

    name: str
    plant: int
    start: str
    begin_h: float
    length_h: float
    tuning: Tuning | None = None


class Campaign:
    """The runs that the command line asks for, some at a time, and the ledger of them all."""

    def __init__(self, site: Site, names: list[str], args: argparse.Namespace):
        self.site, self.names, self.args = site, names, args
        begin_h, length_h = (0.0, 24.0 * args.days) if args.days else args.hours
        starts = season_starts(args.season_days) if args.season_days else [args.start]
        self._spans = [(s, begin_h, length_h) for s in starts]
        self._each = args.days_each or len(starts)
        self.length_h = length_h * self._each
        self.profiles: dict[str, Profile] = {}

    def run(self) -> dict[str, Any]:
        """The ledger; with several plants their mean savings, and each plant's own."""
        with backend.sweep(self.args, self.args.jobs) as self._sweep:
            ledgers = self._ledgers()
        first = ledgers[0]
        return first if len(ledgers) == 1 else {**first, "plants": over_plants(ledgers)}

    def _accounts(self, wanted: list[tuple[str, int, Tuning | None]], what: str) -> list[Account]:
        """One account for each controller, plant and tuning, over all spans."""
        runs = [Run(name, plant, *span, tuning) for name, plant, tuning in wanted for span in self._spans_of(plant)]
        found = []
        for k, (account, profile) in enumerate(self._sweep(functools.partial(run_one, self.args), runs), start=1):
            found.append(account)
            self._gather(runs[k - 1], profile)
            if sys.stderr.isatty():
                print(f"\r{what}: {k} of {len(runs)} runs ", end="" if k < len(runs) else "\n", file=sys.stderr)
        sums = [Account(self.site) for _ in wanted]
        for k, account in enumerate(found):
            sums[k // self._each].absorb(account)
        return sums

    def _spans_of(self, plant: int) -> list[tuple[str, float, float]]:
        """A plant's spans: all, or `--days-each` as far apart as can be, the next plant's a day further on."""
        count = len(self._spans)
        return [self._spans[(plant + j * count // self._each) % count] for j in range(self._each)]

    def _gather(self, r: Run, profile: Profile | None) -> None:
        """Keep the first plant's profiles; what a search tries on the way has none."""
        if profile is not None and r.plant == 0:
            self.profiles.setdefault(r.name, Profile(self.site)).absorb(profile)

    def _best_static(self, plant: int) -> tuple[Tuning, Account]:
        return search(self.site, lambda tunings: self._accounts([("b3", plant, t) for t in tunings], f"b3 on plant {plant}"))

    def _ledgers(self) -> list[dict[str, Any]]:
        """One ledger a plant; the days of a plant are one account."""
        plants = range(self.args.plants)
        given = [name for name in self.names if name != "b3"]
        found = iter(self._accounts([(name, k, None) for k in plants for name in given], "runs"))
        plant = make_plant(self.site, self.args)
        labels = {"weather": plant.weather.name, "load": plant.load.name}
        if "ai" in self.names:
            labels["model_hash"] = _policy(self.args.policy or self.site.file.control.policy).model_hash
        ledgers = []
        for k in plants:
            sums, tuned = {name: next(found) for name in given}, {}
            if "b3" in self.names:
                tuning, sums["b3"] = self._best_static(k)
                tuned = {"tuned": {"b3": tuning._asdict()}}
            sums = {name: sums[name] for name in self.names}
            ledgers.append(Ledger(self.site, self.length_h, self.args.seed, sums, labels).as_dict() | tuned)
        return ledgers


def season_starts(days: int) -> list[str]:
    """Midnights of `days` days in the middles of as many equal parts of a year, as MM-DDTHH."""
    first = datetime.date(2025, 1, 1)
    dates = [first + datetime.timedelta(days=int((k + 0.5) * 365.0 / days)) for k in range(days)]
    return [f"{d:%m-%d}T00" for d in dates]


def over_plants(ledgers: list[dict[str, Any]]) -> dict[str, Any]:
    """Per pair: mean saving over the plants with its 95 % interval (Student's t), the worst, how many were comparable and
    why the others were not, by the plant's number; and of the way from `b2` to `oracle` the ratio of sums."""
    result: dict[str, Any] = {}
    for pair, saving in ledgers[0]["savings"].items():
        if not isinstance(saving, dict):
            continue
        each = [ledger["savings"][pair] for ledger in ledgers]
        ratios = [s["cooling_ratio"] for s in each]
        half = T_975[min(len(ratios), len(T_975)) - 1] * statistics.stdev(ratios) / len(ratios) ** 0.5
        result[pair] = {
            "cooling_ratio_mean": round(statistics.fmean(ratios), 4),
            "cooling_ratio_half_width": round(half, 4),
            "cooling_ratio_worst": min(ratios),
            "cooling_ratios": ratios,
            "equal_service": sum(s["equal_service"] for s in each),
            "plants": len(each),
            "service_faults": {str(k): s["service_faults"] for k, s in enumerate(each, start=1) if not s["equal_service"]},
        }
    if "oracle_vs_b2" in result and "ai_vs_b2" in result:
        weights = [ledger["controllers"]["b2"]["energy_kwh"]["cooling_total"] for ledger in ledgers]
        gone, all_of_it = (
            sum(w * r for w, r in zip(weights, result[pair]["cooling_ratios"], strict=True))
            for pair in ("ai_vs_b2", "oracle_vs_b2")
        )
        result["gap_closed_b2_to_oracle"] = round(gone / all_of_it, 4) if all_of_it > 0.0 else None
    return result


@functools.lru_cache
def _policy(name: str) -> OnnxPolicy:
    return load_policy(name)


@functools.lru_cache
def _site(path: str, limit_c: float | None, weather: str, grid: str = "") -> Site:
    """The site, moved to where the weather was measured: thin air is part of a climate."""
    from sim_plant.weather import load_weather

    site = load_site(path)
    if limit_c:
        site = site.at_limit(limit_c)
    if grid:
        site = site.in_grid(load_grid(grid), Path(grid).name)
    return site.at_pressure(round(load_weather(weather).pressure_mean_pa, 1)) if weather else site


def run_one(args: argparse.Namespace, r: Run) -> tuple[Account, Profile | None]:
    """One run, in whatever process; its profile where pictures are asked for."""
    site = _site(str(args.site), args.limit, args.weather, args.grid)
    plant = make_plant(site, args, r.begin_h, start=r.start, plant=r.plant)
    controller = _controller(site, plant, args, r)
    profile = Profile(site) if args.plots and r.tuning is None else None
    return run(site, plant, controller, r.length_h, args.seed, args.step, profile=profile), profile


def _controller(site: Site, plant: Any, args: argparse.Namespace, r: Run) -> Any:
    if r.name == "ai":
        return Controller(site, _policy(args.policy or site.file.control.policy), "auto")
    if r.name == "oracle":
        from sim_plant.oracle import Oracle

        return Oracle(plant, Auditor(site).ride_through_s)
    return RuleController(site, r.name, r.tuning)


def make_plant(site: Site, args: argparse.Namespace, begin_h: float = 0.0, *, start: str = "", plant: int = 0) -> Any:
    """The simulated plant that the command line describes."""
    from sim_plant.load import load_load
    from sim_plant.plant import SimPlant
    from sim_plant.weather import hour_of_year, load_weather

    hour = hour_of_year(start or args.start) + int(begin_h)
    weather = load_weather(args.weather or site.file.weather.station, hour)
    grid = {"mean": getattr(args, "load_mean", 0.0), "row_s": getattr(args, "load_row", 300.0)}
    load = load_load(args.load, args.load_scale, args.seed, **grid)
    wrong = {"mismatch": getattr(args, "mismatch", 0.0), "mismatch_seed": 1000 * args.seed + plant}
    return SimPlant(site, weather, load, coarse=getattr(args, "step", 1.0) > 1.0, **wrong)


def write_ledger(ledger: dict[str, Any], target: str | None) -> None:
    """Print the table, and write the JSON where asked (`-` = standard output, then without the table)."""
    if emit_json(ledger, target):
        print(render(ledger))
