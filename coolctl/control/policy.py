"""The learned policy's interface: what it is shown, what its outputs mean, and when it must not be asked.

Outputs are relative quantities, so that one network serves sites of other sizes: supply air below the inlet limit,
chilled water below supply air, condenser water above wet bulb, flows and counts as ratios.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.control.objective import Z_CHWST, Z_CW_FLOW, Z_CWST, Z_HALL
from coolctl.jit import kernel
from coolctl.psychro import CP_AIR_JKGK, CP_WATER_JKGK
from coolctl.thermal.plant import W_HALL, W_OADB, W_OAWB, W_PRESSURE, PlantParams
from coolctl.thermal.pump_fan import WATER_DENSITY_KGM3
from coolctl.thermal.room import HallParams

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]


class Feature(NamedTuple):
    """A network input: name with unit, and the range it is trained for."""

    name: str
    low: float
    high: float


FEATURES = (
    Feature("load_ratio", 0.10, 1.05),
    Feature("oawb_c", -15.0, 30.0),
    Feature("wetbulb_depression_k", 0.0, 20.0),
    Feature("pressure_pa", 70e3, 104e3),
    Feature("inlet_limit_c", 22.0, 27.0),
    Feature("chwst_cap_c", 8.0, 20.0),
    Feature("dewpoint_c", -10.0, 18.0),
    Feature("chillers_available_ratio", 0.0, 1.0),
    Feature("makeup_worth_kwhm3", 0.0, 60.0),
    Feature("economizer_present", 0.0, 1.0),
    Feature("economizer_parallel", 0.0, 1.0),
    Feature("primary_secondary", 0.0, 1.0),
    Feature("chiller_size_ratio", 0.3, 1.2),
    Feature("tower_water_ratio", 0.5, 2.0),
    Feature("chiller_eir_ratio", 0.11, 0.30),
    Feature("lift_exponent", 0.0, 1.2),
    Feature("crah_fan_power_ratio", 0.01, 0.12),
    Feature("chw_pump_power_ratio", 0.004, 0.04),
    Feature("cw_pump_power_ratio", 0.004, 0.04),
    Feature("tower_fan_power_ratio", 0.005, 0.05),
    Feature("tower_ntu", 0.5, 2.5),
    Feature("economizer_ntu", 0.0, 5.0),
    Feature("coil_ntu", 0.6, 3.0),
    Feature("hot_spot_k", 0.2, 3.0),
    Feature("server_fan_knee_c", 20.0, 28.0),
)
OUTPUTS = (
    "sat_below_limit_k", "chwst_below_sat_k", "cwst_over_wetbulb_k", "cw_flow_ratio", "airflow_ratio",
    "chiller_share_ratio", "economizer_on",
)  # fmt: skip
Y_SAT, Y_CHWST, Y_CWST, Y_CW_FLOW, Y_AIRFLOW, Y_CHILLERS, Y_ECONOMIZER = range(len(OUTPUTS))

LOW = np.array([f.low for f in FEATURES], dtype=np.float32)
HIGH = np.array([f.high for f in FEATURES], dtype=np.float32)
DEWPOINT_UNKNOWN_C = 12.0
KWHM3_PER_WKGS = WATER_DENSITY_KGM3 / 3.6e6


class Policy(Protocol):
    """An admitted network: features in, outputs back; float32 arrays of one row."""

    model_hash: str

    def infer(self, features: F32) -> F32: ...


class Situation(NamedTuple):
    """Numbers that the features need beside the estimate."""

    inlet_limit_c: float
    chwst_cap_c: float
    chillers_available: float
    makeup_wkgs: float = 0.0


def describe(halls: F64, p: PlantParams) -> tuple[float, ...]:
    """What the network is told of the plant, free of its size: the features from `economizer_present` on.

    Powers are at the design point, over IT power for the air and chilled water side, over duty capacity for the other;
    a calibrated model describes the plant as it has become.
    """
    column = {name: halls[:, k] for k, name in enumerate(HallParams._fields)}
    it_w = float(column["it_power_nom_w"].sum())
    duty = max(p.chillers - p.chillers_redundant, 1.0)
    duty_w = duty * p.chiller.capacity_ref_w
    heads_pa = [pump.head_static_pa + pump.head_friction_pa for pump in (p.chw_pump, p.cw_pump)]
    chw_w = p.chw_flow_nom_kgs * heads_pa[0] / (WATER_DENSITY_KGM3 * p.chw_pump.efficiency_ratio)
    cw_w = duty * p.chiller.condenser_flow_nom_kgs * heads_pa[1] / (WATER_DENSITY_KGM3 * p.cw_pump.efficiency_ratio)
    water_over_air = p.tower.water_flow_nom_kgs / p.tower.air_flow_nom_kgs
    economizer_ntu = p.economizer.ua_nom_wk / (p.economizer.flow_nom_kgs * CP_WATER_JKGK)
    recirculated_k = column["recirculation_ratio"] * column["server_delta_t_nom_k"]
    return (
        p.economizer.present,
        p.economizer.parallel,
        p.primary_secondary,
        it_w / duty_w,
        p.cells * p.tower.water_flow_nom_kgs / (p.chillers * p.chiller.condenser_flow_nom_kgs),
        p.chiller.eir_scale / p.chiller.cop_ref,
        p.chiller.lift_exponent,
        float((column["crahs"] * column["fan_power_nom_w"]).sum()) / it_w,
        chw_w / it_w,
        cw_w / duty_w,
        p.cells * p.tower.fan_power_nom_w / duty_w,
        p.tower.ua_scale * p.tower.ntu_coefficient * water_over_air ** (1.0 + p.tower.ntu_exponent),
        economizer_ntu if p.economizer.present > 0.5 else 0.0,
        float(column["coil_ua_nom_wk"].sum()) / (float(column["air_flow_nom_kgs"].sum()) * CP_AIR_JKGK),
        float((column["hot_spot_gain"] * recirculated_k + column["hot_spot_offset_k"]).max()),
        float(column["server_fan_knee_c"].mean()),
    )


def features(est: Estimate, s: Situation, it_nom_w: float, plant: tuple[float, ...], chillers: float) -> F32:
    """The feature vector [1 × features], float32, for the plant that `describe` gave and its number of chillers."""
    w = est.w
    dewpoint_c = est.dewpoint_c if est.dewpoint_c == est.dewpoint_c else DEWPOINT_UNKNOWN_C
    row = (
        float(w[W_HALL:].sum()) / it_nom_w,
        w[W_OAWB],
        w[W_OADB] - w[W_OAWB],
        w[W_PRESSURE],
        s.inlet_limit_c,
        s.chwst_cap_c,
        dewpoint_c,
        s.chillers_available / chillers,
        s.makeup_wkgs * KWHM3_PER_WKGS,
        *plant,
    )
    return np.array([row], dtype=np.float32)


OUTSIDE_SLACK = 0.1
OUTPUT_MAX = 1e3  # nothing that a network could mean comes near it
_LEAST, _MOST = LOW - OUTSIDE_SLACK * (HIGH - LOW), HIGH + OUTSIDE_SLACK * (HIGH - LOW)


def outside(x: F32) -> str:
    """Name of the first feature outside its trained range by more than a tenth of it, or nothing; NaN is outside."""
    k = _first_outside(x, _LEAST, _MOST)
    return FEATURES[k].name if k < len(FEATURES) else ""


@kernel
def _first_outside(x: F32, least: F32, most: F32) -> int:
    for k in range(least.shape[0]):
        if not least[k] <= x[0, k] <= most[k]:
            return k
    return least.shape[0]


def labels(z: F64, chillers: float, economizer: float, w: F64, limit_c: float, heat_w: float, p: PlantParams) -> F32:
    """Network outputs that stand for an optimum: the inverse of `decode`, halls averaged."""
    sat_c, airflow = float(z[Z_HALL::2].mean()), float(z[Z_HALL + 1 :: 2].mean())
    share = chillers * p.chiller.capacity_ref_w / heat_w
    return np.array(
        [limit_c - sat_c, sat_c - z[Z_CHWST], z[Z_CWST] - w[W_OAWB], z[Z_CW_FLOW], airflow, share, economizer],
        dtype=np.float32,
    )


def usable(y: F32) -> bool:
    """Whether `y` [outputs] can be decoded: all are there, known, and of a size that an output may have."""
    return y.shape == (len(OUTPUTS),) and all(abs(v) <= OUTPUT_MAX for v in y.tolist())


def decode(y: F32, w: F64, limit_c: float, halls: int, p: PlantParams) -> tuple[F64, float, float]:
    """Free variables, chillers and economizer that network outputs `y` [outputs] ask for; not yet limited."""
    z, asked = np.empty(Z_HALL + 2 * halls), y.tolist()
    sat_c = limit_c - asked[Y_SAT]
    z[Z_CHWST] = sat_c - asked[Y_CHWST]
    z[Z_CWST] = w[W_OAWB] + asked[Y_CWST]
    z[Z_CW_FLOW] = asked[Y_CW_FLOW]
    z[Z_HALL::2] = sat_c
    z[Z_HALL + 1 :: 2] = asked[Y_AIRFLOW]
    heat_w = float(w[W_HALL:].sum())
    chillers = float(np.floor(asked[Y_CHILLERS] * heat_w / p.chiller.capacity_ref_w + 0.5))
    economizer = 1.0 if asked[Y_ECONOMIZER] > 0.5 and p.economizer.present > 0.5 else 0.0
    chillers = min(max(chillers, 0.0 if economizer else 1.0), p.chillers)
    return z, chillers, economizer
