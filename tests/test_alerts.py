"""Prometheus' rules, judged by promtool: well formed, each alert heard when it should be and only then, each with a runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from alert_stories import STORIES
from conftest import ROOT

from coolctl.edge.metrics import COUNTERS, GAUGES
from coolctl.edge.metrics_gateway import GATEWAY_COUNTERS, GATEWAY_GAUGES

RULES = ROOT / "config/prometheus"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed (package prometheus)")
STEP_S, LONG_STEP_S, AFTERWARDS_S = 15, 120, 720
UNITS_S = {"m": 60, "h": 3600, "d": 86400}
# Families that do not stand in the tables of coolctl.edge.metrics.
OTHERS = {
    "coolctl_mode", "coolctl_granted_mode", "coolctl_setpoint", "coolctl_point_value", "coolctl_point_age_seconds",
    "coolctl_point_quality_code", "coolctl_build_info", "coolctl_rejects_total", "coolctl_binding_limits_total",
    "coolctl_invariant_violations_total", "coolctl_limit_price_watts", "coolctl_calibration_factor_ratio",
    "coolctl_calibration_sd_ratio", "coolctl_tick_duration_seconds", "coolctl_tick_duration_seconds_bucket",
}  # fmt: skip
KNOWN = {name for name, _ in (*GAUGES, *COUNTERS, *GATEWAY_GAUGES, *GATEWAY_COUNTERS)} | OTHERS


def promtool(*words: str) -> str:
    done = subprocess.run([str(PROMTOOL), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def alerts() -> list[dict[str, object]]:
    found = yaml.safe_load((RULES / "alerts.yml").read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


@needs_promtool
def test_rules_and_configurations_are_well_formed() -> None:
    promtool("check", "rules", str(RULES / "alerts.yml"), str(RULES / "recording.yml"))
    promtool("check", "config", str(RULES / "prometheus.yml"))
    promtool("check", "config", "--agent", str(RULES / "agent.yml"))


def test_rules_speak_of_series_that_there_are() -> None:
    text = (RULES / "alerts.yml").read_text() + (RULES / "recording.yml").read_text()
    recorded = set(re.findall(r"record: (\S+)", text))
    assert set(re.findall(r"(?<![:\w])coolctl_\w+", text)) <= KNOWN
    assert set(re.findall(r"site:\w+:\w+", text)) <= recorded


def test_each_alert_says_what_why_and_what_to_do() -> None:
    book = (ROOT / "docs/RUNBOOKS.md").read_text()
    for rule in alerts():
        name, notes = str(rule["alert"]), rule["annotations"]
        assert isinstance(notes, dict) and len(notes["summary"]) < 90 and len(notes["description"]) > 40, name
        assert notes["runbook_url"] == f"docs/RUNBOOKS.md#{name.lower()}"
        section = book.split(f"## {name}\n")
        assert len(section) == 2 and len(section[1].split("\n## ")[0]) > 150, f"{name} has no runbook section"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")  # type: ignore[index]
    assert {r["alert"] for r in alerts()} == {s.alert for s in STORIES} == set(re.findall(r"^## (\w+)$", book, re.M))


def played(loud: bool, long: bool) -> dict[str, object]:
    """A promtool test of the stories that take an hour or more, or of the others: how many alerts of that name fire at its end."""
    stories, step_s = [], LONG_STEP_S if long else STEP_S
    for s in STORIES:
        wait_s = int(s.after[:-1]) * UNITS_S[s.after[-1]]
        if (wait_s >= 3600) != long:
            continue
        end_s = wait_s + AFTERWARDS_S
        if s.alert == "CoolctlInvariantBroken":
            end_s = 240  # a count that rose once: heard for as long as its window is
        series = s.loud if loud else s.quiet
        stretched = {k: re.sub(r"x\d+$", f"x{end_s // step_s + 2}", v) for k, v in series.items()}
        expr = f'count(ALERTS{{alertname="{s.alert}", alertstate="firing"}}) or vector(0)'
        stories.append({
            "interval": f"{step_s}s",
            "input_series": [{"series": k, "values": v} for k, v in stretched.items()],
            "promql_expr_test": [{
                "expr": expr, "eval_time": f"{end_s}s", "exp_samples": [{"labels": "{}", "value": float(loud)}],
            }],
        })  # fmt: skip
    files = [str(RULES / "recording.yml"), str(RULES / "alerts.yml")]
    return {"rule_files": files, "evaluation_interval": f"{step_s}s", "tests": stories}


@needs_promtool
@pytest.mark.parametrize("loud", [True, False], ids=["loud", "quiet"])
@pytest.mark.parametrize("long", [True, False], ids=["hours", "minutes"])
def test_each_alert_fires_in_its_story_and_not_in_the_other(tmp_path: Path, loud: bool, long: bool) -> None:
    path = tmp_path / "stories.yml"
    path.write_text(yaml.safe_dump(played(loud, long)))
    assert "SUCCESS" in promtool("test", "rules", str(path))
