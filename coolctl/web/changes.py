"""What was changed and why: the history of decisions as a list of changes, not of seconds.

A setpoint that glides for minutes is one entry, from where it rested to where it came to rest; a wobble within its unit's
band is none. Beside the reason stand the limits that the plan stood on at that moment, and what each of them costs.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from coolctl.units import UNITS

KEPT = 300
"""Entries; some hundred bytes each."""
REST_S, GLIDE_MAX_S, BOUND_S = 60.0, 900.0, 300.0
BANDS = {"c": 0.5, "pa": 2000.0, "ratio": 0.03}
"""A move of a setpoint that is worth an entry, by internal unit; what counts or switches machines moves by whole steps."""
OTHER_BAND = 0.5
KINDS = ("mode", "setpoint", "machines", "limits", "person", "finding")
BY_PERSON = (": held at ", ": let go, ", ": held no longer")


class Glide:
    """One setpoint: where it rested, and the entry of the move that is under way."""

    def __init__(self, value: float):
        self.rested = self.before = value
        self.moved_s = self.begun_s = 0.0
        self.entry: dict[str, Any] | None = None


class Changes:
    """Compares each decision with those before; `version` moves with every change to the entries."""

    def __init__(self, version: int = 0) -> None:
        self._entries: deque[dict[str, Any] | bytes] = deque(maxlen=KEPT)  # oldest first; JSON once a move has ended
        self.version = version
        self._count = 0
        self._mode, self._granted, self._binding = "", "", frozenset[str]()
        self._binding_s = 0.0
        self._glides: dict[str, Glide] = {}
        self._priced: list[dict[str, Any]] = []

    def take(self, d: dict[str, Any], now_s: float) -> None:
        """A decision (`heard.read_decision`) heard at `now_s` [s]."""
        bound = set(d["plan_binding"])
        self._priced = [p for p in d["limit_prices"] if p["limit"] in bound]
        mode_said = f"{d['mode']}: {d['mode_reason']}"
        if d["mode"] != self._mode:
            self._add(now_s, "mode", "mode", self._mode or None, d["mode"], why=d["mode_reason"])
        elif d["granted"] != self._granted and self._granted:
            self._add(now_s, "mode", "granted mode", self._granted, d["granted"], why=d["mode_reason"])
        self._mode, self._granted = d["mode"], d["granted"]
        for text in d["events"]:
            if text != mode_said:  # the change of mode says the same
                what, colon, why = text.partition(": ")
                kind = "person" if any(mark in text for mark in BY_PERSON) else "finding"
                self._add(now_s, kind, what if colon else "", None, None, why=why if colon else text)
        for name, s in d["setpoints"].items():
            if s["value"] is not None:
                self._follow(name, s, now_s)
        for name in self._glides.keys() - d["setpoints"].keys():
            del self._glides[name]
        self._take_binding(frozenset(bound), now_s)

    def json(self) -> bytes:
        """The entries, newest first. Only moves under way are written anew: hundreds of old ones, twice a second, would be
        a million small objects a minute, and the process would keep the room that they took."""
        return b"[" + b",".join(e if isinstance(e, bytes) else _written(e) for e in reversed(self._entries)) + b"]"

    def _take_binding(self, bound: frozenset[str], now_s: float) -> None:
        """Another set of limits that holds the plan is an entry once it has lasted: a plan on the edge of one flickers."""
        if bound == self._binding:
            self._binding_s = now_s
        elif now_s - self._binding_s >= BOUND_S:
            before, after = (", ".join(sorted(b)) or "none" for b in (self._binding, bound))
            self._add(now_s, "limits", "the plan stands on", before, after)
            self._binding, self._binding_s = bound, now_s

    def _follow(self, name: str, s: dict[str, Any], now_s: float) -> None:
        value, (band, glides) = s["value"], _band(s["unit"])
        g = self._glides.get(name)
        if g is None:
            self._glides[name] = Glide(value)
            return
        if abs(value - g.before) > 0.05 * band:
            g.before, g.moved_s = value, now_s
        if g.entry is None:
            if abs(value - g.rested) < band:
                return
            kind = "setpoint" if glides else "machines"
            g.entry = self._add(now_s, kind, name, g.rested, value, unit=s["unit"], why=s["reason"])
            g.begun_s = now_s
        elif value != g.entry["to"]:
            g.entry["to"] = value
            self.version += 1
        if now_s - g.moved_s >= REST_S or now_s - g.begun_s >= GLIDE_MAX_S or not glides:
            self._close(g, value, band, now_s)

    def _close(self, g: Glide, value: float, band: float, now_s: float) -> None:
        assert g.entry is not None
        if g.entry in self._entries:
            k = self._entries.index(g.entry)
            g.entry["until_s"] = round(now_s, 1)
            self._entries[k] = _written(g.entry)
            if abs(value - g.rested) < 0.5 * band:
                del self._entries[k]  # there and back again
        g.entry, g.rested = None, value
        self.version += 1

    def _add(
        self, now_s: float, kind: str, what: str, before: Any, after: Any, *, unit: str = "", why: str = ""
    ) -> dict[str, Any]:
        self._count += 1
        self.version += 1
        moves = kind in ("setpoint", "machines")
        entry = {
            "id": self._count, "t_s": round(now_s, 1), "until_s": None if moves else round(now_s, 1),
            "kind": kind, "what": what, "from": before, "to": after, "unit": unit, "why": why, "stands_on": self._priced,
        }  # fmt: skip
        self._entries.append(entry if moves else _written(entry))
        return entry


def _written(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, allow_nan=False, separators=(",", ":")).encode()


def _band(unit: str) -> tuple[float, bool]:
    """How far a setpoint in the wire's `unit` has to move for an entry, and whether it glides there."""
    known = UNITS.get(unit)
    return (BANDS[known.suffix] / known.scale, True) if known and known.suffix in BANDS else (OTHER_BAND, False)
