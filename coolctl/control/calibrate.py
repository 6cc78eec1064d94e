"""Online calibration: how far the plant's machines are from the model, as one bounded gain each.

Each gain is the logarithm of a factor, followed by a scalar Kalman filter on what meters and thermometers say of that
machine alone, in steady moments only. An innovation that does not fit is refused; many in a row freeze the gain and say
so. The gains go to the optimiser; the shield keeps the nominal model.

Only power factors are followed. Heat transfer of plates and towers was tried and left out: approaches of 3 K read by
thermometers half a kelvin off gave factors up to 40 % wrong, and plans up to 7 % dearer than without.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.control.sums import pairwise_sum
from coolctl.jit import kernel
from coolctl.num import first_order
from coolctl.psychro import CP_WATER_JKGK
from coolctl.thermal import chiller, pump_fan, tower
from coolctl.thermal.air import air_density_kgm3
from coolctl.thermal.plant import (
    W_HALL,
    W_OADB,
    W_PRESSURE,
    PlantParams,
    chw_pump_w,
    condenser_units,
    condenser_water_kgs,
    cw_pump_w,
)
from coolctl.thermal.room import HallParams

if TYPE_CHECKING:
    from coolctl.site import Site

F64 = NDArray[np.float64]

GAINS = ("crah_fan", "chw_pump", "cw_pump", "tower_fan", "chiller_eir")
PRIOR_SD = 0.15
BOUND = math.log(1.5)  # a machine further from its record than this is a wrong meter or a wrong record
MEASURED_SD, DRIFT_SD = 0.30, 1.5e-3  # per observation: errors of one sensor are alike from one moment to the next
AGE_SD_PER_DAY = 0.01  # of what is known from before a restart
OBSERVE_EVERY_S = 10.0
STEADY_S, STEADY_TAU_S, STEADY_RATIO, STEADY_K = 180.0, 120.0, 0.02, 0.3
REFUSED_IN_A_ROW = 30
POWER_MIN_W, LOAD_MIN_RATIO, SPEED_MIN = 500.0, 0.15, 0.3


class Gain(NamedTuple):
    """One gain as a person sees it: factor, its relative uncertainty, and whether it is frozen."""

    name: str
    factor: float
    sd_ratio: float
    frozen: bool


# What is held of load and water to see whether they stand still.
Q_LOAD_W, Q_CWST_C, Q_CHWST_C, Q_STEADY_S = range(4)


@kernel
def follow_steadiness(w: F64, cwst_c: float, chwst_c: float, dt_s: float, s: F64) -> float:
    """Seconds since load and water last moved, for the state `s`: a transient tells of heat stored, not of machines."""
    load_w = pairwise_sum(w[W_HALL:])
    if math.isnan(s[Q_LOAD_W]):
        s[Q_LOAD_W], s[Q_CWST_C], s[Q_CHWST_C] = load_w, cwst_c, chwst_c
    moved = abs(load_w - s[Q_LOAD_W]) > STEADY_RATIO * s[Q_LOAD_W]
    moved = moved or not abs(cwst_c - s[Q_CWST_C]) < STEADY_K or not abs(chwst_c - s[Q_CHWST_C]) < STEADY_K
    s[Q_LOAD_W] = first_order(s[Q_LOAD_W], load_w, STEADY_TAU_S, dt_s)
    # A thermometer that falls silent is not known to stand still, and begins anew.
    s[Q_CWST_C] = cwst_c if math.isnan(cwst_c) else first_order(s[Q_CWST_C], cwst_c, STEADY_TAU_S, dt_s)
    s[Q_CHWST_C] = chwst_c if math.isnan(chwst_c) else first_order(s[Q_CHWST_C], chwst_c, STEADY_TAU_S, dt_s)
    s[Q_STEADY_S] = 0.0 if moved else s[Q_STEADY_S] + dt_s
    return float(s[Q_STEADY_S])


class Calibrator:
    """Follows the gains of one site; `observe` every tick, `calibrated` gives the model that fits."""

    def __init__(self, site: Site, halls: F64, p: PlantParams):
        table = site.table
        self._p, self._halls = p, halls.copy()
        self._hall = [HallParams(*row.tolist()) for row in halls]
        self._meters = {r: table.by_role(f"{r}_power") for r in ("crah_fan", "chw_pump", "cw_pump", "tower", "chiller")}
        self._tower_speed, self._cw_flow = table.one("tower_speed"), table.one("cw_flow")
        self.log = np.zeros(len(GAINS))
        self.variance = np.full(len(GAINS), PRIOR_SD**2)
        self.refused = np.zeros(len(GAINS), dtype=np.int64)
        self._still = np.array([np.nan, np.nan, np.nan, 0.0])
        self._observed_s = -np.inf

    def observe(self, est: Estimate, value: F64, dt_s: float) -> None:
        """Take what is measured now; `value` is the snapshot's, NaN where not good."""
        steady_s = follow_steadiness(est.w, est.plant["cwst"], est.plant["chwst"], dt_s, self._still)
        if steady_s < STEADY_S or not est.quorum or 0.0 <= est.now_s - self._observed_s < OBSERVE_EVERY_S:
            return
        self._observed_s = est.now_s
        for name, seen in self._observations(est, value):
            if seen == seen:
                self._update(GAINS.index(name), seen)

    def calibrated(self) -> tuple[F64, PlantParams]:
        """Halls and plant with the gains in."""
        fan, chw, cw, tower_fan, eir = np.exp(self.log).tolist()
        halls, p = self._halls.copy(), self._p
        halls[:, HallParams._fields.index("fan_power_nom_w")] *= fan
        return halls, p._replace(
            chw_pump=p.chw_pump._replace(efficiency_ratio=p.chw_pump.efficiency_ratio / chw),
            cw_pump=p.cw_pump._replace(efficiency_ratio=p.cw_pump.efficiency_ratio / cw),
            tower=p.tower._replace(fan_power_nom_w=p.tower.fan_power_nom_w * tower_fan),
            chiller=p.chiller._replace(eir_scale=p.chiller.eir_scale * eir),
        )

    @property
    def steady_s(self) -> float:
        """For how long load and water have stood still [s]."""
        return float(self._still[Q_STEADY_S])

    def known(self) -> dict[str, list[float]]:
        """What has been learnt, to be kept over a restart: per gain its logarithm and variance."""
        return {name: [float(x), float(v)] for name, x, v in zip(GAINS, self.log, self.variance, strict=True)}

    def restore(self, known: dict[str, list[float]], age_s: float = 0.0) -> None:
        """Start from what was learnt `age_s` [s] ago. What is no gain, or out of bounds, is left at the prior."""
        for k, name in enumerate(GAINS):
            pair = known.get(name) if isinstance(known, dict) else None
            if not (isinstance(pair, list) and len(pair) == 2 and all(type(x) is float for x in pair)):
                continue
            log, variance = pair
            if abs(log) <= BOUND and 0.0 < variance <= PRIOR_SD**2:
                self.log[k] = log
                self.variance[k] = min(variance + AGE_SD_PER_DAY**2 * max(age_s, 0.0) / 86400.0, PRIOR_SD**2)

    def sd(self) -> F64:
        """Doubt that is left in each of `GAINS`: standard deviations of their logarithms."""
        return np.sqrt(self.variance)

    def gains(self) -> list[Gain]:
        """All gains, for people and metrics."""
        sd = self.sd()
        frozen = self.refused >= REFUSED_IN_A_ROW
        return [Gain(n, math.exp(x), float(s), bool(f)) for n, x, s, f in zip(GAINS, self.log, sd, frozen, strict=True)]

    def _update(self, k: int, seen: float) -> None:
        """Scalar Kalman step on the logarithm `seen`."""
        self.variance[k] += DRIFT_SD**2
        total = self.variance[k] + MEASURED_SD**2
        innovation = seen - self.log[k]
        if abs(seen) > BOUND or abs(innovation) > BOUND:
            self.refused[k] = min(self.refused[k] + 1, REFUSED_IN_A_ROW)
            return
        self.refused[k] = 0
        share = self.variance[k] / total
        self.log[k] = min(max(self.log[k] + share * innovation, -BOUND), BOUND)
        self.variance[k] *= 1.0 - share

    def _observations(self, est: Estimate, value: F64) -> list[tuple[str, float]]:
        """What each machine says of its gain now, as a logarithm; NaN where it says nothing."""
        power = {name: float(value[i].sum()) if len(i) else math.nan for name, i in self._meters.items()}
        return [
            ("crah_fan", _ratio(power["crah_fan"], self._fan_w(est))),
            ("chw_pump", _ratio(power["chw_pump"], self._chw_pump_w(est))),
            *self._condenser(est, value, power),
        ]

    def _fan_w(self, est: Estimate) -> float:
        total_w = 0.0
        for h, hall in enumerate(self._hall):
            speed, sat_c = float(est.fan_speed[h]), float(est.sat_c[h])
            if not speed >= SPEED_MIN:
                return math.nan
            density = air_density_kgm3(sat_c, est.w[W_PRESSURE])
            total_w += hall.crahs * pump_fan.fan_power_w(
                speed, density, hall.fan_power_nom_w, hall.fan_exponent, hall.fan_power_floor_w
            )
        return total_w

    def _chw_pump_w(self, est: Estimate) -> float:
        p, flow_kgs = self._p, est.plant["chw_flow"]
        if not flow_kgs > LOAD_MIN_RATIO * p.chw_flow_nom_kgs:
            return math.nan
        return float(chw_pump_w(flow_kgs, est.plant["chw_dp"], est.plant["chillers_on"], est.plant["economizer_on"], p))

    def _condenser(self, est: Estimate, value: F64, power: dict[str, float]) -> list[tuple[str, float]]:
        """Condenser pumps, towers, chillers: all need the condenser water's flow."""
        p, plant = self._p, est.plant
        cw_kgs = float(value[self._cw_flow]) if self._cw_flow >= 0 else math.nan
        speed = float(value[self._tower_speed]) if self._tower_speed >= 0 else math.nan
        units = condenser_units(plant["chillers_on"], plant["economizer_on"], p)
        if not (cw_kgs > 1.0 and units > 0.5):
            return []
        pump_w = float(cw_pump_w(cw_kgs, plant["chillers_on"], plant["economizer_on"], p))
        cells = max(plant["tower_cells_on"], 1.0)
        found = [("cw_pump", _ratio(power["cw_pump"], pump_w))]
        if speed >= SPEED_MIN:
            fan_w = cells * tower.fan_power_w(speed, est.w[W_OADB], est.w[W_PRESSURE], p.tower)
            found += [("tower_fan", _ratio(power["tower"], fan_w))]
        return [*found, ("chiller_eir", self._eir(est, cw_kgs, power["chiller"]))]

    def _eir(self, est: Estimate, cw_kgs: float, seen_w: float) -> float:
        """From the meter of chillers that carry the load alone: the share of plates that move heat is not measured."""
        p, plant = self._p, est.plant
        n, plates = plant["chillers_on"], plant["economizer_on"]
        if not n > 0.5 or (plates > 0.5 and not plant["cwst"] > plant["chwrt"]):
            return math.nan
        each_w = plant["chw_flow"] * CP_WATER_JKGK * (plant["chwrt"] - plant["chwst"]) / n
        if not each_w > LOAD_MIN_RATIO * p.chiller.capacity_ref_w:
            return math.nan
        each_kgs = float(condenser_water_kgs(n, plates, cw_kgs, p))
        each_power_w, _ = chiller.power_w(each_w, plant["chwst"], plant["cwst"], each_kgs, p.chiller)
        return _ratio(seen_w, n * each_power_w)


def _ratio(seen_w: float, model_w: float) -> float:
    """Logarithm of measured over modelled power; NaN where either is too small to tell."""
    return math.log(seen_w / model_w) if seen_w > POWER_MIN_W and model_w > POWER_MIN_W else math.nan
