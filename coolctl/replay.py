"""`coolctl replay`: run a recording through the same tick; verify bit for bit, or ask what another policy or site would do."""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl import replay_whatif
from coolctl.cli_args import emit_json, output
from coolctl.control.decision import TERMS, Decision, row_columns
from coolctl.control.policy import Policy
from coolctl.controller import Controller
from coolctl.edge.onnx_policy import load_policy
from coolctl.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_USAGE, ModelError
from coolctl.recording import Recording
from coolctl.site import Site
from coolctl.trace import Unpacker, imported, open_recording

F64 = NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", help="a .cool file, or a folder (its newest run)")
    parser.add_argument("--verify", action="store_true", help="exit 3 and the first difference unless bit for bit the same")
    parser.add_argument("--model", default="", help="another policy (what if)")
    parser.add_argument("--site", default="", metavar="FILE", help="other limits, same points (what if)")
    parser.add_argument("--terms", default="", metavar="CSV", help="write every intermediate term of every tick")
    parser.add_argument("--from", dest="from_s", type=float, default=-math.inf, metavar="T", help="show from here [s of the run]")
    parser.add_argument("--to", dest="to_s", type=float, default=math.inf, metavar="T", help="stop here [s of the run]")
    parser.add_argument("--json", type=output, metavar="FILE|-")
    replay_whatif.add_arguments(parser)


class Difference(NamedTuple):
    """The first place where a replayed decision is not the recorded one."""

    tick: int
    now_s: float
    column: str
    recorded: float
    replayed: float


class Result(NamedTuple):
    """What a replay found."""

    ticks: int
    seconds: float
    plant_s: float
    difference: Difference | None
    recorded_w: float
    replayed_w: float


def main(args: argparse.Namespace) -> int:
    what_if = bool(args.model or args.site)
    if args.verify and (what_if or args.what_if):
        print("--verify compares with the recording itself: not together with --model, --site or --what-if", file=sys.stderr)
        return EXIT_USAGE
    if not args.what_if and (args.controller or args.limit or args.plot):
        print("--controller, --limit and --plot go with --what-if", file=sys.stderr)
        return EXIT_USAGE
    recording, original, site = open_recording(args.recording, args.site)
    if args.what_if:
        terms = _TermsFile(args.terms) if args.terms else None
        code = replay_whatif.what_if(recording, original, site, lambda: _other_policy(recording, site, args), args, terms)
        if terms:
            terms.close()
        return code
    if imported(recording):
        if args.verify:
            print(f"{recording.segments[0]}: imported from trend logs, so it holds no decisions to verify; without --verify "
                  "replay tells what the controller would have done", file=sys.stderr)  # fmt: skip
            return EXIT_USAGE
        what_if = True
    policy = _policy(recording, args)
    result = _replay(recording, original, site, policy, args, what_if)
    _report(recording, result, args, what_if)
    return EXIT_CHECK_FAILED if args.verify and (result.difference or not result.ticks) else EXIT_OK


def _policy(recording: Recording, args: argparse.Namespace) -> Policy | None:
    """The policy asked for, or the recorded one, which must have the recorded hash. Raises `ModelError`."""
    wanted = recording.header.get("model_hash", "")
    if args.model:
        return load_policy(args.model)
    if not wanted:
        return None
    policy = load_policy(recording.header.get("policy_name") or "default")
    if policy.model_hash != wanted:
        raise ModelError(
            f"the recording was made with policy {wanted[:12]}…, here is {policy.model_hash[:12]}…; name it with --model"
        )
    return policy


def _other_policy(recording: Recording, site: Site, args: argparse.Namespace) -> Policy:
    """The policy asked for, else the recorded one where it is at hand, else the site's. Raises `ModelError`."""
    recorded = recording.header.get("policy_name") if recording.header.get("model_hash") else ""
    return load_policy(args.model or recorded or site.file.control.policy or "default")


def _replay(
    recording: Recording, original: Site, site: Site, policy: Policy | None, args: argparse.Namespace, what_if: bool
) -> Result:
    controller = Controller(site, policy, recording.header.get("granted", "monitor"))
    controller.control.restore(recording.header.get("gains", {}))
    if memory := recording.header.get("memory"):
        controller.control.recall(memory)  # this run began with a reload, not with a start
    unpack = Unpacker(original)
    names = recording.columns[unpack.decision_at :]
    terms = _TermsFile(args.terms) if args.terms else None
    difference: Difference | None = None
    ticks, first_s, last_s = 0, math.nan, math.nan
    watts = [0.0, 0.0]
    # A recording of another version has other terms: what both know is compared.
    now_names = row_columns(site)
    shared = [n for n in names if n in set(now_names)]
    recorded_at, now_at = (np.array([known.index(n) for n in shared], dtype=np.int64) for known in (names, now_names))
    model_now_at = now_names.index("term:plan_w")
    model_then_at = names.index("term:plan_w") if "term:plan_w" in names else -1
    late_at = names.index("policy_late") if "policy_late" in names else -1
    started = time.perf_counter()
    for row in _until(recording, args.to_s):
        snap, gateway, grant = unpack.inputs(row)
        first_s = snap.now_s if first_s != first_s else first_s
        if grant:
            controller.grant(grant, "recorded")
        controller.control.override_u = unpack.overrides(row)
        then = unpack.decision(row)
        controller.control.withheld = late_at >= 0 and bool(then[late_at] > 0.5)
        decision = controller.tick_snapshot(snap, gateway)
        ticks, last_s = ticks + 1, snap.now_s
        now = decision.row()
        if difference is None and not what_if and (mine := now[now_at]).tobytes() != (theirs := then[recorded_at]).tobytes():
            difference = _first_difference(ticks, snap.now_s, shared, theirs, mine)
        was_w = float(then[model_then_at]) if model_then_at >= 0 else math.nan
        for side, watt in enumerate((was_w, float(now[model_now_at]))):
            watts[side] += watt if watt == watt else 0.0
        if terms and snap.now_s - first_s >= args.from_s:
            terms.write(decision)
    seconds = time.perf_counter() - started
    if terms:
        terms.close()
    count = max(ticks, 1)
    return Result(ticks, seconds, last_s - first_s if ticks else 0.0, difference, watts[0] / count, watts[1] / count)


def _until(recording: Recording, to_s: float) -> Iterator[F64]:
    """Rows up to `to_s` [s] behind the first; what comes later is not even read."""
    first_s = math.nan
    for block in recording.rows():
        for row in block:
            first_s = float(row[0]) if first_s != first_s else first_s
            if row[0] - first_s > to_s:
                return
            yield row


def _first_difference(tick: int, now_s: float, names: list[str], recorded: F64, replayed: F64) -> Difference | None:
    """The first column whose bits differ; NaN equals NaN whatever its payload."""
    same = (recorded == replayed) | (np.isnan(recorded) & np.isnan(replayed))
    if same.all():
        return None
    k = int(np.argmin(same))
    return Difference(tick, now_s, names[k], float(recorded[k]), float(replayed[k]))


class _TermsFile:
    """Every intermediate term as CSV, for tuning by eye."""

    def __init__(self, path: str):
        self._stream = Path(path).open("w", newline="", encoding="utf-8")  # noqa: SIM115  closed by `close`
        self._writer: Any = csv.writer(self._stream)
        self._head = False

    def write(self, d: Decision) -> None:
        if not self._head:
            names = d.site.u_names
            self._writer.writerow(
                ["now_s", "seq", "mode", *TERMS, *names, *(f"{n}:wish" for n in names), *(f"{n}:limits" for n in names)]
            )
            self._head = True
        limits = [" ".join(d.binding(k)) for k in range(len(d.u))]
        self._writer.writerow([d.now_s, d.seq, d.mode, *d.term_values.tolist(), *d.u.tolist(), *d.u_wish.tolist(), *limits])

    def close(self) -> None:
        self._stream.close()


def _report(recording: Recording, r: Result, args: argparse.Namespace, what_if: bool) -> None:
    speed = r.plant_s / r.seconds if r.seconds else 0.0
    data: dict[str, Any] = {
        "ticks": r.ticks, "seconds": round(r.seconds, 3), "plant_seconds": r.plant_s, "times_real_time": round(speed, 1),
        "identical": None if what_if else r.difference is None, "damage": recording.damage,
        "difference": {k: None if v != v else v for k, v in r.difference._asdict().items()} if r.difference else None,
        "planned_power_recorded_w": round(r.recorded_w, 1), "planned_power_replayed_w": round(r.replayed_w, 1),
    }  # fmt: skip
    if not emit_json(data, args.json):
        return
    print(f"{r.ticks} ticks, {r.plant_s:.0f} s of plant time in {r.seconds:.2f} s: {speed:.0f}x real time")
    for text in recording.damage:
        print(f"damage: {text}")
    if imported(recording):
        print(f"imported, no decisions recorded; planned power replayed {r.replayed_w / 1e3:.1f} kW (mean, in the model)")
    elif what_if:
        print(f"planned power: recorded {r.recorded_w / 1e3:.1f} kW, replayed {r.replayed_w / 1e3:.1f} kW (mean, in the model)")
    elif r.difference:
        d = r.difference
        print(f"tick {d.tick} at {d.now_s:.1f} s: {d.column} was {d.recorded!r}, is {d.replayed!r}")
    else:
        print("every decision is bit for bit the recorded one")
