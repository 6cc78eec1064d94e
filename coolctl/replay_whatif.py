"""`coolctl replay --what-if`: the recording's load and weather, the calibrated model, another controller or other limits."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from coolctl.cli_args import emit_json, positive
from coolctl.control.decision import Decision
from coolctl.control.policy import Policy
from coolctl.controller import BASELINES
from coolctl.errors import EXIT_OK
from coolctl.recording import Recording
from coolctl.savings.measurement.whatif import Wanted, difference, tell
from coolctl.site import Site

CONTROLLERS = ("ai", *BASELINES)


class Terms(Protocol):
    """Where the terms of every decision go."""

    def write(self, d: Decision) -> None: ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "what if", "drive the record's load and weather otherwise, on the model fitted to the record"
    )
    group.add_argument("--what-if", action="store_true", help="kWh, K·min and starts against what was recorded, with intervals")
    group.add_argument("--controller", choices=CONTROLLERS, default="", help="default: ai (the site's policy, or --model)")
    group.add_argument("--limit", type=positive, metavar="C", help="another rack inlet limit [°C]")
    group.add_argument("--plot", default="", metavar="SVG", help="draw both")


def what_if(
    recording: Recording, original: Site, site: Site, policy: Callable[[], Policy | None], args: argparse.Namespace,
    terms: Terms | None,
) -> int:  # fmt: skip
    """Tell, draw and print."""
    name = args.controller or "ai"
    site = site.at_limit(args.limit) if args.limit else site
    wanted = Wanted(
        site, policy() if name == "ai" else None, "" if name == "ai" else name, "auto" if name == "ai" else "fallback"
    )
    bar = Progress(recording.count_rows())
    story = tell(original, recording, wanted, to_s=args.to_s, moved=bar.moved, observe=terms.write if terms else lambda _d: None)
    bar.end()
    found = difference(story, wanted) | {"damage": list(dict.fromkeys(recording.damage))}
    if args.plot:
        from coolctl.savings.measurement.whatif_picture import draw

        print(f"wrote {draw(Path(args.plot), story, found)}", file=sys.stderr)
    if emit_json(found, args.json):
        print(render(found))
    return EXIT_OK


class Progress:
    """A line on a terminal, drawn anew a few times a second; nothing where standard error is a file."""

    def __init__(self, rows: int):
        self._rows, self._drawn_s, self._shown = max(rows, 1), 0.0, sys.stderr.isatty()

    def moved(self, what: str, rows: int) -> None:
        """`rows` of all have been done."""
        now_s = time.monotonic()
        if self._shown and (now_s - self._drawn_s > 0.2 or rows >= self._rows):
            self._drawn_s = now_s
            share = min(rows / self._rows, 1.0)
            print(f"\r{what:<20} [{'#' * round(30 * share):<30}] {100 * share:3.0f} %", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown:
            print(file=sys.stderr)


def render(f: dict[str, Any]) -> str:
    """The comparison for people."""
    lines = [
        f"{f['hours']:.1f} h compared; {f['controller']} at {f['rack_inlet_limit_c']:g} °C, {f['label']}",
        "",
        f"{'':<24}{'recorded':>12}{'otherwise':>12}",
    ]
    for name, kwh in f["recorded_kwh"].items():
        lines.append(f"{name.replace('_', ' ') + ', kWh':<24}{kwh:>12,.1f}{f['other_kwh'][name]:>12,.1f}")
    lines.append(f"{'all cooling, kWh':<24}{f['recorded_total_kwh']:>12,.1f}{f['other_total_kwh']:>12,.1f}")
    heat, starts, model = f["over_limit_k_min"], f["chiller_starts"], f["model"]
    span = f"({_n(heat['other_low'])} to {_n(heat['other_high'])}; the record in the model {_n(heat['recorded_in_model'])})"
    lines.append(f"{'K·min above the limit':<24}{heat['recorded']:>12,.1f}{heat['other']:>12,.1f}   {span}")
    lines.append(f"{'chiller starts':<24}{starts['recorded']:>12}{starts['other']:>12}")
    lines += [
        "",
        f"saved: {f['saved_kwh']:,.1f} kWh ({f['saved_low_kwh']:,.1f} to {f['saved_high_kwh']:,.1f}), "
        f"{_p(f['saved_ratio'])} ({_p(f['saved_low_ratio'])} to {_p(f['saved_high_ratio'])})",
        f"without the servers' own fans, as cooling meters would show it: {_p(f['cooling_saved_ratio'])} "
        f"({_p(f['cooling_saved_low_ratio'])} to {_p(f['cooling_saved_high_ratio'])})",
        f"model on the record: hourly CV(RMSE) {_p(model['hourly_cv_rmse_ratio'])}, NMBE {_p(model['hourly_nmbe_ratio'])}, "
        f"hottest inlet ±{_n(model['inlet_sd_k'], '.2f')} K",
        "hours by mode: " + ", ".join(f"{m} {h:.1f}" for m, h in f["hours_by_mode"].items()),
    ]
    if f["designed_values_taken_h"]:
        taken = ", ".join(f"{n} {h:.1f} h" for n, h in f["designed_values_taken_h"].items())
        lines.append(f"not in the record, taken as designed: {taken}")
    return "\n".join([*lines, *(f"damage: {text}" for text in f["damage"])])


def _n(x: float | None, form: str = ",.1f") -> str:
    return "not known" if x is None else format(x, form)


def _p(x: float | None) -> str:
    return "not known" if x is None else f"{100 * x:.1f} %"
