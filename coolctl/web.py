"""`coolctl web`: the live page, a process of its own that only listens."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections import deque
from typing import Any

from coolctl.dialects import decoder_for
from coolctl.edge.mqtt import Message, MqttClient, settings_for
from coolctl.edge.sdnotify import notify
from coolctl.edge.web import PageServer
from coolctl.points import SampleStore
from coolctl.site import Site, load_site
from coolctl.site_points import rack_machines
from coolctl.strict_json import Rejected, parse_object

REFRESH_S = 0.5
HISTORY_STEP_S, HISTORY_S = 10.0, 1800.0
EVENTS_KEPT = 30
DECISION_MAX_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--broker", default="", metavar="HOST:PORT")
    parser.add_argument("--port", type=int, default=None, help="0 = any free port")


def main(args: argparse.Namespace) -> int:
    site = load_site(args.site)
    port = site.file.web.port if args.port is None else args.port
    listener = Listener(site, args.broker)
    try:
        server = PageServer(site.file.web.host, port, describe(site))
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
        "points": points,
    }


class Listener:
    """Hears telemetry and decisions, and makes the page's state of them."""

    def __init__(self, site: Site, broker: str):
        self.site = site
        self.decoder = decoder_for(site)
        self.store = SampleStore(site.table)
        settings = settings_for(site, broker, "web")
        self._decision_topic = site.topic("decision")
        topics = [*self.decoder.topics, self._decision_topic]
        self.client = MqttClient(settings, topics, retained=self.decoder.retained)
        self._described = frozenset(self.decoder.retained)
        self.decision: dict[str, Any] = {}
        self.decision_s = self.telemetry_s = -math.inf
        self.history: deque[tuple[float, float | None, float | None]] = deque(maxlen=int(HISTORY_S / HISTORY_STEP_S))
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    def run(self, server: PageServer) -> None:
        """Until `stop`; the page hears a new state twice a second at most."""
        due_s = time.monotonic()
        while not self._stopping:
            self.client.run_until(due_s, lambda: bool(self.client.inbox) or self._stopping)
            while self.client.inbox:
                self._take(self.client.inbox.popleft())
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + REFRESH_S
                server.update(self.state())
        self.client.close()

    def _take(self, m: Message) -> None:
        if m.retained and m.topic not in self._described:
            return
        if m.topic != self._decision_topic:
            samples = self.decoder.decode(m.topic, m.payload)
            self.store.put(samples, m.received_s)
            self.telemetry_s = m.received_s if samples else self.telemetry_s
            return
        try:
            decision = parse_object(m.payload, DECISION_MAX_BYTES)
            t_s, power = float(decision["t_s"]), decision["power"]
            events = [e for e in decision["events"] if isinstance(e, dict)]
            point = (t_s, _number(power["measured_w"]), _corrected(power))
        except (Rejected, ValueError, KeyError, TypeError):
            return  # not a decision: the page shows the last good one growing old
        self.decision, self.decision_s = decision, m.received_s
        self.events.extend(events)
        if self.history and t_s < self.history[-1][0]:
            self.history.clear()  # a new run of a simulated plant
        if not self.history or t_s - self.history[-1][0] >= HISTORY_STEP_S:
            self.history.append(point)

    def state(self) -> dict[str, Any]:
        """Everything that changes, in wire units; unknown values are left out."""
        now_s = time.monotonic()
        self.store.forget(self.decoder.reconnected(self.client.connects))
        self.store.forget(self.decoder.watch(now_s))
        snap = self.store.snapshot(now_s)
        points = self.site.table.points
        values = {p.id: round(p.encode(float(v)), 3) for p, v in zip(points, snap.value, strict=True) if v == v}
        return {
            "connected": self.client.ready,
            "telemetry_age_s": _age(now_s - self.telemetry_s),
            "decision_age_s": _age(now_s - self.decision_s),
            "values": values,
            "decision": self.decision,
            "history": list(self.history),
            "events": list(self.events)[::-1],
        }


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _corrected(power: dict[str, Any]) -> float | None:
    """The model's baseline power, corrected by how far the model is off right now; None where it cannot be said."""
    measured, model, baseline = (_number(power[k]) for k in ("measured_w", "model_w", "baseline_w"))
    if not (measured and model and baseline) or model <= 0.0:
        return None
    return round(baseline * min(max(measured / model, 0.2), 5.0), 1)


def _age(seconds: float) -> float | None:
    return round(seconds, 1) if math.isfinite(seconds) else None
