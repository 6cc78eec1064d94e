"""Plants that the true one might as well be, and what a plan costs on all of them.

Calibration leaves some doubt in the power of every machine, and cannot follow heat transfer, capacity and the shape of
the chillers' curves at all. Fixed draws within those doubts stand beside the fitted model; where a search ended is judged by
its mean cost over them, with its setpoints as they are, because setpoints are what the plant will get. Limits that a draw
crosses cost what it takes to recover, not the price that keeps a search inside them: feedback will see them.

Only ends of searches are weighed so, which decides on machines. Searching on the mean itself was tried and left out: the
best setpoints for the fitted model lie on limits, and are the best for the mean as well, within half a percent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.control.calibrate import GAINS, PRIOR_SD
from coolctl.control.objective import Limits, penalty_w, weighted_w
from coolctl.jit import kernel
from coolctl.num import clamp
from coolctl.thermal.chiller import ChillerParams
from coolctl.thermal.economizer import EconomizerParams
from coolctl.thermal.plant import OUTPUTS, PlantParams, evaluate_plant
from coolctl.thermal.pump_fan import PumpParams
from coolctl.thermal.room import HallParams
from coolctl.thermal.tower import TowerParams

F64 = NDArray[np.float64]

# What calibration follows comes first, in its order; the last two are added, all others are factors.
DOUBTS = (*GAINS, "tower_ua", "plates_ua", "coil_ua", "chiller_capacity", "lift_exponent", "part_load_bend")
D_FAN, D_CHW, D_CW, D_TOWER_FAN, D_EIR, D_TOWER_UA, D_PLATES_UA, D_COIL_UA, D_CAPACITY, D_LIFT, D_BEND = range(len(DOUBTS))
UNFOLLOWED_SD = (0.09, 0.09, 0.09, 0.09, 0.20, 0.09)  # records within 15 %, the lift's exponent between 0.3 and 1
LIFT_EXPONENT_MIN, LIFT_EXPONENT_MAX = 0.0, 1.2
DRAWN_SD_MAX = 1.7  # a uniform spread ends there
RECOVERY_RATIO = 0.02  # of a crossed limit's price: 4 kW a kelvin
FAN_POWER, COIL_UA = (HallParams._fields.index(n) for n in ("fan_power_nom_w", "coil_ua_nom_wk"))


def scores(count: int) -> F64:
    """`count` (even) draws of standard scores, a row each, in pairs that mirror each other: their mean is the model."""
    half = np.clip(np.random.default_rng(2026).standard_normal((count // 2, len(DOUBTS))), -DRAWN_SD_MAX, DRAWN_SD_MAX)
    half /= np.sqrt((half * half).mean(axis=0))
    return np.concatenate([half, -half])


def draws(drawn: F64, gain_sd: F64 | None) -> F64:
    """Factors and offsets `DOUBTS`, a plausible plant a row, for the scores `drawn`; `gain_sd` is what calibration leaves."""
    followed = np.full(len(GAINS), PRIOR_SD) if gain_sd is None else gain_sd
    spread = drawn * np.concatenate([followed, UNFOLLOWED_SD])
    found = np.exp(spread)
    found[:, D_LIFT:] = spread[:, D_LIFT:]
    return found


@kernel
def varied(p: PlantParams, d: F64) -> PlantParams:
    """The plant `p` with one row of `draws` in it."""
    c, t, e, chw, cw = p.chiller, p.tower, p.economizer, p.chw_pump, p.cw_pump
    chiller = ChillerParams(
        c.capacity_ref_w * d[D_CAPACITY], c.cop_ref, c.cap0, c.cap1, c.cap2, c.cap3, c.cap4, c.cap5,
        c.eir0, c.eir1, c.eir2, c.eir3, c.eir4, c.eir5, c.plr0, c.plr1 + d[D_BEND], c.plr2 - d[D_BEND],
        c.chwst_fit_min_c, c.chwst_fit_max_c, c.cwst_fit_min_c, c.cwst_fit_max_c, c.plr_min, c.lift_min_k,
        clamp(c.lift_exponent + d[D_LIFT], LIFT_EXPONENT_MIN, LIFT_EXPONENT_MAX), c.eir_scale * d[D_EIR],
        c.condenser_flow_nom_kgs,
    )  # fmt: skip
    tower = TowerParams(
        t.air_flow_nom_kgs, t.fan_power_nom_w * d[D_TOWER_FAN], t.water_flow_nom_kgs, t.ntu_coefficient,
        t.ntu_exponent, t.speed_min_ratio, t.ua_scale * d[D_TOWER_UA], t.makeup_ratio,
    )  # fmt: skip
    plates = EconomizerParams(e.present, e.ua_nom_wk * d[D_PLATES_UA], e.flow_nom_kgs, e.pressure_drop_nom_pa, e.parallel)
    chw_pump = PumpParams(
        chw.flow_nom_kgs, chw.head_static_pa, chw.head_friction_pa, chw.efficiency_ratio / d[D_CHW], chw.power_floor_w
    )
    cw_pump = PumpParams(cw.flow_nom_kgs, cw.head_static_pa, cw.head_friction_pa, cw.efficiency_ratio / d[D_CW], cw.power_floor_w)
    return PlantParams(
        chiller, p.chillers, p.chillers_redundant, p.evaporator_flow_nom_kgs, p.evaporator_min_ratio, tower, p.cells,
        chw_pump, p.chw_pumps, p.chw_flow_nom_kgs, cw_pump, p.cw_pumps, plates, p.loop_volume_m3, p.buffer_m3,
        p.primary_secondary, p.primary_head_pa,
    )  # fmt: skip


@kernel
def weighed_w(u: F64, w: F64, halls: F64, p: PlantParams, doubts: F64, lim: Limits, trial: F64, out: F64) -> float:
    """Mean cost [W] of the setpoints `u` over the plausible plants `doubts`. `trial` (as `halls`) and `out` are scratch."""
    total_w = 0.0
    for k in range(doubts.shape[0]):
        d = doubts[k]
        trial[:] = halls
        for h in range(halls.shape[0]):
            trial[h, FAN_POWER] *= d[D_FAN]
            trial[h, COIL_UA] *= d[D_COIL_UA]
        plant = varied(p, d)
        evaluate_plant(u, w, trial, plant, out)
        total_w += weighted_w(lim, out) + RECOVERY_RATIO * penalty_w(u, trial, plant, lim, out)
    mean_w = total_w / doubts.shape[0]
    return mean_w if mean_w == mean_w else np.inf


class Plausible:
    """The plausible plants of one site."""

    def __init__(self, count: int, halls: F64):
        self._scores = scores(count)
        self._doubts = draws(self._scores, None)
        self._trial, self._out = np.empty_like(halls), np.zeros(len(OUTPUTS))

    def follow(self, gain_sd: F64 | None) -> None:
        """Take what calibration leaves in doubt now."""
        self._doubts = draws(self._scores, gain_sd)

    def weigh(self, u: F64, w: F64, halls: F64, p: PlantParams, lim: Limits) -> float:
        """Mean cost [W] of the setpoints `u`."""
        return float(weighed_w(u, w, halls, p, self._doubts, lim, self._trial, self._out))
