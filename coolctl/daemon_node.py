"""The daemon as a Sparkplug edge node, so that a SCADA system sees mode, setpoints and what they do for the plant.

It is the daemon's and not the gateway's because the daemon knows why: the gateway has numbers and a lease. Its death must
say that the controller is gone, and a connection has one will, so this is a connection of its own, worked once a tick.
Only numbers go out; what a SCADA system commands here is counted and passed over: commands are `cmd`'s.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from coolctl import __version__
from coolctl.control.decision import Decision
from coolctl.control.tick import GatewayView
from coolctl.dialects.sparkplug_node import NodeSource, Reading
from coolctl.edge.mqtt import MqttClient, settings_for
from coolctl.site import Site

if TYPE_CHECKING:
    from coolctl.daemon_link import Link

GATEWAY_SILENT_S = 15.0
# Metric, term of a decision, unit, dead band: what moves with every sample is told when it has moved by what matters.
KPIS = (
    ("KPI/IT Power", "it_w", "W", 500.0),
    ("KPI/Cooling Power", "measured_w", "W", 200.0),
    ("KPI/Cooling Power Model", "model_w", "W", 200.0),
    ("KPI/Cooling Power Baseline", "baseline_w", "W", 200.0),
    ("KPI/Hottest Rack Inlet", "hottest_c", "degC", 0.05),
    ("KPI/Outdoor Wet Bulb", "oawb_c", "degC", 0.05),
    ("KPI/Ride Through", "ride_through_s", "s", 5.0),
    ("KPI/Single Failure Capability", "weakest_ratio", "ratio", 0.01),
)


def bd_seq_of(path: Path) -> int:
    """Number of the last connection, as an earlier process left it; -1 where there is none."""
    try:
        return int(path.read_text(encoding="ascii")) % 256
    except (OSError, ValueError):
        return -1


def node_readings(d: Decision) -> dict[str, Reading]:
    """Mode, setpoints and key figures of a decision."""
    terms, points = d.terms, d.site.table
    found = {
        "Properties/Version": Reading(__version__),
        "Properties/Site": Reading(d.site.name),
        "Mode/Now": Reading(d.mode),
        "Mode/Granted": Reading(d.granted),
        "Mode/Reason": Reading(d.mode_reason[:200]),
        "Mode/Policy In Charge": Reading(d.policy_used),
        "Mode/Alarm": Reading(bool(d.alarm)),
        "KPI/Rack Inlet Limit": Reading(float(d.site.file.limits.rack_inlet_limit_c), "degC"),
    }
    found |= {name: Reading(float(terms[term]), unit, band) for name, term, unit, band in KPIS}
    vectors = {"Value": d.wire(d.u), "Proposed": d.wire(d.u_policy), "Baseline": d.wire(d.u_baseline)}
    for k, i in enumerate(d.site.u_point):
        if d.site.accepted[k]:
            p = points.points[i]
            found |= {f"Setpoints/{p.id}/{kind}": Reading(v.get(p.id, float("nan")), p.unit) for kind, v in vectors.items()}
    return found


def gateway_readings(d: Decision, link: Link) -> dict[str, Reading]:
    """The gateway as the daemon hears it: who holds its lease and what it has applied."""
    gateway = link.gateway
    assert gateway is not None
    found = {
        "Remote": Reading(not gateway.local),
        "Hand": Reading(gateway.hand),
        "Epoch": Reading(int(gateway.epoch)),
        "Holder": Reading(gateway.holder),
    }
    points = d.site.table
    for k, i in enumerate(d.site.u_point):
        if d.site.accepted[k]:
            p = points.points[i]
            value = link.applied.get(p.id, float("nan")) if not gateway.local else float("nan")
            found[f"Applied/{p.id}"] = Reading(float(value), p.unit)
    return found


class NodeLink:
    """The connection of the edge node; `tell` once a tick."""

    def __init__(self, site: Site, broker: str, memory: Path, clock_ms: Callable[[], int] = lambda: round(1e3 * time.time())):
        self._memory, self._clock_ms = memory, clock_ms
        s = site.file.sparkplug
        self.source = NodeSource(s.group, s.node, bd_seq_of(memory))
        settings = settings_for(site, broker, "daemon")
        settings = settings._replace(client_id=f"coolctl-node-{site.name}")
        self.client = MqttClient(settings, [self.source.command_topic], death=self._will, qos=1)
        self._connects = 0
        self._was_alive = False

    def _will(self) -> tuple[str, bytes]:
        """In the connecting thread, before each connection: the number outlives this process."""
        will = self.source.will()
        with contextlib.suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            self._memory.write_text(str(self.source.bd_seq), encoding="ascii")
        return will

    def news(self) -> str:
        """What has become of the node since the last look, in words."""
        alive, before = self.source.born and self.client.ready, self._was_alive
        self._was_alive = alive
        if alive == before:
            return ""
        return "the edge node is born" if alive else f"the edge node is not heard: {self.client.last_error or 'no link'}"

    def tell(self, decision: Decision, view: GatewayView, link: Link) -> None:
        """Work the link, then say what is new. While it is down nothing is kept for later: the birth says everything."""
        self.client.run_until(time.monotonic())
        while self.client.inbox:
            message = self.client.inbox.popleft()
            if not message.retained:
                self.source.take(message.topic, message.payload)
        if not self.client.ready:
            return
        if self.client.connects != self._connects:
            self._connects, self.source.born = self.client.connects, False
        heard = link.gateway is not None and view.age_s <= GATEWAY_SILENT_S
        devices = {"Gateway": gateway_readings(decision, link)} if heard else {}
        for topic, payload in self.source.data(node_readings(decision), devices, self._clock_ms()):
            if not self.client.publish(topic, payload):
                self.source.born = False  # what was lost is in the next birth
                return

    def close(self) -> None:
        """Die aloud, then leave."""
        self.client.publish(*self.source.death())
        self.client.close()
