"""P8: a tick's compute time, from the batches' bytes to the decision's, at 500, 5,000 and 20,000 points."""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.bench.machine import cores, too_busy
from coolctl.bench.rows import Curve, Row, not_run
from coolctl.bench.sites import of_points, of_text
from coolctl.control.mode import MODES
from coolctl.control.tick import IN_PROCESS
from coolctl.controller import Controller
from coolctl.decision_json import encode_decision
from coolctl.dialects import decoder_for, encode_batch
from coolctl.edge.metrics import MetricsServer, MetricsView
from coolctl.edge.onnx_policy import load_policy
from coolctl.edge.recorder import Recorder
from coolctl.points import Snapshot
from coolctl.site import Site
from coolctl.trace import columns, header, pack
from coolctl.warmup import warm_up
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant

F64 = NDArray[np.float64]
BATCH_POINTS = 500
SIZES = {500: (3_630, 2.0), 5_000: (600, 5.0), 20_000: (420, 20.0)}  # the policy is in charge after 300 ticks
SKIP = 30
LATE_S = 0.25  # what the daemon calls a missed tick
SCRAPER = "import sys, time, urllib.request\nwhile True:\n urllib.request.urlopen(sys.argv[1], timeout=5).read(); time.sleep(0.2)"
After = Callable[[object, Snapshot], None]


class Ticks(NamedTuple):
    """Seconds of each tick, and what mode they ended in where that is not `auto`."""

    seconds: F64
    doing: str


def ticks(site: Site, count: int, after: After | None = None, clock: Callable[[], float] = time.thread_time) -> Ticks:
    """Seconds of each tick after the first few, bytes to bytes, the simulated plant in the loop; `after` is not counted."""
    policy = load_policy("default")
    warm_up(site, policy)
    plant, controller, decoder = SimPlant(site, load=synthetic()), Controller(site, policy, "auto"), decoder_for(site)
    names = [p.id for p in site.table.points if not p.writable]
    topic = next(p.topic for p in site.table.points if not p.writable)
    parts = [names[a : a + BATCH_POINTS] for a in range(0, len(names), BATCH_POINTS)]
    readings, seconds = plant.reset(1), []
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for k in range(count):
            messages = [encode_batch({i: readings[i] for i in part if i in readings}, 1000 * k) for part in parts]
            begun = clock()
            samples = [sample for raw in messages for sample in decoder.decode(topic, raw)]
            controller.store.put(samples, float(k))
            snap = controller.store.snapshot(float(k))
            decision = controller.tick_snapshot(snap)
            encode_decision(decision, [], {})
            seconds.append(clock() - begun)
            if after is not None:
                after(decision, snap)
            found = plant.step(decision.setpoints, 1.0)
            assert found is not None
            readings = found
    finally:
        gc.enable()
        gc.unfreeze()
    if decoder.rejects or controller.store.rejects:
        raise RuntimeError(f"refused {decoder.rejects} {controller.store.rejects}")
    doing = "" if decision.mode == "auto" else f"at its end in {decision.mode} ({decision.mode_reason})"
    return Ticks(np.array(seconds[SKIP:]), doing)


def view_of(site: Site, snap: Snapshot, mode: str = "auto") -> MetricsView:
    """A view of the site's points for the metrics server, the rest as it is at rest."""
    points = tuple((p.id, p.role, "celsius") for p in site.table.points)
    zero = np.zeros(len(site.u_names))
    setpoints = tuple((name, "celsius") for name in site.u_names)
    return MetricsView(
        site.name, mode, mode, MODES, setpoints, zero, zero, zero, points, snap.value, snap.age_s, snap.quality, {}, {}, {}, {},
        {}, {}, {}, "", site.config_hash,
    )  # fmt: skip


def disturbed(site: Site, count: int) -> Ticks:
    """As `ticks`, wall time, while another process scrapes and the recorder flushes blocks of this very run."""
    server = MetricsServer("127.0.0.1", 0)
    with tempfile.TemporaryDirectory(prefix="coolctl-bench-") as folder:
        recorder = Recorder(folder, site.name, columns(site), header(site, "", "default", "auto"), block_rows=20)
        scraper = subprocess.Popen([sys.executable, "-c", SCRAPER, f"http://127.0.0.1:{server.port}/metrics"])

        def after(decision: object, snap: Snapshot) -> None:
            recorder.append(pack(snap, IN_PROCESS, "", decision))  # type: ignore[arg-type]
            server.publish(view_of(site, snap), {})
            time.sleep(0.003)  # the other threads have the time that the daemon would wait

        try:
            return ticks(site, count, after, time.perf_counter)
        finally:
            scraper.kill()
            scraper.wait()
            recorder.close()
            server.close()


def p8() -> Iterator[Row | Curve]:
    """Rows of P8."""
    sizes, middles, tops = [], [], []
    old = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # as the daemon does
    for points, (count, target_ms) in SIZES.items():
        site = of_text(of_points(points))
        seconds, doing = ticks(site, count)
        p50, p99 = (1e3 * float(v) for v in np.percentile(seconds, (50, 99)))
        sizes.append(float(len(site.table)))
        middles.append(p50)
        tops.append(p99)
        what = f"tick compute at {len(site.table):,} points, p99 of {len(seconds):,}, processor time"
        yield Row(
            "P8",
            f"p99_{points}",
            what,
            p99,
            "ms",
            target_ms,
            why=doing,
            figures={"p50_ms": p50, "max_ms": 1e3 * float(seconds.max())},
        )
        if points == 500:
            missed = float((seconds > LATE_S).sum())
            yield Row("P8", "missed", f"ticks of {len(seconds):,} that took over {LATE_S:g} s", missed, "ticks", 0.0)
            yield _disturbance(site, count // 4)
    sys.setswitchinterval(old)
    yield Curve("tick", "points", "ms a tick", sizes, {"p50": middles, "p99": tops})


def _disturbance(site: Site, count: int) -> Row:
    what = "what concurrent scrapes and recorder blocks add to the p99 of a tick at 500 points, wall time"
    if cores() < 2 or (why := too_busy()):
        return not_run("P8", "disturbed", what, f"needs 2 cores, here is {cores()}" if cores() < 2 else why)
    alone = 1e3 * float(np.percentile(ticks(site, count, lambda *_: time.sleep(0.003), time.perf_counter).seconds, 99))
    beside = 1e3 * float(np.percentile(disturbed(site, count).seconds, 99))
    return Row("P8", "disturbed", what, beside - alone, "ms", 1.0, figures={"alone_ms": alone, "beside_ms": beside})
