"""The operator's grant over restarts: mode, reason and expiry in one small file, replaced atomically."""

from __future__ import annotations

import json
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
        found = self._read()
        if found.get("mode") in MODES:
            self.mode, self.reason = found["mode"], str(found.get("reason", ""))[:200]
            until = found.get("until_s", 0.0)
            self.until_s = float(until) if isinstance(until, int | float) else 0.0

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

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
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_suffix(".part")
            with part.open("w", encoding="utf-8") as stream:
                json.dump({"mode": self.mode, "reason": self.reason, "until_s": self.until_s}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(self.path)
        except OSError:
            self.reason += " (not saved: the state folder cannot be written)"
