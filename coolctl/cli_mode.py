"""`coolctl mode`: grant an operating mode to the running daemon, with a reason and an expiry, or show the present one."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from typing import Any

from coolctl.control.mode import MODES
from coolctl.edge.mqtt import MqttClient, settings_for
from coolctl.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE
from coolctl.site import load_site

ANSWER_S = 5.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mode", nargs="?", choices=MODES)
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--broker", default="", metavar="HOST:PORT")
    parser.add_argument("--reason", default="", help="why; needed with a mode")
    parser.add_argument("--for", dest="for_", default="", metavar="4h", help="until then, after that fallback")


def main(args: argparse.Namespace) -> int:
    for_s = _duration_s(args.for_)
    if for_s is None or (args.mode and not args.reason):
        print("--reason TEXT is needed" if for_s is not None else f"--for {args.for_}: like 90s, 30m, 4h, 2d", file=sys.stderr)
        return EXIT_USAGE
    site = load_site(args.site)
    client = MqttClient(settings_for(site, args.broker, "mode"), [site.topic("decision")])
    try:
        return _ask(client, site.topic("cmd"), args, for_s)
    finally:
        client.close()


def _ask(client: MqttClient, topic: str, args: argparse.Namespace, for_s: float) -> int:
    client.run_until(time.monotonic() + ANSWER_S, lambda: client.ready)
    if not client.ready:
        print(f"no broker answers: {client.last_error}", file=sys.stderr)
        return EXIT_UNREACHABLE
    if args.mode:
        message = {"v": 1, "mode": args.mode, "reason": args.reason[:200], "for_s": for_s}
        client.publish(topic, json.dumps(message).encode())
    deadline_s = time.monotonic() + ANSWER_S
    decision: dict[str, Any] = {}
    while time.monotonic() < deadline_s:
        client.run_until(deadline_s, lambda: bool(client.inbox))
        while client.inbox:
            decision = json.loads(client.inbox.popleft().payload)
        if decision and args.mode in (None, decision["granted"]):
            print(f"granted {decision['granted']}, in effect {decision['mode']}: {decision['mode_reason']}")
            return EXIT_OK
    print("the daemon does not answer" if not decision else f"still granted {decision['granted']}", file=sys.stderr)
    return EXIT_CHECK_FAILED


def _duration_s(text: str) -> float | None:
    """Seconds of `4h` and the like; 0 for nothing, None for nonsense."""
    if not text:
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    return float(match.group(1)) * _UNITS[match.group(2)] if match else None
