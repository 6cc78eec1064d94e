"""What-if replay: the same way costs the same, a worse one more, holes stay holes, and the model's error is in the interval."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from coolctl import replay
from coolctl.control.tick import IN_PROCESS
from coolctl.controller import Controller
from coolctl.edge.recorder import Recorder
from coolctl.errors import RecordingError
from coolctl.points import U_CHILLERS, U_HALL, Quality
from coolctl.recording import Recording
from coolctl.replay_whatif import Progress
from coolctl.savings.measurement.model_error import PRIOR_SD, SERVER_FAN_SD, Fitted, fit_model, saving
from coolctl.savings.measurement.recorded import MACHINES, Reader
from coolctl.savings.measurement.twin import Twin
from coolctl.site import Site
from coolctl.trace import columns, header, open_recording, pack
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

TICK_S, TICKS, SETTLED = 30.0, 400, 240


def record(site: Site, folder: Path, ticks: int, *, holed: str = "", settled: int = 0) -> Path:
    """A run with the rules after `settled` ticks of settling; the point `holed` is stale from tick 100 to 200."""
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T10"), synthetic(), coarse=True)
    readings, controller = plant.reset(1), Controller(site, None, "fallback")
    recorder = Recorder(folder, site.name, columns(site), header(site, "", "none", "fallback"), block_rows=200)
    for k in range(-settled, ticks):
        controller.store.put_readings(readings, (k + settled) * TICK_S)
        snap = controller.store.snapshot((k + settled) * TICK_S)
        if holed and 100 <= k < 200:
            i = site.table.index[holed]
            snap.value[i], snap.quality[i] = np.nan, Quality.STALE
        decision = controller.tick_snapshot(snap)
        if k >= 0:
            recorder.append(pack(snap, IN_PROCESS, "", decision))
        readings = plant.step(decision.setpoints, TICK_S) or {}
    recorder.close()
    assert not recorder.failed
    return folder


@pytest.fixture(scope="module")
def recorded(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(site, tmp_path_factory.mktemp("whatif"), TICKS, settled=SETTLED)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    return parser.parse_args(words)


def told(folder: Path, tmp_path: Path, *words: str) -> dict:
    out = tmp_path / "out.json"
    assert replay.main(arguments(str(folder), "--what-if", "--json", str(out), *words)) == 0
    return json.loads(out.read_text())


def test_whatif_the_same_way_costs_about_the_same(recorded: Path, tmp_path: Path) -> None:
    f = told(recorded, tmp_path, "--controller", "b2")
    assert (
        "NOT measured" in f["label"]
        and f["granted"] == "fallback"
        and f["hours"] == pytest.approx(TICKS * TICK_S / 3600.0 - 0.5, abs=0.02)
    )
    # Three hours: what the loop stores and gives back is a good part of them, and the model has no store. It says so by its width.
    assert abs(f["saved_ratio"]) < 0.2 and f["saved_low_ratio"] < 0.0 < f["saved_high_ratio"]
    assert f["recorded_total_kwh"] == pytest.approx(sum(f["recorded_kwh"].values()), rel=1e-6)
    assert f["saved_kwh"] == pytest.approx(f["recorded_total_kwh"] - f["other_total_kwh"], abs=0.01)
    assert 0.02 < f["model"]["hourly_cv_rmse_ratio"] < 0.3
    cooling = [sum(f[k].values()) - f[k]["server_fan_increase"] for k in ("recorded_kwh", "other_kwh")]
    assert f["cooling_saved_ratio"] == pytest.approx(1.0 - cooling[1] / cooling[0], abs=1e-5)
    assert f["cooling_saved_low_ratio"] < f["cooling_saved_ratio"] < f["cooling_saved_high_ratio"]


def test_whatif_what_servers_fans_save_is_hardly_known() -> None:
    """Where they begin to speed up no record tells; a saving of theirs alone may be a fifth of it."""
    sure = Fitted(None, None, np.zeros(len(MACHINES)), np.zeros(1), 0.0, None)  # type: ignore[arg-type]
    record, other = np.full(len(MACHINES) + 1, 100.0), np.full(len(MACHINES) + 1, 100.0)
    other[-1] = 0.0
    fans = saving(sure, record, other)
    assert (fans.high - fans.low) / 2.0 == pytest.approx(1.96 * SERVER_FAN_SD * fans.saving)
    other[-1], other[0] = 100.0, 0.0
    chillers = saving(sure, record, other)
    assert chillers.saving == fans.saving and (chillers.high - chillers.low) / 2.0 == pytest.approx(1.96 * PRIOR_SD * fans.saving)


def test_whatif_fixed_setpoints_cost_more_and_the_picture_and_terms_are_written(recorded: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot, terms = tmp_path / "w.svg", tmp_path / "terms.csv"
    f = told(recorded, tmp_path, "--controller", "b0", "--plot", str(plot), "--terms", str(terms), "--to", "6000")
    assert f["saved_ratio"] < -0.2 and f["saved_high_ratio"] < 0.0, "seven degrees and constant fans are dear"
    assert f["other_kwh"]["crah_fan"] > f["recorded_kwh"]["crah_fan"]
    assert plot.read_text().startswith("<?xml") and len(terms.read_text().splitlines()) == 202


def test_whatif_says_its_limits_and_refuses_what_does_not_go_together(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.main(arguments(str(recorded), "--what-if", "--verify")) == 2
    assert replay.main(arguments(str(recorded), "--limit", "24")) == 2
    assert "--what-if" in capsys.readouterr().err


def test_whatif_record_without_load_is_refused_with_a_reason(site: Site, tmp_path: Path) -> None:
    folder = record(site, tmp_path, 30)
    with pytest.raises(RecordingError, match="too few to drive it otherwise"):
        replay.main(arguments(str(folder), "--what-if", "--controller", "b2"))


def test_twin_keeps_the_records_holes_and_what_it_does_not_know(site: Site, tmp_path: Path) -> None:
    folder = record(site, tmp_path, 260, holed="chwst")
    recording, original, _site = open_recording(str(folder))
    reader = Reader(original, recording)
    stretch = reader.read(recording)
    fitted, at = fit_model(reader, stretch), site.table.index
    twin, eyes, unknown = Twin(site, fitted.model), Reader(original, recording), 0
    for row in recording.read():
        look = eyes.look(row)
        if np.isnan(twin.u).any():
            twin.settle(look.u, look.est.w, look.est.dewpoint_c)
        seen = twin.seen(look.raw)
        unknown += bool(np.isnan(seen.value[at["chwst"]]))
        assert seen.quality is look.raw.quality and np.isnan(seen.value[site.table.one("aisle_dp", site.halls[0])])
    assert unknown == 100


def test_twin_starts_a_chiller_after_its_time_and_warms_where_coils_cannot_carry(site: Site, recorded: Path) -> None:
    recording, original, _site = open_recording(str(recorded))
    reader = Reader(original, recording)
    s = reader.read(recording)
    twin = Twin(site, fit_model(reader, s).model)
    twin.settle(s.u[-1], s.w[-1], s.dewpoint_c[-1])
    asked = s.u[-1].copy()
    asked[U_CHILLERS] = twin.u[U_CHILLERS] + 1.0
    before = twin.starts
    for k in range(60):
        twin.step(asked, s.w[-1], s.dewpoint_c[-1], 10.0)
        assert (twin.starts - before == 1) == ((k + 1) * 10.0 >= site.chiller.start_s)
    cool_c = float(twin.hottest_c.max())
    asked[U_HALL + 1 :: 2] = 0.2
    for _ in range(30):
        twin.step(asked, s.w[-1], s.dewpoint_c[-1], 10.0)
    assert twin.hottest_c.max() > cool_c + 3.0, "a fifth of the air"


def test_interval_of_a_whatif_widens_with_what_is_changed(site: Site, recorded: Path) -> None:
    recording, original, _site = open_recording(str(recorded))
    reader = Reader(original, recording)
    fitted = fit_model(reader, reader.read(recording))
    base = np.full(5, 100.0)
    little, much = saving(fitted, base, 1.05 * base), saving(fitted, base, 1.4 * base)
    assert little.saving == pytest.approx(-0.05) and much.saving == pytest.approx(-0.4)
    assert much.high - much.low > little.high - little.low > 0.0
    assert np.isnan(saving(fitted, 0.0 * base, base).saving)


def test_rows_are_counted_for_the_progress_bar(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Recording(recorded).count_rows() == TICKS
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar = Progress(10)
    bar.moved("fitting the model", 10)
    bar.end()
    assert "100 %" in capsys.readouterr().err
