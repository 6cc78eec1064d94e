"""The live page's HTTP server: static files of the package, one state stream (server-sent events), JSON. Read-only.

Nothing that arrives over HTTP changes anything. Connections are bounded, slow readers are dropped, and every answer
carries a content policy that lets the page talk to this server only.
"""

from __future__ import annotations

import importlib.resources
import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

from coolctl.bounded_http import BoundedServer

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/runbooks.html": ("runbooks.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in ("page", "dom", "diagram", "trends", "lists")},
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
CONNECTIONS_MAX = 64
SEND_TIMEOUT_S = 5.0
IDLE_S = 1.0


class PageServer:
    """Serves the page; `update` hands the newest state to every listener.

    `documents` are further JSON by path; each is asked for in the thread of whoever reads it.
    """

    def __init__(self, host: str, port: int, site: dict[str, Any], documents: Mapping[str, Callable[[], bytes]] | None = None):
        self._documents = dict(documents or {})
        self._site = json.dumps(site).encode()
        self._state = b"{}"
        self._version = 0
        self._changed = threading.Condition()
        self._files = {
            path: importlib.resources.files("coolctl.edge").joinpath("page", name).read_bytes()
            for path, (name, _) in FILES.items()
        }
        self._http = _Server((host, port), self)
        self.port: int = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, name="page", daemon=True).start()

    def update(self, state: dict[str, Any]) -> None:
        """Publish a state to all listeners."""
        raw = json.dumps(state, allow_nan=False, separators=(",", ":")).encode()
        with self._changed:
            self._state, self._version = raw, self._version + 1
            self._changed.notify_all()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def static(self, path: str) -> tuple[bytes, str] | None:
        """Body and type of a known path."""
        if path == "/site.json":
            return self._site, "application/json"
        if path == "/favicon.ico":
            return b"", "image/x-icon"
        if path == "/state.json":
            return self._state, "application/json"
        if path in self._documents:
            return self._documents[path](), "application/json"
        entry = FILES.get(path)
        return (self._files[path], entry[1]) if entry else None

    def wait(self, version: int) -> tuple[int, bytes]:
        """The newest state, at the latest after `IDLE_S` (the page counts on hearing something)."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, IDLE_S)
            return self._version, self._state


class _Handler(BaseHTTPRequestHandler):
    timeout = SEND_TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path = self.path.split("?", 1)[0]
        if path == "/events":
            self._stream()
            return
        found = self.server.page.static(path)
        if found is None:
            self.send_error(404)
            return
        self._head(found[1], len(found[0]))
        self.wfile.write(found[0])

    def _head(self, kind: str, length: int | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        if length is None:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _stream(self) -> None:
        self.close_connection = True
        self._head("text/event-stream", None)
        version = -1
        while True:
            newest, state = self.server.page.wait(version)
            # A comment keeps the line warm when there is nothing new.
            self.wfile.write(b"data: " + state + b"\n\n" if newest != version else b": idle\n\n")
            version = newest

    def log_message(self, *_: Any) -> None:
        pass  # a page that is open is not news


class _Server(BoundedServer):
    def __init__(self, address: tuple[str, int], page: PageServer):
        self.page = page
        super().__init__(address, _Handler, CONNECTIONS_MAX)
