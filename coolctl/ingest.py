"""`coolctl run --ingest-process`: telemetry is heard, decoded and kept by a process of its own, a child of the daemon.

Above some thousand single messages a second what they cost is no longer little beside a tick; here they cost the tick nothing
but a copy of the newest values out of shared memory. If the child dies, values grow old like with any silence, and the next one
goes on from there. Not for a simulated plant, whose clock comes with its telemetry.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.children import environment_of_child
from coolctl.daemon_link import Link
from coolctl.dialects import decoder_for
from coolctl.edge.mqtt import MqttClient, settings_for
from coolctl.errors import ConfigError, Fault
from coolctl.points import Batch, Sample, SampleStore
from coolctl.shared_telemetry import Segment, SharedStore, size_bytes
from coolctl.site import Site, load_site

BEAT_S, PAUSE_S, WATCH_S, AGAIN_S = 0.25, 0.005, 1.0, 1.0
NOTHING: NDArray[np.int64] = np.zeros(0, dtype=np.int64)


def check(site: Site) -> None:
    """Raises `ConfigError` where telemetry cannot be heard by another process."""
    if site.file.site.simulated:
        why = "--ingest-process is for a real site: a simulated plant's clock comes with its telemetry"
        raise ConfigError([Fault(site.path, None, "site.simulated", why)])


class Elsewhere:
    """Stands where a link's decoder would: hears nothing, asks for nothing."""

    def __init__(self, store: SharedStore) -> None:
        self.topics: list[str] = []
        self.retained: list[str] = []
        self.rejects: dict[str, int] = {}
        self._store = store

    @property
    def faults(self) -> dict[str, str]:
        """What the child's decoder finds wrong with points."""
        return self._store.faults

    def decode(self, topic: str, payload: bytes) -> list[Sample | Batch]:
        """Nothing."""
        return []

    def reconnected(self, connects: int) -> NDArray[np.int64]:
        """Nothing is forgotten: the child knows of its own connection."""
        return NOTHING

    def watch(self, now_s: float) -> NDArray[np.int64]:
        """As `reconnected`."""
        return NOTHING

    def outgoing(self, now_s: float, wall_ms: int) -> Iterable[tuple[str, bytes]]:
        """Nothing to ask the sources."""
        return ()


class Ingest:
    """The daemon's side: starts the child, looks after it, and gives its values to the link."""

    def __init__(self, site: Site, broker: str):
        check(site)
        self._site, self._broker = site, broker
        self._fd = os.memfd_create("coolctl-telemetry")
        os.ftruncate(self._fd, size_bytes(len(site.table)))
        self._segment = Segment(self._fd, len(site.table))
        self._segment.begin()
        self._store = SharedStore(site.table, self._segment)
        self._counted = (0, 0)
        self._process = self._start()
        self._again_s = 0.0

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    def join(self, link: Link) -> None:
        """From now on the link hears the gateway and operators only, and takes values from the child."""
        of_telemetry = set(link.decoder.topics)
        link.client.topics = [topic for topic in link.client.topics if topic not in of_telemetry]
        link.store, link.decoder = self._store, Elsewhere(self._store)  # type: ignore[assignment]

    def look_after(self, link: Link, now_s: float) -> str:
        """Count its messages as the link's, and start it again where it has ended; what there is to say of that."""
        counts = (self._store.messages, self._store.dropped)
        messages, dropped = (max(now - before, 0) for now, before in zip(counts, self._counted, strict=True))
        link.client.received, link.client.dropped = link.client.received + messages, link.client.dropped + dropped
        self._counted = counts
        code = self._process.poll()
        if code is None or now_s < self._again_s:
            return ""
        self._process, self._again_s = self._start(), now_s + AGAIN_S
        return f"the process that hears telemetry ended with {code} and is started again"

    def close(self) -> None:
        """End the child."""
        self._process.terminate()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        words = ["--site", self._site.path, "--broker", self._broker, "--fd", str(self._fd), "--parent", str(os.getpid())]
        environment = environment_of_child()
        environment.pop("NOTIFY_SOCKET", None)  # systemd hears the daemon only
        return subprocess.Popen([sys.executable, "-m", "coolctl.ingest", *words], pass_fds=(self._fd,), env=environment)


class Ear:
    """The child's side: from the broker into the segment."""

    def __init__(self, site: Site, broker: str, segment: Segment):
        self._decoder, self._store, self._segment = decoder_for(site), SampleStore(site.table), segment
        segment.take_over(self._store)
        settings = settings_for(site, broker, "daemon")._replace(client_id=f"coolctl-ingest-{site.name}")
        self.client = MqttClient(settings, self._decoder.topics, retained=self._decoder.retained)
        self._described = frozenset(self._decoder.retained)
        self._retained = 0
        self._watched_s = -1e18

    def turn(self, stopping: Any) -> None:
        """Hear for a while at most, and write down what is new."""
        self.client.run_until(time.monotonic() + BEAT_S, lambda: bool(self.client.inbox) or stopping())
        pending: list[Sample | Batch] = []
        while self.client.inbox:
            m = self.client.inbox.popleft()
            if m.retained and m.topic not in self._described:
                self._retained += 1
            else:
                pending += self._decoder.decode(m.topic, m.payload)
        now_s = time.monotonic()
        self._store.forget(self._decoder.reconnected(self.client.connects))
        self._store.put(pending, now_s)
        if now_s - self._watched_s >= WATCH_S:
            self._watched_s = now_s
            self._store.forget(self._decoder.watch(now_s))
            for topic, payload in self._decoder.outgoing(now_s, round(1e3 * time.time())):
                self.client.publish(topic, payload)
        rejects = {"retained": self._retained, **self._decoder.rejects, **self._store.rejects}
        self._segment.write(self._store, self.client.received, self.client.dropped, rejects, self._decoder.faults)
        time.sleep(PAUSE_S)  # what comes meanwhile is taken together


def main(argv: list[str]) -> int:
    """The child, until its parent ends or says so."""
    parser = argparse.ArgumentParser("coolctl.ingest", description="a child of `coolctl run --ingest-process`")
    parser.add_argument("--site", required=True)
    parser.add_argument("--broker", default="")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    args = parser.parse_args(argv)
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.append(1))
    site = load_site(args.site)
    ear = Ear(site, args.broker, Segment(args.fd, len(site.table)))

    def stopping() -> bool:
        return bool(told) or os.getppid() != args.parent

    while not stopping():
        ear.turn(stopping)
    ear.client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
