"""The site file's shape: every table and key with its unit, range and meaning. `site.py` reads and cross-checks it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from coolctl.edge_schema import (
    DsxTable,
    GatewayTable,
    MetricsTable,
    MqttTable,
    NeuronTable,
    PointTableRow,
    RecorderTable,
    SparkplugTable,
    TelemetryTable,
    WebTable,
)
from coolctl.measure_schema import ReportTable, SwitchbackTable
from coolctl.schema_base import Celsius, Count, Name, NonNegative, Positive, Ratio, Table

CELL_FLOW_MIN_RATIO = 0.45
"""Water that keeps the fill of a tower cell wet, of its design."""


class SiteTable(Table):
    name: Name
    timezone: str = "UTC"
    altitude_m: Annotated[float, Field(ge=-430, le=5500)] = 0.0
    pressure_pa: Annotated[float, Field(ge=5e4, le=1.1e5)] | None = None
    """Measured barometric pressure; else it follows from the altitude."""
    simulated: bool = False
    """The clock of a simulated plant drives the loop. Never true at a real plant."""
    description: str = ""


class HallTable(Table):
    name: Name
    it_power_nom_w: Positive
    racks: Annotated[int, Field(ge=1, le=4096)]
    crahs: Count
    crah: Name
    """Name of the equipment record of its CRAHs."""
    servers: Name
    """Name of the equipment record of its servers."""
    leak_ratio: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Share of supplied air that returns unused."""
    recirculation_ratio: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Share of server air that is drawn from the hot side even at full supply."""
    hot_spot_gain: Annotated[float, Field(ge=1, le=10)] = 3.0
    """How much more recirculation the worst rack sees than the mean."""
    hot_spot_offset_k: NonNegative = 0.5
    """How much warmer the worst rack is at full supply."""
    misc_heat_w: NonNegative = 0.0
    structure_jk: Positive = 60e6
    """Heat capacity of walls, racks and floor."""
    crah_worst_ua_ratio: Annotated[float, Field(ge=0.2, le=1)] = 1.0
    """Conductance of the hall's weakest CRAH coil over that of the others."""
    coil_bypass_ratio: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the air that touches no cold metal: below the dew point the rest is dried, and the water carries that heat."""
    makeup_air_m3h_per_mw: NonNegative = 500.0
    """Outdoor air of the simulated hall."""
    makeup_humidity_max_kgkg: Annotated[float, Field(ge=0.002, le=0.03)] = 0.0105
    """Where its make-up unit stops drying it."""


class ChillersTable(Table):
    count: Count
    record: Name
    capacity_nom_w: Positive
    evaporator_flow_nom_kgs: Positive
    condenser_flow_nom_kgs: Positive
    evaporator_flow_min_ratio: Ratio = 0.4
    evaporator_flow_max_ratio: Annotated[float, Field(ge=1, le=2)] = 1.25
    redundant: Annotated[int, Field(ge=0, le=100)] = 1
    """Machines beyond what the design load needs (N+x)."""


class TowersTable(Table):
    cells: Count
    record: Name
    cwst_min_c: Celsius = 6.0
    """Coldest water the basin may reach."""
    concentration_cycles: Annotated[float, Field(ge=1.5, le=20)] = 4.0
    """How often the basin's water is concentrated before it is blown down."""


class PumpsTable(Table):
    count: Count
    record: Name


class EconomizerTable(Table):
    record: Name
    topology: Literal["series", "parallel"] = "series"
    """On the condenser side. `series`: tower water passes the plates, then the condensers; `parallel`: each has its own
    pumps, and the condensers get water straight from the towers. The chilled water is pre-cooled in either."""


class LoopTable(Table):
    volume_m3: Positive
    """Water in pipes and machines."""
    buffer_m3: NonNegative = 0.0
    """Water in a buffer tank in the supply."""
    on_ups: bool = True
    """Pumps and CRAH fans keep running through a power dip."""
    arrangement: Literal["primary", "primary_secondary"] = "primary"
    """`primary`: one variable flow through chillers and halls, a bypass for the least; `primary_secondary`: each chiller
    has a pump at its design flow, and what the halls draw beyond that flows back through the decoupler, warm."""
    primary_head_pa: Positive = 80e3
    """Of `primary_secondary`: what a primary pump lifts."""


class LimitsTable(Table):
    rack_inlet_limit_c: Celsius = 26.0
    """Hottest rack inlet that ordinary control keeps to."""
    rack_inlet_recommended_c: Celsius = 27.0
    rack_inlet_alarm_c: Celsius = 30.0
    """Above it for some ticks: emergency."""
    rack_inlet_allowable_c: Celsius = 32.0
    """The servers' own allowable limit; ride-through ends there."""
    rack_inlet_margin_k: NonNegative = 0.3
    """Warm-direction moves stop this far below the limit."""
    inlet_rate_max_k_per_15min: Positive = 5.0
    inlet_rate_max_k_per_h: Positive = 20.0
    dewpoint_margin_k: NonNegative = 2.0
    """Supply air stays this far above the room's dew point."""
    ride_through_margin_s: NonNegative = 60.0
    """Ride-through must exceed a chiller's restart by this."""
    airflow_ratio_min: Annotated[float, Field(ge=1, le=2)] = 1.03
    """Supplied over drawn air that is never gone below."""
    remaining_capacity_ratio: Annotated[float, Field(ge=1, le=2)] = 1.05
    """A machine is stopped only if the rest carries the load times this."""
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
    """Least running time."""
    chiller_off_s: NonNegative = 1800.0
    """Least time stopped."""
    chiller_between_starts_s: NonNegative = 600.0
    """Least time between two starts in the plant."""
    tower_cell_s: NonNegative = 600.0
    economizer_s: NonNegative = 1200.0


class ControlTable(Table):
    """Who may do what, and how long evidence must be clean before the policy is in charge."""

    start_mode: Literal["monitor", "shadow", "advise", "bounded", "auto", "fallback", "release"] = "monitor"
    """Granted until an operator grants another."""
    policy: str = "default"
    """`default`, a folder with a policy and its passport, or `none`."""
    clean_s: Annotated[float, Field(ge=300, le=86400)] = 300.0
    """Seconds of undisturbed evidence before the policy is in charge."""
    refine_period_s: Annotated[float, Field(ge=10, le=900)] = 60.0
    """How often setpoints are optimised anew."""
    plausible_plants: Annotated[int, Field(ge=0, le=64, multiple_of=2)] = 0
    """How many plants, drawn from what calibration cannot know, a plan is weighed on; 0 = the fitted model alone."""
    authority_k: Positive = 3.0
    """In `bounded` mode: how far temperatures may leave the rule baseline."""
    authority_ratio: Positive = 0.15
    """In `bounded` mode: the same for speeds, pressure and flow."""
    calibrate: bool = True
    """Let the model's gains follow what the meters say."""
    quorum_ratio: Annotated[float, Field(ge=0.3, le=1)] = 0.5
    """Share of each hall's rack sensors that must be good."""


class PromotionTable(Table):
    """What must have been seen before a grant of `bounded` or `auto` reaches so far."""

    required: bool | None = None
    """Default: yes, but not for a simulated plant."""
    shadow_h: NonNegative = 24.0
    """Hours watched, in whatever mode that sees the plant, before `bounded`."""
    bounded_h: NonNegative = 72.0
    """Hours in `bounded` without a broken invariant before `auto`."""
    cv_max: Positive = 0.2
    nmbe_max: Positive = 0.1
    """Highest bias (NMBE) of the modelled cooling power against the meters, `cv_max` its highest CV(RMSE)."""


class Rule(Table):
    """How the plant itself handles a setpoint that it does not accept from outside."""

    rule: Literal["fixed", "load_ratio", "per_chiller", "integrated", "non_integrated", "approach", "demand"]
    value: float | None = None
    """Of `fixed`: the setpoint in internal units; of `approach`: kelvin above wet bulb."""
    up: float | None = None
    """Of `load_ratio`: part load for one machine more."""
    down: float | None = None
    """Of `load_ratio`: part load of the rest for one machine less."""
    dwell_s: NonNegative | None = None
    """Of `load_ratio`: how long it must hold."""


RULE_ALIASES = {"chiller_staging": "chillers_on_sp", "cw_pumps": "cw_flow_sp", "economizer": "economizer_on_sp"}
"""Names of the trade that `[plant.rules]` takes beside the setpoints' own."""


class PlantTable(Table):
    accepts: list[str]
    """Setpoints that may be set from outside; the rest is the plant's own business."""
    rules: dict[str, Rule] = {}
    """How the plant handles each setpoint that it does not accept."""

    def rule_for(self, setpoint: str) -> Rule | None:
        """The plant's own rule for a setpoint, under its name with or without `_sp`, or the trade's."""
        names = [setpoint, setpoint.removesuffix("_sp"), *(a for a, meant in RULE_ALIASES.items() if meant == setpoint)]
        return next((self.rules[n] for n in names if n in self.rules), None)


class WeatherTable(Table):
    station: str = ""
    """Statistics for the simulated plant's weather."""
    wetbulb_design_c: Celsius = 26.0
    """Assumed once weather has been silent for an hour."""


class BandTable(Table):
    """Hours of the day, in local time, with a price of their own. The first that fits counts."""

    from_h: Annotated[float, Field(ge=0, lt=24)]
    to_h: Annotated[float, Field(gt=0, le=24)]
    price_per_kwh: Annotated[float, Field(ge=-5, le=100)]
    months: list[Annotated[int, Field(ge=1, le=12)]] = list(range(1, 13))


class TariffTable(Table):
    currency: str = "CNY"
    price_per_kwh: NonNegative = 0.6
    """Outside of all bands."""
    water_price_per_m3: NonNegative = 0.0
    bands: Annotated[list[BandTable], Field(max_length=200)] = []
    source: str = ""


class CarbonTable(Table):
    factor_kg_per_kwh: NonNegative = 0.5
    """Of the grid; name its `source`. A point `carbon_factor` takes precedence."""
    source: str = ""


class ObjectiveTable(Table):
    """What the optimiser minimises: the weighted sum of these. Default: energy alone."""

    energy_weight: NonNegative = 1.0
    """Worth of a kWh of electricity in itself."""
    price_weight: NonNegative = 0.0
    """Worth of a unit of money spent on electricity and water."""
    carbon_weight: NonNegative = 0.0
    """Worth of a kg of CO2 emitted."""
    water_weight: NonNegative = 0.0
    """Worth of a m³ of make-up water in itself."""
    precool_max_k: Annotated[float, Field(ge=0, le=8)] = 0.0
    """How far chilled water may be cooled ahead of a dearer hour; 0 = not at all."""


class GridFile(Table):
    """A place's electricity beside any site: tables that take the place of the site file's own."""

    format_version: Literal[1]
    tariff: TariffTable | None = None
    carbon: CarbonTable | None = None
    objective: ObjectiveTable | None = None


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
    promotion: PromotionTable = PromotionTable()
    switchback: SwitchbackTable = SwitchbackTable()
    plant: PlantTable
    weather: WeatherTable = WeatherTable()
    mqtt: MqttTable = MqttTable()
    gateway: GatewayTable = GatewayTable()
    dsx: DsxTable = DsxTable()
    sparkplug: SparkplugTable = SparkplugTable()
    neuron: NeuronTable = NeuronTable()
    telemetry: TelemetryTable = TelemetryTable()
    points: Annotated[list[PointTableRow], Field(min_length=1)]
    tariff: TariffTable = TariffTable()
    carbon: CarbonTable = CarbonTable()
    objective: ObjectiveTable = ObjectiveTable()
    metrics: MetricsTable = MetricsTable()
    web: WebTable = WebTable()
    report: ReportTable = ReportTable()
    recorder: RecorderTable = RecorderTable()
