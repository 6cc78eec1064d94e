"""`python -m coolctl.bench.flood`: single values on a site's telemetry topics, so many a second, until it is ended."""

from __future__ import annotations

import argparse
import json
import sys
import time

from coolctl.edge.mqtt import MqttClient, settings_for
from coolctl.site import load_site

PIECE_S, VALUE_C = 0.005, 23.5


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("coolctl.bench.flood")
    parser.add_argument("--site", required=True)
    parser.add_argument("--broker", default="")
    parser.add_argument("--per-s", type=int, required=True)
    args = parser.parse_args(argv)
    site = load_site(args.site)
    racks = [p for p in site.table.points if p.role == "rack_inlet"]
    client = MqttClient(settings_for(site, args.broker, "daemon")._replace(client_id="coolctl-bench-flood"), [])
    begun, sent = time.monotonic(), 0
    while True:
        client.run_until(time.monotonic() + PIECE_S)
        if not client.ready:
            begun, sent = time.monotonic(), 0
        for k in range(sent, int((time.monotonic() - begun) * args.per_s)):
            point = racks[k % len(racks)]
            values = {point.id: round(point.encode(VALUE_C), 2)}
            client.publish(point.topic, json.dumps({"timestamp": round(1e3 * time.time()), "values": values}).encode())
            sent = k + 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
