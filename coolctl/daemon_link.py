"""The daemon's end of the wire: telemetry into the store, the gateway's heartbeat and acks, leases and decisions out."""

from __future__ import annotations

import math
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence

from coolctl import lease
from coolctl.control.decision import Decision
from coolctl.control.mode import WATCHING
from coolctl.control.tick import GatewayView
from coolctl.daemon_state import Command, Hold, decode_command
from coolctl.decision_json import encode_decision
from coolctl.dialects import decoder_for
from coolctl.dialects.decoder import SPARKPLUG
from coolctl.dialects.sparkplug_out import HostState
from coolctl.edge.mqtt import Message, MqttClient, settings_for
from coolctl.points import Batch, Sample, SampleStore, Snapshot
from coolctl.site import Site
from coolctl.strict_json import Rejected

CLAIM_EVERY_S = 0.5
CONFIRM_S, CONFIRM_GRACE_S = 3.0, 5.0
CONFIRM_TOLERANCE = 1e-3
KINDS = ("gw_tick", "ack", "cmd", "clock", "sp", "claim", "decision", "shadow", "proposal", "status")


class Link:
    """Owns the MQTT client. `now_s` is the tick's clock: this process's, or a simulated plant's."""

    def __init__(self, site: Site, broker: str):
        self.site = site
        self.store = SampleStore(site.table)
        self.decoder = decoder_for(site)
        self.topics = {kind: site.topic(kind) for kind in KINDS}
        settings = settings_for(site, broker, "daemon")
        self.cert_file = settings.cert_file
        listen = [*self.decoder.topics, self.topics["gw_tick"], self.topics["ack"], self.topics["cmd"]]
        if site.file.site.simulated:
            listen.append(self.topics["clock"])
        status = self.topics["status"]
        will = (status, b'{"online":false}', b'{"online":true}')
        host = self._host_state(site.file.sparkplug.host if site.file.gateway.dialect != SPARKPLUG else "")
        self.client = MqttClient(settings, listen, will, self.decoder.retained, host)
        self._described = frozenset(self.decoder.retained)
        self.instance = f"{socket.gethostname()[:40]}-{os.getpid()}"
        self.nonce = secrets.token_hex(4)
        self.rejects: dict[str, int] = {}
        self.gateway: lease.GatewayTick | None = None
        self.ack: lease.Ack | None = None
        self.seq = 0
        self.applied: dict[str, float] = {}
        self._gateway_s = self._ack_s = self._publishing_s = -math.inf
        self._claimed_s = -math.inf
        self.may_claim = False
        self._pending: list[Sample | Batch] = []
        self._command: Command | None = None
        self._clock: tuple[int, float] | None = None
        self._step = -1
        self._sent: dict[str, float] = {}
        self._was_publishing = False

    # -- in

    def wait(self, deadline_s: float, stopping: Callable[[], bool]) -> float | None:
        """Work the link until the deadline; a simulated plant's clock comes back as its time [s] at once."""
        while True:
            self.client.run_until(deadline_s, lambda: bool(self.client.inbox) or stopping())
            while self.client.inbox:
                self._take(self.client.inbox.popleft())
                if self._clock is not None:
                    self._step, t_s = self._clock
                    self._clock = None
                    return t_s
            if stopping() or time.monotonic() >= deadline_s:
                return None

    def _take(self, m: Message) -> None:
        if m.retained and m.topic not in self._described:
            self._count("retained")
            return
        try:
            if m.topic == self.topics["gw_tick"]:
                self.gateway, self._gateway_s = lease.decode_gateway_tick(m.payload), math.nan
                self._claim()
            elif m.topic == self.topics["ack"]:
                self._take_ack(lease.decode_ack(m.payload))
            elif m.topic == self.topics["cmd"]:
                self._command = decode_command(m.payload)
            elif m.topic == self.topics["clock"]:
                self._clock = lease.decode_clock(m.payload)
            else:
                self._pending += self.decoder.decode(m.topic, m.payload)
        except Rejected as rejected:
            self._count(rejected.reason)

    def _claim(self) -> None:
        """Ask for the epoch as soon as the gateway is heard, where the granted mode may lease at all."""
        assert self.gateway is not None
        waited_s = self.gateway.t_s - self._claimed_s  # on the gateway's clock, which may have begun anew
        if self.may_claim and not self.holds_epoch and not 0.0 <= waited_s < CLAIM_EVERY_S:
            self._claimed_s = self.gateway.t_s
            self.client.publish(self.topics["claim"], lease.encode_claim(lease.Claim(self.instance, self.nonce)))

    def _take_ack(self, ack: lease.Ack) -> None:
        if self.gateway is not None and ack.epoch == self.gateway.epoch and self.gateway.holder == self.instance:
            self.ack = ack
            self.applied = ack.applied
            if not ack.rejected and ack.mode == "remote" and self._agrees(ack):
                self._ack_s = math.nan  # stamped with the tick's time when it is collected

    def _agrees(self, ack: lease.Ack) -> bool:
        """Whether the gateway applied what was sent; it may hold back a fast move, but not another value."""
        return set(ack.applied) == set(self._sent)

    def _count(self, reason: str) -> None:
        self.rejects[reason] = self.rejects.get(reason, 0) + 1

    def collect(self, now_s: float, overrun: bool) -> tuple[Snapshot, GatewayView, Command | None]:
        """What this tick works with: the snapshot, the view of the gateway, an operator's command."""
        self._gateway_s = now_s if self._gateway_s != self._gateway_s else self._gateway_s
        self._ack_s = now_s if self._ack_s != self._ack_s else self._ack_s
        self.store.forget(self.decoder.reconnected(self.client.connects))
        self.store.put(self._pending, now_s)
        self._pending = []
        self._watch_sources(now_s)
        fresh = now_s - self._ack_s <= CONFIRM_S
        starting = now_s - self._publishing_s <= CONFIRM_GRACE_S and self._was_publishing
        hand = self.gateway is not None and self.gateway.hand
        held = self.gateway is None or self.gateway.holder in ("", self.instance)
        view = GatewayView(now_s - self._gateway_s, fresh or starting, hand, overrun, held)
        command, self._command = self._command, None
        return self.store.snapshot(now_s), view, command

    def _watch_sources(self, now_s: float) -> None:
        """What the sources of telemetry say of themselves: silence, gaps."""
        self.store.forget(self.decoder.watch(now_s))
        for topic, payload in self.decoder.outgoing(now_s, round(1e3 * time.time())):
            self.client.publish(topic, payload)

    def _host_state(self, host: str) -> HostState | None:
        """Our STATE as a Sparkplug host; where the gateway commands it is the gateway's."""
        return HostState(host, lambda: round(1e3 * time.time())) if host else None

    def restart_clock(self) -> None:
        """A simulated plant has started anew: nothing seen before counts as fresh or as old."""
        self.store.restart()
        self._gateway_s = self._ack_s = self._publishing_s = -math.inf

    # -- out

    @property
    def holds_epoch(self) -> bool:
        """Whether the gateway has granted its epoch to this instance."""
        return self.gateway is not None and self.gateway.holder == self.instance

    def publish(self, decision: Decision, said: Sequence[str] = (), held: Mapping[str, Hold] | None = None) -> None:
        """Lease, decision and shadow of this tick, with what is new in it; claims the epoch while it is not held."""
        setpoints = decision.setpoints if self.holds_epoch else {}
        # In virtual time the gateway waits for a word on every step; else only the end of publishing is said aloud.
        if setpoints or self._step >= 0 or self._was_publishing:
            self._send_lease(decision, setpoints)
        if bool(setpoints) != self._was_publishing:
            self._publishing_s = decision.now_s
        self._was_publishing = bool(setpoints)
        if decision.mode in WATCHING:
            kind = "shadow" if decision.mode == "shadow" else "proposal"
            self.client.publish(self.topics[kind], encode_decision(decision, [], self._lease_state()))
        events: list[dict[str, object]] = [{"t_s": decision.now_s, "text": text} for text in said]
        self.client.publish(self.topics["decision"], encode_decision(decision, events, self._lease_state(), held))

    def _lease_state(self) -> dict[str, object]:
        epoch = self.gateway.epoch if self.gateway else -1
        return {"epoch": epoch, "remote": bool(self.gateway and not self.gateway.local), "applied": self.applied}

    def _send_lease(self, decision: Decision, setpoints: dict[str, float]) -> None:
        self.seq += 1
        gateway = self.gateway
        self._sent = setpoints
        # The epoch on the air may be another controller's: under it even "nothing" would end that one's lease.
        epoch = gateway.epoch if gateway is not None and self.holds_epoch else -1
        message = lease.Setpoints(
            epoch, self.seq, gateway.t_s if gateway else -1.0, gateway.nonce if gateway else "",
            self.site.file.gateway.ttl_s, decision.mode, setpoints, decision.mode_reason[:200], self._step,
        )  # fmt: skip
        self.client.publish(self.topics["sp"], lease.encode_setpoints(message), 5)

    def release(self) -> None:
        """An explicit none, then a clean goodbye."""
        if self.holds_epoch and self.gateway is not None:
            self.seq += 1
            g = self.gateway
            none = lease.Setpoints(
                g.epoch, self.seq, g.t_s, g.nonce, self.site.file.gateway.ttl_s, "release", {}, "shutdown", self._step
            )
            self.client.publish(self.topics["sp"], lease.encode_setpoints(none))
            self.client.run_until(time.monotonic() + 0.05)
        self.client.close(b'{"online":false}')
