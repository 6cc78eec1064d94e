"""The socket under the MQTT client: read ahead, without delay, and what its certificate says."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from typing import Any

import paho.mqtt.client as paho

READ_BYTES = 1 << 16  # taken from the socket at once


class BufferedClient(paho.Client):
    """paho with a buffer behind its socket: it asks for a packet in four pieces, each a call to the system of its own."""

    _ahead = b""
    _at = 0

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._at >= len(self._ahead):
            self._ahead, self._at = super()._sock_recv(READ_BYTES), 0
        found = self._ahead[self._at : self._at + bufsize]
        self._at += len(found)
        return found

    def has_more(self) -> bool:
        """Whether bytes wait here that no selector can see."""
        return self._at < len(self._ahead)


def certificate_ends_s(sock: Any) -> float:
    """End of the certificate at the other end [s since 1970]; 0 without one."""
    found = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    return float(ssl.cert_time_to_seconds(str(found["notAfter"]))) if found and "notAfter" in found else 0.0


def readable(sock: Any) -> bool:
    """Whether a read would not wait, what TLS has unpacked already included."""
    pending = getattr(sock, "pending", None)
    if pending is not None and pending():
        return True
    peek = select.poll()
    peek.register(sock, select.POLLIN)
    return bool(peek.poll(0))


def no_delay(_client: Any, _data: Any, sock: Any) -> None:
    """paho's hook for a fresh socket: Nagle costs 40 ms between deadline and actuator, and paho does not turn it off."""
    with contextlib.suppress(OSError, AttributeError):  # already closed: the connection itself will tell
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
