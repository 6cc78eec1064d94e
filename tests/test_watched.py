"""The shadow report: what would have been set against what was, limits, a forecast with its interval, and the model's errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

from coolctl.cli import main
from coolctl.control.shield import LIMITS
from coolctl.control.tick import IN_PROCESS
from coolctl.controller import Controller
from coolctl.edge.recorder import Recorder
from coolctl.savings.measurement.watched import limits_of, watched
from coolctl.site import Site
from coolctl.trace import columns, header, pack
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

TICK_S, HOURS = 60.0, 7.0


def shadowed(site: Site, policy: Any, folder: Path, hours: float, *, name: str = "", mode: str = "shadow") -> Path:
    """The plant under its own control, and the controller beside it."""
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T06"), synthetic(), coarse=True)
    readings, controller = plant.reset(1), Controller(site, policy, mode)
    recorder = Recorder(
        folder, name or site.name, columns(site), header(site, policy.model_hash, "default", mode), block_rows=200
    )
    for k in range(round(hours * 3600.0 / TICK_S)):
        controller.store.put_readings(readings, k * TICK_S)
        snap = controller.store.snapshot(k * TICK_S)
        decision = controller.tick_snapshot(snap)
        recorder.append(pack(snap, IN_PROCESS, "", decision, k * TICK_S))
        readings = plant.step(decision.setpoints, TICK_S) or {}
    recorder.close()
    assert not recorder.failed
    return folder


@pytest.fixture(scope="module")
def folder(site: Site, policy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shadowed(site, policy, tmp_path_factory.mktemp("shadow"), HOURS)


@pytest.fixture(scope="module")
def report(folder: Path) -> tuple[dict, str]:
    pytest.importorskip("matplotlib")
    assert main(["report", str(folder), "--out", str(folder / "out")]) == 0
    return json.loads((folder / "out" / "report.json").read_text()), (folder / "out" / "report.html").read_text()


def test_shadow_forecasts_a_saving_with_an_interval_and_calls_none(report: tuple[dict, str]) -> None:
    f, w = report[0], report[0]["shadow"]
    assert f["saving"]["method"] == "none" and "NOT measured" in w["label"]
    assert w["hours"] == pytest.approx(HOURS, abs=0.05)
    assert 0.05 < w["low_ratio"] < w["ratio"] < w["high_ratio"] < 0.8, "a July day against seven degrees less"
    total = sum(w["recorded_kwh"].values())
    assert w["ratio"] == pytest.approx(1.0 - sum(w["forecast_kwh"].values()) / total, abs=1e-4)
    assert total == pytest.approx(f["figures"]["cooling_kwh"], rel=0.01), "the same meters as the key figures"


def test_shadow_names_what_it_would_have_set_against_what_was(report: tuple[dict, str], site: Site) -> None:
    rows = {row["name"]: row for row in report[0]["shadow"]["setpoints"]}
    assert set(rows) == {n for k, n in enumerate(site.u_names) if site.accepted[k]}
    chwst = rows["chwst_sp"]
    assert chwst["unit"] == "degC" and chwst["would_mean"] > chwst["was_mean"] + 2.0
    assert chwst["moved_mean"] == pytest.approx(chwst["would_mean"] - chwst["was_mean"], abs=0.01)
    assert all(row["would_p05"] <= row["would_p95"] for row in rows.values())


def test_shadow_says_where_the_model_was_wrong(report: tuple[dict, str]) -> None:
    w = report[0]["shadow"]
    assert w["model"]["hourly_cv_rmse_ratio"] < 0.2 and len(w["worst_hours"]) >= 6
    errors = [abs(x["measured_kwh"] - x["modelled_kwh"]) for x in w["worst_hours"]]
    assert errors == sorted(errors, reverse=True) and 0.0 <= w["worst_hours"][0]["hour_of_run"] <= HOURS
    assert 0.5 * HOURS < sum(b["hours"] for b in w["by_condition"]) <= HOURS
    assert all(b["cv_rmse_ratio"] >= abs(b["nmbe_ratio"]) - 1e-6 for b in w["by_condition"])


def test_shadow_page_shows_it_and_still_stands_alone(report: tuple[dict, str]) -> None:
    page = report[1]
    for heading in ("In shadow", "What it would have set", "Limits that bound its wishes", "Where the model was wrong"):
        assert heading in page
    assert "<script" not in page and not re.search(r"(?:src|href)=\"(?!#)", page.replace("xlink:href", "href"))
    assert page.count('role="img"') == 3
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_shadow_counts_the_limits_that_bound(folder: Path, site: Site) -> None:
    found = watched([str(folder)], site.config_hash)
    assert found is not None
    bits = np.zeros_like(found.stretch.bits)
    bits[: len(bits) // 4, 0] = 1 << 2
    rows = limits_of(site, found.stretch._replace(bits=bits))
    assert [(r["name"], r["setpoints"]) for r in rows] == [(LIMITS[2], [site.u_names[0]])]
    assert rows[0]["ratio"] == pytest.approx(0.25, abs=0.01)
    assert rows[0]["hours"] == pytest.approx(0.25 * HOURS, abs=0.05)


def test_shadow_of_two_runs_is_one_forecast_and_few_hours_are_none(site: Site, policy: Any, folder: Path, tmp_path: Path) -> None:
    short = shadowed(site, policy, tmp_path / "b", 1.0, name="zz")
    assert watched([str(short)], site.config_hash) is None
    both = watched([str(folder), str(short)], site.config_hash)
    assert both is not None and [name[:2] for _s, name in both.begins] == [site.name[:2], "zz"]
    assert float(both.stretch.dt_s.sum()) / 3600.0 == pytest.approx(HOURS + 1.0, abs=0.1)
    assert watched([str(folder)], "another configuration") is None
