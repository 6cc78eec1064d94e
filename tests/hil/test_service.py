"""The units on a systemd that is really running: started, hung, crashing, reloaded well and badly, stopped."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from machine import Machine, machine, why_not

from coolctl.edge.journal import ENTRY_BYTES

pytestmark = [
    pytest.mark.hil,
    pytest.mark.slow,
    pytest.mark.nightly,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
]

PLANT, GATEWAY, DAEMON, WEB = "coolctl-sim-plant@hall", "coolctl-gateway@hall", "coolctl@hall", "coolctl-web@hall"
READY_S, LEASE_S = 180.0, 150.0  # however busy the machine is; what must be quick has bounds of its own


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with sentinels() as untouched:
        with machine(tmp_path_factory.mktemp("box")) as made:
            made.run("systemctl", "start", "mosquitto")
            yield made
        assert untouched(), "the machine's boot has touched the host's /tmp or /var/tmp"


@contextmanager
def sentinels() -> Iterator[Callable[[], bool]]:
    """Things of our own where a boot empties folders; inside, what tells whether they are still there.

    Others use these folders too, and take away what is theirs when they like: that is nobody's fault here.
    """
    files = []
    with ExitStack() as stack:
        for place in ("/tmp", "/var/tmp"):
            folder = stack.enter_context(TemporaryDirectory(prefix="coolctl-sentinel-", dir=place, ignore_cleanup_errors=True))
            files.append(Path(folder) / "file")
            files[-1].write_text(folder)
        yield lambda: all(file.is_file() and file.read_text() == str(file.parent) for file in files)


def test_sentinels_see_what_a_boot_would_take_away() -> None:
    for victim in ("/tmp", "/var/tmp"):
        with sentinels() as untouched:
            assert untouched()
            shutil.rmtree(max(Path(victim).glob("coolctl-sentinel-*"), key=lambda p: p.stat().st_ctime))
            assert not untouched()


def until(true: Callable[[], object], seconds: float, what: str) -> float:
    """Seconds until `true` held."""
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < seconds:
        if true():
            return time.monotonic() - begun_s
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def heard(box: Machine, topic: str, count: int = 1) -> list[dict[str, object]]:
    """The next messages of a topic of the site."""
    out = box.run("mosquitto_sub", "-t", f"coolctl/v1/hall1mw/{topic}", "-C", str(count), "-W", "15", check=False)
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def pid(box: Machine, unit: str) -> int:
    return int(box.show(unit, "MainPID"))


def test_everything_starts_and_leases(box: Machine) -> None:
    begun_s = time.monotonic()
    for unit in (PLANT, GATEWAY, DAEMON, WEB):
        box.run("systemctl", "start", unit, timeout_s=READY_S)
    assert time.monotonic() - begun_s < READY_S
    until(lambda: heard(box, "decision")[-1:] and heard(box, "decision")[-1]["lease"]["remote"], LEASE_S, "a lease")  # type: ignore[index]
    assert "fallback" in box.show(DAEMON, "StatusText") or "auto" in box.show(DAEMON, "StatusText")
    page = box.run(
        "/opt/coolctl/bin/python", "-c", "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8077/').read()[:99])"
    )
    assert "html" in page
    metrics = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
    assert "coolctl_ticks_total" in box.run("/opt/coolctl/bin/python", "-c", metrics)


def entries(box: Machine, *matches: str) -> list[dict[str, str]]:
    """Entries of the journal, as `journalctl -o json` has them."""
    out = box.run("journalctl", "-o", "json", "--no-pager", *matches)
    return [json.loads(line) for line in out.splitlines()]


def test_the_journal_has_fields_to_look_for(box: Machine) -> None:
    modes = entries(box, "COOLCTL_SITE=hall1mw", "COOLCTL_EVENT=mode")
    assert modes and all(e["COOLCTL_REASON"] in e["MESSAGE"] and e["COOLCTL_MODE"] and e["COOLCTL_TICK"] for e in modes)
    assert {e["_SYSTEMD_UNIT"] for e in modes} == {f"{DAEMON}.service"} and {e["_TRANSPORT"] for e in modes} == {"journal"}
    leases = entries(box, "SYSLOG_IDENTIFIER=coolctl-gateway", "COOLCTL_EVENT=lease")
    assert leases[0]["COOLCTL_REASON"] == "leased" and leases[0]["PRIORITY"] == "5"
    assert len(entries(box, "-u", DAEMON)) < 100, "a quiet plant says little"


def test_an_entry_takes_no_more_of_the_disk_than_is_counted(box: Machine) -> None:
    count = 30_000
    folders = "[*os.walk('/run/log/journal'), *os.walk('/var/log/journal')]"
    size = f"import os; print(sum(os.stat(os.path.join(d, f)).st_size for d, _, fs in {folders} for f in fs))"
    code = (
        "import time; from coolctl.edge.journal import Journal, Line; j = Journal('flood', {'COOLCTL_SITE': 'x'}, native=True)\n"
        f"for k in range({count}):\n"
        "    j._send(__import__('coolctl.edge.journal', fromlist=['encode']).encode({**j._fields, 'MESSAGE': f'fallback: number {k}', "
        "'PRIORITY': '4', 'COOLCTL_EVENT': 'mode', 'COOLCTL_REASON': f'number {k}', 'COOLCTL_TICK': str(k)}), 4, '')\n"
        "    time.sleep(0.0002)\n"
        "print(j.lost)"
    )
    flood = [
        "systemd-run",
        "--wait",
        "--pipe",
        "--quiet",
        "-p",
        "LogRateLimitIntervalSec=0",
        "/opt/coolctl/bin/python",
        "-c",
        code,
    ]
    before = int(box.run("/opt/coolctl/bin/python", "-c", size))
    lost = int(box.run(*flood, timeout_s=300.0))
    box.run("journalctl", "--sync")
    each_bytes = (int(box.run("/opt/coolctl/bin/python", "-c", size)) - before) / (count - lost)
    print(f"{each_bytes:.0f} bytes of the journal for an entry of about 150 bytes; {lost} lost")
    assert count - lost > count / 2 and each_bytes <= 150 + ENTRY_BYTES


def test_the_sandbox_holds(box: Machine) -> None:
    user = box.run("ps", "-o", "user=", "-p", str(pid(box, DAEMON)), check=False).strip()
    assert user != "root"
    owner = Path(f"{box.root}/var/cache/private/coolctl/hall").stat()
    assert owner.st_mode & 0o777 == 0o700, "Numba's index is a pickle: nobody else may write there"
    for line in ("NoNewPrivs:\t1", "CapEff:\t0000000000000000", "Seccomp:\t2"):
        assert line in box.run("cat", f"/proc/{pid(box, DAEMON)}/status"), line


def test_a_loop_that_hangs_is_ended_and_started_again(box: Machine) -> None:
    before = pid(box, DAEMON)
    box.run("kill", "-STOP", str(before))
    gone_s = until(
        lambda: pid(box, DAEMON) not in (0, before) and box.show(DAEMON, "ActiveState") == "active", 40.0, "another process"
    )
    assert gone_s <= 20.0 + 5.0  # from the stop to READY=1 of the next
    assert "watchdog" in box.journal(DAEMON).lower() or int(box.show(DAEMON, "NRestarts")) >= 1


def test_reload_takes_a_good_file_and_refuses_a_bad_one(box: Machine) -> None:
    site = box.root / "etc/coolctl/hall.toml"
    text, before = site.read_text(), pid(box, DAEMON)
    site.write_text(text.replace("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 25.0"))
    box.run("systemctl", "reload", DAEMON)
    until(lambda: "was read anew" in box.journal(DAEMON), 20.0, "the new file")
    site.write_text(text.replace("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 260.0"))
    box.run("systemctl", "reload", DAEMON)
    until(lambda: "the old one stays" in box.journal(DAEMON), 20.0, "the refusal")
    site.write_text(text)
    assert pid(box, DAEMON) == before


def test_a_crash_is_started_again_for_ever(box: Machine) -> None:
    for _ in range(7):  # more than systemd's own start limit would forgive
        before = pid(box, WEB)
        box.run("kill", "-SEGV", str(before))
        until(lambda b=before: pid(box, WEB) not in (0, b), 30.0, "another process")  # type: ignore[misc]
    until(lambda: box.show(WEB, "ActiveState") == "active", 60.0, "the page")
    assert int(box.show(WEB, "NRestarts")) >= 7


def test_a_faulty_site_file_is_not_tried_again(box: Machine) -> None:
    (box.root / "etc/coolctl/broken.toml").write_text("format_version = 1\n")
    box.run("systemctl", "start", "coolctl@broken", check=False)
    assert box.show("coolctl@broken", "ActiveState") == "failed"
    assert box.show("coolctl@broken", "ExecMainStatus") == "78"
    time.sleep(3.0)
    assert box.show("coolctl@broken", "NRestarts") == "0"
    assert re.search(r"broken.toml.*halls", box.journal("coolctl@broken"))


def drop_in(box: Machine, unit: str, text: str) -> None:
    """Replace a unit's drop-in; an empty one takes it away."""
    folder = box.root / f"etc/systemd/system/{unit}.service.d"
    folder.mkdir(exist_ok=True)
    (folder / "test.conf").write_text(f"[Service]\n{text}\n")
    box.run("systemctl", "daemon-reload")


def test_a_crash_at_every_start_never_gets_ready_and_the_plant_keeps_itself(box: Machine) -> None:
    box.run("systemctl", "stop", DAEMON)
    drop_in(box, DAEMON, "ExecStart=\nExecStart=/bin/sh -c 'kill -SEGV $$$$'")
    box.run("systemctl", "start", "--no-block", DAEMON)
    until(lambda: int(box.show(DAEMON, "NRestarts")) >= 4, 30.0, "four attempts")
    assert box.show(DAEMON, "ActiveState") == "activating"
    assert heard(box, "gw_tick")[-1]["local"]
    drop_in(box, DAEMON, "")
    until(lambda: box.show(DAEMON, "ActiveState") == "active", 60.0, "the daemon, once it can start")


def test_a_native_loop_that_holds_the_interpreter_is_ended(box: Machine) -> None:
    """A regular expression that takes ages, in the main thread and in C: no other thread of the process can run."""
    program = box.root / "opt/coolctl/bin/stuck"
    program.write_text(
        "#!/opt/coolctl/bin/python\nimport re, signal, sys\nfrom coolctl.cli import main\n"
        "signal.signal(signal.SIGUSR2, lambda *_: re.match('(a+)+$', 'a' * 64 + 'b'))\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    drop_in(box, DAEMON, "ExecStart=\nExecStart=/opt/coolctl/bin/stuck run --site /etc/coolctl/hall.toml")
    box.run("systemctl", "restart", DAEMON, timeout_s=READY_S)
    before = pid(box, DAEMON)
    box.run("kill", "-USR2", str(before))
    gone_s = until(
        lambda: pid(box, DAEMON) not in (0, before) and box.show(DAEMON, "ActiveState") == "active", 40.0, "another process"
    )
    assert gone_s <= 25.0
    drop_in(box, DAEMON, "")


def test_with_nowhere_to_write_it_starts_and_controls(box: Machine) -> None:
    drop_in(
        box,
        DAEMON,
        "ExecStart=\nExecStart=/opt/coolctl/bin/coolctl run --site /etc/coolctl/hall.toml --state /usr/none --record /usr/records",
    )
    box.run("systemctl", "restart", DAEMON, timeout_s=READY_S)
    until(lambda: heard(box, "decision")[-1]["lease"]["remote"], LEASE_S, "a lease")  # type: ignore[index]
    metrics = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
    assert 'coolctl_recorder_ok_ratio{site="hall1mw"} 0.0' in box.run("/opt/coolctl/bin/python", "-c", metrics), (
        "the alarm's metric"
    )
    drop_in(box, DAEMON, "")


def test_without_a_thread_to_start_it_refuses_cleanly(box: Machine) -> None:
    box.run("systemctl", "stop", DAEMON)
    drop_in(box, DAEMON, "LimitNPROC=1")
    box.run("systemctl", "start", "--no-block", DAEMON)
    until(lambda: int(box.show(DAEMON, "NRestarts")) >= 1, 60.0, "an attempt that failed")
    assert box.show(DAEMON, "ActiveState") != "active" and heard(box, "gw_tick")[-1]["local"]
    drop_in(box, DAEMON, "")
    box.run("systemctl", "restart", DAEMON, timeout_s=READY_S)


def test_what_the_memory_killer_does_ends_in_a_restart(box: Machine) -> None:
    until(lambda: box.show(DAEMON, "ActiveState") == "active", 60.0, "the daemon")
    before = pid(box, DAEMON)
    hungry = "import os, signal, sys; os.kill(int(sys.argv[1]), signal.SIGKILL)"  # what the kernel's memory killer does
    box.run("/opt/coolctl/bin/python", "-c", hungry, str(before))
    until(lambda: pid(box, DAEMON) not in (0, before) and box.show(DAEMON, "ActiveState") == "active", 40.0, "another process")
    assert box.show(DAEMON, "MemoryMax") == str(768 * 1024 * 1024)


def test_a_stop_hands_back_at_once(box: Machine) -> None:
    until(lambda: heard(box, "decision")[-1]["lease"]["remote"], LEASE_S, "a lease")  # type: ignore[index]
    begun_s = time.monotonic()
    box.run("systemctl", "stop", DAEMON)
    assert time.monotonic() - begun_s < 5.0
    until(lambda: heard(box, "gw_tick")[-1]["local"], 5.0, "the plant has itself")
    assert box.show(DAEMON, "Result") == "success"
