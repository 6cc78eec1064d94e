"""A chiller's figures from its records: a known machine is found again, a real one is foretold."""

from __future__ import annotations

import csv
import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SITE
from test_cli import OK, USAGE, call

from coolctl.control.tick import IN_PROCESS
from coolctl.controller import Controller, RuleController
from coolctl.edge.recorder import Recorder
from coolctl.site import Site
from coolctl.thermal.chiller import ChillerParams
from coolctl.thermal.params import plant_params
from coolctl.trace import columns, header, pack
from coolctl.training.chiller_fit import fit_chiller, goodness, powers_w, with_figures
from sim_plant.load import Load
from sim_plant.plant import SimPlant

REAL = ROOT.parent / "shared" / "data" / "telemetry" / "esb_chiller1_5min.csv.gz"


def rows(p: ChillerParams, count: int, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    load = rng.uniform(0.3, 0.95, count) * p.capacity_ref_w
    return load, rng.uniform(8.0, 18.0, count), rng.uniform(18.0, 30.0, count), np.full(count, p.condenser_flow_nom_kgs)


def test_a_known_machine_is_found_again_through_noise_and_outliers(site: Site) -> None:
    p = plant_params(site).chiller
    truth, rng = with_figures(p, math.log(1.2), 0.45, 0.15), np.random.default_rng(3)
    where = rows(p, 400, 1)
    seen = powers_w(*where, truth) * np.exp(rng.normal(0.0, 0.03, 400))
    seen[::40] *= 1.6
    fit = fit_chiller(*where, seen, p)
    for name, true in (("eir_scale", 1.2), ("lift_exponent", 0.45), ("bend", 0.15)):
        error = dict(zip(("eir_scale", "lift_exponent", "bend"), fit.standard_error, strict=True))[name]
        assert abs(getattr(fit, name) - true) < max(3.5 * error, 0.02), name
    other = rows(p, 200, 2)
    cv, nmbe = goodness(powers_w(*other, fit.chiller), powers_w(*other, truth))
    assert cv < 0.015 and abs(nmbe) < 0.01


def test_what_a_record_cannot_tell_stays_with_the_prior(site: Site) -> None:
    """One load, one water: only the efficiency is told, the lift exponent keeps its prior and says so."""
    p = plant_params(site).chiller
    where = (np.full(200, 0.6 * p.capacity_ref_w), np.full(200, 10.0), np.full(200, 24.0), np.full(200, p.condenser_flow_nom_kgs))
    fit = fit_chiller(*where, 1.1 * powers_w(*where, p), p)
    assert fit.standard_error[1] > 0.3 and abs(fit.lift_exponent - p.lift_exponent) < 0.1
    with pytest.raises(ValueError, match="only 20 rows"):
        fit_chiller(*(v[:20] for v in where), powers_w(*(v[:20] for v in where), p), p)  # type: ignore[misc]


def real_rows() -> tuple[np.ndarray, ...]:
    """Settled moments of the real chiller; its condenser flow is not metered, so the design flow of the pump is taken."""
    with gzip.open(REAL, "rt") as stream:
        table = list(csv.DictReader(stream))

    def column(name: str) -> np.ndarray:
        return np.array([float(r[name]) if r[name] not in ("", "NaN", "nan") else math.nan for r in table])

    kw, out_c = column("chiller_kw"), column("chw_out_c")
    load_w = column("chw_flow_lps") * 4186.0 * (column("chw_in_c") - out_c)
    range_k = column("cdw_out_c") - column("cdw_in_c")
    settled = kw > 20.0
    for k in range(1, 4):
        settled[k:] &= kw[:-k] > 20.0
    good = settled & (load_w > 1e5) & np.isfinite(range_k)
    flow = (load_w + 1e3 * kw)[good] / (4186.0 * np.maximum(range_k[good], 0.3))
    return load_w[good], out_c[good], column("cdw_in_c")[good], np.full(good.sum(), np.median(flow)), 1e3 * kw[good]


def one_step_ahead(model_w: np.ndarray, seen_w: np.ndarray, tau_rows: float) -> np.ndarray:
    """The model's power times a gain that follows the rows before each one, with a memory of `tau_rows`."""
    log_gain, share, predicted = 0.0, 1.0 / tau_rows, np.empty_like(model_w)
    for k, (model, seen) in enumerate(zip(model_w.tolist(), seen_w.tolist(), strict=True)):
        predicted[k] = model * np.exp(log_gain)
        log_gain += share * (np.log(seen / model) - log_gain)
    return predicted


@pytest.mark.skipif(not REAL.exists(), reason="the shared telemetry is not beside the project")
def test_a_real_chiller_is_foretold(site: Site) -> None:
    """Frozen after the first 70 %: CV(RMSE) at most 7.5 %, NMBE 3 %; with a gain that follows, a step ahead: 4 %."""
    *where, seen = real_rows()
    cut = int(0.7 * len(seen))
    p = plant_params(site).chiller._replace(capacity_ref_w=2.6e6, condenser_flow_nom_kgs=float(where[3][0]))
    fit = fit_chiller(*(v[:cut] for v in where), seen[:cut], p)  # type: ignore[misc]
    frozen = powers_w(*(v[cut:] for v in where), fit.chiller)  # type: ignore[call-arg]
    cv, nmbe = goodness(frozen, seen[cut:])
    assert cv <= 0.075 and abs(nmbe) <= 0.03
    assert goodness(one_step_ahead(frozen, seen[cut:], 6.0), seen[cut:])[0] <= 0.04


def test_calibrate_reads_a_recording_and_says_what_it_cannot_tell(two_halls: Site, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    plant = SimPlant(
        two_halls, load=Load("steps", 1500.0 * np.arange(6), np.linspace(0.4, 0.85, 6)), mismatch=0.15, mismatch_seed=4
    )
    plant.weather = plant.weather.starting("07-15T10")
    readings = plant.reset(1)
    controller, rules = Controller(two_halls, None, "monitor"), RuleController(two_halls, "b1")
    recorder = Recorder(tmp_path, two_halls.name, columns(two_halls), header(two_halls, "", "", "monitor"))
    for k in range(9000):
        controller.store.put_readings(readings, float(k))
        snap = controller.store.snapshot(float(k))
        recorder.append(pack(snap, IN_PROCESS, "", controller.tick_snapshot(snap)))
        readings = plant.step(rules.tick(readings, float(k)), 1.0)  # type: ignore[assignment]
    recorder.close()
    assert call("calibrate", tmp_path, "--json", tmp_path / "found.json") == OK
    said, found = capsys.readouterr().out, json.loads((tmp_path / "found.json").read_text())
    assert "crah_fan" in said and "condenser water" in said
    assert found["chiller"]["told"] and found["chiller"]["held_out_cv_rmse"] < 0.05
    told = {g["name"]: g["told"] for g in found["gains"]}
    assert told["crah_fan"] and told["chiller_eir"]


def test_calibrate_refuses_a_site_with_other_points(two_halls: Site, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    recorder = Recorder(tmp_path, two_halls.name, columns(two_halls), header(two_halls, "", "", "monitor"))
    controller = Controller(two_halls, None, "monitor")
    snap = controller.store.snapshot(0.0)
    recorder.append(pack(snap, IN_PROCESS, "", controller.tick_snapshot(snap)))
    recorder.close()
    assert call("calibrate", tmp_path, "--site", SITE) == USAGE
    assert "its points are not those of the recording" in capsys.readouterr().err
    assert call("calibrate", tmp_path) == OK
    assert "not told" in capsys.readouterr().out
