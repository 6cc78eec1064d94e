"""`coolctl verify`: a sound policy passes, each kind of unsound one is named by the check that is about it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SITE

from coolctl import cli_verify
from coolctl.cli import main
from coolctl.cli_verify import batches, crossings, envelope, fit, grid, states, verify
from coolctl.control.policy import F32, FEATURES, HIGH, LOW, OUTPUTS, outside
from coolctl.errors import EXIT_CHECK_FAILED, EXIT_OK
from coolctl.site import Site


class Network:
    """Answers with what it is told, whatever the state."""

    model_hash, passport = "test", {"outputs": list(OUTPUTS), "sites": {}}

    def __init__(self, answer=lambda x: np.ones((len(x), len(OUTPUTS)), dtype=np.float32)):  # type: ignore[no-untyped-def]
        self.answer = answer

    def infer(self, x: F32) -> F32:
        y: F32 = self.answer(x)
        return y


def test_the_shipped_policy_is_sound_and_fits_its_sites(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "default", "--site", str(SITE), "--json", "-"]) == EXIT_OK
    checks = json.loads(capsys.readouterr().out)
    assert [c["name"] for c in checks] == ["admission", "answers", "envelope", "site"] and all(c["ok"] for c in checks)
    assert "trained on this very site file" in checks[-1]["saw"]
    assert main(["verify", "default"]) == EXIT_OK
    assert capsys.readouterr().out.count("\n") == 3


def test_changed_weights_are_not_admitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied = shutil.copytree(ROOT / "models/default", tmp_path / "policy")
    raw = bytearray((copied / "policy.onnx").read_bytes())
    raw[len(raw) // 2] ^= 1
    (copied / "policy.onnx").write_bytes(bytes(raw))
    assert main(["verify", str(copied)]) == EXIT_CHECK_FAILED
    out = capsys.readouterr().out
    assert out.startswith("FAILED  admission") and "sha256" in out and out.count("\n") == 1


def test_states_reach_every_end_of_the_trained_range() -> None:
    x = states()
    assert len(x) >= 10_000 and np.allclose(x.min(axis=0), LOW) and np.allclose(x.max(axis=0), HIGH)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (lambda x: np.full((len(x), len(OUTPUTS)), np.nan, dtype=np.float32), "no number"),
        (lambda x: np.where(x[:, :1] > HIGH[0] - 1e-3, 2e3, 1.0) * np.ones((1, len(OUTPUTS))), "beyond 1000"),
        (lambda x: np.full((len(x), len(OUTPUTS)), 1.0 + 1e-3 * (len(x) == 1)), "apart"),
        (lambda x: np.full((len(x), len(OUTPUTS)), 1.0 + 1e-3 * (len(x) == 4)), "apart"),
    ],
)
def test_answers_that_are_unsound_fail(answer, word: str) -> None:  # type: ignore[no-untyped-def]
    assert batches(Network()).ok
    check = batches(Network(answer))
    assert not check.ok and word in check.saw


def test_a_state_without_a_number_in_the_envelope_fails(site: Site) -> None:
    warm = next(k for k, f in enumerate(FEATURES) if f.name == "oawb_c")
    holed = Network(lambda x: np.where(x[:, warm : warm + 1] > 29.0, np.nan, 1.0) * np.ones((1, len(OUTPUTS))))
    assert not envelope(holed, site).ok and envelope(Network(), site).ok


def test_proposals_beyond_the_sites_limits_are_counted(site: Site) -> None:
    x, lim = grid(None), site.file.limits
    wb = x[:, 1].astype(float)
    inside = np.tile([3.0, 4.0, 0.0, 0.9, 1.05, 1.0, 0.0], (len(x), 1))
    inside[:, 2] = np.clip(wb + 3.0, lim.cwst_sp_min_c, lim.cwst_sp_max_c) - wb
    share, worst = crossings(x, inside, site)
    assert share == 0.0 and not any(worst.values()), worst
    half = inside.copy()
    half[::2, 3] = lim.cw_flow_sp_max_ratio + 0.5 * (lim.cw_flow_sp_max_ratio - lim.cw_flow_sp_min_ratio)
    share, worst = crossings(x, half, site)
    assert share == 0.5 and worst["condenser flow"] == pytest.approx(0.5)


def test_a_site_that_is_not_like_any_that_was_trained_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit(Network(), site).ok and "not on this file" in fit(Network(), site).saw
    strange = list(cli_verify.describe(cli_verify.hall_array(site), cli_verify.plant_params(site)))
    strange[FEATURES.index(next(f for f in FEATURES if f.name == "coil_ntu")) - cli_verify.PLANT_FROM] = 9.0
    monkeypatch.setattr(cli_verify, "describe", lambda *_: tuple(strange))
    check = fit(Network(), site)
    assert not check.ok and check.saw.startswith("coil_ntu")
    assert outside(grid(tuple(strange))[:1]) == "coil_ntu"
    assert not all(c.ok for c in verify("default", site))
