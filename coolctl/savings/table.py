"""The ledger as a table for people."""

from __future__ import annotations

from typing import Any

COLUMNS = (
    ("chillers", "chillers"), ("towers", "towers"), ("chw_pumps", "CHW p."), ("cw_pumps", "CW p."),
    ("crah_fans", "CRAH"), ("server_fan_increase", "srv fans"), ("cooling_total", "TOTAL"),
)  # fmt: skip

BESIDE = ("cost", "carbon", "water")
UNMET_MIN_RATIO = 0.002  # of the heat removed


def render(ledger: dict[str, Any]) -> str:
    """Energies in kWh, service and savings, as plain text."""
    lines = [
        f"site {ledger['site']}, {ledger['hours']:g} h (first 30 min left out), weather {ledger['weather']}, "
        f"load {ledger['load']}, seed {ledger['seed']}",
        "",
        f"{'cooling kWh':<12}" + "".join(f"{title:>10}" for _, title in COLUMNS) + f"{'pPUE':>8}{'max °C':>8}{'K·min':>8}",
    ]
    for name, entry in ledger["controllers"].items():
        energy, service = entry["energy_kwh"], entry["service"]
        cells = "".join(f"{energy[key]:>10.1f}" for key, _ in COLUMNS)
        ppue = f"{entry['ppue']:.3f}" if entry["ppue"] else "–"
        lines.append(
            f"{name:<12}{cells}{ppue:>8}{service['rack_inlet_max_c']:>8.2f}{service['degree_minutes_above_limit']:>8.2f}"
        )
    lines.append("")
    closed = ledger["savings"].get("gap_closed_b2_to_oracle")
    for pair, saving in ledger["savings"].items():
        if not isinstance(saving, dict):
            continue
        mine, _, base = pair.partition("_vs_")
        if saving["equal_service"]:
            text = f"{_less(saving['cooling_ratio'])} cooling energy, {_less(saving['facility_ratio'], 2)} in all"
            text += "".join(f", {_less(saving[f'{key}_ratio'])} {key}" for key in BESIDE)
        else:
            text = "not comparable: " + "; ".join(saving["service_faults"])
        lines.append(f"{mine} against {base}: {text}")
    if closed is not None:
        lines.append(f"ai goes {100 * closed:.0f} % of the way from b2 to the oracle")
    for name, constants in ledger.get("tuned", {}).items():
        lines.append(f"{name} was tuned on these days to " + ", ".join(f"{k} {v:g}" for k, v in constants.items()))
    lines += _over_plants(ledger.get("plants", {}))
    lines += _notes(ledger)
    return "\n".join(lines)


def _over_plants(pairs: dict[str, Any]) -> list[str]:
    lines = []
    for pair, s in pairs.items():
        if not isinstance(s, dict):
            continue
        mine, _, base = pair.partition("_vs_")
        lines.append(
            f"over {s['plants']} plants, {mine} against {base}: {100 * s['cooling_ratio_mean']:.1f} ± "
            f"{100 * s['cooling_ratio_half_width']:.1f} % (95 %), worst {100 * s['cooling_ratio_worst']:.1f} %, "
            f"equal service on {s['equal_service']}; the table above is the first plant's"
        )
        lines += [f"    not on plant {k}: " + "; ".join(faults) for k, faults in s["service_faults"].items()]
    if (closed := pairs.get("gap_closed_b2_to_oracle")) is not None:
        lines.append(f"over the plants ai goes {100 * closed:.0f} % of the way from b2 to the oracle")
    return lines


def _less(ratio: float | None, digits: int = 1) -> str:
    """`ratio` less, in words."""
    if ratio is None:
        return "no"
    return f"{abs(100 * ratio):.{digits}f} % {'less' if ratio >= 0.0 else 'more'}"


def _notes(ledger: dict[str, Any]) -> list[str]:
    """What a reader of the figures must know: heat put aside that looks like a saving, a plant that was too weak."""
    return [*_heat_put_aside(ledger), *_too_weak(ledger)]


def _too_weak(ledger: dict[str, Any]) -> list[str]:
    """Where the fixed rules failed as well, no controller can be blamed, and no saving believed."""
    failed = {
        name: f"{name} {e['service']['unmet_kwh']:g} kWh, {e['service']['minutes_above_allowable']:g} min"
        for name, e in ledger["controllers"].items()
        if e["service"]["unmet_kwh"] > UNMET_MIN_RATIO * e["heat_kwh"] or e["service"]["minutes_above_allowable"] > 0.0
    }
    if not failed:
        return []
    everyone = len(failed) == len(ledger["controllers"])
    what = "the plant does not carry this load" if everyone else "not every controller carried this load"
    return [f"warning: {what}; cooling not delivered, and time above the allowable inlet: {'; '.join(failed.values())}"]


def _heat_put_aside(ledger: dict[str, Any]) -> list[str]:
    """Say so when a run ended with heat put aside: over short runs that would look like a saving."""
    entries = ledger["controllers"]
    stored = [e["stored_kwh"] for e in entries.values()]
    heat = max((e["heat_kwh"] for e in entries.values()), default=0.0)
    if heat and max(stored) - min(stored) > 0.02 * heat:
        parts = ", ".join(f"{name} {e['stored_kwh']:+.0f}" for name, e in entries.items())
        return [f"note: heat still in loop and hall at the end [kWh]: {parts}; the savings count it at the baseline's price"]
    return []
