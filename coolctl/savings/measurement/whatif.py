"""What another controller, other limits or another site file would have done with the load and weather of a recording.

The record is of a plant that was driven otherwise, so its measurements cannot answer: the other way is driven on the calibrated
model (twin.py), and every figure comes with the error of that model on the recorded stretch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.calibrate import Calibrator
from coolctl.control.decision import Decision
from coolctl.control.mode import MODES
from coolctl.control.policy import Policy
from coolctl.control.tick import IN_PROCESS, Tick
from coolctl.controller import BASELINES
from coolctl.errors import RecordingError
from coolctl.points import U_CHILLERS
from coolctl.recording import Recording
from coolctl.savings.measurement.model_error import Z_95, Fitted, error_of, fit_model, plain, saving
from coolctl.savings.measurement.recorded import MACHINES, Model, Powers, Reader, Stretch
from coolctl.savings.measurement.twin import Twin
from coolctl.site import Site
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import O_SERVER_FAN

F64 = NDArray[np.float64]

LABEL = (
    "driven otherwise on the calibrated model, from the record's load and weather: NOT measured; "
    "the intervals are the model's own error on the recorded stretch"
)
SAMPLES_MIN = 60
SKIP_S = 1800.0  # the beginning is the record's own plant in either case, as in `evaluate`


class Wanted(NamedTuple):
    """The other way: a policy, or one of the rule baselines by name, the mode granted, and the site with its limits."""

    site: Site
    policy: Policy | None
    rules: str
    granted: str


class Driven(NamedTuple):
    """The other way, a row for each sample: seconds of the run and seconds it stands for, machines' powers [W], halls' hottest
    inlets [°C], server fans beyond idle [W], setpoints, mode (code), chiller starts until then."""

    clock_s: F64
    dt_s: F64
    watts: F64
    hottest_c: F64
    server_fan_w: F64
    u: F64
    mode: F64
    starts: F64


class Story(NamedTuple):
    """The record, the model fitted to it, the other way; `filled` are setpoints that the record does not know, and seconds."""

    stretch: Stretch
    fitted: Fitted
    other: Driven
    filled: dict[str, float]


def tell(
    original: Site, recording: Recording, wanted: Wanted, *, to_s: float = np.inf,
    moved: Callable[[str, int], None] = lambda _what, _rows: None, observe: Callable[[Decision], None] = lambda _d: None,
) -> Story:  # fmt: skip
    """Fit the model to the recording, then drive it the other way until `to_s` [s of the run]; `observe` gets its decisions.

    Raises `RecordingError` where the record does not know what the model needs.
    """
    reader = Reader(original, recording)
    stretch = reader.read(recording, lambda n: moved("fitting the model", n))
    if stretch.size < SAMPLES_MIN:
        raise RecordingError(
            f"{recording.segments[0]}: {stretch.size} moments in which load, weather and the plant's state are known: too few to "
            "drive it otherwise"
        )
    fitted = fit_model(reader, stretch)
    other = drive(original, recording, wanted, reader, fitted, to_s, lambda n: moved("driving otherwise", n), observe)
    return Story(stretch, fitted, other, reader.filled)


def drive(
    original: Site, recording: Recording, wanted: Wanted, reader: Reader, fitted: Fitted, to_s: float,
    moved: Callable[[int], None], observe: Callable[[Decision], None],
) -> Driven:  # fmt: skip
    """The other controller on the twin, over the rows of the recording, at the samples that the model was fitted to."""
    site, eyes, count = wanted.site, Reader(original, recording), 0
    rules = BASELINES[wanted.rules](site, plant_params(site)) if wanted.rules else None
    tick = Tick(site, wanted.policy, wanted.granted, rules)
    tick.restore(reader.calibrator.known())
    twin, first_s, rows = Twin(site, at_site(site, reader, fitted)), np.nan, []
    for block in recording.rows():
        for row in block:
            if not eyes.due(row):
                continue
            first_s = row[0] if first_s != first_s else first_s
            if row[0] - first_s > to_s:
                break
            look = eyes.look(row)
            if not (np.isfinite(look.est.w).all() and np.isfinite(look.u).all()):
                continue
            if np.isnan(twin.u).any():
                twin.settle(look.u, look.est.w, look.est.dewpoint_c)
            decision = tick.step(twin.seen(look.raw), IN_PROCESS)
            observe(decision)
            # A mode that publishes nothing leaves the plant as the record has it.
            twin.step(decision.u if decision.published else look.u, look.est.w, look.est.dewpoint_c, look.dt_s)
            rows.append((row[0], look.dt_s, twin.watts, twin.hottest_c.copy(), twin.model.out[O_SERVER_FAN], twin.u.copy(),
                         MODES.index(decision.mode), twin.starts))  # fmt: skip
        count += len(block)
        moved(count)
    return Driven(*(np.array(column, dtype=float) for column in zip(*rows, strict=True)))


def at_site(site: Site, reader: Reader, fitted: Fitted) -> Model:
    """The machines of `site` with what the record has taught: gains, levels, hot spots."""
    calibrator = Calibrator(site, hall_array(site), plant_params(site))
    calibrator.restore(reader.calibrator.known())
    halls, p = calibrator.calibrated()
    return Model(halls, p, fitted.model.scale, fitted.inlet_bias_k, fitted.model.tower_k)


class Same(NamedTuple):
    """Record and other way at the moments that both know, the first half hour left out: samples' seconds, and two `Powers`."""

    clock_s: F64
    dt_s: F64
    recorded: Powers
    other: Powers
    at: NDArray[np.int64]  # of the stretch
    other_at: NDArray[np.int64]


def common(story: Story) -> Same:
    """What can be compared."""
    s, o = story.stretch, story.other
    _t, at, other_at = np.intersect1d(s.clock_s, o.clock_s, return_indices=True)
    keep = s.clock_s[at] >= s.clock_s[0] + (SKIP_S if np.ptp(s.clock_s) > 4.0 * SKIP_S else 0.0)
    keep &= np.isfinite(o.watts[other_at]).all(axis=1)
    at, other_at = at[keep], other_at[keep]
    on = story.fitted.on_record
    metered = np.where(np.isfinite(s.meters_w), s.meters_w, on.watts)  # a machine without a meter: the model on the record
    hottest_c = np.where(np.isfinite(s.hottest_c), s.hottest_c, on.inlets_c)
    return Same(
        s.clock_s[at], s.dt_s[at], Powers(metered[at], hottest_c[at], on.server_fan_w[at]),
        Powers(o.watts[other_at], o.hottest_c[other_at], o.server_fan_w[other_at]), at, other_at,
    )  # fmt: skip


def over_k_min(inlets_c: F64, dt_s: F64, limit_c: float) -> float:
    """K·min above `limit_c` of the hottest rack of all halls."""
    return float(np.maximum(inlets_c.max(axis=1) - limit_c, 0.0) @ dt_s) / 60.0


def starts_of(chillers_on: F64) -> int:
    """Starts in a series of machines that run."""
    return int(np.maximum(np.diff(np.round(chillers_on)), 0.0).sum())


def difference(story: Story, wanted: Wanted) -> dict[str, Any]:
    """The figures as JSON would have them."""
    same, fitted, s = common(story), story.fitted, story.stretch
    limit_c = wanted.site.file.limits.rack_inlet_limit_c
    both = []
    for p in (same.recorded, same.other):
        watts = np.column_stack([p.watts, p.server_fan_w])
        both.append((watts * same.dt_s[:, None]).sum(axis=0) / 3.6e6)
    recorded_kwh, other_kwh = both
    found = saving(fitted, recorded_kwh, other_kwh)
    metered = saving(fitted, recorded_kwh[: len(MACHINES)], other_kwh[: len(MACHINES)])
    total = float(recorded_kwh.sum())
    sd_k = Z_95 * fitted.inlet_sd_k
    heat = {n: over_k_min(same.other.inlets_c + k, same.dt_s, limit_c) for n, k in (("", 0.0), ("low_", -sd_k), ("high_", sd_k))}
    names = (*MACHINES, "server_fan_increase")
    hours = {m: float(same.dt_s[story.other.mode[same.other_at] == k].sum()) / 3600.0 for k, m in enumerate(MODES)}
    return plain({
        "format_version": 1, "label": LABEL, "hours": float(same.dt_s.sum()) / 3600.0, "controller": wanted.rules or "ai",
        "granted": wanted.granted, "site": wanted.site.name, "config_hash": wanted.site.config_hash,
        "model_hash": getattr(wanted.policy, "model_hash", ""), "rack_inlet_limit_c": limit_c,
        "recorded_kwh": dict(zip(names, recorded_kwh.tolist(), strict=True)),
        "other_kwh": dict(zip(names, other_kwh.tolist(), strict=True)),
        "recorded_total_kwh": total, "other_total_kwh": float(other_kwh.sum()),
        "saved_kwh": found.saving * total, "saved_low_kwh": found.low * total, "saved_high_kwh": found.high * total,
        "saved_ratio": found.saving, "saved_low_ratio": found.low, "saved_high_ratio": found.high,
        "cooling_saved_ratio": metered.saving, "cooling_saved_low_ratio": metered.low, "cooling_saved_high_ratio": metered.high,
        "over_limit_k_min": {"recorded": over_k_min(same.recorded.inlets_c, same.dt_s, limit_c),
                             "recorded_in_model": over_k_min(fitted.on_record.inlets_c[same.at], same.dt_s, limit_c),
                             **{f"other{'_' if n else ''}{n.rstrip('_')}": v for n, v in heat.items()}},
        "chiller_starts": {"recorded": starts_of(s.u[same.at][:, U_CHILLERS]),
                           "other": starts_of(story.other.u[same.other_at][:, U_CHILLERS])},
        "hours_by_mode": {m: h for m, h in hours.items() if h > 0.0},
        "model": error_of(fitted), "designed_values_taken_h": {n: v / 3600.0 for n, v in story.filled.items()},
    })  # fmt: skip
