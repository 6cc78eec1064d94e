"""Plants that the model has got wrong: drawn as declared, felt in the run, the same for every controller."""

from __future__ import annotations

import numpy as np
import pytest

from coolctl.site import Site
from sim_plant import params
from sim_plant.load import constant
from sim_plant.mismatch import draw
from sim_plant.plant import SimPlant


def plant(site: Site, **settings: float) -> SimPlant:
    return SimPlant(site, load=constant(0.6), noise=False, **settings)  # type: ignore[arg-type]


def test_no_mismatch_is_the_nominal_plant(site: Site) -> None:
    record, rows = params.plant_record(site), params.hall_rows(site)
    true = draw(record, rows, site.table.points, 0.0, 5)
    assert true.record == record and np.array_equal(true.rows, rows) and true.hot_spot_factor == 1.0
    assert not true.offset.any() and (true.factor == 1.0).all()


def test_factors_stay_within_their_half_width_and_fill_it(site: Site) -> None:
    record, rows = params.plant_record(site), params.hall_rows(site)
    drawn = [draw(record, rows, site.table.points, 0.15, seed) for seed in range(300)]
    for pick in (
        lambda t: t.record.chiller.cop_ref / record.chiller.cop_ref,
        lambda t: t.rows[0, params.H_UA] / rows[0, params.H_UA],
    ):
        ratios = np.array([pick(t) for t in drawn])
        assert 0.85 <= ratios.min() < 0.87 and 1.13 < ratios.max() <= 1.15 and abs(ratios.mean() - 1.0) < 0.02
    leaks = np.array([t.rows[0, params.H_LEAK] for t in drawn])
    assert 0.03 <= leaks.min() < 0.04 and 0.09 < leaks.max() <= 0.10
    bias = np.concatenate([t.offset for t in drawn])
    assert np.abs(bias).max() <= 0.5 and np.abs(bias).max() > 0.49
    full_load = [t.record.chiller.plr0 + t.record.chiller.plr1 + t.record.chiller.plr2 for t in drawn]
    assert np.ptp(full_load) < 1e-9  # the curve bends, its full-load end stays


def test_same_seed_is_the_same_plant_and_another_is_another(site: Site) -> None:
    runs = []
    for seed in (1, 1, 2):
        p = plant(site, mismatch=0.15, mismatch_seed=seed)
        p.reset(1)
        for _ in range(300):
            readings = p.step(None, 1.0)
        runs.append((p.truth.chiller_w + p.truth.crah_fan_w, readings))
    assert runs[0] == runs[1] and runs[0][0] != runs[2][0]


def test_biased_sensor_reads_wrong_by_its_bias_and_the_truth_does_not_move(site: Site) -> None:
    p = plant(site, mismatch=0.15, mismatch_seed=3)
    readings = p.reset(1)
    i = site.table.index["chwst"]
    assert readings["chwst"] == pytest.approx(p.readings_of("chwst") + p._bias[i], abs=0.01) and abs(p._bias[i]) > 0.01
    assert readings["hall1.it_power"] != pytest.approx(p.readings_of("hall1.it_power"), rel=1e-4)
