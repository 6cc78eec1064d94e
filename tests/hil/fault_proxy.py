"""A TCP proxy that misbehaves on demand: the transport's faults, without touching the kernel's.

One thread, one selector; the two directions of each connection are treated alike. What a mode does is read anew for each
chunk, so a fault can begin and end within a connection.
"""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field

CHUNK = 4096
TURN_S = 0.005
MODES = ("pass", "blackhole", "reset", "refuse", "drip", "flip", "half_close")


@dataclass
class Pipe:
    """One direction: bytes wait until they are due."""

    source: socket.socket
    sink: socket.socket
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    free_at_s: float = 0.0


class FaultProxy:
    """Listens on a free loopback port and passes on to `target`; `set` changes what it does to the bytes."""

    def __init__(self, target: int, seed: int = 1):
        self.mode, self.delay_s, self.rate_bytes_s = "pass", 0.0, float("inf")
        self.felt = 0
        self._target, self._random = target, random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._pipes: list[Pipe] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def set(self, mode: str = "pass", *, delay_s: float = 0.0, rate_bytes_s: float = float("inf")) -> None:
        """From now on: `blackhole` swallows, `reset` ends with RST, `refuse` takes no new connection, `drip` passes a byte at
        a time, `flip` turns a bit in each chunk, `half_close` ends one direction and keeps the other."""
        assert mode in MODES
        self.delay_s, self.rate_bytes_s, self.mode = delay_s, rate_bytes_s, mode

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        for pipe in list(self._pipes):
            self._end(pipe)
        self._listener.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _mask in self._selector.select(TURN_S):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._take(key.data)
            if self.mode == "reset":
                for pipe in list(self._pipes):
                    self.felt += 1
                    self._end(pipe, hard=True)
            for pipe in list(self._pipes):
                self._give(pipe)

    def _accept(self) -> None:
        client, _address = self._listener.accept()
        if self.mode in ("refuse", "reset"):
            self.felt += 1
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target), 1.0)
        except OSError:
            client.close()
            return
        for source, sink in ((client, server), (server, client)):
            source.setblocking(False)
            pipe = Pipe(source, sink)
            self._pipes.append(pipe)
            self._selector.register(source, selectors.EVENT_READ, pipe)

    def _take(self, pipe: Pipe) -> None:
        try:
            raw = pipe.source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            raw = b""
        if not raw:
            self._end(pipe)
            return
        if self.mode == "blackhole":
            self.felt += 1
            return
        if self.mode == "half_close":
            self.felt += 1
            with contextlib.suppress(OSError):
                pipe.sink.shutdown(socket.SHUT_WR)
            return
        if self.mode == "flip":
            self.felt += 1
            k = self._random.randrange(len(raw))
            raw = raw[:k] + bytes([raw[k] ^ (1 << self._random.randrange(8))]) + raw[k + 1 :]
        now_s = time.monotonic()
        if self.delay_s or self.rate_bytes_s < float("inf") or self.mode == "drip":
            self.felt += 1
        if self.mode == "drip":
            pipe.waiting.extend((now_s, raw[k : k + 1]) for k in range(len(raw)))
            return
        pipe.free_at_s = max(pipe.free_at_s, now_s) + len(raw) / self.rate_bytes_s
        pipe.waiting.append((pipe.free_at_s + self.delay_s, raw))

    def _give(self, pipe: Pipe) -> None:
        budget = 1 if self.mode == "drip" else len(pipe.waiting)
        while pipe.waiting and budget and pipe.waiting[0][0] <= time.monotonic():
            budget -= 1
            due_s, raw = pipe.waiting.popleft()
            try:
                sent = pipe.sink.send(raw)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._end(pipe)
                return
            if sent < len(raw):
                pipe.waiting.appendleft((due_s, raw[sent:]))
                return

    def _end(self, pipe: Pipe, hard: bool = False) -> None:
        for other in [p for p in self._pipes if p.source in (pipe.source, pipe.sink)]:
            self._pipes.remove(other)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(other.source)
            with contextlib.suppress(OSError):
                if hard:  # RST instead of FIN
                    other.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                other.source.close()
