"""Serving an exposition: a page on a port of its own, from threads that only read what was handed over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST

from coolctl.bounded_http import BoundedServer

CONNECTIONS_MAX = 16
REQUEST_TIMEOUT_S = 2.0


class Served:
    """Serves `render` at `host`:`port` from a thread of its own; where the port cannot be had, `error` says so."""

    def __init__(self, host: str, port: int):
        self.error = ""
        self.port = 0
        try:
            self._http: _Server | None = _Server((host, port), self.render)
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
    server: _Server

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


class _Server(BoundedServer):
    def __init__(self, address: tuple[str, int], render: Callable[[], bytes]):
        self.render = render
        super().__init__(address, _Handler, CONNECTIONS_MAX)
