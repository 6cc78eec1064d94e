"""Serving an exposition: a page on a port of its own, from threads that only read what was handed over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONNECTIONS_MAX = 16
REQUEST_TIMEOUT_S = 2.0


class Served:
    """Serves `render` at `host`:`port` from a thread of its own; where the port cannot be had, `error` says so."""

    def __init__(self, host: str, port: int):
        self.error = ""
        self.port = 0
        try:
            self._http: ThreadingHTTPServer | None = BoundedServer((host, port), self.render)
        except OSError as error:
            self._http, self.error = None, f"metrics port {port}: {error.strerror}"
            return
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, name="metrics", daemon=True).start()

    def render(self) -> bytes:
        """The exposition as of now."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop serving."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT_S
    server: BoundedServer

    def do_GET(self) -> None:
        if self.path.split("?")[0] != "/metrics":
            self.send_error(404)
            return
        body = self.server.render()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass  # a scrape a second is not news


class BoundedServer(ThreadingHTTPServer):
    """At most `CONNECTIONS_MAX` at a time; the rest are closed at once instead of becoming threads."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], render: Callable[[], bytes]):
        self.render = render
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is its own business
