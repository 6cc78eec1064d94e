"""What a report says, as one plain dictionary: saving, service, key figures, modes, limits, gaps, and where it came from."""

from __future__ import annotations

import datetime
import itertools
import math
from typing import Any

from coolctl import __version__
from coolctl.control.mode import MODES
from coolctl.control.shield import LIMITS
from coolctl.savings.measurement.figures import key_figures
from coolctl.savings.measurement.gather import Gap, Gathered
from coolctl.savings.measurement.model_error import plain
from coolctl.savings.measurement.normalise import Fit
from coolctl.savings.measurement.paired import PAIRS_MIN, Interval, PairedResult, paired_saving
from coolctl.savings.measurement.shadow import relaxation, shadow_saving
from coolctl.savings.measurement.watched import Watched, findings_of

SERVICE_SLACK_K, SERVICE_SLACK_K_MIN = 0.05, 0.5
GAPS_SHOWN = 50
DAMAGE_SHOWN = 50


def findings(groups: list[Gathered], seen: Watched | None = None) -> dict[str, Any]:
    """Of the configuration that most was recorded of; the others stand beside it with their own saving. `seen` in shadow."""
    main = groups[0]
    span_h = max((main.last_s - main.first_s) / 3600.0, 1e-9)
    return plain({
        "format_version": 1, "coolctl_version": __version__, "site": main.site.name,
        "period": {"from": _moment(main, main.first_s), "to": _moment(main, main.last_s), "span_h": span_h},
        "saving": saving_of(main), "shadow": findings_of(seen) if seen else None,
        "service": service_of(main), "figures": key_figures(main),
        "hours_by_mode": {m: s / 3600.0 for m, s in zip(MODES, main.mode_s, strict=True) if s > 0.0},
        "interventions": {n: main.limit_s[k] / 3600.0 for k, n in enumerate(LIMITS) if main.limit_s[k] > 0.0},
        "gaps": gaps_of(main), "damage": [d for g in groups for d in g.damage][:DAMAGE_SHOWN],
        "rack_inlet_limit_c": main.site.file.limits.rack_inlet_limit_c,
        "envelope_relaxation": _envelopes(groups),
        "other_configurations": [{"config_hash": g.site.config_hash, "saving": saving_of(g)} for g in groups[1:]],
        "config_hash": main.site.config_hash, "model_hashes": sorted(main.model_hashes), "recordings": main.files,
    })  # fmt: skip


def saving_of(g: Gathered) -> dict[str, Any]:
    """The saving with its 95 % interval: of the switchback if it has enough pairs, else the model's estimate, so labelled."""
    paired: PairedResult | None = None
    t = g.site.file.switchback
    if g.schedule is not None:
        paired = paired_saving(g.series(), t.washout_h, float(t.block_h), t.seed)
        if paired.pairs >= PAIRS_MIN and math.isfinite(paired.t.low):
            return {
                "method": "switchback", "label": "measured: IPMVP option B, randomised on/off test, by intention to treat",
                **_interval(paired.t), "called": paired.t.low > 0.0, "bootstrap_t": _interval(paired.bootstrap_t),
                "p_randomisation": paired.p_randomisation, "with_washout_not_normalised": _interval(paired.raw),
                "pairs": paired.pairs, "pairs_left_out": paired.pairs_left_out, "normalisation": _fit(paired.fit),
                "block_h": t.block_h, "washout_h": t.washout_h, "days": t.days, "seed": t.seed,
                "not_as_registered_h": g.not_as_registered_h(),
            }  # fmt: skip
    shadow = shadow_saving(g)
    few = f"; the switchback has {paired.pairs} pairs yet, {PAIRS_MIN} and more are needed" if paired else ""
    if shadow is None:
        return {"method": "none", "label": "no saving can be stated: the policy was hardly in charge" + few}
    return {
        "method": "shadow", "label": "model-based shadow estimate, NOT measured: meters against the model's rule baseline" + few,
        **_interval(shadow.saving), "called": False, "hours": shadow.hours, "model": _fit(shadow.fit),
        "fractional_uncertainty_ratio": shadow.uncertainty_ratio,
    }  # fmt: skip


def service_of(g: Gathered) -> dict[str, Any]:
    """Racks' service in each arm, and whether the policy's was at least the baseline's, hall by hall."""
    arms = {
        {1: "ai", 0: "baseline"}.get(arm, "not assigned"): {
            "hours": s.hours,
            "over_limit_k_min_per_day": [float(k) * 24.0 / max(s.hours, 1e-9) for k in s.over_k_min],
            "inlet_p999_c": s.p999_c(), "above_allowable_min": s.above_allowable_min,
        }
        for arm, s in sorted(g.service.items())
    }  # fmt: skip
    return {"halls": list(g.site.halls), "arms": arms, "equal": _equal(arms.get("ai"), arms.get("baseline"))}


def _equal(ai: dict[str, Any] | None, base: dict[str, Any] | None) -> bool | None:
    if ai is None or base is None:
        return None
    heat = zip(ai["over_limit_k_min_per_day"], base["over_limit_k_min_per_day"], strict=True)
    hot = zip(ai["inlet_p999_c"], base["inlet_p999_c"], strict=True)
    kept = all(a <= b + SERVICE_SLACK_K_MIN for a, b in heat) and ai["above_allowable_min"] == 0.0
    return kept and all(a is not None and b is not None and a <= b + SERVICE_SLACK_K + 1e-9 for a, b in hot)


def gaps_of(g: Gathered) -> dict[str, Any]:
    """Stretches without rows, and hours with rows but without all meters."""
    longest = sorted(g.gaps, key=lambda gap: gap.from_s - gap.to_s)[:GAPS_SHOWN]
    shown = [{"from": _moment(g, p.from_s), "to": _moment(g, p.to_s), "hours": (p.to_s - p.from_s) / 3600.0} for p in longest]
    return {
        "count": len(g.gaps),
        "hours": _hours(g.gaps),
        "unmetered_h": (g.total("seen_s") - g.total("good_s")) / 3600.0,
        "longest": shown,
    }


def _hours(gaps: list[Gap]) -> float:
    return sum(p.to_s - p.from_s for p in gaps) / 3600.0


def _envelopes(groups: list[Gathered]) -> list[dict[str, Any]]:
    """Each wider rack limit met against the next tighter one."""
    by_limit: dict[float, Gathered] = {}
    for g in groups:
        by_limit.setdefault(g.site.file.limits.rack_inlet_limit_c, g)
    limits = sorted(by_limit)
    return [
        {"from_limit_c": low, "to_limit_c": high, **_interval(relaxation(by_limit[low], by_limit[high]))}
        for low, high in itertools.pairwise(limits)
    ]


def _interval(i: Interval) -> dict[str, float]:
    return {"ratio": i.saving, "low_ratio": i.low, "high_ratio": i.high}


def _fit(f: Fit) -> dict[str, float]:
    return {"cv_rmse_ratio": f.cv_rmse, "nmbe_ratio": f.nmbe, "steps": f.steps, "terms": f.terms, "lag1": f.lag1}


def _moment(g: Gathered, clock_s: float) -> str:
    if not g.wall_clock:
        return f"{clock_s:.0f} s of the run"
    return datetime.datetime.fromtimestamp(clock_s, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
