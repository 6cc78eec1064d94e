"""The tables of the site file that are about its edges: broker, gateway, points, metrics, page, recorder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from coolctl.schema_base import Celsius, Positive, Ratio, Table


class MqttTable(Table):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    protocol: Literal["auto", "3.1.1", "5"] = "auto"
    """`auto` tries 5, then 3.1.1."""
    username: str = ""
    """In this, in `password_file`, `cert_file` and `key_file` `{role}` is replaced: daemon, gateway, web, ops or plant."""
    password_file: str = ""
    """File with the password alone, readable by this user alone; never the password itself. A name without `/` is one of
    systemd's credentials."""
    tls: bool = False
    """Encrypted, and the broker's certificate checked against `ca_file`; there is no way to leave the check out."""
    ca_file: str = ""
    """Certificate of the authority that signed the broker's; empty: the system's authorities."""
    cert_file: str = ""
    """This process's own certificate, where the broker asks for one (mTLS)."""
    key_file: str = ""
    """Its key, readable by this user alone."""
    keepalive_s: Annotated[int, Field(ge=1, le=5)] = 5
    """At most 5, so that a lost link is seen."""
    payload_max_bytes: Annotated[int, Field(ge=64, le=1 << 20)] = 4096
    batch_max_bytes: Annotated[int, Field(ge=1024, le=1 << 22)] = 262144

    def for_role(self, role: str) -> MqttTable:
        """The same with each process's own identity."""
        own = {k: getattr(self, k).replace("{role}", role) for k in ("username", "password_file", "cert_file", "key_file")}
        return self.model_copy(update=own)


class GatewayTable(Table):
    """The enforcer's own limits: deliberately a second list, read by other code than the controller's."""

    ttl_s: Annotated[float, Field(ge=5, le=60)] = 15.0
    """A controller's lease ends after this."""
    bms_ttl_s: Annotated[float, Field(ge=5, le=60)] = 15.0
    """The BMS takes over this long after the gateway has fallen silent."""
    proof_test: bool = True
    """Before the first lease counts, silence must have given the plant its own control (needs the point `bms_remote`)."""
    dialect: str = "json"
    """How leased values are said to the BMS: `json` (a lease, on `bms_topic`), `dsx` (see [dsx]), `sparkplug-b` (see
    [sparkplug]) or `neuron` (see [neuron])."""
    bms_topic: str = "coolctl/v1/{site}/bms"
    """Where leased values go; `{site}` is replaced."""
    readback_s: Annotated[float, Field(ge=5, le=120)] = 30.0
    """Of `sparkplug-b` and `neuron`: a plant that says for this long that a setpoint is another than was written refuses it."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=-1, le=65535)] = 9465
    """The gateway's own metrics; 0 takes a free port, -1 serves none."""
    sat_sp_min_c: Celsius = 15.0
    sat_sp_max_c: Celsius = 27.0
    fan_speed_sp_min_ratio: Ratio = 0.3
    chwst_sp_min_c: Celsius = 5.0
    chwst_sp_max_c: Celsius = 21.0
    chw_dp_sp_min_pa: Positive = 15e3
    chw_dp_sp_max_pa: Positive = 200e3
    cwst_sp_min_c: Celsius = 5.0
    cwst_sp_max_c: Celsius = 33.0
    cw_flow_sp_min_ratio: Ratio = 0.45
    cw_flow_sp_max_ratio: Annotated[float, Field(ge=0.5, le=1.6)] = 1.3
    temperature_step_max_k_per_s: Positive = 0.2
    fan_step_max_ratio_per_s: Positive = 0.1
    dp_step_max_pa_per_s: Positive = 4e3


class TelemetryTable(Table):
    """Defaults of every point that does not say otherwise."""

    topic: str = "coolctl/v1/{site}/tel"
    dialect: str = "json"
    age_max_s: Positive = 5.0
    """Older than this is stale."""


class DsxTable(Table):
    """The BMS Event Bus: names agreed with the BMS, for points and setpoints of the dialect `dsx`."""

    integration: str = "coolctl"
    """This controller's identifier; it stands in the topics of the setpoints and in the BMS's metadata of them."""
    bms_heartbeat: str = ""
    """Topic of the BMS's heartbeat: `BMS/v1/PUB/Value/System/HeartbeatTimestampBms/…`."""
    heartbeat: str = ""
    """Topic of ours, as the BMS's metadata has it: `BMS/v1/{integration}/Value/System/HeartbeatTimestampIntegration/…`."""
    bms_silent_max_s: Annotated[float, Field(ge=10, le=120)] = 30.0
    """Without a heartbeat of the BMS for this long none of its values is believed."""
    revert_s: Annotated[float, Field(ge=10, le=35)] = 30.0
    """The BMS takes its own setpoints this long after our heartbeat has stopped: ask its integrator."""


class SparkplugTable(Table):
    """Sparkplug B: this controller as a host application, and as an edge node."""

    host: str = ""
    """Identifier under which `spBv1.0/STATE/…` is kept, by the gateway where it writes `sparkplug-b`, else by the daemon; empty:
    no state is published."""
    reorder_s: Annotated[float, Field(ge=0.1, le=30)] = 2.0
    """A missing sequence number may come this much later, then a rebirth is asked for."""
    heartbeat: str = ""
    """Metric of every device with setpoints that the gateway counts up every 10 s while it has a lease."""
    revert_s: Annotated[float, Field(ge=15, le=60)] = 30.0
    """A device takes its own setpoints this long after its heartbeat has stopped: ask its integrator."""
    group: str = ""
    """Group in which the daemon is an edge node itself, for a SCADA system to see; empty: it is none."""
    node: str = "coolctl"
    """Its name there."""


class NeuronTable(Table):
    """EMQX Neuron: topics of its MQTT application for writing, and the heartbeat beside the setpoints."""

    request_topic: str = ""
    """Its parameter *Write Request Topic*."""
    answer_topic: str = ""
    """Its parameter *Write Response Topic*."""
    heartbeat: str = ""
    """Tag in every group with setpoints that the gateway counts up every 10 s while it has a lease."""
    revert_s: Annotated[float, Field(ge=15, le=60)] = 30.0
    """A machine takes its own setpoints this long after its heartbeat has stopped: ask its integrator."""


class PointTableRow(Table):
    role: str
    """What it is: see `coolctl points`."""
    machine: str = "plant"
    """`plant`, a hall, or a pattern such as `hall1.rack*`."""
    unit: str
    """Unit on the wire."""
    id: str | None = None
    """Default: machine and role."""
    topic: str | None = None
    """Default: that of [telemetry]; `{site}`, `{point}` and `{machine}` are replaced."""
    dialect: str | None = None
    """`json`, `scalar`, `dsx`, `sparkplug-b`, `neuron`, `telegraf` or `thingsboard`: see docs/MQTT.md."""
    field: str | None = None
    """Which value of a message, default the id; `{point}` and `{machine}` are replaced. Its form is the dialect's."""
    age_max_s: Positive | None = None
    """Default: that of [telemetry]; of a `dsx` point at least 110, because it is repeated every 100 s."""
    low: float | None = None
    """Plausible range, in internal units; outside is refused."""
    high: float | None = None
    """See `low`."""


class MetricsTable(Table):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """0 takes a free one."""


class WebTable(Table):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8077


class RecorderTable(Table):
    folder: str = ""
    """Empty: nothing is recorded."""
    rotate_s: Annotated[float, Field(ge=60, le=604800)] = 3600.0
    """A new file after this."""
