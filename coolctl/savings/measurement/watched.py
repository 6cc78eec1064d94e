"""What a controller in shadow would have set, and what the model makes of it: the week before anybody lets it drive.

For every sample in which it watched (modes shadow and advise): its setpoints against the plant's, the limits that bound them,
the model's power at both, and where the model was wrong. The saving is a forecast by that model, with the interval that its own
error on the record gives it; how often such intervals hold is measured on simulated plants (docs/MEASUREMENT.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.mode import MODES, WATCHING
from coolctl.control.shield import LIMITS
from coolctl.recording import Recording
from coolctl.savings.measurement.gather import runs
from coolctl.savings.measurement.model_error import (
    by_condition,
    energies_kwh,
    error_of,
    fit_model,
    hourly,
    plain,
    saving,
    worst_hours,
)
from coolctl.savings.measurement.paired import Interval
from coolctl.savings.measurement.recorded import MACHINES, Powers, Reader, Stretch, powers_at
from coolctl.site import Site
from coolctl.trace import imported, open_recording

F64 = NDArray[np.float64]

HOURS_MIN, HOUR_S = 6.0, 3600.0
LABEL = "forecast by the model at the setpoints that it would have set, NOT measured"


class Watched(NamedTuple):
    """Samples of the hours in which it watched, the forecast for them, and the runs that they come from with their first [s]."""

    site: Site
    stretch: Stretch
    model_on_record: Powers
    forecast: Powers
    saving: Interval
    model: dict[str, Any]
    begins: list[tuple[float, str]]


def watched(paths: Iterable[str], config_hash: str) -> Watched | None:
    """All runs of one configuration; None where it watched for less than some hours."""
    reader: Reader | None = None
    begins: list[tuple[float, str]] = []
    stretch: Stretch | None = None
    for path in dict.fromkeys(run for given in paths for run in runs(given)):
        if Recording(path).header.get("config_hash") != config_hash:
            continue
        recording, site, _site = open_recording(str(path))
        if imported(recording):
            continue
        reader = reader or Reader(site, recording)
        offset_s = math.ceil(stretch.clock_s[-1] / HOUR_S + 1.0) * HOUR_S if stretch is not None and stretch.size else 0.0
        begins.append((offset_s, recording.segments[0].name))
        stretch = reader.read(recording, offset_s=offset_s)
    if reader is None or stretch is None or not stretch.size:
        return None
    mine = np.isin(stretch.mode, [MODES.index(m) for m in WATCHING]) & np.isfinite(stretch.wish).all(axis=1)
    if float(stretch.dt_s[mine].sum()) < HOURS_MIN * HOUR_S:
        return None
    fitted = fit_model(reader, stretch)
    part, on_record = Stretch._make(column[mine] for column in stretch), Powers._make(c[mine] for c in fitted.on_record)
    forecast = powers_at(fitted.model, part, part.wish)
    metered = np.where(np.isfinite(part.meters_w), part.meters_w, on_record.watts)
    interval = saving(fitted, energies_kwh(part, metered), energies_kwh(part, forecast.watts))
    return Watched(reader.site, part, on_record, forecast, interval, error_of(fitted), begins)


def findings_of(w: Watched) -> dict[str, Any]:
    """What the page shows, as JSON would have it."""
    s = w.stretch
    metered = np.where(np.isfinite(s.meters_w), s.meters_w, w.model_on_record.watts)
    was, would = energies_kwh(s, metered), energies_kwh(s, w.forecast.watts)
    it_nom_w = sum(h.it_power_nom_w for h in w.site.file.halls)
    limit_c = w.site.file.limits.rack_inlet_limit_c
    return plain({  # type: ignore[no-any-return]
        "label": LABEL, "hours": float(s.dt_s.sum()) / HOUR_S, "ratio": w.saving.saving, "low_ratio": w.saving.low,
        "high_ratio": w.saving.high, "recorded_kwh": dict(zip(MACHINES, was.tolist(), strict=True)),
        "forecast_kwh": dict(zip(MACHINES, would.tolist(), strict=True)),
        "server_fans_kwh": {"recorded": float(w.model_on_record.server_fan_w @ s.dt_s) / 3.6e6,
                            "forecast": float(w.forecast.server_fan_w @ s.dt_s) / 3.6e6},
        "inlet_over_limit_h": {"recorded": _over_h(s.hottest_c, s.dt_s, limit_c),
                               "forecast": _over_h(w.forecast.inlets_c, s.dt_s, limit_c)},
        "setpoints": setpoints_of(w.site, s), "limits": limits_of(w.site, s), "model": w.model,
        "by_condition": by_condition(s, w.model_on_record.watts, it_nom_w), "worst_hours": _worst(w),
    })  # fmt: skip


def _over_h(inlets_c: F64, dt_s: F64, limit_c: float) -> float:
    hottest_c = np.where(np.isfinite(inlets_c), inlets_c, -np.inf).max(axis=1)
    return float(dt_s[hottest_c > limit_c].sum()) / HOUR_S


def setpoints_of(site: Site, s: Stretch) -> list[dict[str, Any]]:
    """Each setpoint that the plant accepts: as the plant was and as it would have been set, in the site file's units."""
    rows = []
    for k, name in enumerate(site.u_names):
        if not site.accepted[k] or site.u_point[k] < 0:
            continue
        point = site.table.points[site.u_point[k]]
        was, would = (np.array([point.encode(float(x)) for x in array[:, k]]) for array in (s.u, s.wish))
        low, high = np.quantile(would, [0.05, 0.95]).tolist()
        moved = np.average(would - was, weights=s.dt_s)
        rows.append({"name": name, "unit": point.unit, "was_mean": float(np.average(was, weights=s.dt_s)),
                     "would_mean": float(np.average(would, weights=s.dt_s)), "would_p05": low, "would_p95": high,
                     "moved_mean": float(moved)})  # fmt: skip
    return rows


def limits_of(site: Site, s: Stretch) -> list[dict[str, Any]]:
    """Limits that changed what it wished: hours and share of the time, and the setpoints that they held; most often first."""
    total_s, rows = float(s.dt_s.sum()), []
    for k, name in enumerate(LIMITS):
        held = (s.bits >> k & 1) > 0
        bound_s = float(s.dt_s[held.any(axis=1)].sum())
        if bound_s > 0.0:
            names = [n for j, n in enumerate(site.u_names) if held[:, j].any()]
            rows.append({"name": name, "hours": bound_s / HOUR_S, "ratio": bound_s / total_s, "setpoints": names})
    return sorted(rows, key=lambda row: -row["hours"])


def _worst(w: Watched) -> list[dict[str, Any]]:
    """The hours in which the model was furthest off, by the run's file and its hour."""
    rows = []
    for row in worst_hours(w.stretch, w.model_on_record.watts):
        begin_s, name = max(b for b in w.begins if b[0] <= row["from_s"])
        rows.append({"recording": name, "hour_of_run": (row.pop("from_s") - begin_s) / HOUR_S, **row})
    return rows


def power_by_hour(w: Watched) -> tuple[F64, F64, F64, F64]:
    """Hours of the record, and mean cooling power metered, in the model, and forecast [kW], for the picture."""
    seen, modelled, begins_s = hourly(w.stretch, w.model_on_record.watts)
    _seen, forecast, _begins = hourly(w.stretch, w.forecast.watts)
    return begins_s / HOUR_S, seen, modelled, forecast
