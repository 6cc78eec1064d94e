"""`coolctl commission`: small supervised steps of each setpoint, rehearsed on the simulated plant, and what they tell.

On a real plant the same steps come from the library (`Controller.control.excitation`); this command shows beforehand what
they are, how long they take, what should answer, and what a swapped or dead sensor would look like.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

from coolctl.cli_args import emit_json, output, positive
from coolctl.control.calibrate import Gain
from coolctl.control.commission import Excitation, Response, findings, influence
from coolctl.controller import Controller
from coolctl.errors import EXIT_OK, ConfigError, Fault
from coolctl.site import Site, load_site

SETTLE_S = 2400  # until the policy is in charge and machines are past their dwell
HOURS_MAX = 48.0
SHOWN = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--load", default="0.6", metavar="RATIO|FILE", help="of the simulated halls (default 0.6)")
    parser.add_argument("--weather", default="", metavar="EPW|CSV|STATION", help="default: the site's station")
    parser.add_argument("--start", default="05-10T06", metavar="MM-DDTHH")
    parser.add_argument("--policy", default="", help="folder or name under models/ (default: the site's)")
    parser.add_argument("--fault", action="append", default=[], metavar="KIND:TARGET[:VALUE]", help="on the simulated plant")
    parser.add_argument("--swap", action="append", default=[], metavar="POINT,POINT", help="exchange two sensors' cables")
    parser.add_argument("--hours", type=positive, default=HOURS_MAX, metavar="H", help="give up after this (default 48)")
    parser.add_argument("--json", type=output, metavar="FILE|-")


def main(args: argparse.Namespace) -> int:
    site = load_site(args.site)
    swapped = _swaps(site, args.swap)
    result = rehearse(site, args, swapped)
    if emit_json(result, args.json):
        print(_render(result))
    return EXIT_OK


def _swaps(site: Site, pairs: list[str]) -> dict[str, str]:
    """Whose reading each exchanged point shows. Raises `ConfigError` for a point that the site does not have."""
    shows: dict[str, str] = {}
    for pair in pairs:
        names = [name.strip() for name in pair.split(",")]
        if len(names) != 2 or not all(name in site.table.index for name in names):
            raise ConfigError([Fault("--swap", None, pair, "wants two points of the site: POINT,POINT")])
        shows |= {names[0]: names[1], names[1]: names[0]}
    return shows


def rehearse(site: Site, args: argparse.Namespace, swapped: dict[str, str]) -> dict[str, Any]:
    """Run every step on the simulated plant; what answered, what stands out, and what calibration knows more than before."""
    from coolctl.edge.onnx_policy import load_policy
    from sim_plant.faults import parse
    from sim_plant.load import load_load
    from sim_plant.plant import SimPlant
    from sim_plant.weather import hour_of_year, load_weather

    weather = load_weather(args.weather or site.file.weather.station, hour_of_year(args.start))
    plant = SimPlant(site, weather, load_load(args.load, "peak", 1))
    readings = plant.reset(1)
    for text in args.fault:
        plant.faults.add(parse(text))
    controller = Controller(site, load_policy(args.policy or site.file.control.policy), "auto")
    excitation, before = Excitation(site), list[Gain]()
    planned_s = excitation.duration_s
    k = 0
    while not excitation.done and k < args.hours * 3600.0:
        if k == SETTLE_S:
            controller.control.excitation, before = excitation, controller.control.gains()
        shown = readings | {point: readings[other] for point, other in swapped.items() if other in readings}
        decision = controller.tick(shown, float(k))
        readings = plant.step(decision.setpoints, 1.0) or readings
        k += 1
    return {
        "site": site.name,
        "config_hash": site.config_hash,
        "hours": round(k / 3600.0, 2),
        "planned_hours": round(planned_s / 3600.0, 2),
        "finished": excitation.done,
        "steps": [_step(site, r) for r in excitation.responses],
        "findings": [{"setpoint": f.setpoint, "text": f.text} for f in findings(site, excitation.responses)],
        "gains": [
            {"name": g.name, "factor": round(g.factor, 4), "sd_before": round(b.sd_ratio, 4), "sd": round(g.sd_ratio, 4)}
            for b, g in zip(before, controller.control.gains(), strict=False)
        ],
    }


def _step(site: Site, r: Response) -> dict[str, Any]:
    """One row of the influence matrix, in the points' own units."""
    answers = {}
    i = int(site.u_point[r.k])
    scale = site.table.points[i].encode(1.0) - site.table.points[i].encode(0.0)
    for p, per_unit in zip(site.table.points, influence(r).tolist(), strict=True):
        if math.isfinite(per_unit):
            answers[p.id] = round(per_unit * (p.encode(1.0) - p.encode(0.0)) / scale, 5)
    unit = site.table.points[i].unit
    return {"setpoint": r.name, "moved": round(r.moved * scale, 4), "unit": unit, "why_not": r.why_not, "per_unit": answers}


def _render(result: dict[str, Any]) -> str:
    lines = [
        f"{result['site']}: {len(result['steps'])} steps in {result['hours']:g} h"
        + ("" if result["finished"] else ", NOT finished"),
        "",
    ]
    for s in result["steps"]:
        if s["why_not"]:
            lines.append(f"{s['setpoint']:<20} not tried: {s['why_not']}")
            continue
        most = sorted(s["per_unit"].items(), key=lambda item: -abs(item[1]))[:SHOWN]
        answers = ", ".join(f"{point} {value:+.3g}" for point, value in most) or "nothing answered"
        lines.append(f"{s['setpoint']:<20} {s['moved']:+g} {s['unit']}: per unit {answers}")
    lines += ["", *(f"look at {f['setpoint']}: {f['text']}" for f in result["findings"])]
    lines += [] if result["findings"] else ["every setpoint was answered where it should be"]
    lines += ["", "gains, with their uncertainty before and after:"]
    lines += [f"  {g['name']:<12} {g['factor']:.3f} ± {g['sd']:.3f} (was ± {g['sd_before']:.3f})" for g in result["gains"]]
    return "\n".join(lines)
