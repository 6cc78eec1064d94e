"""A broker's end of the wire for one listener: the same bytes for whoever subscribes, so that only the listener is measured.

`python -m coolctl.bench.feed` prints its port; then each line of standard input is one run, as JSON: topics, payload,
messages, qos, messages a second (0 = as fast as they are taken). A run's answer is the seconds from the first byte to
the listener's goodbye, and how many acknowledgements came.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from typing import Any

CONNECT, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 4, 8, 12, 14
QUIET_S, RUN_LIMIT_S, PIECES_PER_S = 0.2, 60.0, 100


def length(n: int) -> bytes:
    """MQTT's variable length."""
    out = bytearray()
    while True:
        n, digit = divmod(n, 128)
        out.append(digit | (0x80 if n else 0))
        if not n:
            return bytes(out)


def publish(topic: str, payload: bytes, qos: int = 0, mid: int = 0) -> bytes:
    """A PUBLISH packet of MQTT 3.1.1."""
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name + (struct.pack(">H", mid) if qos else b"") + payload
    return bytes([0x30 | qos << 1]) + length(len(body)) + body


class Listener:
    """One connection: answers what a client asks until it is quiet, then counts what it says."""

    def __init__(self, connection: socket.socket):
        self._socket = connection
        self._raw = bytearray()
        self.acks = 0
        self.subscribed = self.gone = False

    def hear(self, wait_s: float) -> bool:
        """Take what has come within `wait_s` [s]; whether anything did."""
        self._socket.settimeout(max(wait_s, 1e-4))
        try:
            raw = self._socket.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError:
            raw = b""
        if not raw:
            self.gone = True
            return False
        self._raw += raw
        while (packet := self._next()) is not None:
            self._answer(*packet)
        return True

    def _next(self) -> tuple[int, bytes] | None:
        size, shift = 0, 0
        for k in range(1, min(len(self._raw), 5)):
            size |= (self._raw[k] & 0x7F) << shift
            shift += 7
            if not self._raw[k] & 0x80:
                if len(self._raw) < k + 1 + size:
                    return None
                kind, body = self._raw[0] >> 4, bytes(self._raw[k + 1 : k + 1 + size])
                del self._raw[: k + 1 + size]
                return kind, body
        return None

    def _answer(self, kind: int, body: bytes) -> None:
        if kind == CONNECT:
            self.send(b"\x20\x02\x00\x00")
        elif kind == SUBSCRIBE:
            count, at = 0, 2
            while at < len(body):
                at += 3 + struct.unpack_from(">H", body, at)[0]
                count += 1
            self.send(b"\x90" + length(2 + count) + body[:2] + bytes(count))
            self.subscribed = True
        elif kind == PINGREQ:
            self.send(b"\xd0\x00")
        elif kind == PUBACK:
            self.acks += 1
        elif kind == DISCONNECT:
            self.gone = True

    def send(self, raw: bytes) -> None:
        self._socket.settimeout(RUN_LIMIT_S)
        self._socket.sendall(raw)


def packets(order: dict[str, Any]) -> list[bytes]:
    """The messages of a run, the topics in turn."""
    topics, payloads, qos = order["topics"], [p.encode() for p in order["payloads"]], order["qos"]
    return [
        publish(topics[k % len(topics)], payloads[k % len(payloads)], qos, 1 + k % 65535) for k in range(order["messages"])
    ]  # fmt: skip


def pump(connection: socket.socket, listener: Listener, parts: list[bytes], per_s: float) -> None:
    """Send `parts`, and hear what comes back meanwhile: a listener that acknowledges must not be held up."""
    begun = time.monotonic()
    chooser = selectors.DefaultSelector()
    chooser.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
    waiting = memoryview(b"".join(parts)) if not per_s else memoryview(b"")
    sent = len(parts) if not per_s else 0
    while (waiting or sent < len(parts)) and not listener.gone:
        if not waiting:
            due = min(int((time.monotonic() - begun) * per_s) + 1, len(parts))
            if due <= sent:
                time.sleep(1.0 / PIECES_PER_S)
                continue
            waiting, sent = memoryview(b"".join(parts[sent:due])), due
        for _key, events in chooser.select(RUN_LIMIT_S):
            if events & selectors.EVENT_READ:
                listener.hear(1e-4)
            if events & selectors.EVENT_WRITE:
                connection.setblocking(False)
                waiting = waiting[connection.send(waiting) :]
    chooser.close()


def serve(server: socket.socket, order: dict[str, Any]) -> dict[str, float]:
    """One run with the next listener that connects."""
    parts = packets(order)
    connection, _ = server.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener = Listener(connection)
        while not listener.gone and (listener.hear(QUIET_S) or not listener.subscribed):
            pass
        begun = time.monotonic()
        try:
            pump(connection, listener, parts, order["per_s"])
        except OSError:
            listener.gone = True  # it has all that it wanted, and went
        while not listener.gone and time.monotonic() - begun < RUN_LIMIT_S:
            listener.hear(0.5)
        return {"seconds": time.monotonic() - begun, "acks": listener.acks}


def main() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(RUN_LIMIT_S)
        print(server.getsockname()[1], flush=True)
        for line in sys.stdin:
            print(json.dumps(serve(server, json.loads(line))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
