"""P7: from a tick's deadline to its setpoints at a listener, through a real broker, beside telemetry and two busy processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from coolctl.bench.machine import cores, too_busy
from coolctl.bench.rows import Row, not_run
from coolctl.bench.runner import end
from coolctl.bench.sites import of_points
from coolctl.bench.start import FIRST_LIMIT_S, Stage, stage
from coolctl.edge.broker import mosquitto_path
from coolctl.edge.mqtt import MqttClient, MqttSettings

SECONDS, SETTLE_S, HOGS = 120, 10.0, 2
LIMITS_MS = ((50.0, 5.0), (99.0, 15.0), (99.9, 30.0))
HOG = "while True: pass"
FLOOD_PER_S, FLOOD_SECONDS = 8_000, 40


def p7() -> Iterator[Row]:
    """Rows of P7."""
    what = "deadline to setpoint received, 5,000 points a second, two busy processes"
    why = "no mosquitto on this machine" if mosquitto_path() is None else too_busy()
    if cores() < 2 or why:
        yield not_run("P7", "all", what, why or f"needs 2 cores, here is {cores()}")
        return
    # Not the plant's clock: the daemon's own schedule is what is measured.
    text = real(of_points(5_000))
    with stage(text) as here:
        waits_ms = waits(here)
    for share, most_ms in LIMITS_MS:
        value = float(np.percentile(waits_ms, share))
        few = f"the largest of {len(waits_ms)}" if len(waits_ms) * (100.0 - share) < 100.0 else ""
        yield Row("P7", f"p{share:g}".replace(".", "_"), f"{what}: p{share:g}", value, "ms", most_ms, why=few)
    yield _flooded(text)


def _flooded(text: str) -> Row:
    """What a process of its own for telemetry does where messages are many; no busy processes beside."""
    p50_ms = {}
    for name, words in (("alone", ()), ("with", ("--ingest-process",))):
        with stage(text) as here:
            flood = here.spawn("coolctl.bench.flood", "--per-s", str(FLOOD_PER_S))
            p50_ms[name] = float(np.median(waits(here, FLOOD_SECONDS, 0, *words)))
            end(flood)
    what = f"the same beside {FLOOD_PER_S:,} single messages a second, p50: telemetry in a process of its own over one process"
    figures = {"ms_own": p50_ms["with"], "ms_one": p50_ms["alone"]}
    return Row("P7", "flooded", what, p50_ms["with"] / p50_ms["alone"], "ratio", figures=figures, reference="one process")


def real(text: str) -> str:
    """The site as a real one, on the daemon's own clock, with nothing left to prove before it may lease."""
    return text.replace("simulated = true", "simulated = false", 1) + "\n[promotion]\nrequired = false\n"


def waits(here: Stage, seconds: int = SECONDS, busy: int = HOGS, *words: str) -> np.ndarray:  # type: ignore[type-arg]
    """Milliseconds from each deadline to its decision at a listener; deadlines are a second apart, the earliest wake-up
    of the daemon (`t_s` of its decisions, the same clock) stands for the deadline."""
    client = MqttClient(MqttSettings("127.0.0.1", here.broker.port, "bench"), ["coolctl/v1/+/decision", "coolctl/v1/+/sp"])
    daemon = here.spawn("coolctl", "run", "--state", str(here.folder / "d"), "--metrics-port", "0", *words)
    hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(busy)]
    woken: list[float] = []
    arrived: list[float] = []
    first_s = 0.0
    try:
        begun = time.monotonic()
        while time.monotonic() < (first_s + SETTLE_S + seconds if first_s else begun + FIRST_LIMIT_S):
            client.run_until(time.monotonic() + 1.0, lambda: bool(client.inbox))
            while client.inbox:
                message = client.inbox.popleft()
                if message.topic.endswith("/decision"):
                    woken.append(json.loads(message.payload)["t_s"])
                    continue
                first_s = first_s or message.received_s
                if message.received_s > first_s + SETTLE_S:
                    arrived.append(message.received_s)
    finally:
        for process in (daemon, *hogs):
            end(process)
        client.close()
    if len(arrived) < seconds // 4:
        raise RuntimeError(f"only {len(arrived)} setpoints in {seconds} s: the daemon holds no lease")
    phases = np.array(woken) % 1.0
    late = phases - phases[0]  # a second's turn lies wherever the first wake-up is not near it
    phase = phases[0] + float(np.min((late + 0.5) % 1.0 - 0.5))
    return np.asarray(1e3 * ((np.array(arrived) - phase) % 1.0))
