"""The reference of metrics, recording rules and alerts, from the collector and the rule files themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from prometheus_client.parser import text_string_to_metric_families

from coolctl.control.mode import MODES
from coolctl.edge.metrics import COUNTERS, GAUGES, MetricsServer, MetricsView
from coolctl.edge.metrics_gateway import GATEWAY_COUNTERS, GATEWAY_GAUGES, GatewayMetrics, GatewayView

RULES = Path(__file__).resolve().parent.parent / "config/prometheus"
ONE = np.ones(1)
LABEL, VALUE = re.compile(r"\{\{ \$labels\.(\w+) \}\}"), re.compile(r"\{\{ \$value[^}]*\}\}")


def _view() -> MetricsView:
    """A view in which every family has a sample."""
    gauges, counters = {name: 1.0 for name, _ in GAUGES}, {name: 1.0 for name, _ in COUNTERS}
    return MetricsView(
        "site", "auto", "auto", MODES, (("chwst_sp", "celsius"),), ONE, ONE, ONE, (("chwst", "chwst", "celsius"),), ONE, ONE,
        np.ones(1, dtype=np.int8), gauges, counters, {"stale": 1}, {"slew": 1}, {"inlet": (1.0, "K")}, {"I-01": 0},
        {"chiller": (1.0, 0.1)}, "model", "config",
    )  # fmt: skip


def families() -> list[Any]:
    """Every family of a scrape."""
    server = MetricsServer("127.0.0.1", 0)
    try:
        server.publish(_view(), {"compute": 0.01, "publish": 0.01})
        return list(text_string_to_metric_families(server.render().decode()))
    finally:
        server.close()


def gateway_families() -> list[Any]:
    """Every family of a scrape of the gateway."""
    server = GatewayMetrics("127.0.0.1", 0)
    try:
        gauges, counters = {name: 1.0 for name, _ in GATEWAY_GAUGES}, {name: 1 for name, _ in GATEWAY_COUNTERS}
        server.publish(GatewayView("site", gauges, counters, {"seq": 1}))
        return list(text_string_to_metric_families(server.render().decode()))
    finally:
        server.close()


def _rows(found: list[Any]) -> Iterable[str]:
    for family in found:
        labels = sorted({name for sample in family.samples for name in sample.labels} - {"le"})
        name = family.name + ("_total" if family.type == "counter" else "")
        yield f"| `{name}` | {family.type} | {', '.join(f'`{label}`' for label in labels)} | {family.documentation} |"


def _rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((RULES / file).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def page(written: str) -> str:
    """docs/METRICS.md."""
    alerts, recorded = _rules("alerts.yml"), _rules("recording.yml")
    lines = [written, "# Metrics and alerts", ""]
    lines += [
        "`GET /metrics` of the controller, on 127.0.0.1:9464 unless `[metrics]` of the site file says otherwise. Base units, and",
        "one unit for each name; `_ratio` is 0 … 1. A value that is not known is NaN or absent, never 0.",
        "",
        "## Metrics",
        "",
        "| name | type | labels | meaning |",
        "|---|---|---|---|",
        *_rows(families()),
        "",
        "## Metrics of the gateway",
        "",
        "`GET /metrics` of the gateway, on 127.0.0.1:9465 unless `[gateway] metrics_port` of the site file says otherwise.",
        "",
        "| name | type | labels | meaning |",
        "|---|---|---|---|",
        *_rows(gateway_families()),
        "",
        "## Recording rules",
        "",
        "`config/prometheus/recording.yml`",
        "",
        "```promql",
        *(f"{rule['record']} = {' '.join(rule['expr'].split())}" for rule in recorded),
        "```",
        "",
        "## Alerts",
        "",
        "`config/prometheus/alerts.yml`; the name leads to what it means for the plant and what to do.",
        "",
        "| alert | severity | after | says |",
        "|---|---|---|---|",
    ]
    for rule in alerts:
        name, after = rule["alert"], rule.get("for", "at once")
        summary = LABEL.sub(lambda m: m[1].upper(), VALUE.sub("N", rule["annotations"]["summary"])).replace("|", "\\|")
        lines.append(f"| [{name}](RUNBOOKS.md#{name.lower()}) | {rule['labels']['severity']} | {after} | {summary} |")
    lines += ["", "What each looks at:", "", "```promql"]
    lines += [f"{rule['alert']}: {' '.join(rule['expr'].split())}" for rule in alerts]
    return "\n".join([*lines, "```"]) + "\n"
