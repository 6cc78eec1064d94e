"""The corners of gateway, decoders, modes and shield that everyday messages do not reach: with the tests beside them every
line and branch of the safety code is run (`make coverage`)."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from test_control import GOOD

from coolctl import lease
from coolctl.control.context import Context
from coolctl.control.mode import ModeMachine
from coolctl.control.shield import BIT, EVALUATE_AGAIN, MODE_CHANGE_FAN_RATIO
from coolctl.controller import Controller
from coolctl.dialects import Decoder, encode_single
from coolctl.errors import ModelError
from coolctl.gateway import EpochFile, GatewayCore
from coolctl.onnx_graph import check_graph
from coolctl.points import U_CHW_DP, U_CHWST, U_HALL, Point, PointTable, each
from coolctl.site import Site
from coolctl.strict_json import Rejected
from sim_plant.load import constant


def point(name: str, dialect: str = "json", topic: str = "x/t") -> Point:
    return Point(name, "chwst", "plant", "degF", topic, dialect, name, 5.0, -5.0, 60.0)


def decoder(*points: Point) -> Decoder:
    return Decoder(PointTable(list(points)), 4096, 262144)


# -- decoders


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[1]", "not_an_object"),
        (b'{"quality":1}', "keys"),
        (b'{"value":1,"other":2}', "keys"),
        (b'{"value":1,"quality":1.0}', "quality_type"),
        (b'{"value":"a"}', "value_type"),
        (b'{"value":1' + b"0" * 20 + b"}", "value_range"),
        (b'{"value":1,"timestamp":true}', "timestamp_type"),
        (b'{"value":1,"timestamp":-1}', "timestamp_range"),
        (b'{"value":1.7e308}', "not_finite"),
        (b'{"values":[1]}', "keys"),
        (b'{"value":' + b" " * 5000 + b"1}", "too_large"),
    ],
)
def test_single_message_is_refused_with_its_reason(raw: bytes, reason: str) -> None:
    d = decoder(Point("t", "chwst", "plant", "MW", "x/t", "json", "t", 5.0, -5.0, 60.0) if b"e308" in raw else point("t"))
    assert d.decode("x/t", raw) == [] and d.rejects == {reason: 1}


def test_single_values_need_a_topic_of_their_own() -> None:
    shared = decoder(point("a"), point("b"))
    assert shared.decode("x/t", b'{"value":1}') == [] and shared.rejects == {"single_value_on_shared_topic": 1}
    scalars = decoder(point("a", "scalar"), point("b", "scalar"))
    assert scalars.decode("x/t", b"1") == [] and scalars.rejects == {"single_value_on_shared_topic": 1}


def test_two_dialects_on_one_topic_leave_the_first() -> None:
    d = decoder(point("a"), point("b", "scalar"))
    assert [s.i for s in each(d.decode("x/t", b'{"values":{"a":50,"b":50}}'))] == [0] and d.rejects == {"unknown_point": 1}


def test_one_point_is_said_in_its_own_dialect() -> None:
    assert encode_single(point("a", "scalar"), 50.0, 7) == b"50.0"
    d = decoder(point("a"))
    assert [s.value for s in each(d.decode("x/t", encode_single(point("a"), 50.0, 7)))] == [pytest.approx(10.0)]


TICK = {"v": 1, "t_s": 1.0, "nonce": "n", "epoch": 1, "holder": "a", "local": True, "hand": False}
ACK = {"v": 1, "epoch": 1, "seq": 1, "mode": "remote", "applied": {}, "rejected": "", "t_s": 1.0}


@pytest.mark.parametrize(
    ("decode", "good", "changes", "reason"),
    [
        (lease.decode_gateway_tick, TICK, {"v": 2}, "version"),
        (lease.decode_gateway_tick, TICK, {"more": 1}, "keys"),
        (lease.decode_gateway_tick, TICK, {"t_s": True}, "t_s_type"),
        (lease.decode_gateway_tick, TICK, {"t_s": 1e13}, "t_s_range"),
        (lease.decode_gateway_tick, TICK, {"epoch": 1.0}, "epoch_type"),
        (lease.decode_gateway_tick, TICK, {"epoch": True}, "epoch_type"),
        (lease.decode_gateway_tick, TICK, {"epoch": -2}, "epoch_range"),
        (lease.decode_gateway_tick, TICK, {"epoch": 1 << 53}, "epoch_range"),
        (lease.decode_gateway_tick, TICK, {"holder": 1}, "holder_type"),
        (lease.decode_gateway_tick, TICK, {"holder": "x" * 65}, "holder_long"),
        (lease.decode_gateway_tick, TICK, {"hand": 0}, "hand_type"),
        (lease.decode_ack, ACK, {"applied": []}, "applied_type"),
        (lease.decode_ack, ACK, {"applied": {f"p{k}": 1.0 for k in range(4097)}}, "applied_long"),
        (lease.decode_ack, ACK, {"rejected": "x" * 201}, "rejected_long"),
    ],
)
def test_message_of_the_lease_is_refused_with_its_reason(decode, good, changes, reason: str) -> None:  # type: ignore[no-untyped-def]
    decode(json.dumps(good).encode())
    with pytest.raises(Rejected, match=f"^{reason}$"):
        decode(json.dumps({**good, **changes}).encode())


def test_clock_and_done_want_exactly_their_keys() -> None:
    assert lease.decode_clock(lease.encode_clock(3, 1.5)) == (3, 1.5) and lease.decode_done(lease.encode_done(7)) == 7
    for decode in (lease.decode_clock, lease.decode_done):
        with pytest.raises(Rejected, match="keys"):
            decode(b'{"k":1,"t_s":1.0,"x":0}')


def test_values_at_the_edge_of_their_range_are_taken() -> None:
    assert lease.decode_gateway_tick(json.dumps({**TICK, "epoch": -1, "holder": "x" * 64}).encode()).epoch == -1
    assert lease.decode_gateway_tick(json.dumps({**TICK, "epoch": (1 << 53) - 1, "t_s": 1e12}).encode()).t_s == 1e12


# -- gateway


def test_epoch_without_a_folder_lives_in_memory() -> None:
    epochs = EpochFile(None)
    assert epochs.value == 0 and epochs.raise_it() == 1


def test_claims_that_are_none(site: Site, tmp_path: Path) -> None:
    core = GatewayCore(site, EpochFile(tmp_path))
    assert core.tick(10.0) and len(core.nonce) == 8
    good = lease.encode_claim(lease.Claim("a", "1"))
    assert core.claim(good, True) == [] and core.claim(lease.encode_claim(lease.Claim("", "1")), False) == []
    assert core.rejects == {"claim_retained": 1, "claim_instance": 1}
    assert core.claim(good, False) and core.holder == "a"
    epoch = core._epochs.value
    assert core.claim(good, False) and core._epochs.value == epoch  # the holder itself: nothing new
    assert core.claim(lease.encode_claim(lease.Claim("b", "1")), False) == [] and core.holder == "a"
    core.tick(13.5)
    assert core.claim(lease.encode_claim(lease.Claim("b", "1")), False) and core.holder == "b"


# -- modes


def test_policy_that_is_granted_the_other_rung_stays_in_charge() -> None:
    machine = ModeMachine("auto", 300.0)
    for k in range(301):
        machine.step(GOOD, float(k), 1.0)
    machine.grant("bounded", "less")
    assert machine.mode == "auto" and machine.step(GOOD, 301.0, 1.0)[0] == "bounded"
    with pytest.raises(ValueError, match="turbo"):
        machine.grant("turbo", "more")


def test_nothing_is_published_before_the_plant_is_heard_or_while_another_leads() -> None:
    machine = ModeMachine("auto", 300.0)
    assert machine.step(GOOD._replace(heard=False), 0.0, 1.0) == ("release", "no telemetry heard yet")
    assert machine.step(GOOD._replace(held=False), 1.0, 1.0) == ("release", "another controller holds the gateway")
    assert machine.step(GOOD, 2.0, 1.0)[0] == "fallback"


def confirmed_for(seconds: int) -> ModeMachine:
    """A grant of `fallback` whose setpoints the plant has confirmed for a while."""
    machine = ModeMachine("fallback", 300.0)
    for k in range(seconds):
        machine.step(GOOD, float(k), 1.0)
    return machine


def test_plant_that_does_not_confirm_is_given_back_after_fifteen_seconds() -> None:
    machine = confirmed_for(60)
    silent = GOOD._replace(ack_agrees=False)
    modes = [machine.step(silent, 60.0 + k, 1.0)[0] for k in range(400)]
    assert modes.index("release") == 14  # with the fifteenth second
    assert modes[14:314] == ["release"] * 300 and modes[314] == "fallback", "asked again after five minutes"
    assert machine.step(GOOD, 500.0, 1.0)[0] == "fallback"


def test_confirmations_that_come_back_in_time_start_the_count_anew() -> None:
    machine = confirmed_for(60)
    silent = GOOD._replace(ack_agrees=False)
    for k in range(100):
        assert machine.step(GOOD if k % 14 == 13 else silent, 60.0 + k, 1.0)[0] == "fallback"


def test_gateway_that_proves_itself_is_waited_for_longer() -> None:
    machine, silent = ModeMachine("fallback", 300.0), GOOD._replace(ack_agrees=False)
    modes = [machine.step(silent if k >= 8 else GOOD, float(k), 1.0)[0] for k in range(120)]
    assert modes.index("release") == 8 + 89  # nothing was confirmed for long enough yet: a minute and a half


def test_plant_that_never_confirms_is_left_alone_until_a_person_grants_anew() -> None:
    machine, silent = confirmed_for(60), GOOD._replace(ack_agrees=False)
    modes, now_s = [], 60.0
    for _ in range(3000):
        modes.append(machine.step(silent, now_s, 1.0)[0])
        now_s += 1.0
    assert sum(a == "release" != b for a, b in itertools.pairwise(modes)) == 3
    assert modes[-1000:] == ["release"] * 1000 and "an operator must grant anew" in machine.reason
    machine.grant("fallback", "repaired")
    assert machine.step(GOOD, now_s, 1.0)[0] == "fallback"


def test_another_shield_goes_on_from_a_memory(loop, site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    """As JSON carries it: the same setpoints, timers and windows, so the same answer to the same wish."""
    old = loop(site, policy, load=constant(0.6)).run(400).controller.control.shield
    memory = json.loads(json.dumps(old.memory()))
    new = Controller(site, policy).control.shield
    assert new.memory() != memory
    new.recall(memory)
    assert new.memory() == memory == old.memory()
    assert new.last is not None and (new.last == old.last).all() and new._changed_s == old._changed_s
    assert new._started_s == old._started_s
    fresh = Controller(site, policy).control.shield
    blank = json.loads(json.dumps(fresh.memory()))
    new.recall(blank)
    assert new.last is None and new.memory() == fresh.memory()


def test_person_who_grants_emergency_or_fallback_gets_it() -> None:
    for granted in ("emergency", "fallback"):
        machine = ModeMachine(granted, 300.0)
        for k in range(400):
            assert machine.step(GOOD, float(k), 1.0)[0] == granted


# -- shield


def test_bounded_keeps_the_policy_near_the_rules(loop, site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, policy, mode="bounded").run(1500)
    assert run.decision.mode == "bounded" and not run.audit.violations
    shield = run.controller.control.shield
    inside = np.abs(run.decision.u - run.decision.u_baseline) <= shield.authority + 1e-9
    assert inside.all(), [n for n, ok in zip(site.u_names, inside, strict=True) if not ok]


def shield_at(loop, site: Site, policy, **load_w: float):  # type: ignore[no-untyped-def]
    """A shield in service, its setpoints and a context of any load."""
    run = loop(site, policy, load=constant(0.4)).run(60)
    tick = run.controller.control
    est = tick._estimator.assess(run.controller.store.snapshot(float(run.k)))
    est = est._replace(w=np.array([30.0, 24.0, site.pressure_pa, load_w.get("it", 4e5)]))
    u, free = run.decision.u.copy(), np.full(len(run.decision.u), np.nan)
    context = Context(est, np.array([0.5]), u, False, False, True, True, 20.0, "ride_through", 3600.0, 3.0, free)
    return tick.shield, u, context, np.zeros(len(u), dtype=np.int64)


def test_coil_that_cannot_carry_gets_pressure_then_colder_water_and_no_more_than_there_is(loop, site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    shield, u, context, bits = shield_at(loop, site, policy, it=9.5e5)
    u[[U_CHWST, U_CHW_DP, U_HALL + 1]] = 19.0, 50e3, 1.0
    shield._coil(u, context, bits)
    assert u[U_CHW_DP] > 50e3 and bits[U_CHW_DP] == BIT["coil"]
    shield, u, context, bits = shield_at(loop, site, policy, it=5e6)
    u[[U_CHWST, U_CHW_DP, U_HALL + 1]] = 19.0, shield.hi[U_CHW_DP], 1.0
    shield._coil(u, context, bits)
    assert u[U_CHWST] == 19.0 - EVALUATE_AGAIN and bits[U_CHWST] == BIT["coil"]
    u[U_CHWST] = shield.lo[U_CHWST]
    shield._coil(u, context, bits)
    assert u[U_CHWST] == shield.lo[U_CHWST]


def test_valve_at_its_end_raises_the_pressure_step_by_step(loop, site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    shield, u, context, bits = shield_at(loop, site, policy)
    shield.last = u.copy()
    shield.last[U_CHW_DP] = u[U_CHW_DP] = 60e3
    context.est.valve[0] = 1.0
    shield._coil(u, context, bits)
    assert u[U_CHW_DP] >= 60e3 * 1.02 and bits[U_CHW_DP] == BIT["coil"]


def test_air_that_is_needed_may_jump_at_a_change_of_mode(loop, site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    shield, u, context, bits = shield_at(loop, site, policy)
    shield.last = u.copy()
    u[U_HALL + 1] = shield.last[U_HALL + 1] + 0.03
    forced = bits.copy()
    forced[U_HALL + 1] = BIT["airflow"]
    needed, wished = u.copy(), u.copy()
    shield._slew(needed, context, forced, 1.0)
    shield._slew(wished, context, bits, 1.0)
    assert needed[U_HALL + 1] == u[U_HALL + 1]
    assert (
        wished[U_HALL + 1] == pytest.approx(shield.last[U_HALL + 1] + MODE_CHANGE_FAN_RATIO)
        and bits[U_HALL + 1] & BIT["mode_change"]
    )


def test_fans_do_not_jump_when_the_mode_changes(loop, site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    run = loop(site, policy, load=constant(0.3)).run(400)
    run.controller.grant("fallback", "test")
    before = run.decision.setpoints["hall1.fan_speed_sp"]
    run.run(1)
    assert abs(run.decision.setpoints["hall1.fan_speed_sp"] - before) <= 2.0 and not run.audit.violations


# -- files of policies


@pytest.mark.parametrize(
    "raw",
    [b"\x2a\x05", b"\x3a\x02\x08", b"\x07", b"\xff" * 12, b"", b"\x38\x01", b"\x3a\x02\x28\x01", b"\x3a\x04\x2a\x02\x20\x01"],
)
def test_bytes_that_are_no_model_are_refused(raw: bytes) -> None:
    with pytest.raises(ModelError, match="policy: "):
        check_graph(raw)
