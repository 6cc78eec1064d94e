"""What one hall that is not like the others costs: eight halls, one of them changed, coolctl against the rules.

    python -m tools.odd_hall --hours 6 --start 07-15T10

Coils lie within ±15 % of their record in every case; the faults are the table of docs/SAVINGS.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from coolctl.bench.sites import with_halls
from coolctl.controller import Controller, RuleController
from coolctl.edge.onnx_policy import load_policy
from coolctl.paths import shared_folder
from coolctl.savings.evaluate import run
from coolctl.site import Site, load_site
from sim_plant import faults, params
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

HALLS, RACKS, STEP_S, WEAK = 8, 8, 5.0, 0.6
FAULTS = {
    "nothing changed": "",
    "a coil at 60 %": "",
    "a supply sensor 2 K high": "wrong:{hall}.sat:2@0-1e9",
    "a supply sensor 2 K low": "wrong:{hall}.sat:-2@0-1e9",
    "a valve stuck at 65 %": "stuck:{hall}.valve:0.65@0-1e9",
    "a valve stuck at 25 %": "stuck:{hall}.valve:0.25@0-1e9",
}


def plant_with(site: Site, case: str, start: str, seed: int) -> SimPlant:
    """The plant of one case; which hall is the odd one follows from the seed."""
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting(start), synthetic(seed), coarse=True)
    rng = np.random.default_rng(seed)
    plant._rows[:, params.H_UA] *= rng.uniform(0.85, 1.15, HALLS)
    odd = int(rng.integers(HALLS))
    if "coil" in case:
        plant._rows[odd, params.H_UA] *= WEAK
    if FAULTS[case]:
        plant.faults.add(faults.parse(FAULTS[case].format(hall=site.halls[odd])))
    return plant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--start", default="07-15T10", metavar="MM-DDTHH")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    path = Path(tempfile.mkdtemp()) / "site.toml"
    path.write_text(with_halls((shared_folder("config") / "sites" / "hall1mw.toml").read_text(), HALLS, RACKS))
    site, policy = load_site(path), load_policy("default")
    for case in FAULTS:
        entries, suspect = [], None
        for controller in (Controller(site, policy), RuleController(site, "b2")):
            plant = plant_with(site, case, args.start, args.seed)
            entries.append(run(site, plant, controller, args.hours, args.seed, STEP_S).entry())
            if isinstance(controller, Controller):
                suspect = controller.control.zones.suspect()
        mine, base = (e["energy_kwh"]["cooling_total"] for e in entries)
        hottest = " / ".join(f"{e['service']['rack_inlet_max_c']:.1f}" for e in entries)
        found = f"{site.halls[suspect.hall]}: {suspect.kind} {suspect.size:.2f}" if suspect else "nobody"
        print(f"{case:<26}{100.0 * (1.0 - mine / base):>6.1f} % against b2   hottest ai / b2 {hottest} °C   {found}", flush=True)


if __name__ == "__main__":
    main()
