"""What outlives a restart: calibration's gains, of the same site file only, and a replay that starts from them too."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from coolctl.cli import main
from coolctl.control.calibrate import AGE_SD_PER_DAY, BOUND, GAINS, PRIOR_SD
from coolctl.control.tick import IN_PROCESS
from coolctl.controller import Controller
from coolctl.daemon_state import GainsFile
from coolctl.edge.recorder import Recorder
from coolctl.errors import EXIT_CHECK_FAILED, EXIT_OK
from coolctl.site import Site
from coolctl.trace import columns, header, pack
from sim_plant.load import constant
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

LEARNT = {"crah_fan": [0.12, 0.001], "chiller_eir": [-0.2, 0.002]}


def test_gains_come_back_older_and_less_certain(site: Site, tmp_path: Path) -> None:
    file = GainsFile(tmp_path / "gains.json", site.config_hash)
    assert file.write(LEARNT, 1e9)
    known, age_s = file.read(1e9 + 2 * 86400.0)
    assert (known, age_s) == (LEARNT, 2 * 86400.0)
    controller = Controller(site, None)
    controller.control.restore(known, age_s)
    found = {g.name: g for g in controller.control.gains()}
    assert found["crah_fan"].factor == pytest.approx(math.exp(0.12))
    assert found["crah_fan"].sd_ratio == pytest.approx(math.sqrt(0.001 + 2 * AGE_SD_PER_DAY**2))
    assert (found["tower_fan"].factor, found["tower_fan"].sd_ratio) == (1.0, pytest.approx(PRIOR_SD)), "never learnt"


@pytest.mark.parametrize(
    "content",
    [
        "", "nonsense", "[1]", "null", json.dumps({"config_hash": "other", "saved_s": 1.0, "gains": LEARNT}),
        '{"config_hash": "HASH", "saved_s": "x", "gains": {}}', '{"config_hash": "HASH", "saved_s": 1.0, "gains": [1]}',
        '{"config_hash": "HASH", "saved_s": 1.0, "gains": {"crah_fan": ["x", 1]}}', "[" * 100_000,
        json.dumps({"config_hash": "HASH", "saved_s": 1.0, "gains": {"crah_fan": [9.0, 0.001], "cw_pump": [math.nan, 0.1]}}),
        json.dumps({"config_hash": "HASH", "saved_s": math.nan, "gains": LEARNT}),
        '{"config_hash": "HASH", "saved_s": 1.0, "gains": {"crah_fan": 3, "cw_pump": [0.1], "tower_fan": null}}',
        json.dumps({"config_hash": "HASH", "saved_s": 1.0, "gains": {"crah_fan": [BOUND, -1.0], "cw_pump": [0.0, 9.0]}}),
    ],
)  # fmt: skip
def test_what_is_no_gain_of_this_site_counts_as_nothing(site: Site, tmp_path: Path, content: str) -> None:
    path = tmp_path / "gains.json"
    path.write_text(content.replace("HASH", site.config_hash))
    controller = Controller(site, None)
    controller.control.restore(*GainsFile(path, site.config_hash).read(1e9))
    assert [g.factor for g in controller.control.gains()] == [1.0] * len(GAINS)


def test_a_folder_that_cannot_be_written_is_said(site: Site, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    assert not GainsFile(tmp_path / "state" / "gains.json", site.config_hash).write(LEARNT, 1.0)


def recorded(site: Site, folder: Path, told: dict[str, list[float]], ticks: int) -> None:
    """A run that starts from `LEARNT`; its recording says that it started from `told`."""
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T06"), constant(0.6))
    controller, readings = Controller(site, None), plant.reset(1)
    controller.control.restore(LEARNT)
    recorder = Recorder(str(folder), site.name, columns(site), header(site, "", "none", "auto", told))
    for k in range(ticks):
        controller.store.put_readings(readings, float(k))
        snap = controller.store.snapshot(float(k))
        decision = controller.tick_snapshot(snap)
        recorder.append(pack(snap, IN_PROCESS, "", decision))
        readings = plant.step(decision.setpoints, 1.0)
    recorder.close()


@pytest.mark.parametrize(("told", "code"), [(LEARNT, EXIT_OK), ({}, EXIT_CHECK_FAILED)], ids=["told", "not told"])
def test_a_replay_starts_from_the_gains_that_the_run_started_from(site: Site, tmp_path: Path, told, code: int) -> None:  # type: ignore[no-untyped-def]
    recorded(site, tmp_path, told, 120)
    assert main(["replay", str(tmp_path), "--verify"]) == code
