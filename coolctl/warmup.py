"""Compile and touch everything that a tick needs, before the daemon says that it is ready."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from coolctl import recording
from coolctl.control.policy import Policy
from coolctl.controller import Controller
from coolctl.points import ROLES, SampleStore, u_size
from coolctl.site import Site

TICKS = 140

# Plausible readings in internal units: enough to take every branch of the tick that compiles something.
READINGS = {
    "it_power": 6e5, "rack_inlet": 23.5, "sat": 22.0, "rat": 33.0, "room_dewpoint": 9.0, "crah_fan_speed": 0.7,
    "valve": 0.4, "oadb": 20.0, "oawb": 15.0, "chwst": 14.0, "chwrt": 22.0, "chw_flow": 18.0, "chw_dp": 60e3,
    "cwst": 20.0, "cwrt": 24.0, "cw_flow": 50.0, "tower_speed": 0.5, "tower_cells_on": 2.0, "chillers_on": 2.0,
    "chillers_available": 3.0, "economizer_on": 1.0, "hand": 0.0, "bms_remote": 1.0,
}  # fmt: skip


def warm_up(site: Site, policy: Policy | None) -> None:
    """Tick a throw-away controller through start, fallback, policy and emergency on made-up readings."""
    controller = Controller(site, policy, "auto")
    # A scratch controller may believe its evidence at once.
    controller.control.modes.clean_needed_s = 0.0
    readings = _readings(site)
    for k in range(TICKS):
        if k == TICKS - 5:
            readings = {i: v if not i.endswith("rack_inlet") else v * 1.5 for i, v in readings.items()}
        controller.tick(readings, float(k))
    recording.warm_up()


def warm_up_outlook(site: Site) -> None:
    """Roll a made-up plant's failures out once, for the page; the daemon has no use for it, and does not load it."""
    from coolctl.outlook import Outlook

    store = SampleStore(site.table)
    store.put_readings(_readings(site), 0.0)
    Outlook(site).look(store.snapshot(0.0), np.full(u_size(len(site.halls)), np.nan))


def _readings(site: Site) -> dict[str, float]:
    return {p.id: p.encode(READINGS[p.role]) for p in site.table.points if p.role in READINGS and not ROLES[p.role].writable}


def main(argv: Sequence[str]) -> int:
    """Warm the kernel cache for the given site files, or for the default site."""
    from coolctl.edge.onnx_policy import load_policy
    from coolctl.paths import shared_folder
    from coolctl.site import load_site

    for path in argv or [str(shared_folder("config") / "sites" / "hall1mw.toml")]:
        site = load_site(path)
        warm_up(site, load_policy(site.file.control.policy))
        warm_up_outlook(site)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
