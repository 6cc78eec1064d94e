"""Pictures of a comparison, as SVG files: energy by machine, inlets, setpoints, savings by weather and load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from coolctl.errors import CoolctlError
from coolctl.savings.ledger import ENERGIES, FIXED, OPTIMISED
from coolctl.savings.profile import INLET_C, LOAD_RATIO, WETBULB_C, Profile, saving_by_bin

TITLES = {
    "chillers": "chillers", "towers": "towers", "chw_pumps": "CHW pumps", "cw_pumps": "CW pumps", "crah_fans": "CRAH fans",
    "cdu_pumps": "CDU pumps", "server_fan_increase": "server fans",
}  # fmt: skip
COLOURS = ("#2b6f8f", "#6d8fae", "#9fb8cc", "#c9952c", "#7f8d94", "#55636b", "#a98374")


def drawing() -> None:
    """Set matplotlib up for files that are the same for the same numbers. `CoolctlError` where it is not installed."""
    try:
        import matplotlib
    except ImportError as error:
        raise CoolctlError("plots need matplotlib: pip install 'coolctl[report]'") from error
    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {"svg.hashsalt": "coolctl", "font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False}
    )


def draw(folder: str | Path, ledger: dict[str, Any], profiles: dict[str, Profile], limit_c: float) -> list[Path]:
    """Write every picture that the comparison allows into `folder`; the files. `CoolctlError` without matplotlib."""
    drawing()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [_energy(folder, ledger), _inlets(folder, profiles, limit_c), _setpoints(folder, profiles)]
    for pair in ledger["savings"]:
        mine, _, base = pair.partition("_vs_")
        if mine in OPTIMISED and base in profiles and base not in OPTIMISED and (base == "b2" or base in FIXED):
            written.append(_bins(folder, pair, profiles[mine], profiles[base]))
    return written


def _save(figure: Any, path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    return path


def _energy(folder: Path, ledger: dict[str, Any]) -> Path:
    import matplotlib.pyplot as plt

    names = list(ledger["controllers"])
    figure, axes = plt.subplots(figsize=(7.0, 0.8 + 0.5 * len(names)))
    left = np.zeros(len(names))
    for key, colour in zip(ENERGIES, COLOURS, strict=True):
        kwh = np.array([ledger["controllers"][n]["energy_kwh"][key] for n in names])
        if kwh.any():
            axes.barh(names, kwh, left=left, color=colour, label=TITLES[key])
            left += kwh
    for y, total in enumerate(left):
        axes.text(total, y, f" {total:,.0f}", va="center")
    axes.invert_yaxis()
    axes.set_xlabel("cooling energy, kWh")
    axes.legend(ncols=4, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.35))
    return _save(figure, folder / "energy.svg")


def _inlets(folder: Path, profiles: dict[str, Profile], limit_c: float) -> Path:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.0, 3.0))
    for name, profile in profiles.items():
        share = np.cumsum(profile.inlet_s[:-1]) / max(profile.inlet_s.sum(), 1e-9)
        axes.plot(INLET_C, 100.0 * share, label=name)
    axes.axvline(limit_c, color="#c0392b", linewidth=1.0)
    axes.set_xlim(18.0, max(limit_c + 2.0, 28.0))
    axes.set_xlabel("hottest rack inlet, °C (limit in red)")
    axes.set_ylabel("time below, %")
    axes.legend(frameon=False)
    return _save(figure, folder / "inlets.svg")


def _setpoints(folder: Path, profiles: dict[str, Profile]) -> Path:
    import matplotlib.pyplot as plt

    shown = list(next(iter(profiles.values())).traces()[1])
    figure, rows = plt.subplots(len(shown), 1, figsize=(7.0, 1.3 * len(shown)), sharex=True)
    for name, profile in profiles.items():
        hours, values = profile.traces()
        for axes, key in zip(rows, shown, strict=True):
            axes.plot(hours, values[key], linewidth=0.9, label=name)
            axes.set_ylabel(key)
    rows[0].legend(frameon=False, ncols=len(profiles), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    rows[-1].set_xlabel("hours counted, one span after the other")
    return _save(figure, folder / "setpoints.svg")


def _bins(folder: Path, pair: str, mine: Profile, base: Profile) -> Path:
    import matplotlib.pyplot as plt

    percent = 100.0 * saving_by_bin(mine, base)[1:-1, 1:-1]
    figure, axes = plt.subplots(figsize=(7.0, 3.4))
    picture = axes.pcolormesh(100.0 * LOAD_RATIO, WETBULB_C, percent, cmap="RdYlBu", vmin=-60.0, vmax=60.0)
    for (i, j), value in np.ndenumerate(percent):
        if value == value:
            axes.text(50.0 * (LOAD_RATIO[j] + LOAD_RATIO[j + 1]), (WETBULB_C[i] + WETBULB_C[i + 1]) / 2, f"{value:.0f}",
                      ha="center", va="center", fontsize=7.0)  # fmt: skip
    known = np.argwhere(percent == percent)
    if len(known):
        axes.set_ylim(WETBULB_C[known[:, 0].min()], WETBULB_C[known[:, 0].max() + 1])
        axes.set_xlim(100.0 * LOAD_RATIO[known[:, 1].min()], 100.0 * LOAD_RATIO[known[:, 1].max() + 1])
    axes.set_xlabel("IT load, % of design")
    axes.set_ylabel("wet bulb, °C")
    axes.set_title(pair.replace("_vs_", " against ") + ": cooling energy saved, %", fontsize=9.0)
    figure.colorbar(picture, ax=axes)
    return _save(figure, folder / f"saving_{pair}.svg")
