"""The site file's shape: every table and key with its unit, range and meaning. `site.py` reads and cross-checks it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from coolctl.schema_base import Celsius, Count, Name, NonNegative, Positive, Ratio, Table


class SiteTable(Table):
    name: Name
    timezone: str = "UTC"
    altitude_m: Annotated[float, Field(ge=-430, le=5500)] = 0.0
    pressure_pa: Annotated[float, Field(ge=5e4, le=1.1e5)] | None = None
    simulated: bool = False
    description: str = ""


class HallTable(Table):
    name: Name
    it_power_nom_w: Positive
    racks: Count
    crahs: Count
    crah: Name
    servers: Name
    leak_ratio: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    recirculation_ratio: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    hot_spot_gain: Annotated[float, Field(ge=1, le=10)] = 3.0
    hot_spot_offset_k: NonNegative = 0.5
    misc_heat_w: NonNegative = 0.0
    structure_jk: Positive = 60e6


class ChillersTable(Table):
    count: Count
    record: Name
    capacity_nom_w: Positive
    evaporator_flow_nom_kgs: Positive
    condenser_flow_nom_kgs: Positive
    evaporator_flow_min_ratio: Ratio = 0.4
    evaporator_flow_max_ratio: Annotated[float, Field(ge=1, le=2)] = 1.25
    redundant: Annotated[int, Field(ge=0, le=100)] = 1


class TowersTable(Table):
    cells: Count
    record: Name
    cwst_min_c: Celsius = 6.0


class PumpsTable(Table):
    count: Count
    record: Name


class EconomizerTable(Table):
    record: Name
    topology: Literal["series"] = "series"


class LoopTable(Table):
    volume_m3: Positive
    buffer_m3: NonNegative = 0.0
    on_ups: bool = True


class LimitsTable(Table):
    rack_inlet_limit_c: Celsius = 26.0
    rack_inlet_recommended_c: Celsius = 27.0
    rack_inlet_alarm_c: Celsius = 30.0
    rack_inlet_allowable_c: Celsius = 32.0
    rack_inlet_margin_k: NonNegative = 0.3
    inlet_rate_max_k_per_15min: Positive = 5.0
    inlet_rate_max_k_per_h: Positive = 20.0
    dewpoint_margin_k: NonNegative = 2.0
    ride_through_margin_s: NonNegative = 60.0
    airflow_ratio_min: Annotated[float, Field(ge=1, le=2)] = 1.03
    remaining_capacity_ratio: Annotated[float, Field(ge=1, le=2)] = 1.05
    sat_sp_min_c: Celsius = 16.0
    sat_sp_max_c: Celsius = 26.0
    fan_speed_sp_min_ratio: Ratio = 0.35
    fan_speed_sp_max_ratio: Ratio = 1.0
    chwst_sp_min_c: Celsius = 8.0
    chwst_sp_max_c: Celsius = 20.0
    chw_dp_sp_min_pa: Positive = 20e3
    chw_dp_sp_max_pa: Positive = 140e3
    cwst_sp_min_c: Celsius = 8.0
    cwst_sp_max_c: Celsius = 32.0
    cw_flow_sp_min_ratio: Annotated[float, Field(ge=0.1, le=1)] = 0.5
    cw_flow_sp_max_ratio: Annotated[float, Field(ge=0.5, le=1.5)] = 1.2


class RatesTable(Table):
    """How fast a published setpoint may move; `warm` is the direction that gives less cooling."""

    sat_sp_warm_k_per_min: Positive = 0.5
    sat_sp_cool_k_per_min: Positive = 2.0
    fan_speed_sp_down_ratio_per_s: Positive = 0.005
    fan_speed_sp_up_ratio_per_s: Positive = 0.0334
    chwst_sp_warm_k_per_min: Positive = 0.3
    chwst_sp_cool_k_per_min: Positive = 2.0
    chw_dp_sp_down_pa_per_min: Positive = 10e3
    chw_dp_sp_up_pa_per_min: Positive = 240e3
    cwst_sp_k_per_min: Positive = 0.5
    cw_flow_sp_down_ratio_per_min: Positive = 0.05
    cw_flow_sp_up_ratio_per_min: Positive = 0.2


class DwellTable(Table):
    chiller_on_s: NonNegative = 1800.0
    chiller_off_s: NonNegative = 1800.0
    chiller_between_starts_s: NonNegative = 600.0
    tower_cell_s: NonNegative = 600.0
    economizer_s: NonNegative = 1200.0


class ControlTable(Table):
    """Who may do what, and how long evidence must be clean before the policy is in charge."""

    start_mode: Literal["monitor", "shadow", "advise", "bounded", "auto", "fallback", "release"] = "monitor"
    policy: str = "default"
    clean_s: Annotated[float, Field(ge=300, le=86400)] = 300.0
    refine_period_s: Annotated[float, Field(ge=10, le=900)] = 60.0
    authority_k: Positive = 3.0
    authority_ratio: Positive = 0.15
    quorum_ratio: Annotated[float, Field(ge=0.3, le=1)] = 0.5


class Rule(Table):
    """How the plant itself handles a setpoint that it does not accept from outside."""

    rule: Literal["fixed", "load_ratio", "per_chiller", "integrated", "non_integrated", "approach", "demand"]
    value: float | None = None
    up: float | None = None
    down: float | None = None
    dwell_s: NonNegative | None = None


RULE_ALIASES = {"chiller_staging": "chillers_on_sp", "cw_pumps": "cw_flow_sp", "economizer": "economizer_on_sp"}
"""Names of the trade that `[plant.rules]` takes beside the setpoints' own."""


class PlantTable(Table):
    accepts: list[str]
    rules: dict[str, Rule] = {}

    def rule_for(self, setpoint: str) -> Rule | None:
        """The plant's own rule for a setpoint, under its name with or without `_sp`, or the trade's."""
        names = [setpoint, setpoint.removesuffix("_sp"), *(a for a, meant in RULE_ALIASES.items() if meant == setpoint)]
        return next((self.rules[n] for n in names if n in self.rules), None)


class WeatherTable(Table):
    station: str = ""
    wetbulb_design_c: Celsius = 26.0


class MqttTable(Table):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    protocol: Literal["auto", "3.1.1", "5"] = "auto"
    username: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    keepalive_s: Annotated[int, Field(ge=1, le=5)] = 5
    payload_max_bytes: Annotated[int, Field(ge=64, le=1 << 20)] = 4096
    batch_max_bytes: Annotated[int, Field(ge=1024, le=1 << 22)] = 262144


class GatewayTable(Table):
    """The enforcer's own limits: deliberately a second list, read by other code than the controller's."""

    ttl_s: Annotated[float, Field(ge=5, le=60)] = 15.0
    bms_ttl_s: Annotated[float, Field(ge=5, le=60)] = 15.0
    bms_topic: str = "coolctl/v1/{site}/bms"
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


class PointTableRow(Table):
    role: str
    machine: str = "plant"
    unit: str
    id: str | None = None
    topic: str | None = None
    dialect: str | None = None
    field: str | None = None
    age_max_s: Positive | None = None
    low: float | None = None
    high: float | None = None


class TariffTable(Table):
    currency: str = "CNY"
    price_per_kwh: NonNegative = 0.6


class CarbonTable(Table):
    factor_kg_per_kwh: NonNegative = 0.5
    source: str = ""


class MetricsTable(Table):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464


class WebTable(Table):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8077


class RecorderTable(Table):
    folder: str = ""
    rotate_s: Annotated[float, Field(ge=60, le=604800)] = 3600.0


class SiteFile(Table):
    format_version: Literal[1]
    site: SiteTable
    halls: Annotated[list[HallTable], Field(min_length=1, max_length=64)]
    chillers: ChillersTable
    towers: TowersTable
    chw_pumps: PumpsTable
    cw_pumps: PumpsTable
    economizer: EconomizerTable | None = None
    chw_loop: LoopTable
    cw_loop: LoopTable
    limits: LimitsTable = LimitsTable()
    rates: RatesTable = RatesTable()
    dwell: DwellTable = DwellTable()
    control: ControlTable = ControlTable()
    plant: PlantTable
    weather: WeatherTable = WeatherTable()
    mqtt: MqttTable = MqttTable()
    gateway: GatewayTable = GatewayTable()
    telemetry: TelemetryTable = TelemetryTable()
    points: Annotated[list[PointTableRow], Field(min_length=1)]
    tariff: TariffTable = TariffTable()
    carbon: CarbonTable = CarbonTable()
    metrics: MetricsTable = MetricsTable()
    web: WebTable = WebTable()
    recorder: RecorderTable = RecorderTable()
