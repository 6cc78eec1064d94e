"""T: telemetry and transport, on the real daemon, gateway and plant server with a queue for a broker."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable

import numpy as np
from virtual import Copy, Message, VirtualStack, cut, late, repeated, to

from coolctl import lease
from coolctl.points import Quality
from faults.rows import Row
from faults.scenes import Stage, clean, stays_safe, summary, until

BMS_LOCAL_S, FLOOD_PER_S = 30, 50_000
NASTY = (
    b"NaN", b'{"value":NaN}', b"", b"null", b'{"timestamp":1,"values":{"chwst":1e999}}', b'{"timestamp":1,"values":{"chwst":true}}',
    b'{"timestamp":1,"values":{"chwst":"21.5"}}', b'{"timestamp":1,"values":{"chwst":7,"chwst":9}}', b"\xef\xbb\xbf{}",
    b'{"timestamp":1,"values":{"chwst":' + b"1" * 5000 + b"}}", b"[" * 100_000, b'{"a":' * 400 + b"1" + b"}" * 400,
    b'{"timestamp":1,"values":{"\\ud800":1}}', b"x" * 1_000_000, b'{"timestamp":-5,"values":{"chwst":9}}',
)  # fmt: skip


def telemetry(stack: VirtualStack) -> list[str]:
    """Topics that carry measurements, the plant's clock not among them."""
    return stack.one.daemon.link.decoder.topics


def done(stack: VirtualStack, *more: str) -> str:
    clean(stack)
    stays_safe(stack)
    return "; ".join([summary(stack), *more])


def mode(stack: VirtualStack) -> str:
    assert stack.one.decision is not None
    return stack.one.decision.mode


def one_missing(stage: Stage) -> str:
    stack = stage.armed()
    name = "hall1.rack07.rack_inlet"
    stack.bus.rules.append(to("one", lambda raw: [(0.0, leave_out(raw, {name}))], telemetry(stack)))
    stack.run(60)
    i = stack.site.table.index[name]
    snap = stack.one.daemon.link.store.snapshot(stack.plant.t_s)
    assert snap.quality[i] == Quality.STALE and np.isnan(snap.value[i])
    assert mode(stack) == "auto"
    return done(stack, "one rack stale, policy stays")


def leave_out(raw: bytes, names: set[str]) -> bytes:
    o = json.loads(raw)
    o["values"] = {k: v for k, v in o.get("values", {}).items() if k not in names}
    return json.dumps(o).encode()


def quorum_lost(stage: Stage) -> str:
    stack = stage.armed()
    racks = {p.id for p in stack.site.table.points if p.role == "rack_inlet"}
    stack.bus.rules.append(to("one", lambda raw: [(0.0, leave_out(raw, racks))], telemetry(stack)))
    took = until(stack, lambda: mode(stack) == "fallback", 9)
    stack.run(120)
    return done(stack, f"the rules after {took} s, of which 5 s the age limit")


def all_silent(stage: Stage) -> str:
    """The link is cut: no telemetry, no clock. The lease runs out and the plant has itself."""
    stack = stage.armed()
    stack.bus.rules.append(to("one", cut))
    took = until(stack, lambda: stack.local, BMS_LOCAL_S)
    assert took <= 17
    stack.run(60)
    stack.bus.rules.clear()
    back = until(stack, lambda: not stack.local, 30)
    return done(stack, f"own control after {took} s, leased again {back} s after the link healed")


def measurements_silent(stage: Stage) -> str:
    stack = stage.armed()
    stack.bus.rules.append(to("one", cut, telemetry(stack)))
    took = until(stack, lambda: mode(stack) == "fallback", 9)
    stack.run(300)
    return done(stack, f"the rules after {took} s")


def ten_seconds_late(stage: Stage) -> str:
    """In order, each newer than the one before: only its stamp beside its arrival tells that it is of another time."""
    stack = stage.armed()
    racks, used = stack.site.table.by_role("rack_inlet"), []
    stack.bus.rules.append(to("one", late(10.0), telemetry(stack)))

    def look(s: VirtualStack) -> None:
        used.append(int((s.one.daemon.link.store.snapshot(s.plant.t_s).quality[racks] == Quality.GOOD).sum()))

    took = until(stack, lambda: mode(stack) == "fallback", 9)
    stack.run(600, look)
    assert not any(used) and mode(stack) != "auto"
    stack.bus.rules.clear()
    stack.run(60, look)
    assert used[-1] == len(racks)
    return done(stack, f"the rules after {took} s, no late value used")


def jitter(stage: Stage) -> str:
    stack, rng = stage.armed(), random.Random(stage.seed)
    stack.bus.rules.append(to("one", lambda raw: [(rng.uniform(0.0, 3.0), raw)], telemetry(stack)))
    stack.run(300)
    assert mode(stack) == "auto"
    return done(stack)


def same_setpoints(stage: Stage, *rules: Callable[[VirtualStack], object]) -> str:
    """With and without the disturbance: the setpoints are the same to the last bit."""
    runs = []
    for rule in (None, *rules):
        stack = VirtualStack(stage.monkeypatch, stage.site, stage.folder / str(len(runs)), seed=stage.seed)
        if rule:
            rule(stack)
        found: list[bytes] = []
        stack.run(420, lambda s, found=found: found.append(s.one.decision.u.tobytes()))  # type: ignore[misc]
        runs.append(found)
        clean(stack)
    assert all(other == runs[0] for other in runs[1:])
    return f"{len(runs[0])} ticks bit-identical"


def duplicates(stage: Stage) -> str:
    return same_setpoints(stage, lambda s: s.bus.rules.append(to("one", repeated(5), telemetry(s))))


def reordered(stage: Stage) -> str:
    """Parts of a batch in any order within a second."""

    def rule(stack: VirtualStack) -> None:
        rng = random.Random(stage.seed)

        def shuffled(raw: bytes) -> Iterable[Copy]:
            o = json.loads(raw)
            names = list(o["values"])
            rng.shuffle(names)
            cuts = [names[k::4] for k in range(4)]
            return [(0.0, json.dumps({**o, "values": {n: o["values"][n] for n in part}}).encode()) for part in cuts if part]

        stack.bus.rules.append(to("one", shuffled, telemetry(stack)))

    return same_setpoints(stage, rule)


def backlog(stage: Stage) -> str:
    """Stopped for 20 s and continued: what it then says of the past is refused, and the plant had itself meanwhile."""
    stack = stage.armed()
    stack.one.pause()
    took = until(stack, lambda: stack.local, 20)
    stack.run(max(0, 40 - took))
    refused = sum(stack.gateway.core.rejects.values())
    stack.one.resume()
    stack.run(1)
    refused = sum(stack.gateway.core.rejects.values()) - refused
    assert refused > 0, "nothing of the backlog reached the gateway"
    stack.run(60)
    return done(stack, f"own control after {took} s; {refused} leases of the backlog refused")


def stuck_stream(stage: Stage) -> str:
    """Fresh stamps, the same values for ever: frozen sensors are found, racks stay safe."""
    stack = stage.armed()
    last: dict[str, bytes] = {}

    def same(raw: bytes) -> Iterable[Copy]:
        o = json.loads(raw)
        first = last.setdefault(next(iter(o["values"]), ""), raw)
        return [(0.0, json.dumps({**json.loads(first), "timestamp": o["timestamp"]}).encode())]

    stack.bus.rules.append(to("one", same, telemetry(stack)))
    took = until(stack, lambda: len(stack.one.decision.doubts) > 20, 1800)  # type: ignore[union-attr]
    stack.run(120)
    assert mode(stack) in ("fallback", "release", "emergency")
    return done(stack, f"frozen points doubted after {took} s")


def nonsense(stage: Stage) -> str:
    """Each kind of nonsense on every telemetry topic, between good messages."""
    stack = stage.armed()
    link = stack.one.daemon.link
    before = dict(link.decoder.rejects)
    for raw in NASTY:
        for topic in telemetry(stack):
            stack.bus.publish("intruder", topic, raw)
        stack.step()
        stack.bus.publish("intruder", stack.site.topic("gw_tick"), raw)
        stack.bus.publish("intruder", stack.site.topic("ack"), raw)
        stack.bus.publish("intruder", stack.site.topic("cmd"), raw)
        stack.bus.publish("intruder", stack.site.topic("sp"), raw)
        stack.bus.publish("intruder", stack.site.topic("claim"), raw)
        stack.step()
    refused = sum(link.decoder.rejects.values()) - sum(before.values())
    assert refused >= len(NASTY) - 2 and mode(stack) == "auto"
    return done(stack, f"{refused} refused by the decoder, {sum(link.rejects.values())} by the link")


def flood(stage: Stage) -> str:
    """As much as a broker can deliver, on one topic; the newest value wins and the tick keeps its time."""
    stack = stage.armed()
    topic = telemetry(stack)[0]
    raw = json.dumps({"timestamp": 1, "values": {"chwst": 11.0}}).encode()

    def more(s: VirtualStack) -> None:
        for _ in range(FLOOD_PER_S):
            s.bus.publish("intruder", topic, raw)

    before = stack.one.daemon.deadline_misses
    stack.run(20, more)
    missed = stack.one.daemon.deadline_misses - before
    stack.run(60)
    assert missed <= 2 and stack.one.daemon.deadline_misses == before + missed
    return done(stack, f"{missed} of 20 ticks late")


def retained(stage: Stage) -> str:
    """Old values that the broker hands out again at a reconnect: none is used, by anyone."""
    stack = stage.armed()
    link, gateway = stack.one.daemon.link, stack.gateway
    for topic in telemetry(stack):
        stack.bus.publish("broker", topic, json.dumps({"timestamp": 1, "values": {"chwst": 3.0, "oawb": -9.0}}).encode(), True)
    old = lease.Setpoints(
        gateway.core._epochs.value, 10**6, gateway.core.now_s, gateway.core.nonce, 15.0, "auto", {"chwst_sp": 20.0}, "x", -1
    )
    stack.bus.publish("broker", stack.site.topic("sp"), lease.encode_setpoints(old), True)
    stack.bus.publish("broker", stack.site.topic("cmd"), b'{"v":1,"mode":"monitor","reason":"old"}', True)
    stack.run(3)
    assert link.rejects["retained"] >= 2 and gateway.core.rejects["retained"] == 1
    assert mode(stack) == "auto"
    return done(stack, "all refused")


def broker_away(seconds: int) -> Callable[[Stage], str]:
    """The broker is gone for everyone, then back without memory."""

    def run(stage: Stage) -> str:
        stack = stage.armed()
        stack.bus.rules.append(lambda *_: [])
        stack.run(seconds)
        was_local = stack.local
        assert was_local == (seconds > 16)
        stack.bus.rules.clear()
        back = until(stack, lambda: not stack.local, 30)
        stack.run(60)
        return done(stack, f"{'own control' if was_local else 'the lease outlived it'}; leased again after {back} s")

    return run


def half_open(stage: Stage) -> str:
    """For 20 s nothing comes through, then everything at once: as TCP does after a cut."""
    stack = stage.armed()
    start_s = stack.bus.now_s
    hold = lambda raw: [(max(start_s + 20.0 - stack.bus.now_s, 0.0), raw)]  # noqa: E731
    stack.bus.rules += [to("gateway", hold, [stack.site.topic("sp")])]
    accepted_before = stack.gateway.core.accepted
    stack.run(19)
    assert stack.local and stack.gateway.core.accepted == accepted_before
    stack.run(1)
    stale = stack.gateway.core.rejects.get("stale", 0)
    assert stale >= 10
    stack.bus.rules.clear()
    stack.run(60)
    return done(stack, f"own control while cut; {stale} stale leases refused when it healed")


def second_link_held_up(stage: Stage) -> str:
    """What the gateway says to the BMS is held up for a minute, then comes all at once and a minute late: fresh by its form."""
    stack = stage.armed()
    accepted = stack.server.receiver.seq  # type: ignore[union-attr]
    stack.bus.rules.append(to("plant", late(60.0), [stack.site.topic("bms")]))
    took = until(stack, lambda: stack.local, BMS_LOCAL_S)
    for _ in range(120):
        stack.step()
        assert stack.local, "an old word was followed"
    stale = stack.server.receiver.rejects["stale"]
    assert stack.server.receiver.seq - accepted <= 1 and stale > 20  # type: ignore[union-attr]
    stack.bus.rules.clear()
    back = until(stack, lambda: not stack.local, 400)
    return done(stack, f"own control after {took} s; {stale} stale words refused; leased again {back} s after the link healed")


def lossy(stage: Stage) -> str:
    stack, rng = stage.armed(), random.Random(stage.seed)
    stack.bus.rules.append(lambda _s, _r, topic, raw: [] if rng.random() < 0.2 and not topic.endswith("/clock") else [(0.0, raw)])
    stack.run(1800)
    changes = len(stack.one.modes)
    assert changes <= 6
    return done(stack, f"{changes} changes of mode in half an hour")


def callback_raises(stage: Stage) -> str:
    """A message whose handling raises does not end the handling of the next."""
    stack = stage.armed()
    link = stack.one.daemon.link
    link.client.inbox.append(Message(telemetry(stack)[0], b"{", False, 0.0))
    link.client.inbox.append(Message("no/such/topic", b"\x00", False, 0.0))
    stack.run(5)
    assert mode(stack) == "auto" and link.decoder.rejects.get("not_json", 0) >= 1
    return done(stack)


def skewed(seconds: float) -> Callable[[Stage], str]:
    def run(stage: Stage) -> str:
        stack = stage.armed()

        def shifted(raw: bytes) -> Iterable[Copy]:
            o = json.loads(raw)
            return [(0.0, json.dumps({**o, "timestamp": max(o["timestamp"] + 1000.0 * seconds, 0.0)}).encode())]

        stack.bus.rules.append(to("one", shifted, telemetry(stack)))
        stack.run(120)
        return done(stack, f"mode {mode(stack)}")

    return run


def plant_clock_back(stage: Stage) -> str:
    """A clock that jumps back is another run: nothing seen before counts as fresh."""
    stack = stage.armed()
    for client_topic in (stack.site.topic("clock"),):
        stack.bus.publish("plant", client_topic, lease.encode_clock(1, 5.0))
    stack.run(30)
    stays_safe(stack)
    return summary(stack)


ROWS = (
    Row("T01", "one point missing", "stale at its age limit, left out; the policy stays", one_missing),
    Row("T02", "a hall loses its quorum", "the rules within 3 ticks of the age limit", quorum_lost),
    Row("T03", "link cut: no telemetry, no clock", "own control within TTL + 2 s; back by itself", all_silent),
    Row("T03a", "all measurements stop, the link stands", "the rules within 8 s; safe", measurements_silent),
    Row("T04", "every message 10 s late", "refused by age, never used", ten_seconds_late),
    Row("T05", "jitter of 0 to 3 s", "the policy stays; rates kept", jitter, tier="N"),
    Row("T06", "every message five times", "bit-identical setpoints", duplicates),
    Row("T07", "batches torn and out of order within a tick", "bit-identical setpoints", reordered),
    Row("T08", "controller stopped for 40 s, then continued", "own control at TTL; its backlog refused", backlog),
    Row("T09", "same values for ever under fresh stamps", "frozen points doubted within 30 min; safe", stuck_stream, tier="N"),
    Row("T10", "NaN, 1e999, null, text, duplicate keys, bombs, 1 MB on every topic", "refused and counted; control goes on", nonsense),
    Row("T11", "decoder fed 60,000 mutated messages", "finite samples only", held_by="tests/test_wire.py::test_decoder_survives_any_mutation_with_finite_samples_only"),
    Row("T12", "50,000 messages a second on one topic", "tick in time", flood, tier="N"),
    Row("T13", "retained leftovers on every topic", "none used", retained),
    Row("T14", "broker gone for 10 s", "the lease outlives it or own control; back by itself", broker_away(10)),
    Row("T14a", "broker gone for 60 s", "own control at TTL; back by itself", broker_away(60)),
    Row("T15", "broker killed, real processes", "own control at TTL; the rest recovers", held_by="tests/hil/test_loop.py::test_kill_9_gives_the_plant_its_own_control_and_the_rest_recovers"),
    Row("T16", "half-open for 20 s, then everything at once", "own control; every stale lease refused", half_open),
    Row("T17", "connection reset again and again", "hears again; sends nothing old", held_by="tests/hil/test_loop.py::test_client_reconnects_hears_again_and_sends_nothing_old"),
    Row("T18", "a fifth of all messages lost", "safe; few changes of mode", lossy, tier="N"),
    Row("T19", "8 kbit/s link", "newest wins", tier="N", held_by="tests/hil/test_transport.py::test_on_a_link_of_8_kbit_a_second_the_newest_wins"),
    Row("T20", "another broker with other leftovers", "leftovers refused by nonce and epoch", held_by="tests/test_wire.py::test_gateway_restart_raises_the_epoch_and_knows_no_old_lease"),
    Row("T21", "a message that cannot be handled", "the next one is", callback_raises),
    Row("T22", "intruder with the same client id", "flapping seen; no storm", held_by="tests/hil/test_transport.py::test_an_intruder_with_the_same_name_makes_no_storm"),
    Row("T23", "clock of the plant jumps back", "a new run; safe", plant_clock_back),
    Row("T24", "sensor clocks off by 30 s", "age by arrival; control goes on", skewed(30.0)),
    Row("T24a", "sensor clocks off by a day", "age by arrival; safe", skewed(-86400.0)),
    Row("T25", "broker's disk full", "as T14 after a restart", tier="N", held_by="tests/hil/test_transport.py::test_a_broker_whose_disk_is_full_serves_again_after_a_restart"),
    Row("T27", "link from the gateway to the BMS held up for a minute", "own control at TTL; nothing old is followed", second_link_held_up),
    Row("T26", "suspended for 60 s", "as T08", tier="N", held_by="tests/test_faults.py::test_fault[T08]"),
)  # fmt: skip
