"""Hot reload: the whole file or none of it, no step in what is published, the lease kept, and a replay that agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from virtual import VirtualStack

from coolctl.cli import main
from coolctl.control.ranges import rate_vectors
from coolctl.controller import Controller
from coolctl.reload import needs_restart
from coolctl.site import Site, load_site, parse_site


def edited(stack: VirtualStack, old: str, new: str) -> None:
    text = stack.site_path.read_text(encoding="utf-8")
    assert old in text
    stack.site_path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, site: Site, tmp_path: Path) -> VirtualStack:
    return VirtualStack(monkeypatch, site, tmp_path, mode="auto", record=str(tmp_path / "records"))


def said(stack: VirtualStack) -> str:
    return " ".join(str(payload) for _t, _who, topic, payload in stack.bus.log if topic.endswith("decision"))


def test_a_new_limit_is_taken_without_a_step_or_a_lost_lease(stack: VirtualStack, tmp_path: Path) -> None:
    stack.run(420)
    assert stack.one.decision is not None and stack.one.decision.mode == "auto"
    before, epoch, hash_before = stack.one.decision.u, stack.gateway.core._epochs.value, stack.one.daemon.site.config_hash
    edited(stack, "rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 25.0")
    stack.one.reload()
    stack.run(2)
    site, d = stack.one.daemon.site, stack.one.decision
    assert site.file.limits.rack_inlet_limit_c == 25.0 and site.config_hash != hash_before
    assert d.mode == "fallback" and d.published, "the policy has to earn its place under the new limits"
    down, up = rate_vectors(site.file.rates, len(site.halls))
    accepted = np.array(site.accepted)
    assert (d.u >= before - 2.0 * down - 1e-9)[accepted].all() and (d.u <= before + 2.0 * up + 1e-9)[accepted].all()
    assert stack.gateway.core._epochs.value == epoch and not stack.local
    stack.run(400)
    assert stack.one.decision.mode == "auto" and not stack.violations()
    stack.one.daemon._release()
    runs = sorted((tmp_path / "records").glob("*-0000.cool"))
    assert len(runs) == 2
    for run in runs:
        assert main(["replay", str(run), "--verify"]) == 0, "the new run goes on from what the old one left, in a replay too"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 126.0", "rack_inlet_limit_c"),
        ("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = ", "site.toml"),
        ("[limits]", "[limits]\nnonsense = 1", "nonsense"),
        ("[limits]", '[mqtt]\nhost = "elsewhere"\n\n[limits]', "mqtt"),
        ('policy = "default"', 'policy = "none"', "control.policy"),
    ],
)
def test_a_file_that_cannot_be_taken_changes_nothing(stack: VirtualStack, old: str, new: str, why: str) -> None:
    daemon = stack.one.daemon
    stack.run(3)
    site, controller = daemon.site, daemon.controller
    text = stack.site_path.read_text(encoding="utf-8")
    edited(stack, old, new)
    stack.one.reload()
    assert daemon.site is site and daemon.controller is controller and not daemon.reload_ok
    assert "the old one stays" in daemon._said[-1] and why in daemon._said[-1]
    stack.run(2)
    assert daemon._said == [], "it was said with the next decision"
    stack.site_path.write_text(text, encoding="utf-8")
    stack.one.reload()
    assert daemon.reload_ok and daemon.controller is not controller


def test_what_a_restart_is_needed_for_is_named(site: Site) -> None:
    def changed(old: str, new: str) -> list[str]:
        assert old in site.text
        other = parse_site(site.text.replace(old, new), "site.toml", lambda *_: (site.record_texts, []))
        return needs_restart(site, other)

    assert changed("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 25.5") == []
    assert changed("racks = 32", "racks = 31") == ["halls"]


def test_memory_is_exact_and_a_shield_that_has_not_begun_has_none(site: Site) -> None:
    first, second = Controller(site, None), Controller(site, None)
    assert first.control.memory()["shield"]["last"] is None
    second.control.recall(first.control.memory())
    assert second.control.memory() == first.control.memory()


def test_a_grant_that_comes_while_the_file_is_read_is_the_one_in_force(stack: VirtualStack) -> None:
    stack.run(30)
    daemon = stack.one.daemon
    daemon.reloader.ask()
    daemon._reload()  # reading begins under `auto`
    stack.command("monitor", "a person, meanwhile")
    stack.step()
    while daemon.reloader.busy:
        daemon._reload()
    assert daemon.reload_ok
    stack.run(3)
    assert daemon.controller.control.modes.granted == "monitor" and not stack.gateway.core.leased


def test_what_only_a_person_may_clear_outlives_a_reload(stack: VirtualStack) -> None:
    stack.run(400)
    modes = stack.one.daemon.controller.control.modes
    modes.latched, modes._given_back, modes._rearms_s = True, 2, [1.0, 2.0]
    modes.mode = "emergency"
    stack.one.reload()
    after = stack.one.daemon.controller.control.modes
    assert after is not modes and after.memory() == modes.memory()
    stack.step()
    assert stack.one.decision is not None and stack.one.decision.mode == "emergency"
    stack.run(70)
    assert stack.one.decision.mode == "fallback" and after.latched


def test_one_asked_twice_is_read_twice(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coolctl import reload

    reads: list[str] = []

    def slow(path: Any) -> Site:
        reads.append(str(path))
        return load_site(path)

    path = tmp_path / "site.toml"
    path.write_text(site.text, encoding="utf-8")
    monkeypatch.setattr(reload, "load_site", slow)
    reloader = reload.Reloader(str(path), None)
    reloader.ask()
    assert reloader.poll(site, "auto") is None
    reloader.ask()  # while the first reading is under way, or just done
    found = []
    while reloader.busy:
        answer = reloader.poll(site, "auto")
        found += [answer] if answer else []
    assert len(reads) == 2 and len(found) == 2 and not any(f.fault for f in found)
