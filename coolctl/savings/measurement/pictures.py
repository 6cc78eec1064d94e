"""The report's pictures as SVG text that stands in the page itself: energy over weather, pairs, modes."""

from __future__ import annotations

import html
import io
from typing import Any

import numpy as np

from coolctl.errors import CoolctlError
from coolctl.savings.measurement.gather import Gathered
from coolctl.savings.measurement.normalise import expected_kwh
from coolctl.savings.measurement.paired import match, normalised
from coolctl.savings.measurement.watched import Watched, power_by_hour

BLUE, OCHRE, GREY = "#2b6f8f", "#c9952c", "#7f8d94"


def pictures(g: Gathered, found: dict[str, Any], seen: Watched | None = None) -> list[tuple[str, str]]:
    """(title, SVG) of each picture that the recordings allow. `CoolctlError` without matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise CoolctlError("the page's pictures need matplotlib: pip install 'coolctl[report]' (or --json alone)") from error
    matplotlib.use("svg")
    matplotlib.rcParams.update({"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False})
    made = [("Cooling energy over wet bulb, each quarter of an hour", _weather(g))]
    if found["saving"]["method"] == "switchback":
        made.append(("Saving of each pair of blocks, in order of time", _pairs(g)))
    if seen is not None:
        made.append(("In shadow: power as metered, in the model, and as forecast", _watched(seen)))
    made.append(("Hours by mode", _modes(found["hours_by_mode"])))
    return made


def _svg(figure: Any, name: str, title: str) -> str:
    """Without prologue and metadata; ids of one picture differ from those of the next."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = f"coolctl {name}"
    stream = io.StringIO()
    figure.savefig(
        stream, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    plt.close(figure)
    text = stream.getvalue()
    text = (
        text[text.index("<svg") :].replace('id="', f'id="{name}-').replace('"#', f'"#{name}-').replace("url(#", f"url(#{name}-")
    )
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title, quote=True)}" ', 1)


def _weather(g: Gathered) -> str:
    import matplotlib.pyplot as plt

    s = g.series()
    figure, axes = plt.subplots(figsize=(7.0, 3.2))
    for arm, name, colour, marker in (
        (1.0, "policy", BLUE, "o"),
        (0.0, "rule baseline", OCHRE, "s"),
        (-1.0, "not assigned", GREY, "."),
    ):
        mine = (s.arm == arm) & np.isfinite(s.energy_kwh)
        if mine.any():
            axes.plot(s.oawb_c[mine], s.energy_kwh[mine] / s.step_h, marker, color=colour, markersize=3.0, label=name, alpha=0.7)
    axes.set_xlabel("outdoor wet bulb, °C")
    axes.set_ylabel("cooling power, kW")
    axes.set_ylim(bottom=0.0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return _svg(figure, "weather", "Cooling power over outdoor wet bulb, by arm")


def _pairs(g: Gathered) -> str:
    import matplotlib.pyplot as plt

    t, s = g.site.file.switchback, g.series()
    ai, base = normalised(match(s, expected_kwh(s)[0], t.washout_h, float(t.block_h)))
    figure, axes = plt.subplots(figsize=(7.0, 2.8))
    axes.bar(np.arange(len(ai)), 100.0 * (1.0 - ai / base), color=BLUE)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.axhline(100.0 * (1.0 - ai.sum() / base.sum()), color=OCHRE, linewidth=1.2, linestyle="--", label="of all pairs")
    axes.set_xlabel("pair")
    axes.set_ylabel("saved, %")
    axes.legend(frameon=False)
    return _svg(figure, "pairs", "Saving of each matched pair of blocks, percent")


def _watched(seen: Watched) -> str:
    import matplotlib.pyplot as plt

    hours, metered, modelled, forecast = power_by_hour(seen)
    figure, axes = plt.subplots(figsize=(7.0, 3.0))
    for kwh, name, colour, line in (
        (metered, "metered", "black", "-"),
        (modelled, "the model, as driven", GREY, "--"),
        (forecast, "forecast", BLUE, "-"),
    ):
        axes.plot(hours, kwh, line, color=colour, linewidth=1.0, label=name)
    axes.set_xlabel("hours of the record")
    axes.set_ylabel("cooling power, kW")
    axes.set_ylim(bottom=0.0)
    axes.legend(frameon=False)
    return _svg(figure, "watched", "Cooling power metered, in the model, and forecast in shadow")


def _modes(hours: dict[str, float]) -> str:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.0, 0.7 + 0.3 * max(len(hours), 1)))
    axes.barh(list(hours), list(hours.values()), color=BLUE)
    axes.set_xlabel("hours")
    return _svg(figure, "modes", "Hours by mode: " + ", ".join(f"{m} {h:.1f}" for m, h in hours.items()))
