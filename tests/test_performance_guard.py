"""No ratio of the table in performance_guard.json worsens by more than its stated noise."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coolctl.bench import inference, metrics, model, rollout
from coolctl.bench.native import STRICT, compilers, twin
from coolctl.bench.pairs import Pairs, interleave, repeated, sized
from coolctl.control.policy import HIGH, LOW
from coolctl.edge.onnx_policy import load_policy

GUARD = json.loads((Path(__file__).parent / "performance_guard.json").read_text())["rows"]
TRIES = 3  # a ratio that is really worse is so every time
needs_gcc = pytest.mark.skipif("gcc" not in compilers(), reason="no gcc")


def held(name: str, measure: Callable[[], Pairs]) -> bool:
    most = GUARD[name]["ratio"] * (1.0 + GUARD[name]["noise"])
    return any(measure().ratio <= most for _ in range(TRIES))


@pytest.mark.alone
@needs_gcc
@pytest.mark.parametrize("racks", [256, 4096])
def test_plant_step_stays_near_c(racks: int) -> None:
    made = twin("gcc")
    assert held(f"plant step over C, {racks} racks", lambda: model.against_c(made, racks, steps=1500, rounds=9)[0])


@pytest.mark.alone
@needs_gcc
def test_candidates_stay_side_by_side() -> None:
    """A loop that the compiler no longer puts side by side takes four times as long."""
    sc = rollout.scene(2)
    run, _found = rollout.in_c(twin("gcc", (*STRICT, "-DLANES=1"), "rollout.c"), sc, 1)
    assert held("roll-out over C one at a time", lambda: interleave(rollout.product(sc)[0], run, 9))


@pytest.mark.alone
def test_policy_stays_near_a_network_by_hand() -> None:
    pytest.importorskip("onnx")
    policy, layers = load_policy("default"), inference.weights()
    x = np.random.default_rng(1).uniform(LOW, HIGH, (1, LOW.size)).astype(np.float32)
    a, b, y = np.zeros_like(layers[1]), np.zeros_like(layers[3]), np.zeros((1, layers[-1].size), dtype=np.float32)
    count = sized(lambda: policy.infer(x))
    mine = repeated(lambda: policy.infer(x), count)
    by_hand = repeated(lambda: inference.by_hand(x, *layers, a, b, y), count)
    assert held("policy over a network by hand", lambda: interleave(mine, by_hand, 9))
    if importlib.util.find_spec("sklearn") is not None:
        network = inference.regressor(layers)
        assert held("policy over scikit-learn", lambda: interleave(mine, repeated(lambda: network.predict(x), count), 5))


@pytest.mark.alone
def test_a_scrape_stays_far_below_the_librarys() -> None:
    from prometheus_client import generate_latest

    server, gauges, _view = metrics.one_size(2_000)
    try:
        assert held("scrape over the library", lambda: interleave(server.render, lambda: generate_latest(gauges.registry), 9))
    finally:
        server.close()


@pytest.mark.alone
@pytest.mark.nightly
def test_reading_a_recording_stays_near_parquet() -> None:
    pytest.importorskip("pyarrow")
    from coolctl.bench import recording

    ratio = {r.name: r for r in recording.p11()}["parquet_read"].value
    assert ratio is not None
    most = GUARD["reading over Parquet"]["ratio"] * (1.0 + GUARD["reading over Parquet"]["noise"])
    assert 1.0 / ratio <= most


def test_guard_states_a_noise_for_each_ratio() -> None:
    assert all(row["ratio"] > 0.0 and 0.0 < row["noise"] <= 0.6 for row in GUARD.values())


def test_guard_fails_for_a_worse_ratio() -> None:
    name = next(iter(GUARD))
    limit = GUARD[name]["ratio"] * (1.0 + GUARD[name]["noise"])
    assert held(name, lambda: Pairs(0.99 * limit, 0.0, 0.0, 0.0, 0.0, 1)) and not held(
        name, lambda: Pairs(1.01 * limit, 0.0, 0.0, 0.0, 0.0, 1)
    )
