"""systemd's notification protocol: ready, status, watchdog. Silent where there is no systemd."""

from __future__ import annotations

import os
import socket
import time


def notify(*fields: str) -> bool:
    """Send `READY=1`, `STATUS=…`, `WATCHDOG=1` and the like; False when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto("\n".join(fields).encode(), address)
    except OSError:
        return False
    return True


def reloading() -> bool:
    """A reload begins, to be ended by `READY=1`. systemd ≥ 253 (Type=notify-reload) wants the time too [µs, monotonic]."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
