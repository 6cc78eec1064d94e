"""C, M, G, X and O: the controller's process, its policy, the gateway, security and operators."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable

import numpy as np
from virtual import Copy, to

from coolctl import lease
from coolctl.control.policy import OUTPUTS
from coolctl.controller import Controller
from coolctl.proof import FAILED
from faults.rows import NOT_YET, Row
from faults.scenes import ARMED_S, Play, Stage, clean, stays_safe, until
from faults.transport_rows import done, mode
from sim_plant.faults import parse
from sim_plant.load import constant
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

HIL = "tests/hil/test_loop.py::"
WARMEST = [-20.0, -30.0, 60.0, 0.0, 0.0, 0.0, 1.0]


class Answers:
    """A policy that answers by a function of its calls."""

    model_hash = "test"

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray]):
        self.infer = answer


def fixed(row: list[float]) -> Answers:
    return Answers(lambda x: np.array([row], dtype=np.float32))


# -- C


def killed_at_random(stage: Stage) -> str:
    """Killed and started again and again: at no time a partial or invalid setpoint, and the plant has itself in between."""
    stack, rng = stage.armed(), random.Random(stage.seed)
    local = 0
    for _ in range(6):
        stack.one.kill()
        took = until(stack, lambda: stack.local, 18)
        local = max(local, took)
        stack.add_controller("one")
        stack.run(rng.randint(20, 60))
    return done(stack, f"own control at most {local} s after a kill")


def command_storm(stage: Stage) -> str:
    """Two hundred grants in a row, contradictory ones too: the last one holds."""
    stack, rng = stage.armed(), random.Random(stage.seed)
    for _ in range(200):
        stack.command(rng.choice(["auto", "fallback", "shadow", "bounded", "monitor", "advise"]))
        stack.step()
    stack.command("auto")
    stack.run(ARMED_S)
    assert mode(stack) == "auto"
    return done(stack)


# -- M


def nonsense_policy(stage: Stage) -> str:
    """NaN, infinite, huge, wrong shape, an exception: the rules in the same tick, nothing of it published."""

    def boom(_x: np.ndarray) -> np.ndarray:
        raise RuntimeError("no")

    answers: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda x: np.full((1, len(OUTPUTS)), np.nan, dtype=np.float32),
        lambda x: np.full((1, len(OUTPUTS)), np.inf, dtype=np.float32),
        lambda x: np.full((1, len(OUTPUTS)), 3e38, dtype=np.float32),
        lambda x: np.zeros((1, 2), dtype=np.float32),
        boom,
    ]
    for answer in answers:
        stack = stage.armed()
        shipped = stack.one.daemon.controller.control.policy
        stack.one.daemon.controller.control.policy = Answers(answer)  # type: ignore[assignment]
        stack.step()
        d = stack.one.decision
        assert d is not None and not d.policy_used, "its last plan went on"
        took = 1 + until(stack, lambda: mode(stack) == "fallback", 3)  # noqa: B023
        assert took <= 3
        stack.one.daemon.controller.control.policy = shipped
        stack.run(30)
        clean(stack)
        stays_safe(stack)
    return f"{len(answers)} kinds; what is asked for is the rules' in the same tick, their mode within 3"


def always_warmest(stage: Stage) -> str:
    seen = stage.play(Play(seconds=5400), policy=fixed(WARMEST))
    clean(seen)
    stays_safe(seen)
    return seen.text()


def bang_bang(stage: Stage) -> str:
    sign = [1.0]

    def answer(_x: np.ndarray) -> np.ndarray:
        sign[0] = -sign[0]
        return np.array([[8.0, 8.0, 8.0, 1.0, 1.2, 1.5, 0.0]], dtype=np.float32) * np.float32(sign[0])

    seen = stage.play(Play(seconds=2400), policy=Answers(answer))
    clean(seen)
    stays_safe(seen)
    return f"{seen.text()}; supply air turned {seen.reversals('hall1.sat_sp', ARMED_S)} times"


def slow_policy(stage: Stage) -> str:
    """An inference that takes its time is an overrun: after three the policy is out, and the loop goes on."""
    stack = stage.armed()
    shipped = stack.one.daemon.controller.control.policy
    assert shipped is not None

    def slow(x: np.ndarray) -> np.ndarray:
        time.sleep(0.6)
        return shipped.infer(x)

    stack.one.daemon.controller.control.policy = Answers(slow)  # type: ignore[assignment]
    took = until(stack, lambda: mode(stack) == "fallback", 10)
    stack.one.daemon.controller.control.policy = shipped
    stack.run(30)
    return done(stack, f"the rules after {took} ticks")


def searched(stage: Stage) -> str:
    """Random policies, the worst mutated further: what is the hottest that an adversary gets through the shield?"""
    rng = np.random.default_rng(stage.seed)
    scale = np.array([10.0, 10.0, 15.0, 1.0, 3.0, 3.0, 1.0])
    worst: tuple[float, np.ndarray] = (0.0, np.zeros(len(OUTPUTS)))
    episodes = 12
    for k in range(episodes):
        row = rng.normal(size=len(OUTPUTS)) * scale if k < 6 else worst[1] + 0.3 * rng.normal(size=len(OUTPUTS)) * scale
        seen = stage.play(Play(seconds=1800, own_too=False), policy=fixed(row.tolist()))
        clean(seen)
        stays_safe(seen)
        worst = max(worst, (seen.hottest_c, row), key=lambda w: w[0])
    return f"{episodes} episodes, hottest {worst[0]:.2f} °C"


# -- G


def silent_controller(stage: Stage) -> str:
    stack = stage.armed()
    before = stack.plant.bms.u.copy()
    stack.one.kill()
    took = until(stack, lambda: stack.local, 18)
    now = stack.plant.bms.u
    assert abs(now[7] - before[7]) <= 0.2 and now[8] >= before[8] - 0.02  # faster fans are the plant's own choice
    stack.run(600)
    return done(stack, f"own control after {took} s, supply setpoint moved by {abs(now[7] - before[7]):.2f} K at that moment")


def gateway_reboots(stage: Stage) -> str:
    stack = stage.armed()
    before = stack.one.decision.setpoints["hall1.sat_sp"]  # type: ignore[union-attr]
    nonce = stack.gateway.core.nonce
    stack.restart_gateway()
    back = until(stack, lambda: stack.gateway.core.leased, 120)
    assert stack.gateway.core.nonce != nonce
    after = stack.one.decision.setpoints["hall1.sat_sp"]  # type: ignore[union-attr]
    stack.run(60)
    assert abs(after - before) < 3.0
    return done(stack, f"leased again after {back} s under a new nonce")


def acks_lost(stage: Stage) -> str:
    stack = stage.armed()
    stack.bus.rules.append(to("one", lambda raw: [], [stack.site.topic("ack")]))
    took = until(stack, lambda: mode(stack) == "fallback", 9)
    gave = until(stack, lambda: mode(stack) == "release" and stack.local, 40)
    tries, before = 0, True
    for _ in range(1900):
        stack.step()
        tries += before and not stack.local
        before = stack.local
    assert tries == 3, f"asked again {tries} times: every five minutes, three times"
    assert "an operator must grant anew" in stack.one.decision.mode_reason  # type: ignore[union-attr]
    stack.bus.rules.clear()
    stack.command("auto")
    until(stack, lambda: not stack.local, 30)
    return done(stack, f"the rules after {took} s, own control {gave} s later; asked again three times, then left alone")


def acks_lie(stage: Stage) -> str:
    """The gateway says that it applied other points than were sent."""
    stack = stage.armed()

    def other(raw: bytes) -> Iterable[Copy]:
        ack = lease.decode_ack(raw)
        return [(0.0, lease.encode_ack(ack._replace(applied={"chwst_sp": 9.0})))]

    stack.bus.rules.append(to("one", other, [stack.site.topic("ack")]))
    took = until(stack, lambda: mode(stack) == "fallback", 9)
    gave = until(stack, lambda: mode(stack) == "release" and stack.local, 40)
    return done(stack, f"the rules after {took} s, own control {gave} s later")


def flapping(stage: Stage) -> str:
    """Leases that arrive just too late, over and over."""
    stack, rng = stage.armed(), random.Random(stage.seed)
    stack.bus.rules.append(to("gateway", lambda raw: [(rng.uniform(0.0, 8.0), raw)], [stack.site.topic("sp")]))
    transfers = [0, stack.local]

    def count(s: object) -> None:
        transfers[0] += transfers[1] != stack.local
        transfers[1] = stack.local

    stack.run(1800, count)
    return done(stack, f"{transfers[0]} transfers in half an hour")


def operators_hand(stage: Stage) -> str:
    stack = stage.armed()
    stack.plant.faults.add(parse("stuck:hand:1"))
    took = until(stack, lambda: mode(stack) == "release" and stack.local, 20)
    published = []
    stack.run(60, lambda s: published.append(bool(s.one.decision.setpoints)))  # type: ignore[union-attr]
    assert not any(published)
    return done(stack, f"released and local after {took} s")


def double_fault(stage: Stage) -> str:
    """The BMS hangs with the setpoints that it has, tells nobody, and then the controller dies too: what it holds has to do."""
    stack = stage.armed()
    bms = stack.plant.bms
    held = bms.u.copy()
    bms.step = lambda leased, view, dt_s: held  # type: ignore[method-assign]
    for text in ("stuck:bms_remote", "stuck:hand"):
        stack.plant.faults.add(parse(text))
    stack.server.says_clock = False
    said = until(stack, lambda: stack.gateway.core.bms_silent, 7)
    stack.run(300)
    stack.one.kill()
    stack.run(900)
    assert np.array_equal(stack.plant.bms.u, held), "the BMS moved after all"
    proof = stack.gateway.core.proof
    assert proof is not None and proof.state == FAILED and "follows on" in proof.reason
    stack.add_controller("one")
    stack.run(60)
    assert not stack.gateway.core.leased, "armed without a fallback"
    return done(stack, f"its clock was missed after {said} s; it held what it had, and nothing is leased since")


# -- X


def forged(stage: Stage) -> str:
    """Leases with good form and a wrong epoch, nonce, echo or sequence, and a recorded hour played back."""
    stack = stage.armed()
    core, topic = stack.gateway.core, stack.site.topic("sp")
    recorded: list[bytes] = []
    stack.bus.rules.append(
        lambda s, r, t, raw: (recorded.append(raw) or [(0.0, raw)]) if t == topic and s == "one" else [(0.0, raw)]
    )
    stack.run(120)
    accepted, before = core.accepted, sum(core.rejects.values())
    rng = random.Random(stage.seed)
    count = 0
    for _ in range(60):
        stack.step()
        accepted += 1
        good = lease.Setpoints(core._epochs.value, 10**9, core.now_s, core.nonce, 15.0, "auto", {"chwst_sp": 20.0}, "x", -1)
        for bad in (
            good._replace(epoch=good.epoch - 1), good._replace(epoch=good.epoch + 1), good._replace(gw_nonce="0000"),
            good._replace(gw_echo=core.now_s - 6.0), good._replace(gw_echo=core.now_s + 60.0), good._replace(seq=1),
        ):  # fmt: skip
            stack.bus.publish("intruder", topic, lease.encode_setpoints(bad))
            count += 1
        for raw in rng.sample(recorded, 20):
            stack.bus.publish("intruder", topic, raw)
            count += 1
        stack.bus.deliver()
        stack.gateway.work()
    refused = sum(core.rejects.values()) - before
    assert refused == count and core.accepted == accepted
    return done(stack, f"{refused} of {count} refused")


def dangerous_but_legal(stage: Stage) -> str:
    """The holder of the epoch sends values beyond the gateway's own list: the whole lease is refused."""
    stack = stage.armed()
    core = stack.gateway.core
    for name, value in (("chwst_sp", 25.0), ("hall1.sat_sp", 32.0), ("hall1.fan_speed_sp", 5.0), ("chwst_sp", 1.0)):
        bad = lease.Setpoints(core._epochs.value, 10**6, core.now_s, core.nonce, 15.0, "auto", {name: value}, "x", -1)
        accepted = core.accepted
        core.setpoints(lease.encode_setpoints(bad), False)
        assert core.accepted == accepted
    assert core.rejects["outside_limits"] == 4
    return done(stack, "4 of 4 refused")


def log_injection(stage: Stage) -> str:
    stack = stage.armed()
    text = json.dumps({"v": 1, "mode": "auto", "reason": "x\r\n\x1b[31mFAKE" + "y" * 100})
    stack.bus.publish("ops", stack.site.topic("cmd"), text.encode())
    stack.bus.publish("ops", stack.site.topic("cmd"), json.dumps({"v": 1, "mode": "auto", "reason": "z" * 10_000}).encode())
    stack.run(5)
    assert mode(stack) in ("auto", "fallback") and stack.one.daemon.link.rejects
    return done(stack)


# -- O


def exits_in_emergency(stage: Stage) -> str:
    stack = stage.armed(load=constant(0.8))
    stack.plant_fault = True
    stack.plant.faults.add(parse("off:hall1.crahs:0.6"))
    until(stack, lambda: mode(stack) == "emergency", 600)
    stack.command("monitor", "I take it")
    stack.run(2)
    assert mode(stack) == "monitor" and not stack.one.decision.setpoints  # type: ignore[union-attr]
    took = until(stack, lambda: stack.local, 20)
    return f"silent within 2 ticks, own control after {took} s"


def two_operators(stage: Stage) -> str:
    stack = stage.armed()
    stack.command("fallback", "night shift")
    stack.command("shadow", "day shift")
    stack.run(2)
    assert mode(stack) == "shadow"
    return done(stack, "the later command holds")


def alarm_storm(stage: Stage) -> str:
    """Every sensor of the hall fails in one second: one change of mode, few lines."""
    stack = stage.armed()
    racks = [p.id for p in stack.site.table.points if p.role == "rack_inlet"]
    for name in racks:
        stack.plant.faults.add(parse(f"stuck:{name}:-40"))
    lines: list[object] = []
    topic = stack.site.topic("decision")
    stack.bus.clients[0].topics |= {topic}
    stack.bus.rules.append(
        lambda s, r, t, raw: (lines.extend(json.loads(raw).get("events", [])) or []) if t == topic else [(0.0, raw)]
    )
    stack.run(60)
    assert len(lines) <= 10, f"{len(lines)} lines"
    return done(stack, f"{len(lines)} lines in a minute")


def model_far_off(stage: Stage) -> str:
    """Six plants whose parameters are up to 30 % from the model's."""
    hottest_c, over_27_s = 0.0, 0.0
    for k in range(6):
        weather = from_statistics(stage.site.file.weather.station).starting("07-15T12")
        plant = SimPlant(stage.site, weather, constant(0.6), mismatch=0.3, mismatch_seed=100 * stage.seed + k)
        readings = plant.reset(stage.seed)
        controller = Controller(stage.site, stage.policy, "auto")  # type: ignore[arg-type]
        for t in range(2400):
            readings = plant.step(controller.tick(readings, float(t)).setpoints, 1.0)  # type: ignore[assignment]
            inlet_c = float(plant.truth.rack_inlet_c.max())
            hottest_c, over_27_s = max(hottest_c, inlet_c), over_27_s + (inlet_c > 27.0) / 6.0
    assert hottest_c <= 32.0 and over_27_s <= 120.0, f"{hottest_c:.1f} °C, {over_27_s:.0f} s over 27"
    return f"hottest of six plants {hottest_c:.1f} °C"


def other_time_zone(stage: Stage) -> str:
    """The same minutes in three zones, one of them over its change of the hour: the same decisions, bit for bit."""
    rows: dict[str, bytes] = {}
    for zone in ("UTC", "Asia/Shanghai", "America/St_Johns"):
        stage.monkeypatch.setenv("TZ", zone)
        time.tzset()
        plant = SimPlant(stage.site, load=constant(0.6))
        readings, controller = plant.reset(stage.seed), Controller(stage.site, stage.policy, "auto")  # type: ignore[arg-type]
        said = []
        for t in range(420):
            d = controller.tick(readings, float(t))
            said.append(d.row().tobytes())
            readings = plant.step(d.setpoints, 1.0)  # type: ignore[assignment]
        rows[zone] = b"".join(said)
    stage.monkeypatch.delenv("TZ")
    time.tzset()
    assert len(set(rows.values())) == 1
    return "three zones, one answer"


ROWS = (
    Row("C01", "killed at random, again and again", "a thousand times: own control at TTL; no partial setpoint", killed_at_random, short="played six times"),
    Row("C02", "crash at every start", "never ready; the plant keeps itself", tier="N", held_by="tests/hil/test_service.py::test_a_crash_at_every_start_never_gets_ready_and_the_plant_keeps_itself"),
    Row("C03", "control thread hangs", "own control at TTL", held_by="tests/test_faults.py::test_fault[T08]"),
    Row("C04", "a native loop holds the interpreter", "as C03", tier="N", held_by="tests/hil/test_service.py::test_a_native_loop_that_holds_the_interpreter_is_ended"),
    Row("C05", "processor starved", "lateness bounded", tier="N", held_by="tests/hil/test_loop.py::test_a_starved_processor_costs_no_lease"),
    Row("C06", "killed for its memory", "as C01", tier="N", held_by="tests/hil/test_service.py::test_what_the_memory_killer_does_ends_in_a_restart"),
    Row("C07", "disk full for the recording", "control unaffected", held_by="tests/test_recording.py::test_recording_full_disk_stops_the_recorder_not_the_caller"),
    Row("C08", "slow disk", "lateness unchanged", tier="N", held_by="tests/test_recording.py::test_recording_on_a_slow_disk_holds_nobody_up"),
    Row("C09", "power lost while state is written", "old or new, never torn", tier="N", held_by="tests/test_restart.py::test_what_is_no_gain_of_this_site_counts_as_nothing"),
    Row("C10", "read-only file system", "starts and controls", tier="N", held_by="tests/hil/test_service.py::test_with_nowhere_to_write_it_starts_and_controls"),
    Row("C11", "no file descriptors left", "no crash", tier="N", held_by="tests/hil/test_transport.py::test_without_descriptors_the_link_comes_back_when_there_are_some"),
    Row("C12", "no threads left", "refuses or runs", tier="R", held_by="tests/hil/test_service.py::test_without_a_thread_to_start_it_refuses_cleanly"),
    Row("C13", "metrics port taken", "said; control goes on", held_by="tests/hil/test_metrics.py::test_taken_port_is_said_and_the_daemon_goes_on"),
    Row("C14", "garbage collector pauses", "none in the loop", tier="N", held_by="tests/test_budget.py::test_ticks_leave_no_garbage_for_the_collector"),
    Row("C15", "two hundred commands in two hundred seconds", "the last one holds", command_storm),
    Row("C16", "cold kernel cache", "compiled before the first tick", held_by="tests/test_budget.py::test_nothing_is_compiled_after_the_warm_up"),
    Row("C17", "other types into a kernel", "refused before it runs", held_by="tests/test_budget.py::test_frozen_kernel_refuses_another_signature"),
    Row("C18", "no name service, no interface at boot", "keeps trying", tier="N", held_by="tests/hil/test_transport.py::test_a_name_that_cannot_be_resolved_is_tried_again_for_ever"),
    Row("M01", "policy gives NaN, infinity, 3e38, another shape, an exception", "the rules in the same tick; nothing of it published", nonsense_policy),
    Row("M02", "policy always as warm as it can", "safe", always_warmest),
    Row("M03", "policy jumps each second", "rates kept; safe", bang_bang),
    Row("M04", "outputs in another order or number", "refused at admission", held_by="tests/test_policy.py::test_policy_wrong_passport_is_refused"),
    Row("M05", "inference takes 0.6 s", "the rules after three overruns; the loop goes on", slow_policy),
    Row("M06", "inference raises", "the rules in the same tick", held_by="tests/test_scenario.py::test_policy_that_fails_leaves_the_rules_in_charge"),
    Row("M07", "operator that is not deterministic", "refused at admission", held_by="tests/test_admission.py::test_graph_that_no_policy_needs_is_refused"),
    Row("M08", "file truncated or a bit flipped, 1,000 ways", "refused 1,000 of 1,000", held_by="tests/test_policy.py::test_policy_every_bit_flip_is_refused"),
    Row("M09", "external data", "refused at admission", held_by="tests/test_admission.py::test_graph_that_no_policy_needs_is_refused"),
    Row("M10", "memory bomb", "refused at admission", held_by="tests/test_admission.py::test_graph_that_no_policy_needs_is_refused"),
    Row("M11", "policy of another version", "refused at admission", held_by="tests/test_policy.py::test_policy_wrong_passport_is_refused"),
    Row("M12", "features beyond the trained range", "the rules", tier="N", held_by="tests/test_faults.py::test_fault[P20]"),
    Row("M13", "plant changed since the training", "calibrated or demoted", tier="N", held_by="tests/test_calibrate.py::test_power_factors_are_found_through_biased_sensors"),
    Row("M14", "an adversary searches for the hottest policy", "safe; no invariant broken", searched, tier="N"),
    Row("M15", "thermal model of the shield off by 30 %", "safe", model_far_off, tier="N"),
    Row("G01", "controller silent", "own control within TTL + 2 s; bump ≤ 0.2 K, 2 % fan", silent_controller, short="the plant's own fans go faster by more, never slower"),
    Row("G02", "BMS that never lets go", "refused at the proof test", held_by="tests/test_gateway.py::test_bms_that_keeps_the_last_value_is_never_armed"),
    Row("G03", "units off when remote control ends", "refused at the proof test", held_by="tests/test_gateway.py::test_proof_that_ends_with_units_off_refuses_to_arm"),
    Row("G04", "gateway starts anew", "new nonce, proof test, no step", gateway_reboots),
    Row("G05", "gateway's clock jumps", "lease ends", tier="N", held_by="tests/test_wire.py::test_gateway_clock_running_backwards_ends_the_lease"),
    Row("G06", "acknowledgements lost", "the rules within 3 ticks, released after 15 s", acks_lost),
    Row("G06a", "acknowledgements of other points", "the rules", acks_lie),
    Row("G07", "BMS wound up at take-over", "bounded overshoot", tier="N", held_by="tests/test_sim_plant.py::test_plant_follows_setpoints_and_takes_over_without_a_jump"),
    Row("G08", "leases at the edge of their time", "few transfers; safe", flapping),
    Row("G09", "two controllers", "exactly one epoch applied; take-over within 5 s", held_by="tests/test_gateway.py::test_second_controller_stands_by_and_takes_over_within_five_seconds"),
    Row("G10", "old holder wakes up after a minute", "nothing of it accepted", held_by="tests/test_gateway.py::test_paused_controller_that_wakes_up_finds_its_epoch_gone"),
    Row("G11", "controller hears the broker, not the gateway", "stops within 15 s", tier="N", held_by="tests/test_control.py::test_mode_hand_silent_gateway_and_alarm_act_in_one_tick"),
    Row("G12", "operator takes the plant in hand", "silent in the next tick", operators_hand),
    Row("G13", "life safety switches units off", "never fought", why_not=f"{NOT_YET}: no such signal among the points"),
    Row("G14", "BMS dead too", "said within 5 s; safe on what it holds", double_fault, tier="N"),
    Row("X01", "telemetry from another account", "denied by the broker", held_by="tests/hil/test_security.py::test_telemetry_is_written_by_sources_alone"),
    Row("X03", "forged leases: epoch, nonce, echo, sequence; an hour played back", "refused, all of them", forged),
    Row("X06", "legitimate holder, dangerous values", "whole lease refused", dangerous_but_legal),
    Row("X07", "wrong password, no TLS, wrong certificate", "refused", held_by="tests/hil/test_security.py::test_who_has_not_the_right_certificate_stays_out"),
    Row("X14", "secrets in output", "none", held_by="tests/test_cli.py::test_check_config_good_site_prints_what_is_in_force_without_secrets"),
    Row("X16", "pickles planted", "never opened", held_by="tests/test_admission.py::test_nothing_that_is_planted_is_opened"),
    Row("X17", "malicious site files", "refused with the line", held_by="tests/test_site.py::test_site_damaged_anywhere_is_loaded_or_refused_never_more"),
    Row("X20", "line breaks and escape codes in a command", "refused or escaped", log_injection, tier="N"),
    Row("O01", "operator takes over in an emergency", "silent within a tick", exits_in_emergency),
    Row("O02", "limits inverted, NaN, outside the gateway's", "refused with every error", held_by="tests/test_cli.py::test_check_config_bad_site_names_every_fault_with_its_line"),
    Row("O03", "reload while in charge", "whole or not at all", held_by="tests/test_reload.py::test_a_new_limit_is_taken_without_a_step_or_a_lost_lease"),
    Row("O04", "time zone of the host", "no effect", other_time_zone),
    Row("O06", "recording with gaps, damage, another version", "what is whole is replayed; the rest is said", held_by="tests/test_recording.py::test_recording_damage_is_skipped_and_said"),
    Row("O07", "two operators contradict each other", "the later command holds", two_operators, tier="N"),
    Row("O08", "a hundred sensors fail at once", "at most ten lines in a minute", alarm_storm, tier="N"),
)  # fmt: skip
