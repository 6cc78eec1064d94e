"""Grafana dashboards from one table: `python -m tools.dashboards` writes config/grafana/dashboards/*.json, always the same bytes.

Plain dictionaries in the shape that Grafana 11 and later import; a test holds them to the dashboard linter's rules and
runs every query on a Prometheus that has watched a real run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent.parent / "config/grafana/dashboards"
SCHEMA_VERSION = 39
SITE = 'site=~"$site"'


class Panel(NamedTuple):
    """One panel: its queries with their legends, in Grafana's unit; `kind` is timeseries, stat, state-timeline or table."""

    title: str
    text: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    thresholds: tuple[tuple[float | None, str], ...] = ()
    stacked: bool = False


class Dashboard(NamedTuple):
    """A page; `uid` never changes, links of users hang on it."""

    uid: str
    title: str
    text: str
    panels: tuple[Panel, ...]


def q(name: str, more: str = "", legend: str = "{{site}}") -> tuple[str, str]:
    """A family of the chosen sites."""
    return f"{name}{{{SITE}{', ' + more if more else ''}}}", legend


def rate(name: str, more: str = "", legend: str = "{{site}}") -> tuple[str, str]:
    """Events a second."""
    return f"rate({q(name, more)[0]}[$__rate_interval])", legend


def points(role: str, legend: str = "{{point}}") -> tuple[str, str]:
    return q("coolctl_point_value", f'role="{role}"', legend)


GOOD_BELOW_26: tuple[tuple[float | None, str], ...] = ((None, "green"), (26.0, "orange"), (30.0, "red"))
MODES = (
    'max by (site, mode) (coolctl_mode{site=~"$site"}) == 1', "{{mode}}",
)  # fmt: skip

OPERATOR = Dashboard("coolctl-operator", "coolctl · operator", "Is it safe, who is in charge, and what does it save?", (
    Panel("Mode", "Who is in charge now.", (MODES,), kind="stat", width=4),
    Panel("Hottest rack inlet", "Highest valid rack inlet of the site.", (q("coolctl_rack_inlet_max_celsius"),), "celsius",
          "stat", 4, GOOD_BELOW_26),
    Panel("Without chillers", "Seconds to the allowable inlet if every chiller stopped now.", (q("coolctl_ride_through_seconds"),),
          "s", "stat", 4, ((None, "red"), (120.0, "orange"), (300.0, "green"))),
    Panel("After the worst failure", "What the worst single machine failure leaves over what is needed.",
          (q("coolctl_single_failure_capability_ratio"),), "percentunit", "stat", 4, ((None, "red"), (1.0, "green"))),
    Panel("Saving now", "Against the rule baseline, by the model, 15 minutes.", ((f"site:coolctl_saving:ratio15m{{{SITE}}}", "{{site}}"),),
          "percentunit", "stat", 4),
    Panel("Partial PUE", "1 + cooling over IT power.", ((f"site:coolctl_partial_pue:ratio{{{SITE}}}", "{{site}}"),), "none", "stat", 4),
    Panel("Rack inlets", "Hottest inlet and its limit.", (q("coolctl_rack_inlet_max_celsius", legend="hottest {{site}}"),
          q("coolctl_rack_inlet_limit_celsius", legend="limit {{site}}")), "celsius"),
    Panel("Cooling power", "Measured, by the model, and what the rule baseline would draw.", (
          q("coolctl_cooling_power_watts", legend="measured"), q("coolctl_model_power_watts", legend="model"),
          q("coolctl_baseline_power_watts", legend="rule baseline, model")), "watt"),
    Panel("Mode over time", "1 while a mode is in effect.", (q("coolctl_mode", legend="{{mode}}"),), "none", "state-timeline"),
    Panel("Limits that bind", "Setpoints a second that a limit changed.", (rate("coolctl_binding_limits_total", legend="{{limit}}"),), "cps"),
    Panel("What a limit costs", "Power that a little more room would save.", (q("coolctl_limit_price_watts", legend="{{limit}} per {{per}}"),), "watt"),
    Panel("IT power", "The load that is cooled.", (q("coolctl_it_power_watts"),), "watt"),
))  # fmt: skip

PLANT = Dashboard("coolctl-plant", "coolctl · plant", "Water, air and machines as measured, and what was asked of them.", (
    Panel("Supply air", "Measured by hall.", (points("sat"),), "celsius"),
    Panel("Rack inlets", "Every rack's sensor.", (points("rack_inlet"),), "celsius"),
    Panel("Chilled water", "Supply and return.", (points("chwst"), points("chwrt")), "celsius"),
    Panel("Condenser water", "Supply, return, and the outdoor wet bulb.", (points("cwst"), points("cwrt"), q("coolctl_wetbulb_celsius", legend="wet bulb")), "celsius"),
    Panel("Setpoints after the shield", "What is published, by point.", (q("coolctl_setpoint", 'stage="shielded", unit="celsius"', "{{point}}"),), "celsius"),
    Panel("Setpoints applied", "What the gateway says that the BMS has.", (q("coolctl_setpoint", 'stage="applied", unit="celsius"', "{{point}}"),), "celsius"),
    Panel("CRAH fans", "Speed by hall.", (points("crah_fan_speed"),), "percentunit"),
    Panel("Valves", "Cooling valve by hall.", (points("valve"),), "percentunit"),
    Panel("Machines", "Chillers and tower cells that run, economizer.", (points("chillers_on"), points("tower_cells_on"), points("economizer_on")), "none"),
    Panel("Power by machine", "Meters of the plant.", (q("coolctl_point_value", 'unit="watts", role!="it_power"', "{{point}}"),), "watt", stacked=True),
))  # fmt: skip

INTERNALS = Dashboard("coolctl-internals", "coolctl · controller", "The loop, its messages, its model and what it does not believe.", (
    Panel("Tick time, 99 %", "Of computing and publishing.", (
        (f"histogram_quantile(0.99, sum by (stage, le) (rate(coolctl_tick_duration_seconds_bucket{{{SITE}}}[$__rate_interval])))", "{{stage}}"),), "s"),
    Panel("Late ticks", "A second.", (rate("coolctl_deadline_misses_total"),), "cps"),
    Panel("Ticks", "A second: 1 is right.", (rate("coolctl_ticks_total"),), "cps"),
    Panel("Messages", "Received, dropped, refused a second.", (rate("coolctl_mqtt_messages_total", legend="received"),
          rate("coolctl_mqtt_dropped_total", legend="dropped"), rate("coolctl_rejects_total", legend="refused: {{reason}}")), "cps"),
    Panel("Oldest points", "Since the last message, the ten oldest.", ((f"topk(10, coolctl_point_age_seconds{{{SITE}}})", "{{point}}"),), "s"),
    Panel("Points that cannot be used", "Share of all.", ((f"site:coolctl_points_unusable:ratio{{{SITE}}}", "{{site}}"),
          q("coolctl_doubted_points_ratio", legend="not believed")), "percentunit"),
    Panel("Calibration", "Each machine's power over its record.", (q("coolctl_calibration_factor_ratio", legend="{{gain}}"),), "none"),
    Panel("Calibration, uncertainty", "Standard deviation of the factor.", (q("coolctl_calibration_sd_ratio", legend="{{gain}}"),), "percentunit"),
    Panel("Model error", "Model over meter, less one.", ((f"site:coolctl_model_error:ratio{{{SITE}}}", "{{site}}"),), "percentunit"),
    Panel("Broken invariants", "By the product's own check.", (q("coolctl_invariant_violations_total", legend="{{invariant}}"),), "none"),
    Panel("Gateway", "Since it was last heard.", (q("coolctl_gateway_age_seconds"),), "s"),
    Panel("Version", "What runs: version, policy and site file.", (("coolctl_build_info", "{{version}} {{model}} {{config}}"),), kind="table"),
))  # fmt: skip

SAVINGS = Dashboard("coolctl-savings", "coolctl · savings", "An estimate by the model; the proof is `coolctl report` on the recording.", (
    Panel("Saving", "Against the rule baseline, by the model at the meters' level, 15 minutes.", ((f"site:coolctl_saving_watts:avg15m{{{SITE}}}", "{{site}}"),), "watt"),
    Panel("Saving, share", "Of what the rule baseline would draw.", ((f"site:coolctl_saving:ratio15m{{{SITE}}}", "{{site}}"),), "percentunit"),
    Panel("Partial PUE", "An hour's mean.", ((f"site:coolctl_partial_pue:avg1h{{{SITE}}}", "{{site}}"),), "none"),
    Panel("Against the weather", "Cooling power beside wet bulb.", (q("coolctl_cooling_power_watts", legend="cooling"),), "watt"),
    Panel("Wet bulb", "Outdoor.", (q("coolctl_wetbulb_celsius"),), "celsius"),
    Panel("Policy in charge", "1 while the policy sets the wish.", (q("coolctl_policy_in_charge_ratio"),), "percentunit"),
))  # fmt: skip

FLEET = Dashboard("coolctl-fleet", "coolctl · fleet", "Every site in a line, worst first.", (
    Panel("Sites by mode", "How many sites are in each mode.", (("sum by (mode) (coolctl_mode)", "{{mode}}"),), "none", width=24),
    Panel("Hottest inlet over its limit", "Kelvin above the limit; below zero is good.", (
        ("sort_desc(max by (site) (coolctl_rack_inlet_max_celsius - coolctl_rack_inlet_limit_celsius))", "{{site}}"),), "celsius", "table"),
    Panel("Saving", "Watts against the rule baseline, by the model.", (("sort_desc(sum by (site) (site:coolctl_saving_watts:avg15m))", "{{site}}"),), "watt", "table"),
    Panel("Partial PUE", "By site.", (("max by (site) (site:coolctl_partial_pue:ratio)", "{{site}}"),), "none"),
    Panel("Late loops", "Deadline misses a second by site.", (("sum by (site) (site:coolctl_deadline_misses:rate5m)", "{{site}}"),), "cps"),
    Panel("Versions", "What runs where.", (("count by (version, model) (coolctl_build_info)", "{{version}} {{model}}"),), "none", "table"),
    Panel("Points that cannot be used", "Share by site.", (("max by (site) (site:coolctl_points_unusable:ratio)", "{{site}}"),), "percentunit"),
))  # fmt: skip

DASHBOARDS = (OPERATOR, PLANT, INTERNALS, SAVINGS, FLEET)
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel_json(k: int, p: Panel, x: int, y: int) -> dict[str, Any]:
    """A panel in Grafana's own words."""
    height = 4 if p.kind == "stat" else 8
    steps = [{"value": at, "color": colour} for at, colour in p.thresholds or ((None, "green"),)]
    custom = {"stacking": {"mode": "normal" if p.stacked else "none", "group": "A"}} if p.kind == "timeseries" else {}
    instant = p.kind in ("stat", "table")
    made: dict[str, Any] = {
        "id": k + 1,
        "type": p.kind,
        "title": p.title,
        "description": p.text,
        "datasource": SOURCE,
        "gridPos": {"h": height, "w": p.width, "x": x, "y": y},
        "fieldConfig": {
            "defaults": {"unit": p.unit, "thresholds": {"mode": "absolute", "steps": steps}, "custom": custom},
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(65 + n),
                "datasource": SOURCE,
                "expr": expr,
                "legendFormat": legend,
                "instant": instant,
                "range": not instant,
            }
            for n, (expr, legend) in enumerate(p.queries)
        ],
        "options": {},
    }
    if p.kind == "stat":
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "textMode": "auto"}
        if p.title == "Mode":
            made["options"]["textMode"] = "name"
    return made


def dashboard_json(d: Dashboard) -> dict[str, Any]:
    """A dashboard in Grafana's own words, its panels in rows of 24 columns."""
    panels, x, y, row_height = [], 0, 0, 0
    for k, p in enumerate(d.panels):
        if x + p.width > 24:
            x, y, row_height = 0, y + row_height, 0
        panels.append(panel_json(k, p, x, y))
        row_height = max(row_height, panels[-1]["gridPos"]["h"])
        x += p.width
    return {
        "uid": d.uid, "title": d.title, "description": d.text, "tags": ["coolctl"], "editable": False, "graphTooltip": 1,
        "schemaVersion": SCHEMA_VERSION, "timezone": "browser", "refresh": "10s", "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            {"name": "site", "label": "Site", "type": "query", "datasource": SOURCE, "query": "label_values(coolctl_ticks_total, site)",
             "refresh": 2, "includeAll": True, "multi": True, "allValue": ".*"},
        ]},
        "panels": panels,
    }  # fmt: skip


def main() -> int:
    """Write all dashboards."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for d in DASHBOARDS:
        text = json.dumps(dashboard_json(d), indent=2, ensure_ascii=False) + "\n"
        (FOLDER / f"{d.uid}.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
