"""The switchback: a schedule that nobody can choose, a cap that never raises a mode, and recordings that still replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from virtual import VirtualStack

from coolctl.cli import main
from coolctl.control.mode import MODES, POLICY_MODES
from coolctl.errors import ConfigError
from coolctl.recording import Recording
from coolctl.savings.switchback import NOT_ASSIGNED, Assigned, Schedule, Switchback, schedule_of, start_s
from coolctl.site import load_site

SCHEDULE = Schedule(1, "hash", 0.0, 6 * 3600.0, 224)


def arms(s: Schedule) -> list[int]:
    return [s.arm_of(b) for b in range(s.blocks)]


def test_pairs_stand_at_the_same_hours_of_neighbouring_days_with_one_of_each_arm() -> None:
    for block in range(0, SCHEDULE.blocks, 8):
        for slot in range(4):
            one, two = block + slot, block + slot + 4
            assert SCHEDULE.pair_of(one) == SCHEDULE.pair_of(two)
            assert SCHEDULE.arm_of(one) + SCHEDULE.arm_of(two) == 1
    assert len({SCHEDULE.pair_of(b) for b in range(SCHEDULE.blocks)}) == 112


def test_order_is_drawn_by_lot_and_is_a_function_of_seed_and_configuration() -> None:
    first = np.array([arms(SCHEDULE._replace(config_hash=f"hash {k}"))[:4] for k in range(400)]).ravel()
    assert 0.45 < first.mean() < 0.55, "each order about half the time: 1,600 lots, sd 0.0125"
    assert arms(SCHEDULE) == arms(Schedule(*SCHEDULE))
    assert arms(SCHEDULE) != arms(SCHEDULE._replace(seed=2)) and arms(SCHEDULE) != arms(SCHEDULE._replace(config_hash="other"))


def test_outside_of_the_test_nothing_is_assigned() -> None:
    late = SCHEDULE._replace(start_s=1000.0)
    assert late.at(999.0) == late.at(1000.0 + 224 * 6 * 3600.0) == late.at(float("nan")) == NOT_ASSIGNED
    assert late.at(1000.0).block == 0 and late.at(999.0 + 224 * 6 * 3600.0).block == 223


def test_cap_never_raises_a_mode_and_touches_a_policy_alone(site) -> None:  # type: ignore[no-untyped-def]
    switchback = Switchback(site)
    for mode in MODES:
        assert switchback.ceiling(mode, Assigned(3, 1))[0] == switchback.ceiling(mode, NOT_ASSIGNED)[0] == mode
        assert switchback.ceiling(mode, Assigned(3, 0))[0] == ("fallback" if mode in POLICY_MODES else mode)
    assert schedule_of(site) is None, "nobody is tested who did not ask for it"


def test_first_day_begins_at_the_sites_midnight() -> None:
    assert start_s("2027-01-15", "Asia/Shanghai", False) == start_s("2027-01-15", "UTC", False) - 8 * 3600.0
    assert start_s("2027-01-15", "UTC", True) == 0.0


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ("enabled = true\nstart = '15.1.2027'", "start"), ("washout_h = 3.5", "washout_h"), ("block_h = 5", "block_h"),
        ("days = 7", "days"), ("enabled = true\nstart = ''", "start"),
    ],
)  # fmt: skip
def test_a_table_that_is_no_test_is_refused(edited_site, table: str, word: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=word):
        load_site(edited_site(("[weather]", f"[switchback]\n{table}\n\n[weather]"), ("simulated = true", "simulated = false")))


@pytest.fixture(scope="module")
def hour_blocks(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """The shipped site with blocks of an hour, whose first two are of different arms, the policy's first."""
    from conftest import SITE

    folder = tmp_path_factory.mktemp("site")
    for seed in range(20):
        path = folder / f"{seed}.toml"
        table = f"[switchback]\nenabled = true\nblock_h = 1\nwashout_h = 0.25\ndays = 2\nseed = {seed}\n\n[weather]"
        path.write_text(SITE.read_text().replace("[weather]", table, 1))
        site = load_site(path)
        schedule = schedule_of(site)
        assert schedule is not None
        if arms(schedule)[:3] == [1, 0, 0]:
            return site
    raise AssertionError("no such schedule")


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, hour_blocks, tmp_path: Path) -> VirtualStack:  # type: ignore[no-untyped-def]
    return VirtualStack(monkeypatch, hour_blocks, tmp_path, record=str(tmp_path / "records"))


def jump(stack: VirtualStack, seconds: float) -> None:
    """As if the test had begun so much earlier."""
    switchback = stack.one.daemon.switchback
    switchback._schedule = switchback._schedule._replace(start_s=switchback._schedule.start_s - seconds)  # type: ignore[union-attr]


def test_daemon_follows_the_lots_and_the_recording_replays_and_knows_them(stack: VirtualStack, tmp_path: Path) -> None:
    stack.run(420)
    assert stack.one.decision is not None and stack.one.decision.mode == "auto"
    jump(stack, 3600.0)
    stack.run(60)
    d = stack.one.decision
    assert (d.mode, d.granted) == ("fallback", "fallback") and stack.one.daemon.grants.mode == "auto"
    assert not stack.local and not stack.violations(), "the lease goes on under the rules, without a broken invariant"
    jump(stack, 2 * 3600.0)
    stack.run(3)
    jump(stack, -3 * 3600.0)
    stack.run(400)
    assert stack.one.decision.mode == "auto" and not stack.violations()
    stack.one.daemon._release()
    assert main(["replay", str(tmp_path / "records"), "--verify"]) == 0
    recording = Recording(tmp_path / "records")
    rows = recording.read()
    arm = rows[:, recording.columns.index("switchback:arm")]
    block = rows[:, recording.columns.index("switchback:block")]
    assert set(arm[:400]) == {1.0} and set(arm[440:470]) == {0.0} and set(block[440:470]) == {1.0}
    told = [e.fields for e in recording.events if "switchback" in e.fields]
    assert [t["switchback"] for t in told][:2] == ["ai", "baseline"]


def test_operator_wins_in_either_arm(stack: VirtualStack) -> None:
    jump(stack, 3600.0)
    stack.run(60)
    for mode, effective in (("release", "release"), ("monitor", "monitor"), ("auto", "fallback"), ("emergency", "emergency")):
        stack.command(mode)
        stack.run(3)
        assert stack.one.decision is not None and stack.one.decision.mode == effective
        assert stack.one.daemon.grants.mode == mode


def test_a_lot_does_not_clear_what_an_operator_must_clear(stack: VirtualStack) -> None:
    stack.run(420)
    modes = stack.one.daemon.controller.control.modes
    modes.latched, modes.mode = True, "fallback"
    for hours in (1.0, -1.0):
        jump(stack, 3600.0 * hours)
        stack.run(400)
        assert stack.one.decision is not None and stack.one.decision.mode == "fallback" and modes.latched
    stack.command("auto")
    stack.run(400)
    assert stack.one.decision.mode == "auto" and not modes.latched
