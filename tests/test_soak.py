"""A small sample of the soak in every change; `make soak` plays the rest. With the shield off the same sample must fail."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from coolctl.control.tick import Tick
from coolctl.gateway import GatewayCore
from sim_plant.lumped import LumpedPlant
from tools import soak
from tools.adversaries import NETWORKS, WISHES, Adversary, Silent
from tools.soak_chain import Chain, in_one_process
from tools.soak_episodes import KINDS, draw
from tools.unshielded import take_shield_off

STRIDE_S = 5.0
# Episodes in which something was found once (see docs/SAFETY.md), and such as cover links, people and broken machines.
SAMPLE = (
    ("adversary", 34), ("random", 42), ("adversary", 331), ("adversary", 395), ("random", 316), ("random", 332),
    ("random", 1321), ("adversary", 1313),
)  # fmt: skip


@pytest.fixture(scope="module")
def stage() -> soak.Stage:
    return soak.stage()


@pytest.mark.parametrize(("kind", "seed"), SAMPLE)
def test_sample_breaks_nothing(stage: soak.Stage, kind: str, seed: int) -> None:
    result = soak.play(stage, kind, seed, STRIDE_S)
    assert not result["violations"], result
    assert result["ticks"] > 200 and result["policy"] > 50


def test_sample_fails_with_the_shield_off(stage: soak.Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    take_shield_off(monkeypatch)
    result = soak.play(stage, "adversary", 34, STRIDE_S)
    assert {"I-03", "I-07"} <= set(result["by"])


def test_episode_is_its_kind_and_seed(stage: soak.Stage) -> None:
    one, other = (draw("random", 12, stage.lumped, STRIDE_S) for _ in range(2))
    assert (one.plant_faults, one.sensor_faults, one.mode) == (other.plant_faults, other.sensor_faults, other.mode)
    assert [a[:2] for a in one.acts] == [a[:2] for a in other.acts]
    met = {draw("adversary", seed, stage.lumped, STRIDE_S).wish for seed in range(150)}
    assert met == {*WISHES, *NETWORKS}


def test_a_run_goes_on_until_something_changes_that_an_episode_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was played counts as long as controller, gateway, plant, soak, site and policy are what they were."""
    reached = {path.relative_to(soak.ROOT).as_posix() for path in soak.sources()}
    assert {"coolctl/control/shield.py", "coolctl/lease.py", "sim_plant/physics.py", "tools/soak_chain.py"} <= reached
    assert not any(path.startswith(("coolctl/bench/", "coolctl/web/", "tests/")) for path in reached)
    before = soak.source_hash()
    assert soak.source_hash() == before
    monkeypatch.setattr(soak, "sources", lambda: [Path(__file__)])
    assert soak.source_hash() != before


def test_what_raises_is_a_violation(stage: soak.Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tick, "step", lambda *_: 1 / 0)
    assert "ZeroDivisionError" in soak.play(stage, "random", 0, STRIDE_S)["violations"][0]


def made(stage: soak.Stage) -> Chain:
    """A chain that has been leased for a minute."""
    plant = LumpedPlant(stage.lumped)
    chain = Chain(plant, lambda of, granted: Tick(of, Silent(), granted), "auto", STRIDE_S)
    for _ in range(20):
        chain.step(plant_fault=False)
    assert chain.core.leased and not chain.flaws
    return chain


def test_old_lease_that_a_gateway_accepts_is_seen(stage: soak.Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_one_process():
        chain = made(stage)
        old = chain.sent[-4]
        chain.inject(old)
        assert not chain.flaws and chain.core.rejects["seq"] == 1
        monkeypatch.setattr(GatewayCore, "_admit", lambda *_: None)
        chain.inject(old)
    assert [f.id for f in chain.flaws] == ["R6"]


def test_plant_that_does_not_let_go_and_racks_that_are_hot_are_seen(stage: soak.Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_one_process():
        chain = made(stage)
        chain.paused = True
        monkeypatch.setattr(chain.receiver, "setpoints", lambda _now_s: chain.receiver.values)
        for _ in range(12):
            chain.step(plant_fault=False)
        assert {f.id for f in chain.flaws} == {"R4"}
        chain.plant.rack_inlet_c[:] = 60.0
        chain.step(plant_fault=False)
    assert chain.flaws[-1].id == "R4" and any(f.id == "R2" for f in chain.flaws)


@pytest.mark.parametrize("wish", WISHES)
def test_every_adversary_has_a_wish_for_every_setpoint(stage: soak.Stage, wish: str) -> None:
    tick = Adversary(stage.lumped, Silent(), "auto", wish, np.random.default_rng(1))
    tick.conditions = np.array([25.0, 20.0, 88e3, 5e5])
    tick._last_s = 100.0
    assert WISHES[wish](tick).shape == tick.shield.hi.shape


def test_run_goes_on_where_it_was_ended_and_counts_what_it_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "RESULTS", tmp_path / "soak.jsonl")
    turns = soak.todo(["random", "year"], STRIDE_S, "a")
    assert [next(turns) for _ in range(3)] == [("random", k, False) for k in range(3)]
    rows = [
        {"kind": "random", "seed": k, "plant": "lumped", "dt_s": STRIDE_S, "ticks": 360, "hottest_c": 25.0, "sources": "a",
         "violations": ["1 s I-03: too fast"] * (k == 1), "by": {"I-03": 1} if k == 1 else {}} for k in range(3)
    ]  # fmt: skip
    soak.RESULTS.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert next(soak.todo(["random"], STRIDE_S, "a")) == ("random", 3, False)
    assert next(soak.todo(["random"], STRIDE_S, "b")) == ("random", 0, False)
    text = soak.table()
    assert "| 30,000 episodes | 3 | 1,080 of 5 s | 1.5 h |" in text and "**1**: random:1" in text and "1 episodes I-03" in text
    assert set(soak.ASKED) == set(soak.WHAT) == set(KINDS)
