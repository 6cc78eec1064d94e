"""What outlives a restart: the operator's grant, and what calibration has learnt; small files, replaced atomically."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from coolctl.control.mode import MODES
from coolctl.strict_json import Rejected, parse_object

AFTER_EXPIRY = "fallback"
DURATION_MAX_S = 366 * 86400.0


class Command(NamedTuple):
    """An operator's command from the `cmd` topic; `for_s` 0 = until changed."""

    mode: str
    reason: str
    for_s: float


def decode_command(raw: bytes) -> Command:
    """Raises `Rejected` with the reason."""
    o = parse_object(raw, 4096)
    if not o.keys() <= {"v", "mode", "reason", "for_s"} or o.get("v") != 1:
        raise Rejected("keys")
    mode, reason, for_s = o.get("mode"), o.get("reason", ""), o.get("for_s", 0.0)
    if mode not in MODES:
        raise Rejected("mode")
    if not isinstance(reason, str) or not 0 < len(reason) <= 200:
        raise Rejected("reason")
    if isinstance(for_s, bool) or not isinstance(for_s, int | float) or not 0.0 <= for_s <= DURATION_MAX_S:
        raise Rejected("for_s")
    return Command(mode, reason, float(for_s))


class GrantFile:
    """The granted mode; an unreadable file counts as none and the site's start mode applies."""

    def __init__(self, path: Path, start_mode: str):
        self.path = path
        self.mode, self.reason, self.until_s = start_mode, "start mode of the site file", 0.0
        found = _read(path)
        if found.get("mode") in MODES:
            self.mode, self.reason = found["mode"], str(found.get("reason", ""))[:200]
            until = found.get("until_s", 0.0)
            self.until_s = float(until) if isinstance(until, int | float) else 0.0

    def take(self, command: Command | None, wall_s: float) -> str:
        """The mode to grant in this tick: a new command, or what follows an expired one; empty = no change."""
        if command is not None:
            self.mode, self.reason = command.mode, command.reason
            self.until_s = wall_s + command.for_s if command.for_s else 0.0
        elif self.until_s and wall_s >= self.until_s:
            self.mode, self.reason, self.until_s = AFTER_EXPIRY, f"{self.mode} has expired", 0.0
        else:
            return ""
        self._write()
        return self.mode

    def _write(self) -> None:
        if not _write(self.path, {"mode": self.mode, "reason": self.reason, "until_s": self.until_s}, sync=True):
            self.reason += " (not saved: the state folder cannot be written)"


class GainsFile:
    """What calibration has learnt of this very site file; another file's, or one that cannot be read, counts as nothing."""

    def __init__(self, path: Path, config_hash: str):
        self.path, self.config_hash = path, config_hash

    def read(self, wall_s: float) -> tuple[dict[str, list[float]], float]:
        """Per gain its logarithm and variance, and how long ago that was [s]."""
        found = _read(self.path)
        saved_s, gains = found.get("saved_s"), found.get("gains")
        if not isinstance(saved_s, int | float) or not math.isfinite(saved_s) or not isinstance(gains, dict):
            return {}, 0.0
        if found.get("config_hash") != self.config_hash:
            return {}, 0.0
        return gains, max(wall_s - saved_s, 0.0)  # each gain is looked at by who takes it

    def write(self, known: dict[str, list[float]], wall_s: float) -> bool:
        """Keep `known`; False where it could not be. Not forced to the disk: what a power cut takes is soon learnt again."""
        return _write(self.path, {"config_hash": self.config_hash, "saved_s": wall_s, "gains": known}, sync=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, content: dict[str, Any], *, sync: bool) -> bool:
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
