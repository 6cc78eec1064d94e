"""The gateway to the second and to the digit: what it lets through, how long, how fast, and what it says of it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coolctl import lease
from coolctl.edge_schema import GatewayTable
from coolctl.gateway import EpochFile, GatewayCore, Out
from coolctl.points import U_CWST, Point
from coolctl.proof import LEAD, NEEDED, ProofTest, Seen
from coolctl.site import Site, load_site


@pytest.fixture
def core(site: Site) -> GatewayCore:
    """At 100 s, its epoch granted to `a`."""
    made = GatewayCore(site, EpochFile(None), nonce="n1")
    made.tick(100.0)
    made.claim(lease.encode_claim(lease.Claim("a", "1")), False)
    return made


def send(core: GatewayCore, seq: int, sp: dict[str, float] | None = None, **changes: Any) -> tuple[list[Out], int]:
    m = lease.Setpoints(
        core._epochs.value, seq, core.now_s, core.nonce, 15.0, "auto", {"chwst_sp": 14.0} if sp is None else sp, "test", 3
    )
    return core.setpoints(lease.encode_setpoints(m._replace(**changes)), False)


def answer(sent: tuple[list[Out], int]) -> lease.Ack:
    return lease.decode_ack(sent[0][-1].payload)


def heartbeat(core: GatewayCore, now_s: float) -> lease.GatewayTick:
    return lease.decode_gateway_tick(core.tick(now_s)[0].payload)


# -- what it starts with, and what it says


def test_fresh_gateway_holds_nothing(site: Site) -> None:
    core = GatewayCore(site, EpochFile(None))
    assert not core.leased and not core.applied and core.lease_mode == "" and core.accepted == 0 and not core.rejects
    assert core.now_s == -math.inf and not core.hand and core.holder == ""
    assert len(core.nonce) == 8 and core.nonce != GatewayCore(site, EpochFile(None)).nonce
    assert GatewayCore(site, EpochFile(None), nonce="mine").nonce == "mine"
    assert [o.kind for o in core.tick(-5.0)] == ["gw_tick"]  # whatever its clock says first
    assert core.claim(lease.encode_claim(lease.Claim("a", "1")), False) and core.holder == "a"


def test_heartbeat_says_clock_nonce_epoch_holder_and_who_has_the_plant(core: GatewayCore) -> None:
    assert heartbeat(core, 101.0) == lease.GatewayTick(101.0, "n1", 2, "a", True, False)
    send(core, 1)
    assert heartbeat(core, 102.0) == lease.GatewayTick(102.0, "n1", 2, "a", False, False)
    core.set_hand(True)
    assert heartbeat(core, 103.0) == lease.GatewayTick(103.0, "n1", 2, "a", True, True)


def test_acknowledgement_says_what_it_answers(core: GatewayCore) -> None:
    sent = send(core, 7)
    assert sent[1] == 3 and answer(sent) == lease.Ack(2, 7, "remote", {"chwst_sp": 14.0}, "", 100.0)
    assert core.accepted == 1 and core.lease_mode == "auto"
    send(core, 8)
    assert core.accepted == 2
    assert answer(send(core, 9, {})) == lease.Ack(2, 9, "local", {}, "", 100.0) and core.accepted == 2
    assert answer(send(core, 9)) == lease.Ack(2, 9, "local", {}, "seq", 100.0)


def test_message_to_the_bms_counts_up_and_names_its_sender_and_time(core: GatewayCore) -> None:
    first = lease.decode_bms_lease(send(core, 1)[0][0].payload)
    assert first == lease.BmsLease("n1", 1, 15.0, {"chwst_sp": 14.0}, 100.0)
    assert lease.decode_bms_lease(core.tick(101.0)[1].payload) == lease.BmsLease("n1", 2, 14.0, {"chwst_sp": 14.0}, 101.0)


def test_values_are_passed_on_to_six_digits(core: GatewayCore) -> None:
    sent = send(core, 1, {"chwst_sp": 14.123456789})
    assert lease.decode_bms_lease(sent[0][0].payload).sp == answer(sent).applied == {"chwst_sp": 14.123457}


# -- how long


def test_lease_holds_to_its_last_second_and_not_beyond(core: GatewayCore) -> None:
    send(core, 1)
    assert [o.kind for o in core.tick(115.0)] == ["gw_tick", "bms"] and core.leased
    assert [o.kind for o in core.tick(115.01)] == ["gw_tick"] and not core.leased and core.applied == {}


def test_last_second_of_a_lease_is_passed_on_as_nothing_left(core: GatewayCore) -> None:
    send(core, 1)
    assert lease.decode_bms_lease(core.tick(115.0)[1].payload).ttl_s == 0.0


@pytest.mark.parametrize(("asked_s", "held_s"), [(5.0, 5.0), (60.0, 15.0)])
def test_lease_is_as_long_as_asked_for_and_no_longer_than_the_site_allows(
    core: GatewayCore, asked_s: float, held_s: float
) -> None:
    send(core, 1, ttl_s=asked_s)
    core.tick(100.0 + held_s)
    assert core.leased
    core.tick(100.1 + held_s)
    assert not core.leased


def test_second_lease_is_never_longer_than_the_plants_own(edited_site: Callable[..., Path]) -> None:
    short = load_site(edited_site(("[plant]", "[gateway]\nbms_ttl_s = 6.0\n\n[plant]")))
    core = GatewayCore(short, EpochFile(None), nonce="n1")
    core.tick(100.0)
    core.claim(lease.encode_claim(lease.Claim("a", "1")), False)
    assert lease.decode_bms_lease(send(core, 1)[0][0].payload).ttl_s == 6.0


def test_bms_hears_once_a_second_however_often_the_clock_is_told(core: GatewayCore) -> None:
    send(core, 1)
    heard = [len(core.tick(100.0 + 0.25 * k)) - 1 for k in range(1, 5)]
    assert heard[:3] == [0, 0, 0] and heard[3] == 1
    send(core, 2)
    assert len(core.tick(101.9999995)) == 2  # a clock that ticks a hair early is a second


def test_same_time_twice_is_no_other_run(core: GatewayCore) -> None:
    send(core, 1)
    core.tick(101.0)
    core.tick(101.0)
    assert core.leased


def test_clock_that_runs_backwards_is_another_run(core: GatewayCore) -> None:
    send(core, 1)
    core.tick(99.0)
    assert not core.leased and core.applied == {}


def test_ended_lease_does_not_come_back_with_the_clock(core: GatewayCore) -> None:
    send(core, 1)
    core.tick(200.0)
    assert core.applied == {} and core.lease_until_s == -math.inf
    send(core, 2, {})
    core.now_s = 110.0
    assert not core.leased


def test_hand_ends_the_lease_for_good_and_not_only_while_it_lasts(core: GatewayCore) -> None:
    send(core, 1)
    core.set_hand(True)
    assert core.applied == {} and not core.leased
    assert answer(send(core, 2)) == lease.Ack(2, 2, "hand", {}, "hand", 100.0) and core.rejects == {"hand": 1}
    assert answer(send(core, 3, {})).rejected == ""  # an explicit none is always welcome
    core.set_hand(False)
    assert not core.leased
    assert answer(send(core, 4)).mode == "remote" and core.leased


def test_hand_that_is_not_taken_changes_nothing(core: GatewayCore) -> None:
    send(core, 1)
    core.set_hand(False)
    assert core.leased and core.applied == {"chwst_sp": 14.0}


# -- from whom


def test_lease_without_a_holder_is_refused(site: Site) -> None:
    core = GatewayCore(site, EpochFile(None), nonce="n1")
    core.tick(100.0)
    assert answer(send(core, 1)).rejected == "epoch" and not core.leased


@pytest.mark.parametrize(("age_s", "reason"), [(0.0, ""), (5.0, ""), (5.01, "stale"), (-0.01, "stale")])
def test_echo_may_be_five_seconds_old(core: GatewayCore, age_s: float, reason: str) -> None:
    assert answer(send(core, 1, gw_echo=100.0 - age_s)).rejected == reason


def test_first_number_after_a_grant_may_be_nought(core: GatewayCore) -> None:
    assert answer(send(core, 0)).rejected == "" and answer(send(core, 0)).rejected == "seq"
    core.claim(lease.encode_claim(lease.Claim("a", "2")), False)  # itself, restarted
    assert answer(send(core, -1)).rejected == "seq" and answer(send(core, 0)).rejected == ""


def test_standby_waits_three_seconds_of_silence(core: GatewayCore) -> None:
    standby = lease.encode_claim(lease.Claim("b", "1"))
    send(core, 1)
    core.tick(103.0)
    assert core.claim(standby, False) == [] and core.holder == "a"
    core.tick(103.1)
    granted = core.claim(standby, False)
    assert lease.decode_gateway_tick(granted[0].payload).holder == core.holder == "b" and core._epochs.value == 3
    assert core.heard_s == 103.1  # a new holder has its three seconds too
    assert core.claim(lease.encode_claim(lease.Claim("a", "1")), False) == []


def test_holder_that_was_restarted_need_not_wait(core: GatewayCore) -> None:
    send(core, 5)
    granted = core.claim(lease.encode_claim(lease.Claim("a", "2")), False)
    assert lease.decode_gateway_tick(granted[0].payload).epoch == core._epochs.value == 3
    assert answer(send(core, 1)).rejected == ""


# -- which values

RANGES = {
    "sat_sp": (15.5, 26.5), "fan_speed_sp": (0.31, 1.0), "chwst_sp": (5.5, 20.5), "chw_dp_sp": (16e3, 190e3), "cwst_sp": (6.5, 32.5),
    "cw_flow_sp": (0.46, 1.25),
}  # fmt: skip


@pytest.mark.parametrize("role", RANGES)
def test_each_setpoint_has_the_gateways_own_range_and_the_points_where_that_is_tighter(role: str) -> None:
    table = GatewayTable(
        sat_sp_min_c=15.5, sat_sp_max_c=26.5, fan_speed_sp_min_ratio=0.31, chwst_sp_min_c=5.5, chwst_sp_max_c=20.5, chw_dp_sp_min_pa=16e3,
        chw_dp_sp_max_pa=190e3, cwst_sp_min_c=6.5, cwst_sp_max_c=32.5, cw_flow_sp_min_ratio=0.46, cw_flow_sp_max_ratio=1.25,
    )  # fmt: skip

    def point(low: float, high: float) -> Point:
        return Point("x", role, "plant", "degC", "t", "json", "x", 5.0, low, high)

    low, high = RANGES[role]
    wide_high = 1.0 if role == "fan_speed_sp" else 1e9
    assert GatewayCore.range_of(table, point(-1e9, wide_high)) == (low, high)
    tight = low + 0.1 * (high - low), high - 0.1 * (high - low)
    assert GatewayCore.range_of(table, point(*tight)) == tight


def test_count_of_machines_has_the_points_range() -> None:
    point = Point("x", "chillers_on_sp", "plant", "1", "t", "json", "x", 5.0, 0.0, 3.0)
    assert GatewayCore.range_of(GatewayTable(), point) == (0.0, 3.0)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(5.0, ""), (21.0, ""), (21.00002, ""), (21.000022, "outside_limits"), (4.99998, ""), (4.99997, "outside_limits")],
)
def test_value_at_the_limit_is_inside_and_rounding_is_forgiven(core: GatewayCore, value: float, reason: str) -> None:
    assert answer(send(core, 1, {"chwst_sp": value})).rejected == reason
    assert core.leased == (not reason)


def test_rounding_that_is_forgiven_goes_with_the_size_of_the_limit(core: GatewayCore) -> None:
    assert answer(send(core, 1, {"hall1.fan_speed_sp": 29.9999})).rejected == ""  # a millionth of a full fan is 1e-4 percent
    assert answer(send(core, 2, {"hall1.fan_speed_sp": 29.9998})).rejected == "outside_limits"
    assert answer(send(core, 3, {"hall1.fan_speed_sp": 100.000105})).rejected == "outside_limits"


def test_one_value_outside_refuses_all(core: GatewayCore) -> None:
    assert answer(send(core, 1, {"hall1.sat_sp": 20.0, "chwst_sp": 4.0})).rejected == "outside_limits"
    assert core.applied == {} and not core.leased


def test_only_what_the_plant_accepts_may_be_set(site: Site) -> None:
    accepted = site.accepted.copy()
    accepted[U_CWST] = False
    core = GatewayCore(dataclasses.replace(site, accepted=accepted), EpochFile(None), nonce="n1")
    core.tick(100.0)
    core.claim(lease.encode_claim(lease.Claim("a", "1")), False)
    assert answer(send(core, 1, {"cwst_sp": 20.0})).rejected == "unknown_setpoint"
    for name in ("oawb", "cwst", "chwst"):
        assert answer(send(core, 1, {name: 20.0})).rejected == "unknown_setpoint"
    for k, name in enumerate(("chwst_sp", "chw_dp_sp", "chillers_on_sp", "tower_cells_on_sp", "cw_flow_sp", "economizer_on_sp",
                              "hall1.sat_sp", "hall1.fan_speed_sp"), 1):  # fmt: skip
        low, high = core._ranges[name]
        assert answer(send(core, k, {name: core._points[name].encode(0.5 * (low + high))})).rejected == "", name


def test_setpoint_of_the_first_point_of_a_table_counts(site: Site) -> None:
    first = site.u_point[0]
    order = [first, *(i for i in range(len(site.table.points)) if i != first)]
    table = type(site.table)([site.table.points[i] for i in order])
    place = {int(i): k for k, i in enumerate(order)}
    moved = dataclasses.replace(site, table=table, u_point=np.array([place[i] if i >= 0 else -1 for i in site.u_point]))
    assert table.points[0].id in GatewayCore(moved, EpochFile(None))._points


# -- how fast


@pytest.mark.parametrize(
    ("name", "start", "far", "step"),
    [
        ("chwst_sp", 14.0, 20.0, 0.2),
        ("cwst_sp", 20.0, 30.0, 0.2),
        ("hall1.sat_sp", 20.0, 26.0, 0.2),
        ("hall1.fan_speed_sp", 50.0, 100.0, 10.0),
        ("chw_dp_sp", 60.0, 120.0, 4.0),
    ],
)
def test_jump_is_paced_up_and_down_by_the_seconds_since_the_last(
    core: GatewayCore, name: str, start: float, far: float, step: float
) -> None:
    send(core, 1, {name: start})
    core.tick(103.0)
    assert answer(send(core, 2, {name: far})).applied[name] == pytest.approx(start + 3.0 * step)
    back = start - (far - start) if name != "hall1.fan_speed_sp" else 35.0
    core.tick(104.0)
    assert answer(send(core, 3, {name: max(back, start - 5.0)})).applied[name] == pytest.approx(start + 2.0 * step)
    core.tick(104.5)  # less than a second counts as one
    assert answer(send(core, 4, {name: far})).applied[name] == pytest.approx(start + 3.0 * step)
    near = start + 3.0 * step + 0.01
    assert answer(send(core, 5, {name: near})).applied[name] == pytest.approx(near)


@pytest.mark.parametrize(
    ("name", "start", "far"), [("chillers_on_sp", 1.0, 3.0), ("tower_cells_on_sp", 1.0, 3.0), ("cw_flow_sp", 60.0, 120.0)]
)
def test_counts_and_flow_are_not_paced(core: GatewayCore, name: str, start: float, far: float) -> None:
    send(core, 1, {name: start})
    assert answer(send(core, 2, {name: far})).applied[name] == pytest.approx(far)


def test_new_setpoint_of_a_running_lease_starts_where_it_is_asked_for(core: GatewayCore) -> None:
    send(core, 1)
    assert answer(send(core, 2, {"chwst_sp": 14.0, "hall1.sat_sp": 25.0})).applied["hall1.sat_sp"] == 25.0


def test_first_value_after_a_lease_has_ended_is_not_paced(core: GatewayCore) -> None:
    send(core, 1)
    core.now_s = 115.5  # before the tick that would forget it
    assert answer(send(core, 2, {"chwst_sp": 20.0})).applied == {"chwst_sp": 20.0}


# -- with a proof to give


def proven(site: Site) -> tuple[GatewayCore, ProofTest]:
    proof = ProofTest(15.0)
    core = GatewayCore(site, EpochFile(None), nonce="n1", proof=proof)
    core.tick(100.0)
    core.claim(lease.encode_claim(lease.Claim("a", "1")), False)
    return core, proof


def test_proof_begins_with_the_first_value_and_its_silence_is_the_gateways(site: Site) -> None:
    core, proof = proven(site)
    send(core, 1, {})
    assert proof.state == NEEDED  # an explicit none is no lease
    assert answer(send(core, 2)).rejected == "" and proof.state == LEAD
    core.tick(101.0)
    assert core.leased and proof.state == LEAD
    proof.see(Seen(101.5, 1.0, {}))
    assert [o.kind for o in core.tick(102.0)] == ["gw_tick"] and core.applied == {} and not core.leased
    assert answer(send(core, 3)).rejected == "proof" and core.rejects == {"proof": 1} and not core.leased
    assert answer(send(core, 4, {})).rejected == ""  # none may always be said
    proof.see(Seen(125.5, 0.0, {}))
    core.tick(126.0)
    assert answer(send(core, 5)).rejected == "" and core.leased
    assert [o.kind for o in core.tick(127.0)] == ["gw_tick", "bms"]


def test_proof_is_told_when_the_lease_ends(site: Site) -> None:
    core, proof = proven(site)
    send(core, 1)
    core.tick(101.0)
    core.tick(116.0)
    assert not core.leased and proof.state == NEEDED


# -- the epoch on disk


def test_epoch_is_on_disk_before_it_is_granted_and_in_any_folder(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "of" / "gateway"
    assert EpochFile(folder).value == 0
    epochs = EpochFile(folder)
    assert [epochs.raise_it(), epochs.raise_it()] == [1, 2]
    assert [p.name for p in folder.iterdir()] == ["epoch.json"] and json.loads((folder / "epoch.json").read_text()) == {
        "epoch": 2
    }
    assert EpochFile(folder).value == 2 and EpochFile(folder).raise_it() == 3


def test_epoch_is_written_through_before_the_old_one_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power may go at any moment: what takes the old file's place must be on the disk already, and whole."""
    told: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(number: int) -> None:
        told.append(f"sync {os.fstat(number).st_size}")
        sync(number)

    def put(self: Path, target: Path) -> Path:
        told.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", put)
    EpochFile(tmp_path).raise_it()
    assert told == [f"sync {len(json.dumps({'epoch': 1}))}", "replace"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"epoch": null}', '{"epoch": "x"}', "\0"])
def test_epoch_file_that_says_nothing_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "epoch.json").write_text(text)
    assert EpochFile(tmp_path).value == 0


# -- the BMS's own clock


def bms_tick(core: GatewayCore, t_s: float, nonce: str = "b1", retained: bool = False) -> None:
    core.bms_tick(lease.encode_bms_tick(lease.BmsTick(t_s, nonce)), retained)


def test_the_newest_word_of_the_bms_is_echoed(core: GatewayCore) -> None:
    bms_tick(core, 7.0)
    assert lease.decode_bms_lease(send(core, 1)[0][0].payload)[-2:] == (7.0, "b1")
    for t_s, nonce, retained in ((6.0, "b1", False), (9.0, "b1", True)):
        bms_tick(core, t_s, nonce, retained)
    core.bms_tick(b"{}", False)
    assert core.rejects == {"bms_tick_old": 1, "bms_tick_retained": 1, "bms_tick_version": 1}
    assert lease.decode_bms_lease(core.tick(101.0)[1].payload)[-2:] == (7.0, "b1")
    bms_tick(core, 1.0, "b2")  # a BMS that has started anew counts anew
    assert lease.decode_bms_lease(core.tick(102.0)[1].payload)[-2:] == (1.0, "b2")


def test_a_bms_that_has_said_its_clock_and_falls_silent_is_leased_nothing(core: GatewayCore) -> None:
    bms_tick(core, 7.0)
    send(core, 1)
    core.tick(104.0)
    bms_tick(core, 7.0)  # a clock that stands still is no sign of life
    assert [o.kind for o in core.tick(105.0)] == ["gw_tick", "bms"] and core.leased and not core.bms_silent
    assert [o.kind for o in core.tick(105.5)] == ["gw_tick"] and not core.leased and core.bms_silent
    assert answer(send(core, 2)).rejected == "bms_silent" and not answer(send(core, 3, {})).rejected
    bms_tick(core, 8.0)
    assert not core.bms_silent and not answer(send(core, 4)).rejected and core.leased


def test_a_clock_of_the_bms_that_stands_still_is_not_refused(core: GatewayCore) -> None:
    for _ in range(3):
        bms_tick(core, 7.0)
    assert not core.rejects


def test_a_bms_that_speaks_before_the_gateways_clock_has_begun_is_not_silent(site: Site) -> None:
    early = GatewayCore(site, EpochFile(None), nonce="n1")
    bms_tick(early, 0.0)
    early.tick(0.0)  # a simulated plant that waits for its controller says the same second again and again
    early.claim(lease.encode_claim(lease.Claim("a", "1")), False)
    assert not early.bms_silent and not answer(send(early, 1)).rejected and early.leased


def test_a_bms_that_never_says_its_clock_is_leased_to_as_ever(core: GatewayCore) -> None:
    send(core, 1)
    core.tick(114.0)
    assert core.leased and not core.bms_silent


# -- what stands behind the gateway, and the second between two words to it


def test_a_lease_that_would_not_be_written_is_refused_and_one_that_ends_it_never(core: GatewayCore) -> None:
    asked: list[list[str]] = []

    def can_write(names: Iterable[str]) -> bool:
        asked.append(list(names))
        return False

    core.can_write = can_write
    assert answer(send(core, 1)).rejected == "unwritable" and not core.leased and asked == [["chwst_sp"]]
    assert answer(send(core, 2, {})) == lease.Ack(2, 2, "local", {}, "", 100.0)
    core.can_write = lambda _names: True
    assert not answer(send(core, 3)).rejected and core.leased


@pytest.mark.parametrize(("early_s", "kinds"), [(1e-6, ["gw_tick", "bms"]), (1.05e-6, ["gw_tick"])])
def test_a_second_may_be_short_by_a_millionth(site: Site, early_s: float, kinds: list[str]) -> None:
    """A word a second to the BMS, by a clock that is a sum of ticks."""
    core = GatewayCore(site, EpochFile(None), nonce="n1")
    core.tick(0.0)
    core.claim(lease.encode_claim(lease.Claim("a", "1")), False)
    send(core, 1)
    assert [o.kind for o in core.tick(1.0 - early_s)] == kinds
