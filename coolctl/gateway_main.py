"""`coolctl gateway`: the enforcer's process. MQTT in, `GatewayCore`, MQTT out; one thread, 1 Hz or the plant's clock."""

from __future__ import annotations

import argparse
import math
import signal
import time
from pathlib import Path

from coolctl import lease
from coolctl.dialects import decoder_for
from coolctl.dialects.decoder import SPARKPLUG
from coolctl.dialects.output import Output
from coolctl.dialects.sparkplug_out import HostState
from coolctl.dialects.writers import revert_s, setpoints_of, writer_for
from coolctl.edge.certificate import ends_s
from coolctl.edge.journal import NOTICE, WARNING, Line
from coolctl.edge.metrics_gateway import GatewayMetrics, GatewayView
from coolctl.edge.mqtt import Message, MqttClient, settings_for
from coolctl.edge.sdnotify import notify
from coolctl.gateway import TICK_S, EpochFile, GatewayCore, Out
from coolctl.journal_lines import GatewayLines, journal_of
from coolctl.paths import state_folder
from coolctl.points import ON_CHANGE, Point, PointTable, Quality, each
from coolctl.proof import PASSED, ProofTest, Seen
from coolctl.site import Site, load_site
from coolctl.strict_json import Rejected

WATCHED = ("hand", "bms_remote", "crah_fan_speed", "chillers_on")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--broker", default="", metavar="HOST:PORT", help="instead of the site file's")
    parser.add_argument("--state", default="", metavar="DIR", help="where the epoch is kept")
    parser.add_argument("--metrics-port", type=int, default=None, metavar="N", help="0 = any free port, -1 = none")


def main(args: argparse.Namespace) -> int:
    site = load_site(args.site)
    service = GatewayService(site, args.broker, state_folder(args.state, site.name) / "gateway")
    service.serve_metrics(site.file.gateway.metrics_port if args.metrics_port is None else args.metrics_port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    service.run()
    return 0


class GatewayService:
    """The process around `GatewayCore`."""

    def __init__(self, site: Site, broker: str, state: Path):
        self.site = site
        self.journal, self._lines = journal_of(site, "coolctl-gateway"), GatewayLines()
        watched = [p for p in site.table.points if p.role in WATCHED]
        remote = any(p.role == "bms_remote" for p in watched)
        f = site.file
        proof = ProofTest(revert_s(site)) if remote and f.gateway.proof_test else None
        self.core = GatewayCore(site, EpochFile(state), proof=proof)
        self._bms = decoder_for(site, PointTable([*watched, *setpoints_of(site)]))
        self._state = HostState(f.sparkplug.host, lambda: round(1e3 * time.time()))
        self.output: Output | None = writer_for(site, self._bms, self._state)
        if self.output is not None:
            self.core.can_write = self.output.can_write
        self._units: dict[str, float] = {}  # a plant may say each on a topic of its own
        self._remote = math.nan
        self._holds = any(p.dialect in ON_CHANGE for p in watched if p.role == "bms_remote")
        for p in watched:
            self._unknown(p)
        self._topics = {kind: site.topic(kind) for kind in ("sp", "claim", "clock", "gw_tick", "ack", "done", "bms", "bms_tick")}
        self._topics["bms"] = site.file.gateway.bms_topic.replace("{site}", site.name)
        settings = settings_for(site, broker, "gateway")
        listen = [self._topics["sp"], self._topics["claim"], self._topics["bms_tick"], *self._bms.topics]
        if site.file.site.simulated:
            listen.append(self._topics["clock"])
        answers = self.output.topics if self.output is not None else []
        retained = [*self._bms.retained, *answers]
        host = self._state if f.gateway.dialect == SPARKPLUG else None
        self.client = MqttClient(settings, [*listen, *answers], retained=retained, state=host)
        self._described, self._answers = frozenset(retained), frozenset(answers)
        self._cert_file, self.certificate_ends_s = settings.cert_file, ends_s(settings.cert_file)
        self.metrics: GatewayMetrics | None = None
        self._certified = 0
        self._stopping = False
        self._step = -1

    def stop(self) -> None:
        """End the loop after the message in hand."""
        self._stopping = True

    def run(self) -> None:
        """Until `stop`."""
        self.journal.say(Line("start", "started; the plant has itself until a controller is granted the lease", NOTICE))
        notify("READY=1", f"STATUS={self.site.name}: waiting for a controller")
        next_s = time.monotonic()
        while not self._stopping:
            self.client.run_until(next_s, lambda: bool(self.client.inbox) or self._stopping)
            self.work()
            now_s = time.monotonic()
            self._log()
            if now_s >= next_s:
                next_s += TICK_S * max(1, int((now_s - next_s) / TICK_S) + 1)
                if not self.site.file.site.simulated:  # else the plant's clock drives
                    self._tick(now_s)
                state = "the plant has itself" if not self.core.leased else f"leased to {self.core.holder}"
                notify("WATCHDOG=1", f"STATUS={self.site.name}: {state}")
        notify("STOPPING=1")
        self.client.close()
        if self.metrics is not None:
            self.metrics.close()
        self.journal.say(Line("stop", "stopped; the BMS has itself when its lease ends", NOTICE))
        self.journal.close()

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
        elif m.topic == self._topics["bms_tick"]:
            self.core.bms_tick(m.payload, m.retained)
        elif m.topic == self._topics["clock"] and not m.retained:
            self._take_clock(m.payload)
        elif not m.retained or m.topic in self._described:
            if self.output is not None and m.topic in self._answers:
                self.output.take(m.topic, m.payload)
                if self.output.asks:
                    self.client.say_state()
            else:
                self._take_bms(m)

    def _take_bms(self, m: Message) -> None:
        """What the BMS says of itself: in hand, following, and what runs."""
        heard = False
        for sample in each(self._bms.decode(m.topic, m.payload)):
            point = self._bms.table.points[sample.i]
            if sample.quality != Quality.GOOD:
                self._unknown(point)
            elif point.role == "hand":
                self.core.set_hand(sample.value > 0.5)
                if self.core.hand and self.output is not None:
                    self.output.forgive()
            elif point.writable:
                self._read_back(point, point.encode(sample.value))
            elif point.role == "bms_remote":
                self._remote, heard = sample.value, True
            else:
                self._units[point.id] = sample.value
        if heard:
            self._see()

    def _see(self) -> None:
        if self.core.proof is not None:
            self.core.proof.see(Seen(self.core.now_s, self._remote, dict(self._units)))

    def _unknown(self, point: Point) -> None:
        """Nothing is known of a point of a source that speaks on change: it may be in hand, and nothing is proven."""
        if point.dialect in ON_CHANGE and point.role == "hand":
            self.core.set_hand(True)
        elif point.dialect in ON_CHANGE and point.role == "bms_remote":
            self._remote = math.nan
        elif point.writable:
            self._read_back(point, math.nan)

    def _read_back(self, point: Point, wire: float) -> None:
        if self.output is not None:
            self.output.heard(point.id, wire)

    def _tick(self, now_s: float) -> None:
        for i in (*self._bms.reconnected(self.client.connects), *self._bms.watch(now_s)):
            self._unknown(self._bms.table.points[i])
        for topic, payload in self._bms.outgoing(now_s, round(1e3 * time.time())):
            self.client.publish(topic, payload)
        if self._holds and self._remote == self._remote:
            self._see()  # what was said on change holds until the next, or until its source falls silent
        if self.output is not None:
            self.output.watch(now_s)
        self._send(self.core.tick(now_s))
        self._measure()

    def _log(self) -> None:
        """What is new, into the journal."""
        for line in self._lines.look(self.core, self.client, self.output.faults if self.output is not None else {}):
            self.journal.say(line)
        self.journal.turn()

    def _take_clock(self, raw: bytes) -> None:
        try:
            k, t_s = lease.decode_clock(raw)
        except Rejected:
            return
        self._step = k
        self._tick(t_s)

    def _send(self, messages: list[Out]) -> None:
        for kind, payload in messages:
            if kind == "bms" and self.output is not None:
                self._write(self.output, payload)
            else:
                self.client.publish(self._topics[kind], payload)

    def _write(self, output: Output, payload: bytes) -> None:
        """The lease for the BMS, in its dialect's terms."""
        wire = lease.decode_bms_lease(payload).sp
        for topic, value in output.lease(wire, self.core.now_s, self._timestamp_ms()):
            self.client.publish(topic, value, 5)

    def _timestamp_ms(self) -> int:
        """The wall clock, or that of a simulated plant."""
        return round(1e3 * (self.core.now_s if self.site.file.site.simulated else time.time()))

    # -- metrics

    def serve_metrics(self, port: int) -> None:
        """On a thread of its own, which only reads what the loop hands over; -1: not at all."""
        if port >= 0:
            self.metrics = GatewayMetrics(self.site.file.gateway.metrics_host, port)
            if self.metrics.error:
                self.journal.say(Line("metrics", f"no metrics: {self.metrics.error}", WARNING))

    def _measure(self) -> None:
        """Hand over what a scrape shows."""
        if self.metrics is None:
            return
        core, client, output = self.core, self.client, self.output
        if client.connects != self._certified:
            self._certified, self.certificate_ends_s = client.connects, ends_s(self._cert_file)
        gauges = {
            "coolctl_gateway_leased_ratio": float(core.leased),
            "coolctl_gateway_hand_ratio": float(core.hand),
            "coolctl_gateway_broker_connected_ratio": float(client.ready),
            "coolctl_gateway_output_blocked_ratio": float(output is not None and bool(output.faults)),
            "coolctl_gateway_write_refused_ratio": float(output is not None and bool(output.refused)),
            "coolctl_gateway_proven_ratio": float(core.proof is None or core.proof.state == PASSED),
        }
        if self.certificate_ends_s:
            gauges["coolctl_gateway_certificate_expiry_timestamp_seconds"] = self.certificate_ends_s
        counters = {
            "coolctl_gateway_leases_total": core.accepted,
            "coolctl_gateway_refused_writes_total": output.refusals if output is not None else 0,
            "coolctl_gateway_connects_total": client.connects,
        }
        rejects = {**core.rejects, **self._bms.rejects}
        self.metrics.publish(GatewayView(self.site.name, gauges, counters, rejects))
