"""The tick stays small, compiles nothing and collects nothing after the start. Generous bounds: machines are shared."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SITE
from test_shield import CALM, estimate

from coolctl import jit
from coolctl.control.tick import Tick
from coolctl.controller import Controller
from coolctl.decision_json import encode_decision
from coolctl.dialects import Decoder, encode_batch
from coolctl.site import Site, load_site
from coolctl.thermal.plant import OUTPUTS, evaluate_plant
from coolctl.warmup import warm_up
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant
from tools.odd_hall import with_halls

pytestmark = pytest.mark.alone
ROOT = SITE.parent.parent.parent
TOPIC = "coolctl/v1/hall1mw/tel"
BATCH_POINTS = 500


def whole_ticks(site: Site, policy, count: int) -> np.ndarray:  # type: ignore[no-untyped-def, type-arg]
    """Seconds from the telemetry's bytes to the decision's, per tick."""
    plant = SimPlant(site, load=synthetic())
    readings = plant.reset(1)
    controller = Controller(site, policy, "auto")
    decoder = Decoder(site.table, site.file.mqtt.payload_max_bytes, site.file.mqtt.batch_max_bytes)
    names = [p.id for p in site.table.points if not p.writable]
    seconds = []
    for k in range(count):
        parts = [names[a : a + BATCH_POINTS] for a in range(0, len(names), BATCH_POINTS)]
        messages = [encode_batch({i: readings[i] for i in part if i in readings}, 1000 * k) for part in parts]
        begun = time.perf_counter()
        samples = [sample for raw in messages for sample in decoder.decode(TOPIC, raw)]
        controller.store.put(samples, float(k))
        decision = controller.tick_snapshot(controller.store.snapshot(float(k)))
        encode_decision(decision, [], {})
        seconds.append(time.perf_counter() - begun)
        readings = plant.step(decision.setpoints, 1.0)  # type: ignore[assignment]
    assert decision.mode == "auto", decision.mode_reason
    assert not decoder.rejects and not controller.store.rejects
    return np.array(seconds[20:])


def test_tick_of_the_default_site_takes_milliseconds(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    seconds = whole_ticks(site, policy, 600)
    assert np.median(seconds) <= 2e-3 and np.percentile(seconds, 99) <= 10e-3


def test_the_look_at_what_follows_a_command_costs_no_more_than_a_few_steady_networks(site: Site) -> None:
    control = Tick(site, None, "fallback")
    est, u = estimate(), CALM.copy()
    look, steady = control.shield.foresight, np.zeros(len(OUTPUTS))

    def fastest_s(ask: Callable[[], object]) -> float:
        return min(timeit.repeat(ask, number=200, repeat=7)) / 200

    one_s = fastest_s(lambda: evaluate_plant(u, est.w, control.halls, control.p.row, steady))
    both_s = fastest_s(lambda: [look._foresee(u, u, est.w, s) for s in (17.0, 0.0)])
    print(f"both {1e6 * both_s:.0f} us, a steady network {1e6 * one_s:.0f} us")
    assert both_s <= 8.0 * one_s


@pytest.mark.slow
def test_tick_with_5000_points_takes_milliseconds(edited_site: Callable[..., Path], policy) -> None:  # type: ignore[no-untyped-def]
    text = SITE.read_text()
    big = load_site(edited_site((text, with_halls(text, 5, 980))))
    assert len(big.table) > 4900
    seconds = whole_ticks(big, policy, 420)
    assert np.median(seconds) <= 5e-3 and np.percentile(seconds, 99) <= 25e-3


def test_nothing_is_compiled_after_the_warm_up(site: Site, two_halls: Site, policy) -> None:  # type: ignore[no-untyped-def]
    def compiled() -> int:
        mine = [k for k in jit.KERNELS if k.py_func.__module__.startswith(("coolctl.thermal", "coolctl.control"))]
        return sum(len(k.signatures) for k in mine)

    for other in (site, two_halls):
        warm_up(other, policy)
        before = compiled()
        for mode in ("auto", "fallback", "shadow", "bounded"):
            controller = Controller(other, policy, mode)
            plant = SimPlant(other)
            readings = plant.reset(2)
            for k in range(310):
                readings = plant.step(controller.tick(readings, float(k)).setpoints, 1.0)  # type: ignore[assignment]
        assert compiled() == before


ONE_EACH = """
import sys
from coolctl import jit, warmup
warmup.main([])
print(*(k.py_func.__name__ for k in jit.KERNELS if len(k.signatures) > 1))
print(*(m for m in ("scipy", "sklearn", "pandas", "matplotlib") if m in sys.modules), file=sys.stderr)
"""


def test_kernels_have_one_signature_each_after_the_warm_up_and_what_only_reports_need_is_not_carried() -> None:
    # A process of its own: other tests call kernels with whatever they like.
    run = subprocess.run([sys.executable, "-c", ONE_EACH], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == [] and run.stderr.split() == []


def test_frozen_kernel_refuses_another_signature() -> None:
    @jit.kernel
    def twice(x: float) -> float:
        return 2.0 * x

    try:
        assert twice(1.5) == 3.0
        twice.disable_compile()  # type: ignore[attr-defined]
        with pytest.raises(TypeError):
            twice(np.zeros(3))
    finally:
        jit.KERNELS.remove(twice)


def test_ticks_leave_no_garbage_for_the_collector(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    controller = Controller(site, policy, "auto")
    readings = SimPlant(site).reset(1)
    for k in range(400):
        controller.tick(readings, float(k))
    gc.collect()
    gc.disable()
    try:
        for k in range(400, 900):
            controller.tick(readings, float(k))
        assert gc.collect() <= 50  # cycles found in 500 ticks: the daemon never needs a full collection
    finally:
        gc.enable()
