"""Plants that the controller's model has got wrong: true parameters and sensor biases drawn from named distributions.

With half-width P, every factor is uniform in 1 ± P. What has a physical range of its own (leakage, recirculation, hot
spots, the knee of the server fans) moves by P / 0.15 of the way from nominal to a uniform draw over that range; lift
exponent and part-load curve are shape errors. Sensors are off by up to 0.5 K and 2 % of IT power at P = 0.15. The seed
is the plant's, never the controller's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.points import ROLES, Point
from sim_plant import params
from sim_plant.params import PlantRecord

F64 = NDArray[np.float64]

FULL = 0.15  # the half-width at which ranges and biases are drawn in full
LEAK, RECIRCULATION, KNEE_C = (0.03, 0.10), (0.01, 0.04), (22.0, 25.0)
HOT_SPOT_GAIN = (2.0 / 3.0, 4.0 / 3.0)  # of the nominal gain
LIFT_EXPONENT = (0.3, 1.0)
BIAS_K, BIAS_IT_RATIO = 0.5, 0.02
SCALED_PLANT = (
    "chw_pump_eta", "cw_pump_eta", "hx_ua", "chw_friction_pa", "cw_friction_pa", "hx_dp_pa",
)  # fmt: skip
SCALED_CHILLER = ("capacity_nom_w", "cop_ref")
SCALED_TOWER = ("ntu_coefficient", "fan_power_nom_w")
SCALED_HALL = (params.H_FAN_W, params.H_UA, params.H_FAN_SHARE, params.H_FAN_SLOPE)


class Truth(NamedTuple):
    """One drawn plant: record, hall rows, rack gains' factor, and per point an offset and a factor of its reading."""

    record: PlantRecord
    rows: F64
    hot_spot_factor: float
    offset: F64
    factor: F64


def draw(record: PlantRecord, rows: F64, points: tuple[Point, ...], half_width: float, seed: int) -> Truth:
    """A plant at `half_width` of mismatch; zero gives the nominal one."""
    rng = np.random.default_rng([seed, 811])
    share = min(half_width / FULL, 2.0)

    def scale() -> float:
        return float(rng.uniform(1.0 - half_width, 1.0 + half_width))

    def towards(nominal: float, span: tuple[float, float]) -> float:
        return float(nominal + share * (rng.uniform(*span) - nominal))

    chiller = record.chiller._replace(**{n: getattr(record.chiller, n) * scale() for n in SCALED_CHILLER})
    chiller = chiller._replace(lift_exponent=towards(chiller.lift_exponent, LIFT_EXPONENT))
    # Part load: the same power at full load, a straighter or rounder curve below.
    bend = float(rng.uniform(-1.0, 1.0)) * half_width
    chiller = chiller._replace(plr1=chiller.plr1 + bend, plr2=chiller.plr2 - bend)
    tower = record.tower._replace(**{n: getattr(record.tower, n) * scale() for n in SCALED_TOWER})
    record = record._replace(chiller=chiller, tower=tower, **{n: getattr(record, n) * scale() for n in SCALED_PLANT})
    rows = rows.copy()
    for row in rows:
        for column in SCALED_HALL:
            row[column] *= scale()
        row[params.H_LEAK] = towards(row[params.H_LEAK], LEAK)
        row[params.H_RECIRC] = towards(row[params.H_RECIRC], RECIRCULATION)
        row[params.H_KNEE] = towards(row[params.H_KNEE], KNEE_C)
    temperatures = np.array([ROLES[p.role].suffix == "c" for p in points])
    it_power = np.array([p.role == "it_power" for p in points])
    offset = np.where(temperatures, rng.uniform(-BIAS_K, BIAS_K, len(points)) * share, 0.0)
    factor = np.where(it_power, 1.0 + rng.uniform(-BIAS_IT_RATIO, BIAS_IT_RATIO, len(points)) * share, 1.0)
    return Truth(record, rows, towards(1.0, HOT_SPOT_GAIN), offset, factor)
