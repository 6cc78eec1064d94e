"""`coolctl mode`: grant an operating mode to the running daemon, with a reason and an expiry, or show the present one."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from typing import Any

from coolctl.control.mode import MODES
from coolctl.daemon_state import HOLD_MAX_S
from coolctl.edge.mqtt import MqttClient, settings_for
from coolctl.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE
from coolctl.site import load_site

ANSWER_S = 5.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mode", nargs="?", choices=MODES)
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--broker", default="", metavar="HOST:PORT")
    parser.add_argument(
        "--hold", action="append", default=[], metavar="POINT=VALUE", help="hold a setpoint; needs --for, at most 7d"
    )
    parser.add_argument("--let-go", action="append", default=[], metavar="POINT", help="hold it no longer")
    parser.add_argument("--reason", default="", help="why; needed with a mode")
    parser.add_argument(
        "--for",
        dest="for_",
        default="",
        metavar="4h",
        help="until then; after that fallback, or monitor where nothing was published",
    )


def main(args: argparse.Namespace) -> int:
    for_s = _duration_s(args.for_)
    fault = _usage_fault(args, for_s)
    if fault or for_s is None:
        print(fault, file=sys.stderr)
        return EXIT_USAGE
    site = load_site(args.site)
    client = MqttClient(settings_for(site, args.broker, "ops"), [site.topic("decision")])
    try:
        return _ask(client, site.topic("cmd"), args, for_s)
    finally:
        client.close()


def _ask(client: MqttClient, topic: str, args: argparse.Namespace, for_s: float) -> int:
    client.run_until(time.monotonic() + ANSWER_S, lambda: client.ready)
    if not client.ready:
        print(f"no broker answers: {client.last_error}", file=sys.stderr)
        return EXIT_UNREACHABLE
    hold = _hold(args)
    if args.mode or hold:
        what = {"mode": args.mode} if args.mode else {"hold": hold}
        client.publish(topic, json.dumps({"v": 1, **what, "reason": args.reason[:200], "for_s": for_s}).encode())
    deadline_s = time.monotonic() + ANSWER_S
    decision: dict[str, Any] = {}
    while time.monotonic() < deadline_s:
        client.run_until(deadline_s, lambda: bool(client.inbox))
        while client.inbox:
            decision = json.loads(client.inbox.popleft().payload)
        if decision and args.mode in (None, decision["granted"]) and _answered(hold, decision):
            print(f"granted {decision['granted']}, in effect {decision['mode']}: {decision['mode_reason']}")
            for name, value in decision.get("overridden", {}).items():
                print(f"held: {name} = {value:g}")
            return EXIT_OK
    print("the daemon does not answer" if not decision else f"still granted {decision['granted']}", file=sys.stderr)
    return EXIT_CHECK_FAILED


def _hold(args: argparse.Namespace) -> dict[str, float | None]:
    pairs = [text.partition("=") for text in args.hold]
    return {name: float(value) for name, _e, value in pairs} | dict.fromkeys(args.let_go)


def _answered(hold: dict[str, float | None], decision: dict[str, Any]) -> bool:
    held = decision.get("overridden", {})
    return all((name in held) == (value is not None) for name, value in hold.items())


def _usage_fault(args: argparse.Namespace, for_s: float | None) -> str:
    """What is wrong with the command line; empty where nothing is."""
    if for_s is None:
        return f"--for {args.for_}: like 90s, 30m, 4h, 2d"
    if (args.mode or args.hold or args.let_go) and not args.reason:
        return "--reason TEXT is needed"
    if args.mode and (args.hold or args.let_go):
        return "a mode and held setpoints are two commands"
    if args.hold and not 0.0 < for_s <= HOLD_MAX_S:
        return "--hold needs --for, at most 7d"
    wrong = [text for text in args.hold if not re.fullmatch(r"[\w.]+=-?\d+(\.\d+)?", text)]
    return f"--hold {wrong[0]}: like hall1.sat_sp=22" if wrong else ""


def _duration_s(text: str) -> float | None:
    """Seconds of `4h` and the like; 0 for nothing, None for nonsense."""
    if not text:
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    return float(match.group(1)) * _UNITS[match.group(2)] if match else None
