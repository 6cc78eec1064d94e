"""Equipment records, config/equipment/<name>.toml: the figures of one machine, each file naming where they come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from coolctl.schema_base import Celsius, NonNegative, Positive, Ratio, Six, Table, Three


class Record(Table):
    source: Annotated[str, Field(min_length=10)]
    """Where the figures come from: catalogue, data set, measurement."""


class ChillerRecord(Record):
    kind: Literal["chiller"]
    capacity_ref_w: Positive
    """Capacity at the reference temperatures."""
    cop_ref: Annotated[float, Field(gt=1, lt=20)]
    """COP at the reference temperatures and full load."""
    chwst_ref_c: Celsius
    cwst_ref_c: Celsius
    capacity_ft: Six
    """Biquadratic of capacity over leaving chilled and entering condenser water [°C]."""
    eir_ft: Six
    """Biquadratic of electric input ratio over the same two temperatures."""
    eir_fplr: Three
    """Quadratic of electric input ratio over part load."""
    chwst_fit_c: Annotated[list[float], Field(min_length=2, max_length=2)]
    """Range of leaving chilled water that the curves were fitted in; outside they are held."""
    cwst_fit_c: Annotated[list[float], Field(min_length=2, max_length=2)]
    """Range of entering condenser water of the fit."""
    plr_min_ratio: Ratio
    lift_min_k: Positive = 6.0
    """Least temperature lift the compressor works against."""
    lift_exponent: Annotated[float, Field(ge=0, le=1.5)] = 0.8
    """How the input ratio follows lift where the curves are held."""
    start_s: Positive = 240.0
    """From start command to load."""
    restart_s: Positive = 420.0
    """From a power dip to cold water again; ride-through is measured against it."""
    load_ramp_ratio_per_min: Positive = 0.15


class TowerRecord(Record):
    kind: Literal["tower"]
    air_flow_nom_kgs: Positive
    fan_power_nom_w: Positive
    water_flow_nom_kgs: Positive
    ntu_coefficient: Annotated[float, Field(gt=0.1, lt=10)]
    """Transfer units at equal water and air flow."""
    ntu_exponent: Annotated[float, Field(gt=-1, lt=1)]
    """Exponent of the water-to-air flow ratio."""
    speed_min_ratio: Ratio = 0.1


class PumpRecord(Record):
    kind: Literal["pump"]
    flow_nom_kgs: Positive
    head_static_pa: NonNegative
    """Pressure that does not depend on flow."""
    head_friction_pa: NonNegative
    """Pressure at nominal flow that grows with its square."""
    efficiency_ratio: Annotated[float, Field(gt=0.1, le=1)]
    """Pump, motor and drive together."""
    power_floor_w: NonNegative = 100.0


class CrahRecord(Record):
    kind: Literal["crah"]
    air_flow_nom_kgs: Positive
    fan_power_nom_w: Positive
    fan_exponent: Annotated[float, Field(ge=2, le=3)] = 2.8
    """Power over speed; 3 in an ideal duct, less with constant losses."""
    fan_power_floor_w: NonNegative = 50.0
    speed_min_ratio: Ratio = 0.35
    coil_ua_nom_wk: Positive
    coil_water_flow_nom_kgs: Positive


class EconomizerRecord(Record):
    kind: Literal["economizer"]
    ua_nom_wk: Positive
    flow_nom_kgs: Positive
    pressure_drop_nom_pa: NonNegative


class ServerRecord(Record):
    kind: Literal["servers"]
    fan_power_ratio: Ratio
    """Share of IT power that server fans draw in cool air."""
    fan_slope_per_k: NonNegative
    """Rise of server fan flow per kelvin above the knee."""
    fan_knee_c: Celsius
    """Inlet temperature from which server fans speed up."""
    delta_t_nom_k: Positive
    leakage_per_k: NonNegative = 0.0
    """Rise of chip leakage power per kelvin of inlet."""


RECORDS: dict[str, type[Record]] = {
    "chiller": ChillerRecord, "tower": TowerRecord, "pump": PumpRecord, "crah": CrahRecord,
    "economizer": EconomizerRecord, "servers": ServerRecord,
}  # fmt: skip
