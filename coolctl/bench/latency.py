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
from coolctl.bench.start import Stage, stage
from coolctl.edge.broker import mosquitto_path
from coolctl.edge.mqtt import MqttClient, MqttSettings

SECONDS, SETTLE_S, HOGS = 120, 15.0, 2
LIMITS_MS = ((50.0, 5.0), (99.0, 15.0), (99.9, 30.0))
HOG = "while True: pass"


def p7() -> Iterator[Row]:
    """Rows of P7."""
    what = "deadline to setpoint received, 5,000 points a second, two busy processes"
    why = "no mosquitto on this machine" if mosquitto_path() is None else too_busy()
    if cores() < 2 or why:
        yield not_run("P7", "all", what, why or f"needs 2 cores, here is {cores()}")
        return
    # Not the plant's clock: the daemon's own schedule is what is measured.
    text = of_points(5_000).replace("simulated = true", "simulated = false", 1).replace("[telemetry]", "[telemetry]", 1)
    with stage(text) as here:
        waits_ms = waits(here)
    for share, most_ms in LIMITS_MS:
        value = float(np.percentile(waits_ms, share))
        few = f"the largest of {len(waits_ms)}" if len(waits_ms) * (100.0 - share) < 100.0 else ""
        yield Row("P7", f"p{share:g}".replace(".", "_"), f"{what}: p{share:g}", value, "ms", most_ms, why=few)


def waits(here: Stage) -> np.ndarray:  # type: ignore[type-arg]
    """Milliseconds from each deadline to its decision at a listener; deadlines are a second apart, the earliest wake-up
    of the daemon (`t_s` of its decisions, the same clock) stands for the deadline."""
    client = MqttClient(MqttSettings("127.0.0.1", here.broker.port, "bench"), ["coolctl/v1/+/decision", "coolctl/v1/+/sp"])
    daemon = here.spawn("coolctl", "run", "--state", str(here.folder / "d"), "--metrics-port", "0")
    hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(HOGS)]
    woken, arrived = [], []
    try:
        begun = time.monotonic()
        while time.monotonic() < begun + SETTLE_S + SECONDS:
            client.run_until(time.monotonic() + 1.0, lambda: bool(client.inbox))
            while client.inbox:
                message = client.inbox.popleft()
                if message.topic.endswith("/sp") and time.monotonic() > begun + SETTLE_S:
                    arrived.append(message.received_s)
                elif message.topic.endswith("/decision"):
                    woken.append(json.loads(message.payload)["t_s"])
    finally:
        for process in (daemon, *hogs):
            end(process)
        client.close()
    if len(arrived) < SECONDS // 4:
        raise RuntimeError(f"only {len(arrived)} setpoints in {SECONDS} s: the daemon holds no lease")
    phase = (
        float(np.min(np.array(woken) % 1.0))
        if np.ptp(np.array(woken) % 1.0) < 0.5
        else float(np.min((np.array(woken) + 0.5) % 1.0) - 0.5)
    )
    return np.asarray(1e3 * ((np.array(arrived) - phase) % 1.0))
