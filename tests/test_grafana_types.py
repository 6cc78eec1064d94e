"""Dashboards against the types that Grafana publishes of them; needs npm and a package registry, skipped visibly without."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.dashboards import DASHBOARDS, dashboard_json

NPM = shutil.which("npm")
COMPILER = [
    "npx",
    "tsc",
    "--noEmit",
    "--skipLibCheck",
    "--strict",
    "--moduleResolution",
    "bundler",
    "--module",
    "esnext",
    "--target",
    "es2022",
]
HEAD = 'import { type Dashboard, ThresholdsMode } from "@grafana/schema";\nexport const d: Dashboard = '


def typescript(dashboard: dict[str, object]) -> str:
    """The dashboard as a typed constant; an enumeration is not assignable from its own text."""
    text = json.dumps(dashboard).replace('"mode": "absolute"', '"mode": ThresholdsMode.Absolute')
    return f"{HEAD}{text};\n"


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.skipif(not NPM, reason="npm is not installed")
def test_dashboards_are_what_grafana_calls_a_dashboard(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"private": true}')
    words = [str(NPM), "install", "--silent", "--no-audit", "--no-fund", "@grafana/schema@13", "typescript@5"]
    try:
        installed = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("the package registry does not answer")
    if installed.returncode != 0:
        pytest.skip(f"npm could not install Grafana's types: {installed.stderr[-200:]}")
    drawn = [dashboard_json(d) for d in DASHBOARDS]
    for d in drawn:
        (tmp_path / f"{d['uid']}.ts").write_text(typescript(d))
    checked = subprocess.run(
        [*COMPILER, *(f"{d['uid']}.ts" for d in drawn)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert checked.returncode == 0, checked.stdout[-2000:]
    wrong = dict(drawn[0], panels=[dict(drawn[0]["panels"][0], gridPos={"h": 8, "w": "12", "x": 0, "y": 0})])
    (tmp_path / "wrong.ts").write_text(typescript(wrong))
    assert subprocess.run([*COMPILER, "wrong.ts"], cwd=tmp_path, capture_output=True, timeout=120).returncode != 0
