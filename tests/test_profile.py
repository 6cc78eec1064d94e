"""The pictures of a comparison, and the figures that they are drawn from."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import SITE
from test_cli import OK, USAGE, call

from coolctl.controller import RuleController
from coolctl.savings.evaluate import run
from coolctl.savings.profile import INLET_C, LOAD_RATIO, WETBULB_C, Profile, saving_by_bin
from coolctl.site import Site
from sim_plant.load import constant
from sim_plant.plant import SimPlant


def profile_of(site: Site, name: str) -> tuple[Profile, dict]:  # type: ignore[type-arg]
    profile = Profile(site)
    account = run(
        site, SimPlant(site, load=constant(0.6), coarse=True), RuleController(site, name), 1.5, 1, 10.0, profile=profile
    )
    return profile, account.entry()


def test_profile_agrees_with_the_ledger(site: Site) -> None:
    profile, entry = profile_of(site, "b2")
    assert profile.inlet_s.sum() == pytest.approx(3600.0)
    assert profile.cooling_j.sum() / 3.6e6 == pytest.approx(entry["energy_kwh"]["cooling_total"], rel=1e-6)
    warmest = INLET_C[min(int(np.flatnonzero(profile.inlet_s)[-1]), len(INLET_C) - 1)]
    assert warmest == pytest.approx(entry["service"]["rack_inlet_max_c"], abs=0.1001)
    at = int(np.searchsorted(LOAD_RATIO, 0.6))
    assert profile.seconds[:, at : at + 2].sum() == pytest.approx(3600.0)  # the server fans lift it a little
    hours, traces = profile.traces()
    assert len(hours) == 12 and np.diff(hours) == pytest.approx(1.0 / 12.0, rel=0.05)
    assert all(np.isfinite(v).all() for v in traces.values()) and traces["chilled water °C"].min() >= 8.0


def test_runs_follow_one_another_and_savings_are_by_bin(site: Site) -> None:
    (mine, m), (base, b) = profile_of(site, "b2"), profile_of(site, "b1")
    saving = saving_by_bin(mine, base)
    assert saving.shape == (len(WETBULB_C) + 1, len(LOAD_RATIO) + 1) and np.isfinite(saving).sum() >= 1
    whole = 1.0 - m["energy_kwh"]["cooling_total"] / b["energy_kwh"]["cooling_total"]
    assert np.nanmin(saving) - 1e-9 <= whole <= np.nanmax(saving) + 1e-9
    both = Profile(site)
    both.absorb(mine)
    both.absorb(mine)
    assert both.seconds.sum() == 2.0 * mine.seconds.sum()
    assert (np.diff(both.traces()[0]) > 0.0).all()


def test_plots_are_whole_pictures_without_a_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    words = (
        "evaluate",
        "--site",
        SITE,
        "--hours",
        "0:1.2",
        "--step",
        "10",
        "--controllers",
        "b1,b2,ai",
        "--plots",
        tmp_path / "p",
    )
    assert call(*words) == OK
    pictures = {path.name: path.read_text() for path in (tmp_path / "p").glob("*.svg")}
    assert set(pictures) == {"energy.svg", "inlets.svg", "setpoints.svg", "saving_ai_vs_b1.svg", "saving_ai_vs_b2.svg"}
    for name, text in pictures.items():
        assert text.rstrip().endswith("</svg>") and len(re.findall(r"<path", text)) > 10, name
        assert "<dc:date>" not in text  # the same run draws the same file
    assert call("evaluate", "--site", SITE, "--plots", SITE) == USAGE
