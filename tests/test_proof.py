"""The proof test second by second: how long it waits, what it takes for an answer, and what makes it fail."""

from __future__ import annotations

import math

import pytest

from coolctl.proof import FAILED, LEAD, NEEDED, PASSED, SILENT, ProofTest, Seen

UNITS = {"fan": 0.7, "chiller": 2.0, "resting": 0.0}


def silent(units: dict[str, float] = UNITS) -> ProofTest:
    """Fallen silent at 12 s."""
    proof = ProofTest(15.0)
    proof.accepted(10.0)
    proof.see(Seen(12.0, 1.0, units))
    assert proof.tick(12.0, True) and proof.state == SILENT
    return proof


def passed() -> ProofTest:
    """Passed at 35 s."""
    proof = silent()
    proof.see(Seen(35.0, 0.0, UNITS))
    assert proof.tick(35.0, False) is False and proof.state == PASSED
    return proof


def test_new_proof_is_needed_and_stands_in_nobodys_way() -> None:
    proof = ProofTest(15.0)
    assert (proof.state, proof.reason, proof.refusal(), proof.proven_s) == (NEEDED, "", "", -math.inf)
    assert proof.tick(0.0, False) is False and proof.tick(1e6, True) is False and proof.state == NEEDED


def test_words_of_the_bms_from_before_the_lease_say_nothing_of_it() -> None:
    proof = ProofTest(15.0)
    proof.accepted(10.0)
    for seen_s, falls_silent in ((9.9, False), (10.0, False), (10.1, True)):
        proof.see(Seen(seen_s, 1.0, UNITS))
        assert proof.tick(11.0, True) == falls_silent and (proof.state == SILENT) == falls_silent


def test_words_of_the_bms_count_for_five_seconds() -> None:
    for seen_s, falls_silent in ((14.9, False), (15.0, True), (20.1, False)):
        proof = ProofTest(15.0)
        proof.accepted(10.0)
        proof.see(Seen(seen_s, 1.0, UNITS))
        assert proof.tick(20.0, True) == falls_silent


@pytest.mark.parametrize(("remote", "follows"), [(0.5, False), (0.51, True), (1.0, True), (math.nan, False)])
def test_more_than_half_means_that_it_follows(remote: float, follows: bool) -> None:
    proof = ProofTest(15.0)
    proof.accepted(10.0)
    proof.see(Seen(12.0, remote, UNITS))
    assert proof.tick(12.0, True) == follows


def test_bms_has_fifteen_seconds_to_say_that_it_follows() -> None:
    proof = ProofTest(15.0)
    proof.accepted(10.0)
    assert not proof.tick(25.0, True) and proof.state == LEAD and not proof.refusal()
    assert proof.tick(25.1, True) and proof.state == FAILED and proof.refusal() == "proof_failed"


def test_lead_is_counted_from_the_first_lease_of_it() -> None:
    proof = ProofTest(15.0)
    proof.accepted(10.0)
    proof.accepted(20.0)
    assert proof.tick(25.1, True) and proof.state == FAILED
    proof.accepted(30.0)
    assert proof.state == FAILED


def test_silence_lasts_the_bmss_patience_and_eight_seconds_for_units_to_coast() -> None:
    for patience_s in (15.0, 30.0):
        proof = ProofTest(patience_s)
        proof.accepted(10.0)
        proof.see(Seen(12.0, 1.0, UNITS))
        proof.tick(12.0, True)
        end_s = 12.0 + patience_s + 8.0
        proof.see(Seen(end_s - 0.1, 0.0, UNITS))
        assert not proof.tick(end_s - 0.1, False) and proof.state == SILENT and proof.refusal() == "proof"
        assert not proof.tick(end_s, False) and proof.state == PASSED and proof.proven_s == end_s and not proof.refusal()


def test_bms_that_is_not_heard_has_a_minute() -> None:
    proof = silent()
    assert not proof.tick(72.0, False) and proof.state == SILENT
    assert proof.tick(72.1, False) and proof.state == FAILED
    late = silent()
    late.see(Seen(71.0, 0.0, UNITS))
    assert not late.tick(72.0, False) and late.state == PASSED


@pytest.mark.parametrize(
    ("units", "state"),
    [
        ({"fan": 0.35, "chiller": 2.0}, PASSED),
        ({"fan": 0.34, "chiller": 2.0}, FAILED),
        ({"fan": 0.7, "chiller": 0.9}, FAILED),
        ({"fan": 0.7}, PASSED),  # of a unit that is not said nothing is known
        ({"fan": 0.7, "chiller": 2.0, "resting": 0.0}, PASSED),
        ({"fan": 0.7, "chiller": 2.0, "resting": -1.0}, PASSED),
    ],
)
def test_what_ran_before_must_run_at_half_its_speed(units: dict[str, float], state: str) -> None:
    proof = silent()
    proof.see(Seen(35.0, 0.0, units))
    assert proof.tick(35.0, False) == (state == FAILED) and proof.state == state


def test_speeds_are_compared_with_those_at_the_beginning_of_the_silence() -> None:
    units = dict(UNITS)
    proof = silent(units)
    units["fan"] = 0.01  # the caller's own table goes on changing
    proof.see(Seen(35.0, 0.0, {"fan": 0.1, "chiller": 2.0}))
    assert proof.tick(35.0, False) and proof.reason == "fan stops when the gateway is silent"


def test_lease_may_last_and_end_and_begin_again_for_ever() -> None:
    proof = passed()
    for t in range(36, 600):
        leased = t // 60 % 2 == 0
        proof.see(Seen(float(t), float(leased), UNITS))
        assert not proof.tick(float(t), leased) and proof.state == PASSED


def test_end_of_a_lease_is_proven_when_the_bms_says_so() -> None:
    proof = passed()
    proof.see(Seen(100.0, 1.0, UNITS))
    proof.tick(100.0, True)
    assert proof.proven_s == 35.0
    proof.see(Seen(101.0, 0.0, UNITS))
    proof.tick(101.0, False)
    assert proof.proven_s == 35.0  # the tick in which it ended proves nothing yet
    proof.tick(102.0, False)
    assert proof.proven_s == 102.0
    proof.tick(110.0, False)
    assert proof.proven_s == 102.0  # not heard since: nothing is known


@pytest.mark.parametrize(("after_s", "state"), [(23.0, PASSED), (23.1, FAILED)])
def test_bms_that_follows_on_after_a_lease_fails_when_its_patience_is_over(after_s: float, state: str) -> None:
    proof = passed()
    proof.tick(100.0, True)
    proof.see(Seen(101.0, 1.0, UNITS))
    proof.tick(101.0, False)
    proof.see(Seen(101.0 + after_s, 1.0, UNITS))
    proof.tick(101.0 + after_s, False)
    assert proof.state == state


def test_bms_that_is_not_heard_after_a_lease_shows_nothing_either_way() -> None:
    proof = passed()
    proof.tick(100.0, True)
    for t in range(101, 400):
        assert not proof.tick(float(t), False) and proof.state == PASSED
    assert proof.proven_s == 35.0


def test_new_lease_before_the_patience_is_over_starts_the_watch_anew() -> None:
    proof = passed()
    for t in range(36, 300):
        proof.see(Seen(float(t), 1.0, UNITS))  # follows on
        proof.tick(float(t), t % 20 < 5)  # and is led again every twenty seconds
    assert proof.state == PASSED
