"""Key figures of a site over what was recorded: PUE, pPUE, MLC, WUE, CUE, and how far they are from grades and limits.

Definitions: ISO/IEC 30134-2 (PUE), -8 (CUE), -9 (WUE), ASHRAE 90.4 (MLC). All are of the period recorded; the standards ask
for twelve months, so the coverage of a year stands beside them.
"""

from __future__ import annotations

from typing import Any

from coolctl.savings.measurement.gather import METERS, Gathered

YEAR_H = 8760.0
EVAPORATION_JKG = 2.43e6  # of water at about 30 °C
# Highest PUE of each; the grades' and some hubs' figures are to be held against the standard's own text before they are quoted.
PUE_LIMITS = (
    ("GB 40879-2021 grade 1", 1.20), ("GB 40879-2021 grade 2", 1.30), ("GB 40879-2021 grade 3", 1.50),
    ("national green data centre 2025", 1.30), ("hubs Yangtze delta, Greater Bay, Chengdu–Chongqing", 1.25),
    ("hubs Guizhou, Gansu, Inner Mongolia, Ningxia", 1.20),
)  # fmt: skip


def key_figures(g: Gathered) -> dict[str, Any]:
    """All of them, with what they rest on; None where nothing was metered."""
    table, it_kwh = g.site.file.report, g.total("it_j") / 3.6e6
    cooling = {name.removesuffix("_power"): g.total(name) / 3.6e6 for name in METERS}
    cooling_kwh, seen_h = sum(cooling.values()), g.total("seen_s") / 3600.0
    span_h = max((g.last_s - g.first_s) / 3600.0, 1e-9)
    basis = {
        "it_kwh": it_kwh, "cooling_kwh": cooling_kwh, "cooling_by_machine_kwh": cooling, "recorded_h": seen_h,
        "metered_h": g.total("good_s") / 3600.0, "coverage_of_span_ratio": min(g.total("good_s") / 3600.0 / span_h, 1.0),
        "coverage_of_year_ratio": min(g.total("good_s") / 3600.0 / YEAR_H, 1.0), "it_meter_category": table.it_meter_category,
    }  # fmt: skip
    if not it_kwh > 0.0:
        return {**basis, "ppue": None, "pue": None, "mlc": None, "wue_max_l_per_kwh": None, "cue_kg_per_kwh": None, "limits": []}
    mlc = cooling_kwh / it_kwh
    pue = 1.0 + mlc + table.other_loss_ratio
    cycles = g.site.file.towers.concentration_cycles
    wue = (1.0 + mlc) * 3.6e6 / EVAPORATION_JKG * cycles / (cycles - 1.0)
    limits = [*PUE_LIMITS, *([("the site's own", table.pue_limit)] if table.pue_limit else [])]
    return {
        **basis, "ppue": 1.0 + mlc, "pue": pue, "mlc": mlc, "other_loss_ratio": table.other_loss_ratio,
        "wue_max_l_per_kwh": wue, "cue_kg_per_kwh": g.total("carbon_kg") / it_kwh,
        "limits": [{"name": n, "pue_max": top, "distance": top - pue, "met": pue <= top} for n, top in limits],
    }  # fmt: skip
