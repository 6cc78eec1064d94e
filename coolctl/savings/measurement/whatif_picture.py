"""A picture of a what-if: power over time, hottest inlet over time, and energy by machine, as recorded and driven otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.savings.measurement.pictures import BLUE, GREY, OCHRE
from coolctl.savings.measurement.whatif import Story, common
from coolctl.savings.plots import drawing

F64 = NDArray[np.float64]

POINTS_MAX = 1200


def draw(path: Path, story: Story, found: dict[str, Any]) -> Path:
    """Write the picture to `path` as SVG. `CoolctlError` without matplotlib."""
    drawing()
    import matplotlib.pyplot as plt

    same = common(story)
    hours = (same.clock_s - same.clock_s[0]) / 3600.0
    figure, (power, inlet, bars) = plt.subplots(3, 1, figsize=(7.0, 8.0))
    for p, name, colour in ((same.recorded, "as recorded", GREY), (same.other, "driven otherwise, in the model", BLUE)):
        t, y = thin(hours, p.watts.sum(axis=1) / 1e3)
        power.plot(t, y, color=colour, linewidth=0.9, label=name)
        t, y = thin(hours, p.inlets_c.max(axis=1))
        inlet.plot(t, y, color=colour, linewidth=0.9)
    power.set_ylabel("cooling power, kW")
    power.set_ylim(bottom=0.0)
    power.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    inlet.axhline(found["rack_inlet_limit_c"], color="#c0392b", linewidth=1.0)
    inlet.set_ylabel("hottest rack inlet, °C")
    inlet.set_xlabel("hours compared")
    names = list(found["recorded_kwh"])
    place = np.arange(len(names))
    bars.bar(place - 0.2, [found["recorded_kwh"][n] for n in names], 0.4, color=GREY)
    bars.bar(place + 0.2, [found["other_kwh"][n] for n in names], 0.4, color=BLUE)
    bars.set_xticks(place, [n.replace("_", "\n") for n in names])
    bars.set_ylabel("energy, kWh")
    low, high = found["saved_low_kwh"], found["saved_high_kwh"]
    bars.set_title(f"saved {found['saved_kwh']:,.0f} kWh ({low:,.0f} to {high:,.0f}), not measured", fontsize=9.0, color=OCHRE)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    return path


def thin(x: F64, y: F64) -> tuple[F64, F64]:
    """Means of at most `POINTS_MAX` equal parts."""
    parts = np.array_split(np.arange(len(x)), min(len(x), POINTS_MAX))
    return np.array([x[k].mean() for k in parts]), np.array([y[k].mean() for k in parts])
