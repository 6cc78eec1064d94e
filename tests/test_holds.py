"""Setpoints that operators hold at values of their own: with a reason, for a time, and never past the shield."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from virtual import VirtualStack

from coolctl.cli import main
from coolctl.control.mode import MODES, PUBLISHING
from coolctl.daemon_state import Command, GrantFile, Holds, decode_command
from coolctl.site import Site
from coolctl.strict_json import Rejected

SAT = "hall1.sat_sp"


def command(hold: object, **more: object) -> bytes:
    return json.dumps({"v": 1, "hold": hold, "reason": "service", "for_s": 600.0, **more}).encode()


def hold(stack: VirtualStack, values: dict[str, float | None], for_s: float = 600.0) -> None:
    stack.bus.publish("ops", stack.site.topic("cmd"), command(values, for_s=for_s))


def setpoint(stack: VirtualStack, name: str = SAT) -> float:
    assert stack.one.decision is not None
    return stack.one.decision.setpoints[name]


def test_held_setpoint_is_reached_shown_and_let_go(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path, record=str(tmp_path / "rec")).run(400)
    free = setpoint(stack)
    hold(stack, {SAT: 19.0})
    stack.run(300)
    assert setpoint(stack) == pytest.approx(19.0) and free > 20.0
    assert stack.one.decision is not None and stack.one.decision.overridden == {SAT: 19.0}
    assert stack.one.decision.mode == "auto"  # one point is held, the rest goes on
    hold(stack, {SAT: None})
    stack.run(400)
    assert setpoint(stack) > 19.5 and not stack.one.decision.overridden
    assert not stack.violations()
    recorder = stack.one.daemon.recorder
    assert recorder is not None
    recorder.close()
    assert main(["replay", str(tmp_path / "rec")]) == 0  # bit for bit, what was held included


def test_held_setpoint_outlives_a_restart_and_ends_by_itself(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path).run(60)
    hold(stack, {SAT: 20.0})
    stack.run(3)
    stack.one.kill()
    again = stack.add_controller("one")
    stack.run(60)
    assert again.decision is not None and again.decision.overridden == {SAT: 20.0}
    until_s = again.daemon.holds.held[SAT].until_s
    said = again.daemon.holds.take(None, until_s)
    assert said == [f"{SAT}: held no longer, its time is over"]
    stack.run(2)
    assert not again.decision.overridden


def test_shield_has_the_last_word_on_what_is_held(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path).run(400)
    hold(stack, {SAT: 40.0, "hall1.fan_speed_sp": 0.0, "chwst_sp": 60.0, "chillers_on_sp": 0.0, "economizer_on_sp": 0.0})
    stack.run(1800)
    assert stack.hottest_c <= 27.0 and not stack.violations()
    assert setpoint(stack) <= site.file.limits.sat_sp_max_c
    assert setpoint(stack, "hall1.fan_speed_sp") >= 100.0 * site.file.limits.fan_speed_sp_min_ratio
    chillers, plates = setpoint(stack, "chillers_on_sp"), setpoint(stack, "economizer_on_sp")
    assert chillers + plates > 0.0


def test_what_answers_to_no_setpoint_is_said(site: Site, tmp_path: Path) -> None:
    holds = Holds(tmp_path / "holds.json", site)
    said = holds.take(decode_command(command({"hall1.sat": 20.0, "nonsense": 1.0, SAT: 21.0})), 1000.0)
    assert [text.split(":")[0] for text in said] == ["hall1.sat", "nonsense", SAT] and set(holds.held) == {SAT}
    assert Holds(tmp_path / "holds.json", site).held == holds.held
    (tmp_path / "holds.json").write_text('{"hall1.sat_sp": [true, 1, null], "x": 3}')
    assert Holds(tmp_path / "holds.json", site).held == {}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (command({SAT: True}), "hold"),
        (command({SAT: "20"}), "hold"),
        (command([SAT]), "hold"),
        (command({SAT: 20.0}, for_s=0.0), "for_s"),
        (command({SAT: 20.0}, for_s=1e6), "for_s"),
        (command({SAT: 20.0}, reason=""), "reason"),
        (command({SAT: 20.0}, mode="auto"), "keys"),
        (b'{"v":1,"reason":"x"}', "keys"),
    ],
)
def test_command_that_cannot_be_meant_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        decode_command(raw)


@pytest.mark.parametrize(
    "words", [["--hold", f"{SAT}=20"], ["--hold", f"{SAT}=20", "--reason", "x"], ["auto", "--let-go", SAT, "--reason", "x"],
              ["--hold", f"{SAT}=warm", "--reason", "x", "--for", "1h"], ["--hold", f"{SAT}=20", "--reason", "x", "--for", "9d"]]
)  # fmt: skip
def test_command_line_that_cannot_be_meant_is_refused(words: list[str], site: Site) -> None:
    assert main(["mode", "--site", site.path, *words]) == 2


@pytest.mark.parametrize("mode", MODES)
def test_a_grant_that_runs_out_leaves_less_authority_never_more(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "grant.json"
    grants = GrantFile(path, "monitor")
    assert grants.take(Command(mode, "a trial", 60.0), 1000.0) == mode
    assert grants.take(None, 1059.0) == "" and grants.mode == mode
    after = "fallback" if mode in PUBLISHING else "monitor"
    assert grants.take(None, 1060.0) == after == GrantFile(path, "auto").mode, "and so it is found after a restart"
    assert grants.reason == f"{mode} has expired" and grants.take(None, 9e9) == ""
