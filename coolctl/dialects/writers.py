"""The way of writing that a site's gateway is given, with what it needs to know of the plant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coolctl.dialects.decoder import Decoder
from coolctl.dialects.dsx_out import DsxWriter
from coolctl.dialects.neuron_out import NeuronWriter
from coolctl.dialects.output import Output
from coolctl.dialects.sparkplug_out import HostState, SparkplugWriter
from coolctl.points import Point

if TYPE_CHECKING:
    from coolctl.site import Site


def setpoints_of(site: Site) -> list[Point]:
    """The setpoints that the plant accepts."""
    return [site.table.points[i] for k, i in enumerate(site.u_point) if i >= 0 and site.accepted[k]]


def revert_s(site: Site) -> float:
    """How long the plant waits in silence before it takes its own setpoints [s]."""
    f = site.file
    tables = {"dsx": f.dsx.revert_s, "sparkplug-b": f.sparkplug.revert_s, "neuron": f.neuron.revert_s}
    return max(f.gateway.bms_ttl_s, tables.get(f.gateway.dialect, 0.0))


def writer_for(site: Site, decoder: Decoder, state: HostState) -> Output | None:
    """Of the site's `[gateway] dialect`; None for `json`, the lease itself. `decoder` then hears what setpoints read back."""
    f, setpoints = site.file, setpoints_of(site)
    if f.gateway.dialect == "dsx":
        return DsxWriter(setpoints, f.dsx.integration, f.dsx.heartbeat, f.mqtt.payload_max_bytes)
    if f.gateway.dialect == "json":
        return None
    own = site.topic("sp")  # of a row that names no topic: nothing reads back there
    for i, p in enumerate(decoder.table.points):
        if p.writable and p.topic != own:
            decoder.read_back(i)
    if f.gateway.dialect == "sparkplug-b":
        return SparkplugWriter(setpoints, decoder.host, f.sparkplug.heartbeat, state, f.gateway.readback_s)
    n = f.neuron
    size_max = f.mqtt.payload_max_bytes
    return NeuronWriter(setpoints, n.request_topic, n.answer_topic, n.heartbeat, size_max, f.gateway.readback_s)
