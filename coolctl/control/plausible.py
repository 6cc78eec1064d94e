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
from coolctl.control.objective import limits_of, makeup_of_worth, penalty_w, weighted_w
from coolctl.jit import kernel
from coolctl.num import clamp
from coolctl.thermal.plant import OUTPUTS, PLACES, air_side, plant_of, water_side
from coolctl.thermal.room import HallParams

F64 = NDArray[np.float64]

# What calibration follows comes first, in its order; the last two are added, all others are factors.
DOUBTS = (*GAINS, "tower_ua", "plates_ua", "coil_ua", "chiller_capacity", "lift_exponent", "part_load_bend")
D_FAN, D_CHW, D_CW, D_TOWER_FAN, D_EIR, D_TOWER_UA, D_PLATES_UA, D_COIL_UA, D_CAPACITY, D_LIFT, D_BEND = range(len(DOUBTS))
UNFOLLOWED_SD = (0.09, 0.09, 0.09, 0.09, 0.20, 0.09)  # records within 15 %, the lift's exponent between 0.3 and 1
LIFT_EXPONENT_MIN, LIFT_EXPONENT_MAX = 0.0, 1.2
DRAWN_SD_MAX = 1.7  # a uniform spread ends there
RECOVERY_RATIO = 0.02  # of a crossed limit's price: 4 kW a kelvin
FAN_POWER, COIL_UA = (HallParams._fields.index(n) for n in ("fan_power_nom_w", "coil_ua_nom_wk"))
CAPACITY, PLR1, PLR2 = PLACES.chiller.capacity_ref_w, PLACES.chiller.plr1, PLACES.chiller.plr2
LIFT_EXPONENT, EIR_SCALE = PLACES.chiller.lift_exponent, PLACES.chiller.eir_scale
TOWER_FAN, TOWER_UA, PLATES_UA = PLACES.tower.fan_power_nom_w, PLACES.tower.ua_scale, PLACES.economizer.ua_nom_wk
CHW_EFFICIENCY, CW_EFFICIENCY = PLACES.chw_pump.efficiency_ratio, PLACES.cw_pump.efficiency_ratio


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
def varied(plant: F64, d: F64) -> F64:
    """The plant's row with one row of `draws` in it."""
    found = plant.copy()
    found[CAPACITY] *= d[D_CAPACITY]
    found[PLR1] += d[D_BEND]
    found[PLR2] -= d[D_BEND]
    found[LIFT_EXPONENT] = clamp(plant[LIFT_EXPONENT] + d[D_LIFT], LIFT_EXPONENT_MIN, LIFT_EXPONENT_MAX)
    found[EIR_SCALE] *= d[D_EIR]
    found[TOWER_FAN] *= d[D_TOWER_FAN]
    found[TOWER_UA] *= d[D_TOWER_UA]
    found[PLATES_UA] *= d[D_PLATES_UA]
    found[CHW_EFFICIENCY] /= d[D_CHW]
    found[CW_EFFICIENCY] /= d[D_CW]
    return found


@kernel
def weighed_w(u: F64, w: F64, halls: F64, plant: F64, doubts: F64, limits: F64, trial: F64, out: F64) -> float:
    """Mean cost [W] of the setpoints `u` over the plausible plants `doubts`. `trial` (as `halls`) and `out` are scratch."""
    total_w, lim = 0.0, limits_of(limits)
    for k in range(doubts.shape[0]):
        d = doubts[k]
        trial[:] = halls
        for h in range(halls.shape[0]):
            trial[h, FAN_POWER] *= d[D_FAN]
            trial[h, COIL_UA] *= d[D_COIL_UA]
        p = plant_of(varied(plant, d))
        air_side(u, w, trial, p, out)
        water_side(u, w, p, out)
        makeup_of_worth(u, w, p, lim, out)
        total_w += weighted_w(lim.makeup_wkgs, out) + RECOVERY_RATIO * penalty_w(u, trial, p, lim, out)
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

    def weigh(self, u: F64, w: F64, halls: F64, plant: F64, limits: F64) -> float:
        """Mean cost [W] of the setpoints `u`."""
        return float(weighed_w(u, w, halls, plant, self._doubts, limits, self._trial, self._out))
