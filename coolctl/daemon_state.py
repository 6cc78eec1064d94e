"""What outlives a restart: the operator's grant, and what calibration has learnt; small files, replaced atomically."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.mode import MODES, PUBLISHING
from coolctl.site import Site
from coolctl.strict_json import Rejected, parse_object

# What follows when a grant has run out: less authority, never more. Only what published goes on publishing.
AFTER_PUBLISHING, AFTER_WATCHING = "fallback", "monitor"
DURATION_MAX_S, HOLD_MAX_S = 366 * 86400.0, 7 * 86400.0


class Hold(NamedTuple):
    """One setpoint's value in the site file's unit, why, and until when [s since 1970]."""

    value: float
    reason: str
    until_s: float


class Command(NamedTuple):
    """An operator's command from the `cmd` topic: a mode, or setpoints to hold (None = let go); `for_s` 0 = until changed."""

    mode: str
    reason: str
    for_s: float
    hold: dict[str, float | None] = {}


def decode_command(raw: bytes) -> Command:
    """Raises `Rejected` with the reason."""
    o = parse_object(raw, 4096)
    if not o.keys() <= {"v", "mode", "hold", "reason", "for_s"} or o.get("v") != 1 or ("mode" in o) == ("hold" in o):
        raise Rejected("keys")
    mode, reason, for_s = o.get("mode", ""), o.get("reason", ""), o.get("for_s", 0.0)
    if mode not in MODES and "mode" in o:
        raise Rejected("mode")
    hold = o.get("hold", {})
    if not isinstance(hold, dict) or not all(_is_value(v) for v in hold.values()):
        raise Rejected("hold")
    if not isinstance(reason, str) or not 0 < len(reason) <= 200:
        raise Rejected("reason")
    if isinstance(for_s, bool) or not isinstance(for_s, int | float) or not 0.0 <= for_s <= DURATION_MAX_S:
        raise Rejected("for_s")
    if hold and not 0.0 < for_s <= HOLD_MAX_S and any(v is not None for v in hold.values()):
        raise Rejected("for_s")  # nobody remembers a setpoint that was held for ever
    return Command(mode, reason, float(for_s), hold)


def _is_value(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and math.isfinite(value))


class Holds:
    """Setpoints that operators hold at values of their own, each with its reason and its end; they outlive a restart."""

    def __init__(self, path: Path, site: Site):
        self.path = path
        self._place = {site.table.points[i].id: k for k, i in enumerate(site.u_point) if i >= 0 and site.accepted[k]}
        self._points = {name: site.table.points[site.table.index[name]] for name in self._place}
        self.held: dict[str, Hold] = {}
        for name, found in read_json(path).items():
            if (
                name in self._place
                and isinstance(found, list)
                and len(found) == 3
                and _is_value(found[0])
                and _is_value(found[2])
            ):
                self.held[name] = Hold(float(found[0] or 0.0), str(found[1])[:200], float(found[2] or 0.0))

    def take(self, command: Command | None, wall_s: float) -> list[str]:
        """What changed, in words: new ones, those let go, those that have ended, those that no setpoint answers to."""
        said = [f"{name}: held no longer, its time is over" for name, h in self.held.items() if wall_s >= h.until_s]
        self.held = {name: h for name, h in self.held.items() if wall_s < h.until_s}
        for name, value in (command.hold if command else {}).items():
            if name not in self._place:
                said.append(f"{name[:64]}: no setpoint that this plant accepts")
            elif value is None:
                said.append(f"{name}: let go, {command.reason}")  # type: ignore[union-attr]
                self.held.pop(name, None)
            else:
                self.held[name] = Hold(float(value), command.reason, wall_s + command.for_s)  # type: ignore[union-attr]
                said.append(f"{name}: held at {value:g} for {command.for_s:.0f} s, {command.reason}")  # type: ignore[union-attr]
        if said:
            write_json(self.path, {name: list(h) for name, h in self.held.items()}, sync=True)
        return said

    def vector(self) -> NDArray[np.float64]:
        """Internal units, NaN where nobody holds anything."""
        u = np.full(max(self._place.values(), default=-1) + 1, np.nan)
        for name, h in self.held.items():
            u[self._place[name]] = self._points[name].decode(h.value)
        return u


class GrantFile:
    """The granted mode; an unreadable file counts as none and the site's start mode applies."""

    def __init__(self, path: Path, start_mode: str):
        self.path = path
        self.mode, self.reason, self.until_s = start_mode, "start mode of the site file", 0.0
        found = read_json(path)
        if found.get("mode") in MODES:
            self.mode, self.reason = found["mode"], str(found.get("reason", ""))[:200]
            until = found.get("until_s", 0.0)
            self.until_s = float(until) if isinstance(until, int | float) else 0.0

    def take(self, command: Command | None, wall_s: float) -> str:
        """The mode to grant in this tick: a new command, or what follows an expired one; empty = no change."""
        if command is not None and command.mode:
            self.mode, self.reason = command.mode, command.reason
            self.until_s = wall_s + command.for_s if command.for_s else 0.0
        elif self.until_s and wall_s >= self.until_s:
            after = AFTER_PUBLISHING if self.mode in PUBLISHING else AFTER_WATCHING
            self.mode, self.reason, self.until_s = after, f"{self.mode} has expired", 0.0
        else:
            return ""
        self._write()
        return self.mode

    def _write(self) -> None:
        if not write_json(self.path, {"mode": self.mode, "reason": self.reason, "until_s": self.until_s}, sync=True):
            self.reason += " (not saved: the state folder cannot be written)"


class GainsFile:
    """What calibration has learnt of this very site file; another file's, or one that cannot be read, counts as nothing."""

    def __init__(self, path: Path, config_hash: str):
        self.path, self.config_hash = path, config_hash

    def read(self, wall_s: float) -> tuple[dict[str, list[float]], float]:
        """Per gain its logarithm and variance, and how long ago that was [s]."""
        found = read_json(self.path)
        saved_s, gains = found.get("saved_s"), found.get("gains")
        if not isinstance(saved_s, int | float) or not math.isfinite(saved_s) or not isinstance(gains, dict):
            return {}, 0.0
        if found.get("config_hash") != self.config_hash:
            return {}, 0.0
        return gains, max(wall_s - saved_s, 0.0)  # each gain is looked at by who takes it

    def write(self, known: dict[str, list[float]], wall_s: float) -> bool:
        """Keep `known`; False where it could not be. Not forced to the disk: what a power cut takes is soon learnt again."""
        return write_json(self.path, {"config_hash": self.config_hash, "saved_s": wall_s, "gains": known}, sync=False)


def read_json(path: Path) -> dict[str, Any]:
    """A small file of ours; nothing where it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, content: dict[str, Any], *, sync: bool) -> bool:
    """Replace a small file atomically; False where that could not be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as stream:
            json.dump(content, stream)
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        part.replace(path)
    except OSError:
        return False
    return True
