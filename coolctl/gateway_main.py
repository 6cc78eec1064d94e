"""`coolctl gateway`: the enforcer's process. MQTT in, `GatewayCore`, MQTT out; one thread, 1 Hz or the plant's clock."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from pathlib import Path

from coolctl import lease
from coolctl.dialects import Decoder
from coolctl.edge.mqtt import Message, MqttClient, settings_for
from coolctl.edge.sdnotify import notify
from coolctl.gateway import TICK_S, EpochFile, GatewayCore, Out
from coolctl.paths import state_folder
from coolctl.points import PointTable, Quality, each
from coolctl.proof import FAILED, ProofTest, Seen
from coolctl.site import Site, load_site
from coolctl.strict_json import Rejected

WATCHED = ("hand", "bms_remote", "crah_fan_speed", "chillers_on")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--broker", default="", metavar="HOST:PORT", help="instead of the site file's")
    parser.add_argument("--state", default="", metavar="DIR", help="where the epoch is kept")


def main(args: argparse.Namespace) -> int:
    site = load_site(args.site)
    service = GatewayService(site, args.broker, state_folder(args.state, site.name) / "gateway")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    service.run()
    return 0


class GatewayService:
    """The process around `GatewayCore`."""

    def __init__(self, site: Site, broker: str, state: Path):
        self.site = site
        watched = [p for p in site.table.points if p.role in WATCHED]
        remote = any(p.role == "bms_remote" for p in watched)
        proof = ProofTest(site.file.gateway.bms_ttl_s) if remote and site.file.gateway.proof_test else None
        self.core = GatewayCore(site, EpochFile(state), proof=proof)
        self._bms = Decoder(PointTable(watched), site.file.mqtt.payload_max_bytes, site.file.mqtt.batch_max_bytes)
        self._proof_state = ""
        self._units: dict[str, float] = {}  # a plant may say each on a topic of its own
        self._topics = {kind: site.topic(kind) for kind in ("sp", "claim", "clock", "gw_tick", "ack", "done", "bms")}
        self._topics["bms"] = site.file.gateway.bms_topic.replace("{site}", site.name)
        settings = settings_for(site, broker, "gateway")
        listen = [self._topics["sp"], self._topics["claim"], *self._bms.topics]
        if site.file.site.simulated:
            listen.append(self._topics["clock"])
        self.client = MqttClient(settings, listen)
        self._stopping = False
        self._step = -1

    def stop(self) -> None:
        """End the loop after the message in hand."""
        self._stopping = True

    def run(self) -> None:
        """Until `stop`."""
        notify("READY=1", f"STATUS={self.site.name}: waiting for a controller")
        next_s = time.monotonic()
        while not self._stopping:
            self.client.run_until(next_s, lambda: bool(self.client.inbox) or self._stopping)
            self.work()
            now_s = time.monotonic()
            if now_s >= next_s:
                next_s += TICK_S * max(1, int((now_s - next_s) / TICK_S) + 1)
                if not self.site.file.site.simulated:  # else the plant's clock drives
                    self._send(self.core.tick(now_s))
                state = "the plant has itself" if not self.core.leased else f"leased to {self.core.holder}"
                notify("WATCHDOG=1", f"STATUS={self.site.name}: {state}")
        notify("STOPPING=1")
        self.client.close()

    def work(self) -> None:
        """Take what has arrived."""
        while self.client.inbox:
            self._take(self.client.inbox.popleft())

    def _take(self, m: Message) -> None:
        if m.topic == self._topics["sp"]:
            out, k = self.core.setpoints(m.payload, m.retained)
            self._send(out)
            if k >= 0 and k == self._step:
                self.client.publish(self._topics["done"], lease.encode_done(k))
        elif m.topic == self._topics["claim"]:
            self._send(self.core.claim(m.payload, m.retained))
        elif m.topic == self._topics["clock"] and not m.retained:
            self._take_clock(m.payload)
        elif not m.retained:
            self._take_bms(m)

    def _take_bms(self, m: Message) -> None:
        """What the BMS says of itself: in hand, following, and what runs."""
        remote = math.nan
        for sample in each(self._bms.decode(m.topic, m.payload)):
            point = self._bms.table.points[sample.i]
            if sample.quality != Quality.GOOD:
                continue
            if point.role == "hand":
                self.core.set_hand(sample.value > 0.5)
            elif point.role == "bms_remote":
                remote = sample.value
            else:
                self._units[point.id] = sample.value
        if self.core.proof is not None and remote == remote:
            self.core.proof.see(Seen(self.core.now_s, remote, dict(self._units)))

    def _take_clock(self, raw: bytes) -> None:
        try:
            k, t_s = lease.decode_clock(raw)
        except Rejected:
            return
        self._step = k
        self._send(self.core.tick(t_s))

    def _say_proof(self) -> None:
        """One line in the journal for each step of the proof."""
        proof = self.core.proof
        if proof is not None and proof.state != self._proof_state:
            self._proof_state = proof.state
            print(f"proof test: {proof.state}{': ' + proof.reason if proof.state == FAILED else ''}", file=sys.stderr, flush=True)

    def _send(self, messages: list[Out]) -> None:
        self._say_proof()
        for kind, payload in messages:
            self.client.publish(self._topics[kind], payload)
