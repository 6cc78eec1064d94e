"""`coolctl report`: from recordings to a page and JSON, honest about gaps, damage, service and what was not measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import SITE

from coolctl.cli import main
from coolctl.control.mode import MODES
from coolctl.control.tick import IN_PROCESS
from coolctl.controller import Controller
from coolctl.edge.recorder import Recorder
from coolctl.points import Quality
from coolctl.savings.switchback import schedule_of
from coolctl.site import Site, load_site
from coolctl.trace import columns, header, pack
from sim_plant.load import constant
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

pytest.importorskip("scipy")
SAVED, DAYS = 0.2, 4
METERS = ("chiller_power", "tower_power", "chw_pump_power", "cw_pump_power", "crah_fan_power")


@pytest.fixture(scope="module")
def tested_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("site") / "site.toml"
    table = f"[switchback]\nenabled = true\nblock_h = 3\ndays = {DAYS}\n\n[report]\npue_limit = 1.25\n\n[weather]"
    path.write_text(SITE.read_text().replace("[weather]", table, 1))
    return load_site(path)


def real_row(site: Site) -> np.ndarray:
    """A tick's row of a real run."""
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T10"), constant(0.6))
    readings, controller = plant.reset(1), Controller(site, None, "fallback")
    for k in range(30):
        controller.store.put_readings(readings, float(k))
        snap = controller.store.snapshot(float(k))
        decision = controller.tick_snapshot(snap)
        readings = plant.step(decision.setpoints, 1.0)
    return pack(snap, IN_PROCESS, "", decision, 0.0)


def days_of(site: Site, saved: float, *, hot: float = 0.0, seed: int = 1) -> np.ndarray:
    """A row a minute: cooling follows weather and load and has noise that lasts; the policy saves `saved` in its blocks."""
    rng, names, row = np.random.default_rng(seed), columns(site), real_row(site)
    at = {n: k for k, n in enumerate(names)}
    t = np.arange(0.0, DAYS * 86400.0, 60.0)
    rows = np.repeat(row[None, :], len(t), axis=0)
    schedule = schedule_of(site)
    arm = np.array([schedule.at(x).arm if schedule else 1 for x in t])
    noise = np.repeat(np.convolve(rng.standard_normal(DAYS * 24 + 5), np.ones(6) / 6**0.5 * 0.05, "valid"), 60)[: len(t)]
    oawb_c = 15.0 + 5.0 * np.sin(2 * np.pi * t / 86400.0)
    it_w = 600e3 + 50e3 * np.sin(2 * np.pi * (t - 2e4) / 86400.0)
    cooling_w = it_w * (0.1 + 0.01 * oawb_c) * (1.0 + noise) * np.where(arm == 1, 1.0 - saved, 1.0)
    ids = {p.role: [q.id for q in site.table.points if q.role == p.role] for p in site.table.points}
    for name in (n for n in names if n.startswith("quality:")):
        rows[:, at[name]] = float(Quality.GOOD)
    for role in METERS:
        for i in ids.get(role, []):
            rows[:, at[f"value:{i}"]] = 0.0
    rows[:, at[f"value:{ids['chiller_power'][0]}"]] = cooling_w
    for i in ids["it_power"]:
        rows[:, at[f"value:{i}"]] = it_w / len(ids["it_power"])
    for i in ids["rack_inlet"]:
        rows[:, at[f"value:{i}"]] = np.where(arm == 1, 24.0 + hot, 24.0)
    rows[:, at["now_s"]] = rows[:, at["clock_s"]] = t
    rows[:, at["term:oawb_c"]] = oawb_c
    rows[:, at["term:model_w"]], rows[:, at["term:baseline_w"]] = cooling_w * 1.02, cooling_w / (1.0 - SAVED)
    rows[:, at["mode"]] = np.where(arm == 1, MODES.index("auto"), MODES.index("fallback"))
    rows[:, at["switchback:arm"]] = arm
    rows[:, at["switchback:block"]] = [schedule.at(x).block if schedule else -1 for x in t]
    return rows


def record(folder: Path, site: Site, rows: np.ndarray, name: str = "") -> Path:
    recorder = Recorder(folder, name or site.name, columns(site), header(site, "policy-hash", "none", "auto"), block_rows=1440)
    for row in rows:
        recorder.append(row)
    recorder.close()
    assert not recorder.failed
    return folder


@pytest.fixture(scope="module")
def rows(tested_site: Site) -> np.ndarray:
    return days_of(tested_site, SAVED)


@pytest.fixture(scope="module")
def report(tested_site: Site, rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    folder = record(tmp_path_factory.mktemp("whole"), tested_site, rows)
    assert main(["report", str(folder), "--out", str(folder / "out")]) == 0
    return json.loads((folder / "out" / "report.json").read_text()), (folder / "out" / "report.html").read_text()


def as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict:
    capsys.readouterr()
    assert main(["report", str(folder), "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


def test_known_saving_is_found_with_its_interval(report: tuple[dict, str]) -> None:
    s = report[0]["saving"]
    assert s["method"] == "switchback" and s["called"] and s["pairs"] == 16 and s["pairs_left_out"] == 0
    assert s["low_ratio"] < SAVED < s["high_ratio"] and s["high_ratio"] - s["low_ratio"] < 0.12
    assert s["p_randomisation"] < 0.01


def test_figures_follow_from_the_meters(report: tuple[dict, str], tested_site: Site, rows: np.ndarray) -> None:
    f, at = report[0]["figures"], columns(tested_site).index
    it = sum(rows[:, at(f"value:{p.id}")].mean() for p in tested_site.table.points if p.role == "it_power")
    cooling = sum(rows[:, at(f"value:{p.id}")].mean() for p in tested_site.table.points if p.role in METERS)
    assert f["mlc"] == pytest.approx(cooling / it, rel=1e-3) and f["ppue"] == pytest.approx(1.0 + f["mlc"])
    assert f["pue"] == pytest.approx(f["ppue"] + 0.07) and f["cue_kg_per_kwh"] == pytest.approx(0.5 * f["pue"], rel=0.6)
    assert f["coverage_of_span_ratio"] == pytest.approx(1.0, abs=1e-3) and f["coverage_of_year_ratio"] == pytest.approx(
        DAYS / 365.0, rel=1e-2
    )
    own = f["limits"][-1]
    assert (
        own["pue_max"] == 1.25
        and own["met"] == (f["pue"] <= 1.25)
        and own["distance"] == pytest.approx(1.25 - f["pue"], abs=1e-5)
    )


def test_page_stands_alone_and_can_be_read_without_a_script(report: tuple[dict, str]) -> None:
    found, page = report
    assert "<script" not in page and not re.search(r"(?:src|href)=\"(?!#)", page.replace("xlink:href", "href"))
    assert not re.search(r"@import|url\((?!#)", page)
    assert page.count('role="img"') == 3 and 'name="viewport"' in page and "@media print" in page and 'lang="en"' in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "pictures do not share ids"
    assert found["config_hash"] in page and all(name in page for name in found["recordings"])


def test_site_without_a_saving_is_not_called_one(tested_site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(record(tmp_path, tested_site, days_of(tested_site, 0.0, seed=3)), capsys)
    s = found["saving"]
    assert not s["called"] and s["low_ratio"] < 0.0 < s["high_ratio"]


def test_gaps_are_said_and_their_pairs_left_out(
    tested_site: Site, rows: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    holed = rows.copy()
    meter = next(p.id for p in tested_site.table.points if p.role == "chiller_power")
    holed[3000:3060, columns(tested_site).index(f"quality:{meter}")] = float(Quality.STALE)
    folder = record(tmp_path, tested_site, np.concatenate([holed[:1000], holed[1180:]]))
    found = as_json(folder, capsys)
    assert found["gaps"]["count"] == 1 and found["gaps"]["hours"] == pytest.approx(3.0, abs=0.05)
    assert found["gaps"]["unmetered_h"] == pytest.approx(1.0, abs=0.02)
    assert found["saving"]["pairs_left_out"] >= 1 and found["saving"]["pairs"] == 16 - found["saving"]["pairs_left_out"]
    assert main(["report", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert "gaps: 1" in capsys.readouterr().out
    assert "1 gaps, 3.0" in (tmp_path / "out" / "report.html").read_text()


def test_arms_that_were_not_drawn_are_seen(
    tested_site: Site, rows: np.ndarray, report: tuple[dict, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report[0]["saving"]["not_as_registered_h"] == 0.0
    swapped, at = rows.copy(), columns(tested_site).index("switchback:arm")
    swapped[:360, at] = 1.0 - swapped[:360, at]
    assert as_json(record(tmp_path, tested_site, swapped), capsys)["saving"]["not_as_registered_h"] == 6.0


def test_worse_service_is_not_called_equal(
    tested_site: Site, report: tuple[dict, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report[0]["service"]["equal"] is True
    found = as_json(record(tmp_path, tested_site, days_of(tested_site, SAVED, hot=3.0)), capsys)
    assert found["service"]["equal"] is False
    assert found["service"]["arms"]["ai"]["over_limit_k_min_per_day"][0] > 100.0


def test_without_a_switchback_it_is_a_models_estimate_and_says_so(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("statsmodels")
    found = as_json(record(tmp_path, site, days_of(site, SAVED)), capsys)
    s = found["saving"]
    assert s["method"] == "shadow" and "NOT measured" in s["label"] and not s["called"]
    assert s["low_ratio"] < SAVED < s["high_ratio"] and s["model"]["nmbe_ratio"] == pytest.approx(-0.02, abs=0.002)


def one_line(capsys: pytest.CaptureFixture[str], words: list[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["report", *words])
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1, err
    return code, err


def test_foreign_and_truncated_recordings_give_one_line(tested_site: Site, two_halls: Site, rows: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    (tmp_path / "x-1-0000.cool").write_bytes(b"SQLite format 3\0" * 9)
    assert one_line(capsys, [str(tmp_path / "x-1-0000.cool")])[0] == 1
    assert one_line(capsys, [str(tmp_path / "nothing")])[0] == 1
    other = Recorder(tmp_path / "other", "run", ["a"], {"x": 1})
    other.append(np.zeros(1))
    other.close()
    code, err = one_line(capsys, [str(tmp_path / "other")])
    assert code == 3 and "no site" in err
    whole = record(tmp_path / "whole", tested_site, rows[:400])
    path = next(whole.glob("*.cool"))
    raw = path.read_bytes()
    path.write_bytes(raw[:30])
    assert one_line(capsys, [str(path)])[0] == 1
    path.write_bytes(raw[: len(raw) - 2000])
    for wal in whole.glob("*.wal*"):
        wal.unlink()
    code, err = one_line(capsys, [str(path)])
    assert code == 1 and "nothing to report" in err and str(path) in err
    record(tmp_path / "two", two_halls, np.zeros((3, len(columns(two_halls)))))
    good = record(tmp_path / "good", tested_site, rows[:100])
    code, err = one_line(capsys, [str(good), str(tmp_path / "two")])
    assert code == 2 and "one site at a time" in err
