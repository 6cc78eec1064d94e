"""What the processes log: fields on the wire, what repeats is counted, a day's bytes are bounded, each mode has its cause."""

from __future__ import annotations

import io
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from virtual import VirtualStack, cut, to

from coolctl.edge.journal import (
    DAY_MAX_BYTES,
    ENTRY_BYTES,
    FIELD_MAX_BYTES,
    INFO,
    TEXT_MAX_BYTES,
    WARNING,
    Journal,
    Line,
    encode,
    stderr_is_the_journal,
)
from coolctl.journal_lines import DecisionLines, GatewayLines
from coolctl.site import Site

DAY_S, PROCESSES, PROMISED_BYTES = 86400, 2, 50_000_000


def decode(data: bytes) -> dict[str, str]:
    """An entry as journald reads it."""
    fields = {}
    while data:
        head, _, data = data.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + size], data[9 + size :]
        fields[name.decode()] = value.decode()
    return fields


class Journald:
    """A socket where journald's would be."""

    def __init__(self, path: Path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(0.0)

    def entries(self) -> list[dict[str, str]]:
        found = []
        while True:
            try:
                found.append(decode(self.socket.recv(65536)))
            except BlockingIOError:
                return found


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    made = Journald(tmp_path / "socket")
    yield made
    made.socket.close()


def test_a_line_reaches_the_journal_with_its_fields(journald: Journald) -> None:
    out = io.StringIO()
    journal = Journal("coolctl", {"COOLCTL_SITE": "hall1"}, path=journald.path, native=True, stream=out)
    journal.say(Line("mode", "fallback: late\nand more", WARNING, "fallback", {"COOLCTL_MODE": "fallback"}))
    (entry,) = journald.entries()
    assert entry == {
        "SYSLOG_IDENTIFIER": "coolctl", "COOLCTL_SITE": "hall1", "MESSAGE": "fallback: late\nand more", "PRIORITY": "4",
        "COOLCTL_EVENT": "mode", "COOLCTL_SUBJECT": "fallback", "COOLCTL_MODE": "fallback",
    }  # fmt: skip
    assert not out.getvalue()


def test_without_a_journal_there_are_lines_on_stderr(tmp_path: Path) -> None:
    out = io.StringIO()
    Journal("coolctl", {}, native=False, stream=out).say(Line("x", "two\nlines \x1b[31mred", WARNING))
    assert out.getvalue() == "two lines  [31mred\n", "one line, and nothing that moves a terminal's cursor"
    gone = io.StringIO()
    Journal("coolctl", {}, path=str(tmp_path / "none"), native=True, stream=gone).say(Line("x", "text", WARNING))
    assert gone.getvalue() == "<4>text\n", "stderr is the journal's: the level stands before the line"
    closed = io.StringIO()
    closed.close()
    journal = Journal("coolctl", {}, native=False, stream=closed)
    journal.say(Line("x", "text"))
    assert journal.lost == 1


def test_stderr_counts_as_the_journal_only_where_systemd_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert not stderr_is_the_journal()
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert stderr_is_the_journal()
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
    assert not stderr_is_the_journal(), "somebody has redirected it"


def test_a_journal_that_hangs_costs_lines_and_no_time(journald: Journald) -> None:
    journal = Journal("coolctl", {}, path=journald.path, native=True, stream=io.StringIO())
    for k in range(2000):
        journal.say(Line("x", f"line {k}", WARNING, str(k)))  # would wait for ever on a socket that blocks
    assert journal.lost > 0 and len(journald.entries()) + journal.lost <= 2000


def test_what_does_not_fit_is_cut_and_a_wrong_name_is_refused() -> None:
    fields = decode(encode({"MESSAGE": "ü" * 4000, "COOLCTL_REASON": "r" * 4000}))
    assert len(fields["MESSAGE"].encode()) <= TEXT_MAX_BYTES and fields["MESSAGE"].endswith("ü…")
    assert len(fields["COOLCTL_REASON"].encode()) <= FIELD_MAX_BYTES
    for name in ("_PID", "lower", "A=B", ""):
        with pytest.raises(ValueError, match="field"):
            encode({name: "x"})


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def said(out: io.StringIO) -> list[str]:
    lines = out.getvalue().splitlines()
    out.seek(0)
    out.truncate()
    return lines


def test_what_repeats_is_counted_and_its_last_word_is_said() -> None:
    clock, out = Clock(), io.StringIO()
    journal = Journal("coolctl", {}, native=False, stream=out, clock=clock)
    for k in range(59):
        clock.now_s = 0.1 * k
        journal.say(Line("point", f"chwst is {k % 2}", INFO, "chwst"))
        journal.turn()
    journal.say(Line("point", "cwst is 0", INFO, "cwst"))
    assert said(out) == ["chwst is 0", "cwst is 0"]
    clock.now_s = 16.0
    journal.turn()
    assert said(out) == ["chwst is 0 …and 57 more like this"]
    clock.now_s = 300.0
    journal.turn()
    clock.now_s = 306.0
    journal.turn()
    journal.say(Line("point", "chwst is 1", INFO, "chwst"))
    assert said(out) == ["chwst is 1"], "after a quiet time it is news again"
    journal.say(Line("point", "chwst is 0", INFO, "chwst"))
    journal.close()
    assert said(out) == ["chwst is 0"], "nothing is swallowed at the end"


@pytest.mark.parametrize("pattern", [{0}, {0, 1}, set(range(12))], ids=["one in 12 s", "two in 12 s", "each second"])
def test_a_window_grows_while_it_goes_on_repeating_and_no_longer_than_a_quarter_of_an_hour(pattern: set[int]) -> None:
    clock, out = Clock(), io.StringIO()
    journal = Journal("coolctl", {}, native=False, stream=out, clock=clock)
    times: list[float] = []
    for k in range(7200):
        clock.now_s += 1.0
        if k % 12 in pattern:
            journal.say(Line("late", "late"))
        journal.turn()
        times += [clock.now_s] * len(said(out))
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[0] <= 16.0 and max(gaps) <= 920.0 and len(times) <= 16
    assert len(gaps) >= 10, "an operator still sees that it goes on"
    for _ in range(4):
        clock.now_s += 1000.0
        journal.turn()
    said(out)
    journal.say(Line("late", "late"))
    assert said(out) == ["late"], "after a long quiet time it is news again"


@pytest.mark.parametrize("step_s", [12, pytest.param(1, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("kind", ["the same points", "always another", "every one must be said"])
def test_the_worst_day_stays_below_the_promise(kind: str, step_s: int) -> None:
    clock, out = Clock(), io.StringIO()
    journal = Journal("coolctl", {"COOLCTL_SITE": "s" * 300}, native=False, stream=out, clock=clock)
    text, reason, count = "x" * TEXT_MAX_BYTES, {"COOLCTL_REASON": "y" * FIELD_MAX_BYTES}, 0
    seen_bytes, entries = 0, 0
    for k in range(0, DAY_S, step_s):
        clock.now_s = float(k)
        for i in range(3):
            count += 1
            subject = {"the same points": f"p{i}", "always another": str(count)}.get(kind, "")
            journal.say(Line("x", text, WARNING, subject, reason, each=kind == "every one must be said"))
        journal.turn()
        lines = said(out)
        entries += len(lines)
        seen_bytes += sum(map(len, lines))
    stored_bytes = journal.written_bytes + entries * ENTRY_BYTES
    assert 0 < seen_bytes <= journal.written_bytes + entries, "what was counted was written"
    assert stored_bytes <= DAY_MAX_BYTES and PROCESSES * stored_bytes <= PROMISED_BYTES
    assert entries >= (3 if kind == "the same points" else 2000), "and it is not silence that keeps it"


def test_the_end_of_an_allowance_is_for_warnings_and_what_was_left_out_is_counted() -> None:
    clock, out = Clock(), io.StringIO()
    journal = Journal("coolctl", {}, native=False, stream=out, clock=clock)
    for k in range(3000):
        journal.say(Line("x", "chatter", INFO, str(k)))
    assert 0 < len(said(out)) < 3000
    journal.say(Line("mode", "emergency: rack inlet above alarm", WARNING, each=True))
    (line,) = said(out)
    assert line.startswith("emergency: ") and "lines were left out" in line
    journal.say(Line("x", "chatter", INFO, "still"))
    assert said(out) == []


# -- what is said


def listen(stack: VirtualStack, path: Path) -> Journald:
    """Give the daemon's and the gateway's journal a socket to speak to."""
    server = Journald(path)
    stack.one.daemon.journal = Journal("coolctl", {"COOLCTL_SITE": "hall1mw"}, path=server.path, native=True)
    stack.gateway.journal = Journal("coolctl-gateway", {"COOLCTL_SITE": "hall1mw"}, path=server.path, native=True)
    return server


def test_each_change_of_mode_has_a_line_with_its_cause(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path / "v")
    server = listen(stack, tmp_path / "s")
    entries: list[dict[str, str]] = []

    def each(s: VirtualStack) -> None:
        s.gateway._log()
        entries.extend(server.entries())

    stack.run(330, each)
    stack.bus.rules.append(to("one", cut, [site.topic("gw_tick")]))
    stack.run(20, each)
    stack.bus.rules.clear()
    stack.run(20, each)
    stack.command("monitor", "maintenance, J. Doe")
    stack.run(3, each)
    modes = [e for e in entries if e["COOLCTL_EVENT"] == "mode" and e["SYSLOG_IDENTIFIER"] == "coolctl"]
    changes = [
        now for (_t, now, _g), before in zip(stack.one.modes, [("", "", ""), *stack.one.modes], strict=False) if before[1] != now
    ]
    assert [e["COOLCTL_MODE"] for e in modes] == changes and len(changes) >= 5
    assert all(e["COOLCTL_REASON"] and e["COOLCTL_REASON"] in e["MESSAGE"] and e["COOLCTL_TICK"].isdigit() for e in modes)
    assert [e["COOLCTL_MODE_FROM"] for e in modes] == ["none", *changes[:-1]]
    lost = next(e for e in modes if e["COOLCTL_MODE_FROM"] == "auto")
    assert lost["MESSAGE"] == "fallback: the gateway is silent" and lost["PRIORITY"] == "4"
    grant = [e for e in entries if e["COOLCTL_EVENT"] == "grant"][-1]
    assert grant["COOLCTL_GRANTED"] == "monitor" and "J. Doe" in grant["MESSAGE"]
    leases = [e["MESSAGE"] for e in entries if e["SYSLOG_IDENTIFIER"] == "coolctl-gateway" and e["COOLCTL_EVENT"] == "lease"]
    assert "leased to one (fallback)" in leases and "the plant has itself: the controller let go" in leases
    assert len(entries) < 60, "a quiet plant says little"


def test_points_that_go_and_come_are_named_or_counted(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path / "v")
    server = listen(stack, tmp_path / "s")
    stack.run(5)
    server.entries()
    telemetry = site.topic("tel")
    stack.bus.rules.append(to("one", cut, [telemetry]))
    stack.run(40)
    lost = [e for e in server.entries() if e.get("COOLCTL_QUALITY") == "stale"]
    assert lost and any(" points: each is stale" in e["MESSAGE"] for e in lost)
    assert len(lost) <= 12, "two hundred points that fall silent together are a few lines"


class Core:
    """What `GatewayLines` looks at of a gateway."""

    holder, lease_mode, proof = "one", "auto", None
    hand = leased = bms_silent = False
    now_s, heard_s = 100.0, 99.5

    def __init__(self) -> None:
        self.rejects: dict[str, int] = {}


class Link:
    ready, last_error = True, ""


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"heard_s": 99.5}, "the controller let go"),
        ({"heard_s": 85.0}, "no good setpoints for 15 s"),
        ({"hand": True}, "a person holds it at the BMS"),
        ({"bms_silent": True}, "the BMS does not say its clock any more"),
        ({"now_s": 3.0}, "a simulated plant began anew"),
    ],
)
def test_the_end_of_a_lease_has_its_cause(change: dict[str, object], cause: str) -> None:
    core, lines = Core(), GatewayLines()
    core.leased = True
    first = [line.text for line in lines.look(core, Link(), {})]  # type: ignore[arg-type]
    assert "leased to one (auto)" in first and not list(lines.look(core, Link(), {}))  # type: ignore[arg-type]
    core.leased = False
    for name, value in change.items():
        setattr(core, name, value)
    (line,) = [x for x in lines.look(core, Link(), {}) if x.event == "lease"]  # type: ignore[arg-type]
    assert line.text == f"the plant has itself: {cause}" and line.fields["COOLCTL_REASON"] == cause and line.each


def test_refusals_and_a_lost_broker_are_said_on_change() -> None:
    core, lines, link = Core(), GatewayLines(), Link()
    list(lines.look(core, link, {}))  # type: ignore[arg-type]
    core.rejects = {"stale": 2}
    link.ready, link.last_error = False, "Connection refused"
    found = {line.event: line.text for line in lines.look(core, link, {"sat": "unit"})}  # type: ignore[arg-type]
    assert found["refused"] == "2 messages refused: stale" and found["broker"] == "the broker is lost: Connection refused"
    assert found["description"] == "output: sat: unit: nothing is written"
    core.rejects["stale"] = 3
    (line,) = lines.look(core, link, {"sat": "unit"})  # type: ignore[arg-type]
    assert line.text == "1 message refused: stale"


def test_nothing_new_is_nothing_said(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path).run(3)
    decision = stack.one.decision
    assert decision is not None
    lines = DecisionLines()
    assert [line.event for line in lines.look(decision, {})][:1] == ["mode"] and not lines.look(decision, {})
