"""The gateway's proof that silence gives the plant its own control back, and two controllers at one gateway."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from faults.scenes import until
from virtual import VirtualStack

from coolctl.dialects import encode_batch
from coolctl.proof import FAILED, LEAD, NEEDED, PASSED, SILENT, ProofTest, Seen
from coolctl.site import Site
from sim_plant import room
from sim_plant.bms import LeaseReceiver

FANS = {"hall1.crah_fan_speed": 0.7, "chillers_on": 2.0}


def led(units: Mapping[str, float] = FANS) -> ProofTest:
    """A proof test that has just fallen silent, at 12 s."""
    proof = ProofTest(15.0)
    assert proof.state == NEEDED and not proof.refusal()
    proof.accepted(10.0)
    assert proof.state == LEAD and not proof.tick(10.0, True)
    proof.see(Seen(11.0, 0.0, units))
    assert not proof.tick(11.0, True)
    proof.see(Seen(12.0, 1.0, units))
    assert proof.tick(12.0, True) and proof.state == SILENT and proof.refusal() == "proof"
    return proof


def test_proof_passes_where_silence_ends_the_lease_and_units_run_on() -> None:
    proof = led()
    proof.see(Seen(34.0, 0.0, {**FANS, "hall1.crah_fan_speed": 0.6}))
    assert not proof.tick(34.0, False) and proof.state == SILENT  # not yet: a unit may still be coasting
    proof.see(Seen(35.0, 0.0, FANS))
    proof.tick(35.0, False)
    assert proof.state == PASSED and proof.proven_s == 35.0 and not proof.refusal()


@pytest.mark.parametrize(
    ("remote", "units", "why"),
    [
        (1.0, FANS, "follows on although the gateway is silent"),
        (0.0, {**FANS, "hall1.crah_fan_speed": 0.1}, "hall1.crah_fan_speed stops"),
        (0.0, {**FANS, "chillers_on": 0.0}, "chillers_on stops"),
    ],
)
def test_proof_fails_where_the_fallback_does(remote: float, units: Mapping[str, float], why: str) -> None:
    proof = led()
    proof.see(Seen(35.0, remote, units))
    assert proof.tick(35.0, False)
    assert proof.state == FAILED and why in proof.reason and proof.refusal() == "proof_failed"
    proof.see(Seen(60.0, 0.0, FANS))
    proof.tick(60.0, False)
    assert proof.state == FAILED  # for good: a person must look


def test_proof_fails_where_the_bms_never_follows_or_is_not_heard() -> None:
    proof = ProofTest(15.0)
    proof.accepted(10.0)
    assert not proof.tick(25.0, True) and proof.tick(25.5, True)
    assert "does not say that it follows" in proof.reason
    deaf = led()
    assert not deaf.tick(40.0, False) and deaf.tick(73.0, False)
    assert "nothing is heard" in deaf.reason


def test_lease_that_ends_before_the_bms_answers_shows_nothing() -> None:
    proof = ProofTest(15.0)
    proof.accepted(10.0)
    assert not proof.tick(11.0, True) and proof.state == LEAD
    assert not proof.tick(12.0, False) and proof.state == NEEDED and not proof.refusal()
    proof.accepted(20.0)
    assert proof.state == LEAD


def test_every_later_end_of_a_lease_is_watched() -> None:
    proof = led()
    proof.see(Seen(35.0, 0.0, FANS))
    proof.tick(35.0, False)
    for t in range(36, 60):
        proof.see(Seen(float(t), 1.0, FANS))
        assert not proof.tick(float(t), True)
    for t in range(60, 70):
        proof.see(Seen(float(t), 1.0, FANS))
        assert not proof.tick(float(t), False)
    proof.see(Seen(70.0, 0.0, FANS))
    proof.tick(70.0, False)
    assert proof.state == PASSED and proof.proven_s == 70.0
    proof.tick(71.0, True)
    for t in range(72, 98):
        proof.see(Seen(float(t), 1.0, FANS))
        proof.tick(float(t), False)
    assert proof.state == FAILED and "lease has ended" in proof.reason


def test_units_that_are_said_one_by_one_are_watched_too(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path)
    topic = stack.gateway._bms.topics[0]
    for values in ({"hall1.crah_fan_speed": 70.0}, {"chillers_on": 2.0}, {"bms_remote": 1.0}):
        stack.bus.publish("plant", topic, encode_batch(values, 1000))
    stack.bus.deliver()
    stack.gateway.work()
    proof = stack.gateway.core.proof
    assert proof is not None and dict(proof._seen.units) == {"hall1.crah_fan_speed": pytest.approx(0.7), "chillers_on": 2.0}


class Sticky(LeaseReceiver):
    """A BMS that keeps what was written, as a plain BACnet object does."""

    def setpoints(self, now_s: float) -> dict[str, float] | None:
        return self.values or None


def test_bms_that_keeps_the_last_value_is_never_armed(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path)
    stack.server.receiver = Sticky()
    stack.run(120)
    proof = stack.gateway.core.proof
    assert proof is not None and proof.state == FAILED and "follows on" in proof.reason
    assert stack.gateway.core.rejects["proof_failed"] > 50 and not stack.gateway.core.leased


def test_proof_that_ends_with_units_off_refuses_to_arm(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CRAHs that stop when remote control is lost, as in Tokyo in 2019: found before the first lease counts."""
    stack = VirtualStack(monkeypatch, site, tmp_path)
    stack.plant_fault = True
    step = stack.plant.bms.step

    def fails_to_off(leased: Any, view: Any, dt_s: float) -> Any:
        u = step(leased, view, dt_s)
        if stack.plant.bms.local and view.t_s > 5.0:
            stack.plant._x[:, room.X_FAN] = 0.1
        return u

    stack.plant.bms.step = fails_to_off  # type: ignore[method-assign]
    stack.run(60)
    proof = stack.gateway.core.proof
    assert proof is not None and proof.state == FAILED and "stops when the gateway is silent" in proof.reason


def test_sound_plant_is_armed_within_half_a_minute(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path)
    leased_at: list[float] = []
    stack.run(60, lambda s: leased_at.append(s.plant.t_s) if not s.local else None)
    proof = stack.gateway.core.proof
    assert proof is not None and proof.state == PASSED
    gaps = [b - a for a, b in itertools.pairwise(leased_at) if b - a > 1.0]
    assert len(gaps) == 1 and gaps[0] <= 12.0 and leased_at[-1] == 60.0  # the BMS let go once, and follows since


def test_second_controller_stands_by_and_takes_over_within_five_seconds(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path).run(360)
    two = stack.add_controller("two")
    stack.run(120)
    assert stack.in_charge() == "one" and two.decision is not None
    assert two.decision.mode == "release" and "another controller" in two.decision.mode_reason
    epoch = stack.gateway.core._epochs.value
    stack.one.kill()
    assert until(stack, lambda: stack.in_charge() == "two" and bool(two.decision.setpoints), 20) <= 5  # type: ignore[union-attr]
    assert not stack.local and stack.gateway.core._epochs.value == epoch + 1
    before = two.decision.setpoints
    stack.run(60)
    assert not stack.local
    assert abs(two.decision.setpoints["hall1.sat_sp"] - before["hall1.sat_sp"]) < 2.0
    assert not stack.violations()
    # The first one comes back as itself and finds the place taken.
    one = stack.add_controller("one")
    stack.run(30)
    assert stack.in_charge() == "two" and one.decision is not None and one.decision.mode == "release"


def test_paused_controller_that_wakes_up_finds_its_epoch_gone(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path).run(360)
    two = stack.add_controller("two")
    stack.run(10)
    one = stack.one
    one.pause()
    stack.run(60)
    assert stack.in_charge() == "two"
    accepted, refused = stack.gateway.core.accepted, sum(stack.gateway.core.rejects.values())
    one.resume()
    stack.step()
    assert sum(stack.gateway.core.rejects.values()) > refused
    assert stack.gateway.core.accepted <= accepted + 1  # the new holder's, not one of the old one's
    for _ in range(20):
        stack.step()
        assert stack.gateway.core.leased and not stack.local, "the holder's lease goes on, whatever the other says"
    assert stack.in_charge() == "two" and one.decision is not None and one.decision.mode == "release"
    assert two.decision is not None and two.decision.setpoints
