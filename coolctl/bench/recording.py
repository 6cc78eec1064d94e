"""P11 and P12: the recorder's size, cost and stalls beside wide Parquet; and what is left after kill -9."""

from __future__ import annotations

import functools
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coolctl.bench.pairs import interleave, repeated, sized
from coolctl.bench.rows import Row, inverse, not_run, ratio_row
from coolctl.bench.sites import of_points, of_text
from coolctl.control.tick import IN_PROCESS
from coolctl.controller import Controller
from coolctl.edge.onnx_policy import load_policy
from coolctl.edge.recorder import BLOCK_ROWS, Recorder
from coolctl.errors import RecordingError
from coolctl.points import ROLES
from coolctl.recording import SUFFIX, WAL_SUFFIXES, Recording, encode_rows, header_size
from coolctl.site import Site
from coolctl.trace import columns, header, pack
from coolctl.write_ahead import Entries
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant

F64 = NDArray[np.float64]
POINTS, TICKS = 500, 1_800
STEPS_OF = {"c": 0.01, "w": 100.0}
KILLS = 20
READ_ROUNDS = 7


def quantised(site: Site, readings: dict[str, float]) -> dict[str, float]:
    """Readings as sensors give them: temperatures in steps of 0.01 K, powers of 0.1 kW, the rest in four digits."""
    found = {}
    for i, value in readings.items():
        point = site.table.points[site.table.index[i]]
        step = STEPS_OF.get(ROLES[point.role].suffix)
        found[i] = float(point.encode(round(point.decode(value) / step) * step)) if step else float(f"{value:.4g}")
    return found


def rows_of(site: Site, ticks: int) -> F64:
    """Rows as the daemon packs them, of the simulated plant under control."""
    plant, controller = SimPlant(site, load=synthetic()), Controller(site, load_policy("default"), "auto")
    readings, rows = plant.reset(1), []
    for k in range(ticks):
        controller.store.put_readings(quantised(site, readings), float(k))
        snap = controller.store.snapshot(float(k))
        decision = controller.tick_snapshot(snap)
        rows.append(pack(snap, IN_PROCESS, "", decision))
        found = plant.step(decision.setpoints, 1.0)
        assert found is not None
        readings = found
    return np.array(rows)


def record(site: Site, rows: F64, folder: Path, pace_s: float = 0.002) -> tuple[Path, F64, F64]:
    """Append `rows`; the run's file, processor and wall seconds of each append."""
    recorder = Recorder(folder, site.name, columns(site), header(site, load_policy("default").model_hash, "default", "auto"))
    cpu, wall = [], []
    for row in rows:
        begun, started = time.thread_time(), time.perf_counter()
        recorder.append(row)
        cpu.append(time.thread_time() - begun)
        wall.append(time.perf_counter() - started)
        time.sleep(pace_s)
    recorder.close()
    if recorder.failed:
        raise RuntimeError(recorder.failed)
    return recorder.path, np.array(cpu), np.array(wall)


def bare_write_s(rows: F64, folder: Path, pace_s: float = 0.002) -> float:
    """Processor seconds of a bare write of the bytes that an append writes, at the same pace: no recorder is below that."""
    entries, cpu = Entries(rows.shape[1], BLOCK_ROWS), []
    with (folder / "bare").open("xb", buffering=0) as stream:
        for k, row in enumerate(rows):
            if k % BLOCK_ROWS == 0:
                entries.begin()
                stream.truncate(stream.seek(0))
            raw = bytes(entries.entry(row, k))
            time.sleep(pace_s)
            begun = time.thread_time()
            os.write(stream.fileno(), raw)
            cpu.append(time.thread_time() - begun)
    return float(np.mean(cpu))


def block_s(rows: F64) -> float:
    """Processor seconds that the helper thread spends on a tick: a block's compression over its rows."""
    block = rows[-BLOCK_ROWS:]
    count = sized(lambda: encode_rows(block, 0))
    begun = time.thread_time()
    repeated(lambda: encode_rows(block, 0), count)()
    return (time.thread_time() - begun) / count / len(block)


def p11() -> Iterator[Row]:
    """Rows of P11."""
    site = of_text(of_points(POINTS))
    rows = rows_of(site, TICKS)
    with tempfile.TemporaryDirectory(prefix="coolctl-bench-") as name:
        was_s = sys.getswitchinterval()
        sys.setswitchinterval(0.0005)  # as the daemon does
        path, cpu, wall = record(site, rows, Path(name))
        sys.setswitchinterval(was_s)
        write_us = 1e6 * bare_write_s(rows, Path(name))
        (hot := Path(name) / "hot").mkdir()
        _path, hot_cpu, _wall = record(site, rows, hot, 0.0)
        points, ticks = len(site.table), len(cpu)
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = header_size(stream)
        if len(Recording(path).read()) != ticks or size <= head:
            raise RuntimeError(f"{path}: the file does not hold what was recorded")
        what = f"recording of {points} points (value, age, quality and decision), bytes of a point's sample"
        each = (size - head) / (points * ticks)
        yield Row(
            "P11", "size", what, each, "bytes/sample", 0.7, figures={"bytes_a_number": (size - head) / (rows.shape[1] * ticks)}
        )
        figures = {
            "p50_us": 1e6 * float(np.median(cpu)), "back_to_back_us": 1e6 * float(hot_cpu.mean()), "bare_write_us": write_us,
            "helper_thread_us": 1e6 * block_s(rows),
        }  # fmt: skip
        what = f"processor time of an append at {points} points, mean"
        yield Row("P11", "cpu", what, 1e6 * float(cpu.mean()), "µs", 10.0, figures=figures)
        yield Row("P11", "stall", f"worst of {ticks:,} appends, wall time", 1e3 * float(wall.max()), "ms", 5.0,
                  figures={"p99_ms": 1e3 * float(np.percentile(wall, 99))})  # fmt: skip
        yield from _against_parquet(site, path, size)


def _against_parquet(site: Site, path: Path, size: int) -> Iterator[Row]:
    if importlib.util.find_spec("pyarrow") is None:
        yield not_run("P11", "parquet", "recording against Parquet", "pyarrow is not installed (coolctl[parquet])")
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Its reading ahead takes 10 ms or 60 from one turn to the next on a busy machine: Parquet is measured at its best.
    read_parquet = functools.partial(pq.read_table, use_threads=False, pre_buffer=False)
    recording = Recording(path)
    all_rows, names = recording.read(), recording.columns
    target = path.with_suffix(".parquet")
    table = pa.table({n: all_rows[:, k] for k, n in enumerate(names)})
    pq.write_table(table, target, compression="zstd")
    back = np.column_stack([c.to_numpy() for c in read_parquet(target).columns])
    if back.tobytes() != all_rows.tobytes():
        raise RuntimeError("Parquet gives back other numbers")
    reference = f"pyarrow {pa.__version__}, one wide table, zstd"
    yield Row("P11", "parquet_size", "size over Parquet's, same numbers", size / target.stat().st_size, "ratio", 0.7,
              reference=reference)  # fmt: skip
    pairs = interleave(lambda: Recording(path).read(), lambda: read_parquet(target).to_pandas().to_numpy(), READ_ROUNDS)
    what = "reading all of it into one array: Parquet's time over the product's"
    speed = all_rows.size / pairs.a_s / 1e6
    yield ratio_row("P11", "parquet_read", what, inverse(pairs), 5.0, "≥", reference, million_numbers_a_second=speed)


def p12() -> Iterator[Row]:
    """Rows of P12: a process that records is killed at random, and what it had acknowledged is looked for."""
    lost, refused, reported, torn_seen, acknowledged = 0, 0, 0, 0, 0
    rng = random.Random(12)
    for k in range(KILLS):
        with tempfile.TemporaryDirectory(prefix="coolctl-bench-") as folder:
            ticks = kill_once(folder, rng.uniform(0.05, 1.2))
            acknowledged += ticks
            try:
                found = Recording(folder)
                rows = found.read()
            except RecordingError:
                refused, lost = refused + 1, lost + ticks
                continue
            lost += ticks - sum(bool(rows[i, 0] == float(i)) for i in range(min(ticks, len(rows))))
            reported += bool(found.damage)
            torn_seen += tear(Path(folder), len(rows), rng) if k % 4 == 0 else 0
    yield Row("P12", "lost", f"acknowledged ticks lost in {KILLS} kills, of {acknowledged:,}", float(lost), "ticks", 0.0)
    what = f"recordings of {KILLS} that could not be opened as they were left"
    yield Row("P12", "repair", what, float(refused), "recordings", 0.0, figures={"a_torn_tail_was_reported": float(reported)})
    what = f"torn tails that the checksum did not find, of {len(range(0, KILLS, 4))} torn by hand"
    yield Row("P12", "torn", what, float(len(range(0, KILLS, 4)) - torn_seen), "tails", 0.0)


def kill_once(folder: str, after_s: float) -> int:
    """Record in a process of its own and kill it `after_s` [s] after its first tick; ticks that it had acknowledged."""
    child = subprocess.Popen([sys.executable, "-m", "coolctl.bench.victim", folder], stdout=subprocess.PIPE)
    assert child.stdout
    heard = child.stdout.readline()
    time.sleep(after_s)
    child.kill()
    heard += child.stdout.read()
    child.wait()
    return heard.count(b"\n")


def tear(folder: Path, rows: int, rng: random.Random) -> bool:
    """Cut the last write-ahead line in two; whether the reader says so and keeps all rows before it."""
    wals = [p for p in folder.glob("*") if p.suffix in WAL_SUFFIXES and p.stat().st_size > 64]
    target = max(wals or list(folder.glob(f"*{SUFFIX}")), key=lambda p: p.stat().st_mtime_ns)
    raw = target.read_bytes()
    target.write_bytes(raw[: len(raw) - rng.randrange(5, 40)])
    found = Recording(folder)
    left = found.read()
    return bool(found.damage) and len(left) < rows and bool(np.all(left[:, 0] == np.arange(len(left))))
