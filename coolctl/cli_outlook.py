"""`coolctl outlook`: what would have become of the racks if a machine had stopped, moment by moment of a recording."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.cli_args import emit_json, output
from coolctl.errors import EXIT_OK
from coolctl.outlook import FAILURES, HORIZON_S, Outlook, Prospect
from coolctl.recording import Recording
from coolctl.site import Site
from coolctl.trace import Unpacker, open_recording

F64 = NDArray[np.float64]

EVERY_S = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", help="a .cool file, or a folder (its newest run)")
    parser.add_argument("--site", default="", metavar="FILE", help="other machines or limits, same points (what if)")
    parser.add_argument("--every", type=float, default=EVERY_S, metavar="S", help="a moment every so many seconds (default 600)")
    parser.add_argument("--json", type=output, metavar="FILE|-")


class Worst(NamedTuple):
    """One failure over all moments looked at, by the worst of the plausible plants: the hottest rack [°C] and when [s of the
    run], the soonest over both limits [s] (infinite: never), and the share of moments with a rack over the servers' own."""

    failure: str
    moments: int
    hottest_c: float
    at_s: float
    limit_s: float
    allowable_s: float
    over_allowable_ratio: float


def main(args: argparse.Namespace) -> int:
    recording, original, site = open_recording(args.recording, args.site)
    looked = list(look(recording, original, site, args.every))
    found = [w for name in FAILURES if (w := worst(name, looked))]
    said = [{k: v if isinstance(v, str) or math.isfinite(v) else None for k, v in w._asdict().items()} for w in found]
    data: dict[str, Any] = {"moments": len(looked), "horizon_s": HORIZON_S, "failures": said, "damage": recording.damage}
    if emit_json(data, args.json):
        _print(found, len(looked), site, recording.damage)
    return EXIT_OK


def look(recording: Recording, original: Site, site: Site, every_s: float) -> Iterator[tuple[float, list[Prospect]]]:
    """Prospects every so often: seconds of the run, and what was said (nothing where too little was known)."""
    unpack, outlook = Unpacker(original), Outlook(site)
    names = recording.columns[unpack.decision_at :]
    at = [names.index(f"sp:{name}") if f"sp:{name}" in names else -1 for name in site.u_names]
    first_s = next_s = math.nan
    for block in recording.rows():
        for row in block:
            first_s, next_s = (first_s, next_s) if first_s == first_s else (float(row[0]), float(row[0]))
            if row[0] < next_s:
                continue
            next_s = max(next_s + every_s, float(row[0]))
            snap, _gateway, _grant = unpack.inputs(row)
            said = unpack.decision(row)
            yield float(row[0]) - first_s, outlook.look(snap, np.array([said[k] if k >= 0 else np.nan for k in at]))


def worst(name: str, looked: list[tuple[float, list[Prospect]]]) -> Worst | None:
    """The worst that was said of a failure; None where it never could happen."""
    said = [(t_s, p) for t_s, prospects in looked for p in prospects if p.failure == name]
    if not said:
        return None
    at_s, hottest = max(said, key=lambda one: one[1].hottest_worst_c)
    over = sum(math.isfinite(p.allowable_worst_s) for _t, p in said)
    return Worst(
        name, len(said), hottest.hottest_worst_c, at_s, min(p.limit_worst_s for _t, p in said),
        min(p.allowable_worst_s for _t, p in said), over / len(said),
    )  # fmt: skip


def _print(found: list[Worst], moments: int, site: Site, damage: list[str]) -> None:
    lim = site.file.limits
    print(f"{moments} moments; within {HORIZON_S / 60.0:.0f} min of each, by the worst of 32 plausible plants:")
    heads = (
        "moments",
        "hottest",
        "at",
        f"over {lim.rack_inlet_limit_c:g} °C",
        f"over {lim.rack_inlet_allowable_c:g} °C",
        "share",
    )
    print(f"{'what stops':<46}" + "".join(f"{h:>12}" for h in heads))
    for w in found:
        cells = (f"{w.moments}", f"{w.hottest_c:.1f} °C", _clock(w.at_s), _after(w.limit_s), _after(w.allowable_s),
                 f"{100.0 * w.over_allowable_ratio:.0f} %")  # fmt: skip
        print(f"{FAILURES[w.failure]:<46}" + "".join(f"{c:>12}" for c in cells))
    if not found:
        print("too little is known in every one of them")
    for text in damage:
        print(f"damage: {text}")


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def _after(seconds: float) -> str:
    return f"in {seconds:.0f} s" if math.isfinite(seconds) else "never"
