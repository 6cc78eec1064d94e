"""Promotion by evidence: how far a grant reaches follows from what has been seen at this very site with this very policy.

A grant of `bounded` or `auto` is a ceiling. Below it the controller climbs by itself: from shadow to `bounded` once it has
watched for long enough and its model has met the meters, to `auto` once it has kept every invariant in `bounded` for long
enough. A model that drifts off the meters takes it down again. Another site file or policy starts from nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from coolctl.control.decision import TERMS, Decision
from coolctl.daemon_state import read_json, write_json
from coolctl.site_schema import PromotionTable

FORGET_S = 7 * 86400.0  # errors of the model count for about a week
SHADOW_MODES = ("shadow", "advise", "fallback", "bounded", "auto")
BOUNDED_MODES = ("bounded", "auto")
MEASURED, MODEL, BASELINE = (TERMS.index(n) for n in ("measured_w", "model_w", "baseline_w"))
KEYS = ("shadow_s", "bounded_s", "weight_s", "error_ws", "square_w2s", "measured_ws", "baseline_ws", "violations")


class Evidence:
    """What has been seen, in a small file; one that cannot be read, or of another site or policy, counts as nothing."""

    def __init__(self, path: Path, table: PromotionTable, identity: str):
        self._path, self._table, self._identity = path, table, identity
        found = read_json(path)
        known = found if found.get("identity") == identity else {}
        self._sum = {key: _number(known.get(key)) for key in KEYS}

    def add(self, d: Decision, dt_s: float, violations: int) -> None:
        """One tick."""
        s = self._sum
        s["violations"] += violations
        if violations:
            s["bounded_s"] = 0.0  # earned anew after a broken invariant
        s["shadow_s"] += dt_s * (d.mode in SHADOW_MODES)
        s["bounded_s"] += dt_s * (d.mode in BOUNDED_MODES)
        measured_w, model_w, baseline_w = (float(d.term_values[k]) for k in (MEASURED, MODEL, BASELINE))
        if not (math.isfinite(measured_w) and math.isfinite(model_w) and math.isfinite(baseline_w)):
            return
        keep = math.exp(-dt_s / FORGET_S)
        error_w = model_w - measured_w
        for key, rate in (
            ("weight_s", 1.0), ("error_ws", error_w), ("square_w2s", error_w * error_w),
            ("measured_ws", measured_w), ("baseline_ws", baseline_w),
        ):  # fmt: skip
            s[key] = keep * s[key] + rate * dt_s

    @property
    def model_error(self) -> tuple[float, float]:
        """CV(RMSE) and NMBE of the modelled cooling power [ratio]; NaN where nothing was measured."""
        s = self._sum
        if not s["measured_ws"] > 0.0:
            return math.nan, math.nan
        mean_w = s["measured_ws"] / s["weight_s"]
        return math.sqrt(s["square_w2s"] / s["weight_s"]) / mean_w, s["error_ws"] / s["measured_ws"]

    @property
    def saving(self) -> float:
        """What the meters say is saved against the model's rule baseline [ratio]; NaN where nothing was measured."""
        s = self._sum
        return 1.0 - s["measured_ws"] / s["baseline_ws"] if s["baseline_ws"] > 0.0 else math.nan

    def ceiling(self, granted: str) -> tuple[str, str]:
        """The mode that a grant reaches by now, and what it waits for."""
        t, s = self._table, self._sum
        if granted not in BOUNDED_MODES:
            return granted, ""
        cv, nmbe = self.model_error
        if s["shadow_s"] < 3600.0 * t.shadow_h:
            return "shadow", f"watched for {s['shadow_s'] / 3600.0:.1f} of {t.shadow_h:g} h"
        if not (cv <= t.cv_max and abs(nmbe) <= t.nmbe_max):
            return "fallback", f"model off the meters: CV(RMSE) {cv:.0%}, NMBE {nmbe:+.0%}"
        if granted == "auto" and s["bounded_s"] < 3600.0 * t.bounded_h:
            return "bounded", f"bounded for {s['bounded_s'] / 3600.0:.1f} of {t.bounded_h:g} h without a broken invariant"
        if granted == "auto" and not self.saving > 0.0:
            return "bounded", f"no saving is measured yet ({self.saving:+.0%})"
        return granted, "evidence suffices"

    def write(self) -> bool:
        """Keep it; False where the folder cannot be written."""
        return write_json(self._path, {"identity": self._identity, **self._sum}, sync=False)


def _number(value: Any) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else 0.0
