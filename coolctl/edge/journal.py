"""Log lines with fields: to systemd's journal where stderr leads there, as plain lines on stderr elsewhere.

What repeats is counted and said again now and then ("…and 57 more like this"), and a day has an allowance of bytes: a
plant that flaps all day fills no disk. Nothing here blocks, so a journal that hangs costs lines, never a tick.

The wire is systemd's native journal protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram for each entry.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TextIO

SOCKET = "/run/systemd/journal/socket"
# Levels of syslog(3): the smaller, the worse.
CRITICAL, ERROR, WARNING, NOTICE, INFO = 2, 3, 4, 5, 6
TEXT_MAX_BYTES, FIELD_MAX_BYTES = 800, 300

WINDOW_MIN_S, WINDOW_MAX_S, LOOK_EVERY_S = 10.0, 900.0, 5.0
KINDS_MAX = 2000
DAY_S = 86400.0
# Daemon and gateway on one machine together stay below 50 MB in a day.
DAY_MAX_BYTES = 24_000_000
BURST_BYTES = 1_000_000
# Above the datagram: what journald adds to an entry and its index (tests/hil/test_service.py measures it).
ENTRY_BYTES = 1024
# Only what is a warning or worse may use the last part of the allowance.
RESERVE_BYTES = 300_000


class Line(NamedTuple):
    """Something to say. Lines with the same event and subject are of one kind; `each` of a kind is said, if it must be."""

    event: str
    text: str
    level: int = INFO
    subject: str = ""
    fields: Mapping[str, str] = {}
    each: bool = False


class _Kind:
    """What is held back of one kind of line."""

    __slots__ = ("held", "last", "until_s", "window_s")

    def __init__(self, until_s: float):
        self.until_s, self.window_s = until_s, WINDOW_MIN_S
        self.held, self.last = 0, Line("", "")


class Throttle:
    """Lets the first line of a kind through, counts the next, and says the last of them when a growing window ends."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._look_s = -1e18

    def admit(self, line: Line, now_s: float) -> tuple[Line, int] | None:
        """The line and how many went before it unsaid; None while it is held back."""
        if line.each:
            return line, 0
        key = line.event, line.subject
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= KINDS_MAX:
                key = line.event, ""  # too many to tell apart: they share what is left
                kind = self._kinds.get(key)
            if kind is None:
                self._kinds[key] = _Kind(now_s + WINDOW_MIN_S)
                return line, 0
        if now_s < kind.until_s:
            kind.held += 1
            kind.last = line
            return None
        held, kind.held = kind.held, 0
        again = held or now_s < kind.until_s + kind.window_s  # quiet for less than a window is no quiet
        kind.window_s = min(2.0 * kind.window_s, WINDOW_MAX_S) if again else WINDOW_MIN_S
        kind.until_s = now_s + kind.window_s
        return line, held

    def due(self, now_s: float) -> list[tuple[Line, int]]:
        """What was held back and whose window is over; kinds that have been quiet are forgotten."""
        if now_s - self._look_s < LOOK_EVERY_S:
            return []
        self._look_s = now_s
        over = [(key, kind) for key, kind in self._kinds.items() if now_s >= kind.until_s]
        said = []
        for key, kind in over:
            if kind.held:
                said.append((kind.last, kind.held - 1))
                kind.held = 0
                kind.window_s = min(2.0 * kind.window_s, WINDOW_MAX_S)
                kind.until_s = now_s + kind.window_s
            elif now_s >= kind.until_s + kind.window_s:
                del self._kinds[key]
        return said


class Allowance:
    """Bytes that may still be written: what a day has, spread over it, and a burst."""

    def __init__(self, now_s: float, day_max_bytes: float = DAY_MAX_BYTES):
        self._rate = (day_max_bytes - BURST_BYTES) / DAY_S
        self._left, self._at_s = float(BURST_BYTES), now_s
        self.left_out = 0

    def take(self, size_bytes: int, level: int, now_s: float) -> bool:
        """Whether an entry of this size may be written; then it is taken off."""
        self._left = min(self._left + self._rate * max(now_s - self._at_s, 0.0), BURST_BYTES)
        self._at_s = now_s
        after = self._left - size_bytes - ENTRY_BYTES
        if after < (0.0 if level <= WARNING else RESERVE_BYTES):
            self.left_out += 1
            return False
        self._left = after
        return True


class Journal:
    """Says lines for one process. `fields` stand with every line: COOLCTL_SITE and the like."""

    def __init__(
        self, identifier: str, fields: Mapping[str, str], *, path: str = SOCKET, stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic, native: bool | None = None,
    ):  # fmt: skip
        self._fields = {"SYSLOG_IDENTIFIER": identifier, **fields}
        self._path, self._stream, self._clock = path, stream or sys.stderr, clock
        # stderr that somebody has redirected, or a terminal, is where a person looks.
        self._in_journal = stderr_is_the_journal() if native is None else native
        self._socket = _open() if self._in_journal else None
        self._throttle, self._allowance = Throttle(), Allowance(clock())
        self.written_bytes = self.lost = 0

    def say(self, line: Line) -> None:
        """Now, or counted with others of its kind. Never raises, never waits."""
        now_s = self._clock()
        admitted = self._throttle.admit(line, now_s)
        if admitted is not None:
            self._write(*admitted, now_s)

    def turn(self) -> None:
        """Say what was held back and is due: once a tick."""
        now_s = self._clock()
        for line, more in self._throttle.due(now_s):
            self._write(line, more, now_s)

    def close(self) -> None:
        """Let the socket go; what was held back is counted in words once more."""
        for line, more in self._throttle.due(float("inf")):
            self._write(line, more, self._clock())
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _write(self, line: Line, more: int, now_s: float) -> None:
        text = f"{line.text} …and {more} more like this" if more else line.text
        left_out = self._allowance.left_out
        if left_out:
            text += f" ({left_out} lines were left out: more than a day's allowance)"
        fields = {"MESSAGE": text, "PRIORITY": str(line.level), "COOLCTL_EVENT": line.event}
        fields |= {"COOLCTL_SUBJECT": line.subject} if line.subject else {}
        fields |= {"COOLCTL_REPEATED": str(more)} if more else {}
        data = encode({**self._fields, **fields, **line.fields})
        if not self._allowance.take(len(data), line.level, now_s):
            return
        self._allowance.left_out = 0
        self.written_bytes += len(data)
        self._send(data, line.level, text)

    def _send(self, data: bytes, level: int, text: str) -> None:
        """One datagram; where the journal's socket is not there, a line with its level on stderr."""
        if self._socket is not None:
            try:
                self._socket.sendto(data, self._path)
                return
            except BlockingIOError:
                self.lost += 1  # journald does not keep up: stderr leads to the same place, and would wait
                return
            except OSError:
                pass
        prefix = f"<{level}>" if self._in_journal else ""
        try:
            shown = "".join(c if c.isprintable() else " " for c in _cut(text, TEXT_MAX_BYTES))
            self._stream.write(f"{prefix}{shown}\n")
            self._stream.flush()
        except (OSError, ValueError):
            self.lost += 1  # stderr is closed: nobody is there to be told


def stderr_is_the_journal() -> bool:
    """Whether systemd connected this process's stderr to its journal (`JOURNAL_STREAM`, systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _open() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    made.setblocking(False)
    return made


NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


def encode(fields: Mapping[str, str]) -> bytes:
    """One entry: `NAME=value` lines, or name, length and bytes where a value holds a line break. Raises ValueError."""
    parts = []
    for name, value in fields.items():
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a journal field")
        data = _cut(value, TEXT_MAX_BYTES if name == "MESSAGE" else FIELD_MAX_BYTES).encode("utf-8", "replace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


def _cut(text: str, max_bytes: int) -> str:
    data = text.encode("utf-8", "replace")
    return text if len(data) <= max_bytes else data[: max_bytes - 3].decode("utf-8", "ignore") + "…"
