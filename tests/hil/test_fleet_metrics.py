"""Metrics for a fleet: Prometheus as an agent, with the configuration that ships, writes every series to a store elsewhere."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from coolctl.bench.metrics import one_size
from coolctl.edge.broker import free_port

PROMETHEUS = shutil.which("prometheus")
pytestmark = [pytest.mark.hil, pytest.mark.nightly, pytest.mark.skipif(not PROMETHEUS, reason="prometheus is not installed")]
SERIES = 500


class Store(http.server.ThreadingHTTPServer):
    """The far end of a remote write: takes what is posted, or says for a while that it cannot."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.refused = 0
        self.well = False
        super().__init__(("127.0.0.1", 0), Post)


class Post(http.server.BaseHTTPRequestHandler):
    """One batch."""

    server: Store

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.well:
            assert self.headers["Content-Encoding"] == "snappy" and self.headers["Authorization"].startswith("Basic ")
            self.server.taken.append(body)
        else:
            self.server.refused += 1
        self.send_response(204 if self.server.well else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def configured(folder: Path, metrics_port: int, store_port: int) -> Path:
    """config/prometheus/agent.yml with the places and the pace of a test."""
    text = (ROOT / "config/prometheus/agent.yml").read_text()
    (folder / "password").write_text("x")
    for old, new in (
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("127.0.0.1:9464", f"127.0.0.1:{metrics_port}"),
        ("https://metrics.example.org/api/v1/write", f"http://127.0.0.1:{store_port}/api/v1/write"),
        ("/etc/prometheus/remote-write-password", str(folder / "password")),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "agent.yml").write_text(text)
    return folder / "agent.yml"


def wait(what: str, condition: object, log: Path) -> None:
    end_s = time.monotonic() + 40.0
    while time.monotonic() < end_s:
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.1)
    raise AssertionError(f"{what}\n{log.read_text()[-2000:]}")


def test_agent_writes_to_the_fleets_store_and_waits_out_its_absence(store: Store, tmp_path: Path) -> None:
    server, _, view = one_size(SERIES)
    log = tmp_path / "log"
    words = [str(PROMETHEUS), "--enable-feature=agent", f"--web.listen-address=127.0.0.1:{free_port()}"]
    words += [f"--config.file={configured(tmp_path, server.port, store.server_port)}"]
    words += [f"--storage.agent.path={tmp_path / 'wal'}", "--storage.agent.retention.max-time=48h"]
    process = subprocess.Popen(words, stdout=log.open("wb"), stderr=subprocess.STDOUT)
    try:
        wait("it was refused", lambda: store.refused > 1, log)
        store.well = True
        wait("what waited on the disk arrives", lambda: b"coolctl_point_value" in b"".join(store.taken), log)
        point = view.points[0][0].encode()
        wait("a point by its name", lambda: point in b"".join(store.taken), log)
        assert b"guizhou-1" in b"".join(store.taken), "it says which site it is"
    finally:
        process.terminate()
        process.wait(10.0)
        server.close()
