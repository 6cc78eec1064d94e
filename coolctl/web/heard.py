"""A decision as it was heard, brought into the one shape that the page counts on.

Anybody who may write to the topic could write anything: what has another type than it should is left out here, so that
neither the lists made of it nor the script in the browser has to ask again.
"""

from __future__ import annotations

from typing import Any

from coolctl.strict_json import Rejected, parse_object

DECISION_MAX_BYTES = 1 << 20
TEXT_MAX, NUMBER_MAX = 240, 1e12
_PLAN = "; the plan stands on"  # what follows is in `plan_binding` too


def read_decision(raw: bytes) -> dict[str, Any]:
    """The message with known keys and types only. Raises `Rejected` where it is no decision at all."""
    found = parse_object(raw, DECISION_MAX_BYTES)
    t_s, power = number(found.get("t_s")), found.get("power")
    if t_s is None or not isinstance(power, dict):
        raise Rejected("keys")
    overridden = _numbers(found.get("overridden"))
    inlet, weakest, suspect = (_table(found.get(k)) for k in ("rack_inlet", "weakest", "suspect"))
    return {
        "t_s": t_s,
        "mode": text(found.get("mode")),
        "granted": text(found.get("granted")),
        "mode_reason": text(found.get("mode_reason")),
        "policy_fault": text(found.get("alarm")),
        "setpoints": {
            text(name): _setpoint(s, name in overridden)
            for name, s in _table(found.get("setpoints")).items()
            if isinstance(s, dict)
        },
        "it_w": number(_table(found.get("terms")).get("it_w")),
        "gateway_age_s": number(_table(found.get("terms")).get("gateway_age_s")),
        "power": {k: number(power.get(k)) for k in ("measured_w", "baseline_w", "model_w")},
        "rack_inlet": {k: number(inlet.get(k)) for k in ("max_c", "limit_c")},
        "ride_through_s": number(found.get("ride_through_s")),
        "weakest": {"machine": text(weakest.get("machine")), "ratio": number(weakest.get("ratio"))} if weakest else None,
        "suspect": {"hall": text(suspect.get("hall")), "text": text(suspect.get("text"))} if suspect else None,
        "sick_loops": _texts(found.get("sick_loops")),
        "doubted": _texts(found.get("doubted")),
        "overridden": overridden,
        "held": {text(name): _hold(h) for name, h in _table(found.get("held")).items() if isinstance(h, dict)},
        "plan_binding": [text(b) for b in _list(found.get("plan_binding")) if isinstance(b, str)],
        "limit_prices": [p for p in map(_price, _list(found.get("limit_prices"))) if p],
        "applied": _numbers(_table(found.get("lease")).get("applied")),
        "events": [text(e["text"]) for e in _list(found.get("events")) if isinstance(e, dict) and isinstance(e.get("text"), str)],
    }


def number(value: object) -> float | None:
    """A number that a plant can have, or None; `true` is none."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= NUMBER_MAX
    return float(value) if known else None  # type: ignore[arg-type]


def text(value: object) -> str:
    """A text of bounded length; nothing where it is none."""
    return value[:TEXT_MAX] if isinstance(value, str) else ""


def corrected_baseline_w(power: dict[str, float | None]) -> float | None:
    """The model's baseline power [W], corrected by how far the model is off right now; None where it cannot be said."""
    measured, model, baseline = power["measured_w"], power["model_w"], power["baseline_w"]
    if not (measured and model and baseline) or model <= 0.0:
        return None
    return baseline * min(max(measured / model, 0.2), 5.0)


def _setpoint(s: dict[str, Any], held: bool) -> dict[str, Any]:
    why = text(s.get("reason")).split(_PLAN)[0]
    if held:  # whose plan it would be is no reason then; a limit that stands before the person is one
        why = f"held by a person, {why}" if why.endswith(" limit") else "held by a person"
    return {
        **{k: number(s.get(k)) for k in ("value", "proposed", "baseline")},
        "reason": why,
        "unit": text(s.get("unit")),
    }


def _hold(h: dict[str, Any]) -> dict[str, Any]:
    return {"value": number(h.get("value")), "reason": text(h.get("reason")), "until_s": number(h.get("until_s"))}


def _price(p: object) -> dict[str, Any] | None:
    if not isinstance(p, dict):
        return None
    return {"limit": text(p.get("limit")), "w": number(p.get("w")), "per": text(p.get("per"))}


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: object) -> dict[str, str]:
    return {text(k): text(v) for k, v in _table(value).items()}


def _numbers(value: object) -> dict[str, float]:
    return {text(k): n for k, v in _table(value).items() if (n := number(v)) is not None}
