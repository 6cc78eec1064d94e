"""The page's part on what was only watched: setpoints, limits, forecast, and where the model was wrong."""

from __future__ import annotations

from typing import Any

from coolctl.savings.measurement.html import cell, number, percent, table


def section(w: dict[str, Any]) -> str:
    """HTML of the findings of `watched.findings_of`."""
    return "".join((_forecast(w), _setpoints(w), _limits(w), _model(w)))


def _forecast(w: dict[str, Any]) -> str:
    rows = [[name.replace("_", " "), f"{kwh:,.0f}", f"{w['forecast_kwh'][name]:,.0f}"] for name, kwh in w["recorded_kwh"].items()]
    fans, over = w["server_fans_kwh"], w["inlet_over_limit_h"]
    rows += [
        ["server fans beyond idle (model)", f"{fans['recorded']:,.0f}", f"{fans['forecast']:,.0f}"],
        ["hours above the rack limit", f"{over['recorded']:.2f}", f"{over['forecast']:.2f}"],
    ]
    return (
        f'<h2>In shadow: what it would have done</h2><p class="label">{cell(w["label"])}; {w["hours"]:.1f} h watched</p>'
        f'<p class="big">{percent(w["ratio"])}</p><p>95 % interval {percent(w["low_ratio"])} to {percent(w["high_ratio"])}, of '
        "the cooling energy that the plant used as it was driven. Server fans stand apart: they are in the meter of IT.</p>"
        + table(["kWh", "as driven", "forecast"], rows, "Energy as driven and forecast")
    )


def _setpoints(w: dict[str, Any]) -> str:
    rows = [
        [s["name"], s["unit"], number(s["was_mean"]), number(s["would_mean"]),
         f"{number(s['would_p05'])} to {number(s['would_p95'])}",
         number(s["moved_mean"], "+.2f")]
        for s in w["setpoints"]
    ]  # fmt: skip
    head = ["setpoint", "unit", "plant, mean", "would, mean", "would, 90 % of the time", "difference"]
    return "<h2>What it would have set</h2>" + table(head, rows, "Setpoints as they were and as they would have been")


def _limits(w: dict[str, Any]) -> str:
    rows = [
        [x["name"].replace("_", " "), f"{x['hours']:.2f}", percent(x["ratio"]), ", ".join(x["setpoints"])] for x in w["limits"]
    ]
    return "<h2>Limits that bound its wishes</h2>" + table(
        ["limit", "hours", "of the time", "setpoints"], rows, "Limits in shadow"
    )


def _model(w: dict[str, Any]) -> str:
    m = w["model"]
    note = (
        f"Hourly CV(RMSE) {percent(m['hourly_cv_rmse_ratio'])}, NMBE {percent(m['hourly_nmbe_ratio'])} before each machine is "
        f"brought to its meter; hottest inlet ±{number(m['inlet_sd_k'])} K."
    )
    bins = [
        [f"{b['oawb_from_c']:g} to {b['oawb_to_c']:g} °C, load {percent(b['load_from_ratio'])} to {percent(b['load_to_ratio'])}",
         f"{b['hours']:.1f}", percent(b["nmbe_ratio"]), percent(b["cv_rmse_ratio"])]
        for b in w["by_condition"]
    ]  # fmt: skip
    worst = [
        [f"hour {x['hour_of_run']:.0f} of {x['recording']}", f"{x['measured_kwh']:,.1f}", f"{x['modelled_kwh']:,.1f}",
         percent(x["error_ratio"])]
        for x in w["worst_hours"]
    ]  # fmt: skip
    return (
        f"<h2>Where the model was wrong</h2><p>{cell(note)}</p>"
        + table(["wet bulb and load", "hours", "bias (NMBE)", "CV(RMSE)"], bins, "Model error by wet bulb and load")
        + table(["worst hours", "metered, kWh", "model, kWh", "error"], worst, "The model's worst hours")
    )
