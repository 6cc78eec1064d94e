"""What one sensor that is wrong costs: every kind of point in turn, read 2 K high or low, stuck, or silent.

    python -m tools.one_sensor --hours 8 --start 07-15T06 --load-mean 0.6

The sensor fails ten minutes after the start and stays so; against the same hours with all of them well. The table of
docs/SAVINGS.md has what costs more than 5 %.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

from coolctl.controller import Controller, RuleController
from coolctl.edge.onnx_policy import load_policy
from coolctl.paths import shared_folder
from coolctl.points import ROLES
from coolctl.savings.evaluate import run
from coolctl.site import Site, load_site
from sim_plant import faults
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

STEP_S, FROM_S, OFF_K = 5.0, 600.0, 2.0


class Seen(NamedTuple):
    """Cooling energy [kWh], the hottest rack [°C], K·min above the limit."""

    kwh: float
    hottest_c: float
    over_kmin: float


def kinds(site: Site) -> list[str]:
    """Faults to play: the first point of each kind that is read, but a valve's, whose faults are the machine's."""
    first: dict[str, str] = {}
    for point in site.table.points:
        if not point.writable and point.role != "valve":
            first.setdefault(point.role, point.id)
    found = []
    for role, point_id in first.items():
        if ROLES[role].suffix == "c":
            found += [f"wrong:{point_id}:{OFF_K:g}", f"wrong:{point_id}:{-OFF_K:g}"]
        found += [f"stuck:{point_id}", f"off:{point_id}"]
    return found


def played(site: Site, fault: str, hours: float, start: str, load_mean: float, controller: str = "ai") -> Seen:
    """The hours with one sensor that fails, or none where `fault` is empty."""
    weather = from_statistics(site.file.weather.station).starting(start)
    plant = SimPlant(site, weather, synthetic(1).at_mean(load_mean))
    if fault:
        plant.faults.add(faults.parse(f"{fault}@{FROM_S:g}-1e9"))
    ours = Controller(site, load_policy("default")) if controller == "ai" else RuleController(site, controller)
    entry = run(site, plant, ours, hours, 1, STEP_S).entry()
    service = entry["service"]
    return Seen(entry["energy_kwh"]["cooling_total"], service["rack_inlet_max_c"], service["degree_minutes_above_limit"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--start", default="07-15T06", metavar="MM-DDTHH")
    parser.add_argument("--load-mean", type=float, default=0.6)
    args = parser.parse_args()
    site = load_site(shared_folder("config") / "sites" / "hall1mw.toml")
    well, rules = (played(site, "", args.hours, args.start, args.load_mean, name) for name in ("ai", "b2"))
    print(
        f"all sensors well: {well.kwh:.1f} kWh, {1.0 - well.kwh / rules.kwh:.1%} below b2, hottest {well.hottest_c:.2f} °C",
        flush=True,
    )
    for fault in kinds(site):
        seen = played(site, fault, args.hours, args.start, args.load_mean)
        more = 100.0 * (seen.kwh / well.kwh - 1.0)
        print(f"{fault:<36}{more:>+7.1f} %   hottest {seen.hottest_c:.2f} °C   {seen.over_kmin:.2f} K·min over", flush=True)


if __name__ == "__main__":
    main()
