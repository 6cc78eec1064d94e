"""How far the calibrated model is from the meters on the recorded stretch, and what that says of another way to drive.

A counterfactual's energy is a model's: it is as uncertain as that model. For each machine two parts are put together. What the
model gets wrong from one condition to another on the record (its scatter over bins of wet bulb and load) stays wrong in the
same proportion; and what the other way changes of a machine's energy is known no better than a gain that nobody has calibrated.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.calibrate import PRIOR_SD
from coolctl.points import U_CELLS, U_CWST
from coolctl.savings.measurement.normalise import Fit, fit_statistics
from coolctl.savings.measurement.paired import Interval
from coolctl.savings.measurement.recorded import MACHINES, Model, Powers, Reader, Stretch, powers_at
from coolctl.thermal.plant import CP_WATER_JKGK, O_CW_FLOW, O_CWRT, O_CWST, W_OAWB, W_PRESSURE, PlantParams
from coolctl.thermal.tower import leaving_water_c

F64 = NDArray[np.float64]

WETBULB_STEP_K, LOAD_STEP_RATIO = 4.0, 0.1
HOUR_S, BIN_MIN_H = 3600.0, 0.5
SCALE_BOUNDS = (0.5, 2.0)  # beyond: a wrong meter or a wrong record, not a model to be scaled
Z_95 = 1.96
# Where server fans begin to speed up is between 22 and 25 °C, and no meter of a hall tells: at inlets about there, what they draw
# beyond idle is a fifth of the model's or twice as much.
SERVER_FAN_SD = 0.6
TOWER, TOWER_SAMPLES, TOWER_HALVINGS, TOWER_K_MAX = MACHINES.index("tower"), 400, 9, 4.0
WORST_HOURS = 8


class Fitted(NamedTuple):
    """The calibrated model on its record, and its errors.

    `sd_ratio` is each machine's error from condition to condition [ratio of its energy], `inlet_sd_k` the hottest inlet's.
    """

    model: Model
    on_record: Powers
    sd_ratio: F64
    inlet_bias_k: F64
    inlet_sd_k: float
    fit: Fit


def fit_model(reader: Reader, s: Stretch) -> Fitted:
    """The model with the gains of the record, each machine scaled to its meter, each hall's hot spot moved to its racks."""
    halls, p = reader.calibrator.calibrated()
    unscaled, level = np.ones(len(MACHINES)), np.zeros(len(halls))
    fit = _hourly_fit(s, powers_at(Model(halls, p, unscaled, level), s, s.u).watts)
    tower_k = _tower_k(halls, p, s)
    model = Model(halls, p, unscaled, level, tower_k)
    watts, inlets_c, server_fan_w = powers_at(model, s, s.u)
    off_k = np.where(np.isfinite(s.hottest_c), s.hottest_c - inlets_c, np.nan)
    bias_k = np.array([float(np.nanmean(k)) if np.isfinite(k).any() else 0.0 for k in off_k.T])
    scale = np.ones(len(MACHINES))
    for m in range(len(MACHINES)):
        known = np.isfinite(s.meters_w[:, m]) & np.isfinite(watts[:, m])
        modelled_j = float(watts[known, m] @ s.dt_s[known])
        if modelled_j > 0.0:
            scale[m] = np.clip(float(s.meters_w[known, m] @ s.dt_s[known]) / modelled_j, *SCALE_BOUNDS)
    model = Model(halls, p, scale, bias_k, tower_k)
    watts, inlets_c = watts * scale, inlets_c + bias_k
    left_k = s.hottest_c - inlets_c
    sd_k = float(np.sqrt(np.nanmean(left_k**2))) if np.isfinite(left_k).any() else np.nan
    return Fitted(model, Powers(watts, inlets_c, server_fan_w), _sd_ratio(s, watts), bias_k, sd_k, fit)


def _tower_k(halls: F64, p: PlantParams, s: Stretch) -> float:
    """By how much wider an approach the towers make the water that was measured at the speed that was measured [K].

    From speed and water, not from power: fans that run flat out for a setpoint out of reach draw the same whatever the approach.
    Bounded; nought where speed or condenser water is not metered.
    """
    known = np.flatnonzero((s.tower_speed >= p.tower.speed_min_ratio) & np.isfinite(s.meters_w[:, TOWER]))
    known = known[:: max(len(known) // TOWER_SAMPLES, 1)]
    model, cases = Model(halls, p, np.ones(len(MACHINES)), np.zeros(len(halls))), []
    for k in known:
        model.look(s.u[k], s.w[k], s.dewpoint_c[k])
        cells, out = max(s.u[k][U_CELLS], 1.0), model.out
        rejected_w = (out[O_CWRT] - out[O_CWST]) * out[O_CW_FLOW] * CP_WATER_JKGK
        if rejected_w > 0.0:
            cases.append((k, out[O_CW_FLOW] / cells, rejected_w / cells))

    def warmer_k(wider_k: float) -> float:
        made = [leaving_water_c(min(s.tower_speed[k], 1.0), kgs, w, s.w[k, W_OAWB] + wider_k, s.w[k, W_PRESSURE], p.tower)
                for k, kgs, w in cases]  # fmt: skip
        return float(np.mean(np.array(made) - s.u[[k for k, _kgs, _w in cases], U_CWST]))

    low, high = -TOWER_K_MAX, TOWER_K_MAX
    for _ in range(TOWER_HALVINGS if cases else 0):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if warmer_k(middle) > 0.0 else (middle, high)
    return 0.5 * (low + high)


def places(s: Stretch, it_nom_w: float = 1.0) -> NDArray[np.int64]:
    """Number of each sample's bin of wet bulb and IT load [2 × samples]."""
    load = s.it_w / it_nom_w
    return np.stack([np.floor(s.w[:, W_OAWB] / WETBULB_STEP_K), np.floor(load / LOAD_STEP_RATIO)]).astype(np.int64)


def _sd_ratio(s: Stretch, watts: F64) -> F64:
    """Each machine's error over the bins, as a ratio of its energy; a gain's prior where no meter tells."""
    it_nom_w = max(float(s.it_w.max()), 1.0) if s.size else 1.0
    _bins, place = np.unique(places(s, it_nom_w), axis=1, return_inverse=True)
    found = np.full(len(MACHINES), PRIOR_SD)
    for m in range(len(MACHINES)):
        known = np.isfinite(s.meters_w[:, m]) & np.isfinite(watts[:, m])
        seen, modelled, hours = (
            np.bincount(place[known], weights=x[known])
            for x in (s.meters_w[:, m] * s.dt_s, watts[:, m] * s.dt_s, s.dt_s / HOUR_S)
        )
        enough = hours >= BIN_MIN_H
        if enough.any() and modelled[enough].sum() > 0.0:
            # Of the energy, so that a machine's bin counts by what it draws there.
            share = modelled[enough] / modelled[enough].sum()
            error = (seen[enough] - modelled[enough]) / np.maximum(modelled[enough], 1e-9)
            found[m] = np.sqrt(share @ np.minimum(np.abs(error), 1.0) ** 2)
    return found


def _hourly_fit(s: Stretch, watts: F64) -> Fit:
    """CV(RMSE) and NMBE of all cooling, hour by hour, with the gains and before each machine is brought to its meter."""
    seen, modelled, _hours = hourly(s, watts)
    if len(seen) < 3:
        return Fit(np.nan, np.nan, len(seen), len(MACHINES), np.nan)
    return fit_statistics(seen, modelled, 1)


def hourly(s: Stretch, watts: F64) -> tuple[F64, F64, F64]:
    """Metered and modelled energy of all cooling [kWh] of each hour that is mostly known, and when the hour began [s]."""
    known = np.isfinite(s.meters_w).all(axis=1) & np.isfinite(watts).all(axis=1)
    hour = np.floor(s.clock_s[known] / HOUR_S)
    begins, place = np.unique(hour, return_inverse=True)
    dt_s = s.dt_s[known]
    seen = np.bincount(place, weights=s.meters_w[known].sum(axis=1) * dt_s) / 3.6e6
    modelled = np.bincount(place, weights=watts[known].sum(axis=1) * dt_s) / 3.6e6
    full = np.bincount(place, weights=dt_s) >= 0.5 * HOUR_S
    return seen[full], modelled[full], begins[full] * HOUR_S


def saving(fitted: Fitted, recorded_kwh: F64, other_kwh: F64) -> Interval:
    """Saving of the other way against the recorded one [ratio of all cooling], each machine's energy [kWh], 95 % interval."""
    total = float(recorded_kwh.sum())
    if not total > 0.0:
        return Interval(np.nan, np.nan, np.nan)
    known = np.zeros(len(other_kwh))  # server fans behind the machines: what they draw now is in the meters of IT
    known[: len(MACHINES)] = fitted.sd_ratio
    stays = known * other_kwh
    moved_sd = np.full(len(other_kwh), SERVER_FAN_SD)
    moved_sd[: len(MACHINES)] = PRIOR_SD
    moves = moved_sd * (other_kwh - recorded_kwh)
    half = Z_95 * float(np.sqrt(np.sum(stays**2 + moves**2))) / total
    middle = 1.0 - float(other_kwh.sum()) / total
    return Interval(middle, middle - half, middle + half)


def by_condition(s: Stretch, watts: F64, it_nom_w: float) -> list[dict[str, Any]]:
    """Bias (NMBE) and CV(RMSE) of the samples in each bin of wet bulb [°C] and load [ratio of design], with its hours."""
    known = np.isfinite(s.meters_w).all(axis=1) & np.isfinite(watts).all(axis=1)
    bins, place = np.unique(places(s, it_nom_w)[:, known], axis=1, return_inverse=True)
    seen, modelled, dt_s = s.meters_w[known].sum(axis=1), watts[known].sum(axis=1), s.dt_s[known]
    rows = []
    for k, (wet, load) in enumerate(bins.T.tolist()):
        mine = place == k
        hours, mean_w = float(dt_s[mine].sum()) / HOUR_S, float(seen[mine].mean())
        if hours < BIN_MIN_H or not mean_w > 0.0:
            continue
        error_w = seen[mine] - modelled[mine]
        rows.append({
            "oawb_from_c": wet * WETBULB_STEP_K, "oawb_to_c": (wet + 1) * WETBULB_STEP_K,
            "load_from_ratio": round(load * LOAD_STEP_RATIO, 3), "load_to_ratio": round((load + 1) * LOAD_STEP_RATIO, 3),
            "hours": hours, "nmbe_ratio": float(error_w.mean()) / mean_w,
            "cv_rmse_ratio": float(np.sqrt((error_w**2).mean())) / mean_w,
        })  # fmt: skip
    return rows


def worst_hours(s: Stretch, watts: F64) -> list[dict[str, float]]:
    """The hours in which the model was furthest from the meters, worst first."""
    seen, modelled, begins_s = hourly(s, watts)
    order = np.argsort(-np.abs(seen - modelled))[:WORST_HOURS]
    return [
        {"from_s": float(begins_s[k]), "measured_kwh": float(seen[k]), "modelled_kwh": float(modelled[k]),
         "error_ratio": float((seen[k] - modelled[k]) / max(seen[k], 1e-9))}
        for k in order
    ]  # fmt: skip


def energies_kwh(s: Stretch, watts: F64) -> F64:
    """Energy of each machine over the samples whose powers are all known [kWh]."""
    known = np.isfinite(watts).all(axis=1)
    return (watts[known] * s.dt_s[known, None]).sum(axis=0) / 3.6e6  # type: ignore[no-any-return]


def error_of(fitted: Fitted) -> dict[str, Any]:
    """The model's error on the record, for JSON and page."""
    f = fitted.fit
    return {
        "hours": f.steps, "hourly_cv_rmse_ratio": f.cv_rmse, "hourly_nmbe_ratio": f.nmbe, "inlet_sd_k": fitted.inlet_sd_k,
        "tower_approach_k": fitted.model.tower_k, "scale": dict(zip(MACHINES, fitted.model.scale.tolist(), strict=True)),
        "sd_ratio": dict(zip(MACHINES, fitted.sd_ratio.tolist(), strict=True)),
    }  # fmt: skip


def plain(value: Any) -> Any:
    """Numbers that JSON knows; what is not known is null."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
