"""A decision as the JSON message that the live page and other listeners read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from coolctl.control.decision import Decision
from coolctl.daemon_state import Hold


def _finite(value: float, digits: int = 3) -> float | None:
    """Rounded; None for what is not known, because JSON has no NaN."""
    return round(value, digits) if math.isfinite(value) else None


def encode_decision(
    d: Decision, events: list[dict[str, Any]], lease: dict[str, Any], held: Mapping[str, Hold] | None = None
) -> bytes:
    """The `decision` message (see docs/MQTT.md); `held` says why and until when operators hold what `overridden` names."""
    terms = d.terms
    now, wish, baseline, reasons = d.wire(d.u), d.wire(d.u_policy), d.wire(d.u_baseline), d.reasons
    points = d.site.table
    setpoints = {
        name: {
            "value": value,
            "proposed": wish.get(name),
            "baseline": baseline.get(name),
            "reason": reasons[name],
            "unit": points.points[points.index[name]].unit,
        }
        for name, value in now.items()
    }
    suspect = d.suspect
    message = {
        "v": 1,
        "t_s": round(d.now_s, 3),
        "seq": d.seq,
        "mode": d.mode,
        "granted": d.granted,
        "mode_reason": d.mode_reason,
        "policy": d.policy_used,
        "alarm": d.alarm,
        "setpoints": setpoints,
        "terms": {name: _finite(value) for name, value in terms.items()},
        "power": {k: _finite(terms[k], 1) for k in ("measured_w", "baseline_w", "model_w")},
        "rack_inlet": {"max_c": _finite(terms["hottest_c"]), "limit_c": d.site.file.limits.rack_inlet_limit_c},
        "suspect": {"hall": d.site.halls[suspect.hall], "kind": suspect.kind, "text": suspect.text()} if suspect else None,
        "sick_loops": d.sick_loops,
        "doubted": d.doubted,
        "without_effect": d.without_effect,
        "overridden": d.overridden,
        "held": {name: hold._asdict() for name, hold in (held or {}).items()},
        "weakest": {"machine": d.weakest[0], "ratio": _finite(d.weakest[1])} if d.weakest else None,
        "plan_binding": d.plan_binding,
        "limit_prices": [{"limit": n, "w": _finite(w, 1), "per": per} for n, (w, per) in d.limit_prices.items()],
        "ride_through_s": _finite(terms["ride_through_s"], 0),
        "events": events,
        "lease": lease,
    }
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
