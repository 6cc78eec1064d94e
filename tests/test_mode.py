"""The mode machine to the second: when it lets the policy in, when out, what a person's grant does, and what it says."""

from __future__ import annotations

import pytest
from test_control import GOOD, run

from coolctl.control.mode import (
    ARMING_MAX_S,
    ASK_AGAIN_MAX,
    ASK_AGAIN_S,
    EMERGENCY_CLEAR_S,
    GATEWAY_LOST_S,
    MODES,
    POLICY_MODES,
    PUBLISHING,
    Evidence,
    ModeMachine,
)  # fmt: skip

QUIET = ("monitor", "shadow", "advise", "release")
HARD = {"hand": True, "held": False, "gateway_age_s": 16.0, "over_alarm": True, "no_cooling": True}


def in_charge(granted: str = "auto") -> ModeMachine:
    machine = ModeMachine(granted, 300.0)
    assert run(machine, GOOD, 300)[0] == granted
    return machine


def test_modes_are_those_of_the_contract() -> None:
    assert set(MODES) == {"monitor", "shadow", "advise", "bounded", "auto", "fallback", "release", "emergency"}
    assert set(PUBLISHING) == {"bounded", "auto", "fallback", "emergency"} and set(POLICY_MODES) == {"bounded", "auto"}


def test_evidence_that_says_nothing_of_it_is_heard_and_held() -> None:
    e = Evidence(False, 0.0, True, True, False, False, True, True, False)
    assert e.heard and e.held


@pytest.mark.parametrize("granted", MODES)
def test_start_says_so_and_puts_the_rules_before_the_policy(granted: str) -> None:
    machine = ModeMachine(granted, 300.0)
    assert machine.mode == ("fallback" if granted in POLICY_MODES else granted)
    assert machine.reason == "start" and not machine.latched
    if granted in (*QUIET, "emergency"):
        assert machine.step(GOOD, 0.0, 1.0) == (granted, "start")


def test_first_bad_tick_counts_as_one() -> None:
    machine = in_charge()
    bad = GOOD._replace(quorum=False)
    assert [machine.step(bad, 300.0 + k, 1.0)[0] for k in range(3)] == ["auto", "auto", "fallback"]
    machine = ModeMachine("auto", 2.0)
    machine.mode = "auto"  # as after a restart that took its mode over
    assert [machine.step(bad, float(k), 1.0)[0] for k in range(3)] == ["auto", "auto", "fallback"]


def test_a_trial_ends_where_racks_must_be_rescued() -> None:
    """Out of the band only the rules may cool: the policy on trial gives way in the very tick, and earns its place again."""
    hot, words = GOOD._replace(rescue=True), "more cooling is needed than a policy on trial may ask for"
    machine = in_charge("bounded")
    assert machine.step(hot, 300.0, 1.0) == ("fallback", words) and machine.clean_s == 0.0
    assert run(machine, GOOD, 299)[0] == "fallback" and run(machine, GOOD, 2)[0] == "bounded"
    assert in_charge("auto").step(hot, 300.0, 1.0)[0] == "auto", "in `auto` there is no band to leave"
    assert run(in_charge("auto"), hot, 10)[0] == "auto"


def test_soft_faults_must_follow_one_another() -> None:
    machine = in_charge()
    for k in range(30):
        bad = GOOD._replace(quorum=False) if k % 3 < 2 else GOOD
        assert machine.step(bad, 300.0 + k, 1.0)[0] == "auto"


MUTE = GOOD._replace(policy_ok=False)


@pytest.mark.parametrize(("every_s", "third_s"), [(1.0, 2.0), (2.0, 4.0), (149.9, 299.8)])
def test_a_policy_that_is_mute_now_and_then_gives_way_at_the_third_time_within_five_minutes(
    every_s: float, third_s: float
) -> None:
    machine = in_charge()
    for k in range(2):
        assert machine.step(MUTE, 300.0 + k * every_s, 1.0)[0] == "auto"
        assert every_s < 2.0 or machine.step(GOOD, 301.0 + k * every_s, 1.0)[0] == "auto"
    assert machine.step(MUTE, 300.0 + third_s, 1.0) == ("fallback", "the policy gave no usable proposal")


def test_a_policy_that_is_seldom_mute_stays() -> None:
    """Two within five minutes, for ever: the first is five minutes old when the third comes."""
    machine = in_charge()
    for k in range(20):
        assert machine.step(MUTE, 300.0 + 150.0 * k, 1.0)[0] == "auto"
        assert machine.step(GOOD, 301.0 + 150.0 * k, 1.0)[0] == "auto"


def test_a_policy_that_has_earned_its_place_again_starts_with_none_counted() -> None:
    machine = ModeMachine("auto", 10.0)
    run(machine, GOOD, 10)
    assert [machine.step(MUTE, 10.0 + k, 1.0)[0] for k in range(3)] == ["auto", "auto", "fallback"]
    machine.step(MUTE, 13.0, 1.0)  # out of charge it may be mute as it likes
    assert run(machine, GOOD, 10, 14.0)[0] == "auto"
    assert [machine.step(e, 24.0 + k, 1.0)[0] for k, e in enumerate((MUTE, GOOD, MUTE, GOOD, MUTE))] == ["auto"] * 4 + [
        "fallback"
    ]


def test_lost_model_is_out_at_once_and_says_why() -> None:
    assert in_charge().step(GOOD._replace(model_ok=False), 300.0, 1.0) == ("fallback", "no admitted policy")


@pytest.mark.parametrize("fault", HARD)
def test_clean_time_starts_anew_after_whatever_ended_it(fault: str) -> None:
    machine = ModeMachine("auto", 300.0)
    run(machine, GOOD, 299)
    machine.step(GOOD._replace(**{fault: HARD[fault]}), 299.0, 1.0)
    calm_s = int(EMERGENCY_CLEAR_S) if machine.mode == "emergency" else 0
    run(machine, GOOD, calm_s, 300.0)
    start_s = 300.0 + calm_s
    assert run(machine, GOOD, 299 - bool(calm_s), start_s)[0] == "fallback"
    assert run(machine, GOOD, 2, start_s + 299.0)[0] == "auto"


def test_silence_before_the_plant_is_heard_costs_no_clean_time() -> None:
    machine = ModeMachine("auto", 300.0)
    run(machine, GOOD, 200)
    assert machine.step(GOOD._replace(heard=False), 200.0, 1.0) == ("release", "no telemetry heard yet")
    assert run(machine, GOOD, 99, 201.0)[0] == "fallback" and run(machine, GOOD, 1, 300.0)[0] == "auto"


def test_gateway_may_be_silent_for_fifteen_seconds_and_no_longer() -> None:
    assert GATEWAY_LOST_S == 15.0
    machine = ModeMachine("fallback", 300.0)
    assert machine.step(GOOD._replace(gateway_age_s=15.0), 0.0, 1.0)[0] == "fallback"
    assert machine.step(GOOD._replace(gateway_age_s=15.1), 1.0, 1.0) == ("release", "the gateway has been silent for 15 s")


def test_policy_bears_a_gateway_silent_for_five_seconds_and_no_longer() -> None:
    machine = in_charge()
    assert run(machine, GOOD._replace(gateway_age_s=5.0), 10, 300.0)[0] == "auto"
    assert run(machine, GOOD._replace(gateway_age_s=5.1), 3, 310.0) == ("fallback", "the gateway is silent")


@pytest.mark.parametrize(
    ("fault", "why"), [("over_alarm", "rack inlet above alarm"), ("no_cooling", "no machine carries the load")]
)
def test_emergency_says_why_and_lasts_a_calm_minute(fault: str, why: str) -> None:
    for granted in (*POLICY_MODES, "fallback"):
        machine = ModeMachine(granted, 300.0)
        run(machine, GOOD, 100)
        assert machine.step(GOOD._replace(**{fault: True}), 100.0, 1.0) == ("emergency", why)
        assert run(machine, GOOD, 30, 101.0) == ("emergency", why)
        assert machine.step(GOOD._replace(**{fault: True}), 131.0, 1.0)[0] == "emergency"  # the minute starts anew
        assert run(machine, GOOD, 59, 132.0)[0] == "emergency"
        mode, reason = machine.step(GOOD, 191.0, 1.0)
        assert mode == "fallback" and reason == ("granted" if granted == "fallback" else "settling on the rule baseline")


def test_half_second_ticks_make_the_same_minute() -> None:
    machine = ModeMachine("fallback", 300.0)
    machine.step(GOOD._replace(over_alarm=True), 0.0, 0.5)
    modes = [machine.step(GOOD, 0.5 * k, 0.5)[0] for k in range(1, 121)]
    assert modes == ["emergency"] * 119 + ["fallback"]


def test_calm_time_before_an_alarm_is_none_after_it() -> None:
    machine = ModeMachine("fallback", 300.0)
    run(machine, GOOD, 1000)
    machine.step(GOOD._replace(no_cooling=True), 1000.0, 1.0)
    assert machine.step(GOOD, 1001.0, 1.0)[0] == "emergency"


def test_person_who_grants_emergency_keeps_it_through_alarms() -> None:
    machine = ModeMachine("fallback", 300.0)
    machine.grant("emergency", "test of the fans")
    assert machine.mode == "emergency"
    for e in (GOOD, GOOD._replace(over_alarm=True), GOOD):
        assert machine.step(e, 0.0, 1.0) == ("emergency", "test of the fans")
    assert machine.step(GOOD._replace(hand=True), 1.0, 1.0)[0] == "release"


@pytest.mark.parametrize("before", ["fallback", *QUIET, "emergency"])
@pytest.mark.parametrize("granted", MODES)
def test_grant_is_effective_at_once_and_the_policy_starts_on_the_rules(before: str, granted: str) -> None:
    machine = ModeMachine(before, 300.0)
    machine.clean_s = 299.0
    machine.grant(granted, "asked for")
    assert (machine.mode, machine.granted, machine.reason) == (
        "fallback" if granted in POLICY_MODES else granted,
        granted,
        "asked for",
    )
    assert machine.clean_s == 0.0
    mode, reason = machine.step(GOOD, 0.0, 1.0)
    assert mode == machine.mode and (granted == "fallback" or reason == "asked for")


@pytest.mark.parametrize("granted", ["fallback", *QUIET])
def test_grant_of_less_takes_the_policy_out_of_charge_at_once(granted: str) -> None:
    machine = in_charge()
    machine.grant(granted, "enough")
    assert machine.mode == granted and machine.step(GOOD, 300.0, 1.0)[0] == granted
    machine.grant("auto", "again")
    assert run(machine, GOOD, 299, 301.0)[0] == "fallback" and run(machine, GOOD, 1, 600.0)[0] == "auto"


def test_policy_settling_on_the_rules_starts_anew_with_another_grant() -> None:
    machine = ModeMachine("auto", 300.0)
    run(machine, GOOD, 299)
    machine.grant("bounded", "less")
    assert run(machine, GOOD, 299, 299.0)[0] == "fallback" and run(machine, GOOD, 1, 598.0)[0] == "bounded"


def demote(machine: ModeMachine, now_s: float) -> None:
    """Into charge and out again, at `now_s` + 302."""
    assert run(machine, GOOD, 300, now_s)[0] == "auto"
    assert run(machine, GOOD._replace(quorum=False), 3, now_s + 300.0)[0] == "fallback"


def test_fourth_demotion_latches_not_the_third() -> None:
    machine = ModeMachine("auto", 300.0)
    for k in range(3):
        demote(machine, 400.0 * k)
        assert not machine.latched
    demote(machine, 1200.0)
    assert machine.latched
    assert run(machine, GOOD, 500, 1600.0) == ("fallback", "too few rack inlets are known")


def test_latched_machine_says_that_a_person_is_needed_after_its_next_change() -> None:
    machine = ModeMachine("auto", 300.0)
    for k in range(4):
        demote(machine, 400.0 * k)
    machine.step(GOOD._replace(hand=True), 2000.0, 1.0)
    mode, reason = machine.step(GOOD, 2001.0, 1.0)
    assert mode == "fallback" and "an operator must clear it" in reason


def test_demotions_are_forgotten_after_an_hour() -> None:
    machine = ModeMachine("auto", 300.0)
    for now_s in (0.0, 400.0, 800.0):
        demote(machine, now_s)
    demote(machine, 3600.0)  # at 3902: the first, at 302, is an hour old to the second
    assert not machine.latched
    machine = ModeMachine("auto", 300.0)
    for now_s in (0.0, 400.0, 800.0):
        demote(machine, now_s)
    demote(machine, 3599.0)
    assert machine.latched


def test_grant_clears_the_latch_and_its_count() -> None:
    machine = ModeMachine("auto", 300.0)
    for k in range(4):
        demote(machine, 400.0 * k)
    machine.grant("auto", "looked at it")
    assert not machine.latched
    demote(machine, 1700.0)
    assert not machine.latched


def test_release_says_what_keeps_it_silent_now() -> None:
    machine = ModeMachine("auto", 300.0)
    assert machine.step(GOOD._replace(heard=False), 0.0, 1.0)[1] == "no telemetry heard yet"
    assert machine.step(GOOD._replace(hand=True), 1.0, 1.0) == ("release", "the plant is in hand at the BMS")


def test_reason_is_the_event_that_changed_the_mode_not_the_latest_tick() -> None:
    machine = in_charge()
    assert machine.reason == "clean for 300 s"
    assert run(machine, GOOD, 10, 300.0) == ("auto", "clean for 300 s")
    machine.grant("bounded", "less")
    assert machine.step(GOOD, 310.0, 1.0) == ("bounded", "granted")


def test_faults_are_said_most_telling_first() -> None:
    everything = GOOD._replace(model_ok=False, quorum=False, policy_ok=False, gateway_age_s=6.0, ack_agrees=False, overrun=True)
    for fixed, why in (
        ({}, "no admitted policy"),
        ({"model_ok": True}, "too few rack inlets are known"),
        ({"quorum": True}, "the policy gave no usable proposal"),
        ({"policy_ok": True}, "the gateway is silent"),
        ({"gateway_age_s": 0.0}, "the plant does not confirm the setpoints"),
        ({"ack_agrees": True}, "the control loop overran"),
    ):
        everything = everything._replace(**fixed)
        assert run(in_charge(), everything, 3, 300.0) == ("fallback", why)


def test_policy_that_has_lost_its_evidence_meanwhile_hears_so_when_the_rules_take_over() -> None:
    machine = ModeMachine("auto", 300.0)
    machine.step(GOOD._replace(hand=True), 0.0, 1.0)
    assert machine.step(GOOD._replace(quorum=False), 1.0, 1.0) == ("fallback", "too few rack inlets are known")


SILENT = GOOD._replace(ack_agrees=False)


def until_given_back(machine: ModeMachine, start_s: float) -> int:
    """Unconfirmed ticks of a second that it takes, the one that gives back among them."""
    for k in range(1, 200):
        if machine.step(SILENT, start_s + k, 1.0)[0] == "release":
            return k
    raise AssertionError("never given back")


@pytest.mark.parametrize(
    ("agreed", "ticks"),
    [(0, 90), (10, 90), (11, 15)],  # how long it takes to arm, settled after ten seconds, and how long silence may last then
)
def test_plant_that_does_not_confirm_is_given_back_later_while_it_is_being_armed(agreed: int, ticks: int) -> None:
    machine = ModeMachine("fallback", 300.0)
    run(machine, GOOD, agreed)
    assert until_given_back(machine, float(agreed)) == ticks


def test_what_was_confirmed_before_release_does_not_count_after_it() -> None:
    machine = ModeMachine("fallback", 300.0)
    run(machine, GOOD, 60)
    run(machine, SILENT, 10, 60.0)
    machine.step(GOOD._replace(hand=True), 70.0, 1.0)
    assert machine.step(GOOD._replace(hand=True), 71.0, 1.0)[0] == "release"
    machine.step(SILENT, 72.0, 1.0)  # back in charge: counting begins with nothing confirmed and nothing missed
    assert until_given_back(machine, 72.0) == int(ARMING_MAX_S)


def test_grant_forgets_what_was_not_confirmed_before_it() -> None:
    machine = ModeMachine("fallback", 300.0)
    run(machine, GOOD, 60)
    run(machine, SILENT, 14, 60.0)
    machine.grant("fallback", "again")
    assert until_given_back(machine, 74.0) == int(ARMING_MAX_S)


def test_giving_back_says_what_follows_and_starts_clean_time_anew() -> None:
    machine, now_s, words = in_charge(), 300.0, []
    for _ in range(ASK_AGAIN_MAX + 1):
        now_s += until_given_back(machine, now_s)
        assert machine.clean_s == 0.0
        words.append(machine.reason.rpartition(": ")[2])
        now_s += ASK_AGAIN_S
    assert words == ["it is asked again in a while"] * ASK_AGAIN_MAX + ["an operator must grant anew"]
    assert machine.step(GOOD, now_s + 9e9, 1.0)[0] == "release"
    machine.grant("auto", "seen to")
    assert machine.step(GOOD, now_s + 9e9, 1.0)[0] == "fallback"
    assert machine._gives_back(GOOD, now_s + 9e9, 1.0) is False
    now_s += 9e9
    for words in ["it is asked again in a while"] * ASK_AGAIN_MAX + ["an operator must grant anew"]:
        now_s += until_given_back(machine, now_s)
        assert machine.reason.endswith(words)  # a grant counts from nothing
        now_s += ASK_AGAIN_S


def test_memory_of_a_machine_at_rest() -> None:
    assert ModeMachine("auto", 300.0).memory() == {
        "emergency": False, "latched": False, "rearms_s": [], "given_back": 0, "given_back_until_s": None,
    }  # fmt: skip


def test_memory_carries_what_only_a_person_or_time_may_clear() -> None:
    machine = in_charge()
    given_s = 300.0 + until_given_back(machine, 300.0)
    machine.latched, machine._rearms_s = True, [1.0, 2.0]
    memory = machine.memory()
    assert memory == {
        "emergency": False, "latched": True, "rearms_s": [1.0, 2.0], "given_back": 1, "given_back_until_s": given_s + ASK_AGAIN_S,
    }  # fmt: skip
    other = ModeMachine("auto", 300.0)
    other.recall(memory)
    assert other.memory() == memory and other.latched and other._rearms_s is not memory["rearms_s"]
    assert other.step(GOOD, given_s + ASK_AGAIN_S - 1.0, 1.0)[0] == "release", "time is not over for another machine either"
    assert other.step(GOOD, given_s + ASK_AGAIN_S, 1.0)[0] == "fallback"
    other.recall(ModeMachine("auto", 300.0).memory())
    assert other.step(GOOD, 0.0, 1.0)[0] == "fallback" and not other.latched and other._rearms_s == []


@pytest.mark.parametrize("granted", MODES)
@pytest.mark.parametrize("emergency", [True, False])
def test_an_emergency_goes_on_after_a_reload_where_the_grant_lets_it(granted: str, emergency: bool) -> None:
    machine = ModeMachine("auto", 300.0)
    machine.step(GOOD._replace(over_alarm=emergency), 0.0, 1.0)
    memory = machine.memory()
    assert memory["emergency"] is emergency
    other = ModeMachine(granted, 300.0)
    other.recall(memory)
    if emergency and granted in (*POLICY_MODES, "fallback"):
        assert (other.mode, other.reason) == ("emergency", "as before the site file was read anew")
    else:
        assert (other.mode, other.reason) == ("fallback" if granted in POLICY_MODES else granted, "start")


def test_a_chiller_that_falls_out_ends_the_policys_charge_in_that_tick_and_it_has_to_earn_it_again() -> None:
    m = ModeMachine("auto", 300.0)
    e = Evidence(False, 0.0, True, True, False, False, True, True, False)
    for t in range(301):
        mode, _ = m.step(e, float(t), 1.0)
    assert mode == "auto"
    mode, reason = m.step(e._replace(machine_lost=True), 301.0, 1.0)
    assert mode == "fallback" and "fallen out" in reason and m.clean_s == 0.0
    assert [m.step(e, 302.0 + t, 1.0)[0] for t in range(300)] == ["fallback"] * 299 + ["auto"]
