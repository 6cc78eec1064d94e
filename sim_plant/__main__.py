"""`python -m sim_plant`: the simulated plant as a process on a broker."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from coolctl.edge.sdnotify import notify
from coolctl.errors import CoolctlError
from coolctl.site import load_site
from sim_plant.faults import parse
from sim_plant.load import load_load
from sim_plant.mqtt_plant import PlantServer, RunSettings, TruthLog
from sim_plant.plant import SimPlant
from sim_plant.weather import load_weather


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m sim_plant", description="simulated cooling plant on an MQTT broker")
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--broker", default="", metavar="HOST:PORT")
    parser.add_argument("--speed", type=float, default=1.0, help="plant seconds per wall second; 0 = as fast as it goes")
    parser.add_argument("--fault", action="append", default=[], metavar="KIND:TARGET[:VALUE][@START[-END]]")
    parser.add_argument("--start", default="07-15T00", metavar="MM-DDTHH")
    parser.add_argument("--duration", type=float, default=float("inf"), metavar="S", help="wall seconds")
    parser.add_argument("--steps", type=int, default=1 << 62, help="plant seconds")
    parser.add_argument("--load", default="", metavar="FILE[:COLUMN|sum]")
    parser.add_argument("--load-scale", choices=("peak", "mean"), default="peak")
    parser.add_argument("--weather", default="", metavar="EPW|CSV|STATION")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wait-for-controller", type=float, default=0.0, metavar="S")
    parser.add_argument("--truth", default="", metavar="FILE", help="log the noise-free state of every step")
    return parser


def main() -> int:
    args = _arguments().parse_args()
    try:
        site = load_site(args.site)
        weather = load_weather(args.weather or site.file.weather.station, args.start)
        plant = SimPlant(site, weather, load_load(args.load, args.load_scale, args.seed))
        for text in args.fault:
            plant.faults.add(parse(text))
        settings = RunSettings(args.broker, args.speed, args.duration, args.steps, args.wait_for_controller)
        server = PlantServer(site, plant, args.seed, settings)
    except CoolctlError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    notify("READY=1", f"STATUS={site.name}: the simulated plant runs")
    server.run(TruthLog(Path(args.truth)) if args.truth else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
