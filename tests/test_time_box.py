"""Inference has a deadline: a network that is slow, hangs or raises never holds a tick up."""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import coolctl.daemon
from coolctl.control.policy import F32, FEATURES, HIGH, LOW, OUTPUTS
from coolctl.controller import Controller
from coolctl.edge import onnx_policy
from coolctl.edge.onnx_policy import load_policy
from coolctl.edge.time_box import Late, TimeBox
from coolctl.errors import ModelError
from coolctl.paths import shared_folder
from coolctl.site import Site, load_site
from coolctl.warmup import READINGS

X = np.array([(LOW + HIGH) / 2.0], dtype=np.float32)
LONG_S = 10.0  # no test waits for it


class Network:
    """Answers at once, or holds its answer back until it is told."""

    model_hash = "test"

    def __init__(self) -> None:
        self.free, self.asked, self.given_up = threading.Event(), 0, 0
        self.free.set()

    def infer(self, features: F32) -> F32:
        self.asked += 1
        assert self.free.wait(LONG_S)
        return np.full((len(features), len(OUTPUTS)), float(self.asked), dtype=np.float32)

    def give_up(self) -> None:
        self.given_up += 1


def until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + LONG_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.001)


def test_answer_in_time_is_the_networks_own(policy: onnx_policy.OnnxPolicy) -> None:
    boxed = TimeBox(policy, LONG_S)
    rng = np.random.default_rng(1)
    for x in rng.uniform(LOW, HIGH, (20, 1, len(FEATURES))).astype(np.float32):
        assert boxed.infer(x).tobytes() == policy.infer(x).tobytes()
    assert boxed.model_hash == policy.model_hash and boxed.late == 0


def test_network_that_hangs_costs_one_wait_and_then_none() -> None:
    network = Network()
    boxed = TimeBox(network, 0.02)
    network.free.clear()
    with pytest.raises(Late, match=r"no answer within 0\.02 s"):
        boxed.infer(X)
    began_s = time.monotonic()
    for _ in range(1000):
        with pytest.raises(Late, match="has not come yet"):
            boxed.infer(X)
    assert time.monotonic() - began_s < 1000 * 0.02 / 2  # each would have waited
    assert (network.asked, network.given_up, boxed.late) == (1, 1, 1001)


def test_late_answer_is_thrown_away_and_the_next_is_its_own() -> None:
    network = Network()
    boxed = TimeBox(network, 0.02)
    network.free.clear()
    with pytest.raises(Late):
        boxed.infer(X)
    network.free.set()
    until(lambda: not boxed._answers.empty())
    boxed._deadline_s = LONG_S
    assert boxed.infer(X)[0, 0] == 2.0 and boxed.infer(X)[0, 0] == 3.0


def test_what_the_network_raises_is_raised_where_it_was_asked(policy: onnx_policy.OnnxPolicy) -> None:
    boxed = TimeBox(policy, LONG_S)
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        boxed.infer(np.zeros((1, 3), dtype=np.float32))
    assert boxed.infer(X).shape == (1, len(OUTPUTS))


def test_inference_that_is_given_up_ends_and_the_next_runs(policy: onnx_policy.OnnxPolicy) -> None:
    rows, caught = np.repeat(X, 400_000, axis=0), []

    def infer() -> None:
        try:
            policy.infer(rows)
        except Exception as error:  # the runtime's own kind
            caught.append(str(error))

    worker = threading.Thread(target=infer)
    worker.start()
    while worker.is_alive():
        policy.give_up()
        time.sleep(0.0005)
    worker.join()
    assert caught and "terminate" in caught[0].lower()
    assert policy.infer(X).shape == (1, len(OUTPUTS))


def test_no_thread_is_no_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ModelError, match="no thread"):
        TimeBox(Network())


def test_tick_goes_on_without_the_late_and_the_rules_take_over_within_three(site: Site) -> None:
    network = Network()
    boxed = TimeBox(network, 0.5)  # a busy machine is not the network
    controller = Controller(site, boxed, "auto")
    controller.control.modes.clean_needed_s = 3.0
    readings = {p.id: p.encode(READINGS[p.role]) for p in site.table.points if p.role in READINGS and not p.writable}
    modes = [controller.tick(readings, float(k)).mode for k in range(6)]
    assert modes[-1] == "auto"
    network.free.clear()
    took_s, seen = [], []
    for k in range(6, 12):
        began_s = time.monotonic()
        decision = controller.tick(readings, float(k))
        took_s.append(time.monotonic() - began_s)
        seen.append((decision.mode, decision.alarm))
    assert [m for m, _ in seen] == ["auto", "auto", *["fallback"] * 4] and seen[0][1] == "the policy gave no usable proposal"
    assert max(took_s) < 2.0 and decision.setpoints
    network.free.set()
    until(lambda: not boxed._answers.empty())  # ticks without a second between them may all be over before it
    assert [controller.tick(readings, float(k)).mode for k in range(12, 17)][-1] == "auto"


def test_slow_network_is_not_admitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = shutil.copytree(shared_folder("models") / "default", tmp_path / "policy")
    assert load_policy(copied)
    monkeypatch.setattr(onnx_policy, "INFER_ADMIT_MAX_S", 0.0)
    with pytest.raises(ModelError, match=r"an inference takes .* ms at best"):
        load_policy(copied)


@pytest.mark.parametrize("simulated", [True, False])
def test_daemon_gives_its_policy_a_deadline_where_a_second_is_a_second(
    edited_site: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: bool
) -> None:
    monkeypatch.setattr(coolctl.daemon, "warm_up", lambda *_: None)
    path = edited_site(("simulated = true", f"simulated = {str(simulated).lower()}"))
    args = argparse.Namespace(
        site=str(path), broker="", state=str(tmp_path / "state"), record="", policy="", metrics_port=-1, ingest_process=False
    )
    daemon = coolctl.daemon.Daemon(load_site(path), args)
    try:
        assert isinstance(daemon.controller.control.policy, onnx_policy.OnnxPolicy if simulated else TimeBox)
        assert daemon.model_hash == load_policy("default").model_hash
    finally:
        daemon.link.client.close()
