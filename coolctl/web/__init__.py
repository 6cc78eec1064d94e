"""`coolctl web`: the live page, a process of its own that only listens."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

from coolctl.edge.sdnotify import notify
from coolctl.edge.web import PageServer
from coolctl.outlook import FAILURES, HORIZON_S
from coolctl.site import Site, load_site
from coolctl.site_points import rack_machines
from coolctl.web.listener import Listener


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--broker", default="", metavar="HOST:PORT")
    parser.add_argument("--port", type=int, default=None, help="0 = any free port")


def main(args: argparse.Namespace) -> int:
    site = load_site(args.site)
    port = site.file.web.port if args.port is None else args.port
    listener = Listener(site, args.broker)
    try:
        server = PageServer(site.file.web.host, port, describe(site), listener.documents())
    except OSError as error:
        print(f"page: port {port}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"http://{site.file.web.host}:{server.port}/", flush=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: listener.stop())
    notify("READY=1", f"STATUS={site.name}: http://{site.file.web.host}:{server.port}/")
    listener.run(server)
    server.close()
    return 0


def describe(site: Site) -> dict[str, Any]:
    """What the page needs to draw the plant: counts, limits, and which point is what."""
    f = site.file
    points = {p.id: {"role": p.role, "machine": p.machine, "unit": p.unit} for p in site.table.points if not p.writable}
    return {
        "name": site.name,
        "description": f.site.description,
        "simulated": f.site.simulated,
        "halls": [{"name": h.name, "racks": rack_machines(h.name, h.racks)} for h in f.halls],
        "chillers": f.chillers.count,
        "cells": f.towers.cells,
        "economizer": site.economizer is not None,
        "limits": {
            "limit_c": f.limits.rack_inlet_limit_c,
            "alarm_c": f.limits.rack_inlet_alarm_c,
            "allowable_c": f.limits.rack_inlet_allowable_c,
            "ride_through_s": site.chiller.restart_s + f.limits.ride_through_margin_s,
        },
        "failures": FAILURES,
        "outlook_s": HORIZON_S,
        "points": points,
    }
