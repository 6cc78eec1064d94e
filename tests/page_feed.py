"""What the live page hears, without a broker: decisions and telemetry as messages, into a listener or a whole page."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from coolctl.edge.mqtt import Message
from coolctl.edge.web import PageServer
from coolctl.site import Site
from coolctl.web import describe
from coolctl.web.listener import Listener

PRICES = [
    {"limit": "rack_inlet", "w": 5200.0, "per": "K"},
    {"limit": "airflow", "w": 87.0, "per": "percent_of_airflow"},
    {"limit": "dewpoint", "w": 0.0, "per": "K"},
]


def decision(t_s: float, **other: Any) -> dict[str, Any]:
    """A decision of the one-hall site in `auto`, changed by `other`; setpoints given by name change these alone."""
    points = {
        "chwst_sp": (18.0, "degC"),
        "chillers_on_sp": (1.0, "count"),
        "hall1.sat_sp": (24.0, "degC"),
        "hall1.fan_speed_sp": (60.0, "percent"),
    }
    given = other.pop("setpoints", {})
    setpoints = {
        name: {"value": given.get(name, v), "proposed": v, "baseline": v - 1.0, "reason": "policy, refined", "unit": unit}
        for name, (v, unit) in points.items()
    }
    made = {
        "v": 1, "t_s": t_s, "seq": int(t_s), "mode": "auto", "granted": "auto", "mode_reason": "clean for 300 s", "alarm": "",
        "setpoints": setpoints, "terms": {"it_w": 600e3, "gateway_age_s": 0.5},
        "power": {"measured_w": 60e3, "baseline_w": 100e3, "model_w": 60e3}, "rack_inlet": {"max_c": 25.0, "limit_c": 26.0},
        "ride_through_s": 1500.0, "weakest": {"machine": "crah", "ratio": 1.31}, "suspect": None, "sick_loops": {}, "doubted": {},
        "overridden": {}, "held": {}, "plan_binding": ["rack_inlet"], "limit_prices": PRICES, "events": [], "lease": {"applied": {}},
    }  # fmt: skip
    return made | other


def tell(listener: Listener, message: dict[str, Any] | bytes, mono_s: float | None = None) -> None:
    """Let the listener hear a decision as of the monotonic time `mono_s` [s], now where not given."""
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    heard_s = time.monotonic() if mono_s is None else mono_s
    listener.take(Message(listener.site.topic("decision"), raw, False, heard_s))


def telemetry(listener: Listener, values: dict[str, float], mono_s: float | None = None) -> None:
    """Let the listener hear a batch of telemetry."""
    raw = json.dumps({"timestamp": 1767225600000, "values": values}).encode()
    topic = listener.site.topic("tel")
    listener.take(Message(topic, raw, False, time.monotonic() if mono_s is None else mono_s))


SPIKE_S, GAP_S, END_S = 3000.0, (5000.0, 5600.0), 7200.0


def two_hours(listener: Listener) -> None:
    """Two plant hours: one second at 29.5 °C, ten minutes of silence, a fallback, a machine, a person, a move, alarms."""
    begun_s = time.monotonic()
    for t_s in map(float, range(0, int(END_S) + 1, 2)):
        if GAP_S[0] <= t_s < GAP_S[1]:
            continue
        inlet_c = 29.5 if t_s == SPIKE_S else 25.0 + 0.4 * math.sin(t_s / 700.0)
        other: dict[str, Any] = {"rack_inlet": {"max_c": inlet_c, "limit_c": 26.0}}
        other["power"] = {"measured_w": 60e3 + 8e3 * math.sin(t_s / 900.0), "baseline_w": 100e3, "model_w": 60e3}
        if t_s < 300.0:
            other |= {"mode": "fallback", "mode_reason": "start"}
        late = t_s > 6000.0
        other["setpoints"] = {"chwst_sp": 19.2 if late else 18.0, "chillers_on_sp": 2.0 if late else 1.0}
        if t_s == 6500.0:
            other["events"] = [{"t_s": t_s, "text": "hall1.sat_sp: held at 22.5 for 7200 s, filter change"}]
        if t_s >= 6500.0:
            until_s = time.time() + 7200.0
            other |= {
                "overridden": {"hall1.sat_sp": 22.5},
                "held": {"hall1.sat_sp": {"value": 22.5, "reason": "filter change", "until_s": until_s}},
            }
            other["weakest"] = {"machine": "chiller", "ratio": 0.84}
        tell(listener, decision(t_s, **other), begun_s)


def page(site: Site) -> tuple[Listener, PageServer]:
    """A page with two hours behind it, at a port of its own."""
    listener = Listener(site, "127.0.0.1:1")
    server = PageServer("127.0.0.1", 0, describe(site), listener.documents())
    two_hours(listener)
    return listener, server
