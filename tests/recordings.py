"""Rows of every kind and short ways to write and read recordings, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from coolctl.edge.recorder import Recorder
from coolctl.recording import open_recording

SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, 5e-324, -5e-324, 1.7976931348623157e308, 2.0**53, 2.0**53 + 2, 0.1])
NAN_BITS = np.array([0x7FF8000000000000, 0x7FF8DEADBEEF0001, 0xFFF8000000000000, 0x7FF0000000000001], dtype=np.uint64)


def bits(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows).view(np.uint64)


def mixed_rows(seed: int, rows: int, columns: int) -> np.ndarray:
    """Columns of every kind: any bits, decimals, kW, percent, constants, repeats, special values, NaN."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, 2**64, (rows, columns), dtype=np.uint64).view(np.float64)
    for j in range(columns):
        kind = rng.integers(0, 9)
        if kind == 1:
            out[:, j] = np.round(rng.normal(22, 1, rows), 2)
        elif kind == 2:
            out[:, j] = np.round(rng.normal(800, 5, rows), 1) * 1e3
        elif kind == 3:
            out[:, j] = np.round(rng.uniform(0, 100, rows), 1) * 0.01
        elif kind == 4:
            out[:, j] = rng.normal()
        elif kind == 5 and j > 0:
            out[:, j] = out[:, j - 1]
        elif kind == 6:
            out[:, j] = rng.choice(SPECIAL, rows)
        elif kind == 7:
            out[:, j] = rng.choice(NAN_BITS, rows).view(np.float64)
        elif kind == 8:
            out[:, j] = rng.integers(0, 3, rows) * 1e6
    return out


def write(folder: Path, rows: np.ndarray, *, close: bool = True, event_every: int = 0, **options: Any) -> Recorder:
    columns = [f"c{j}" for j in range(rows.shape[1])]
    recorder = Recorder(folder, columns, {"site": "t"}, wait_for_disk=True, **options)
    for i, row in enumerate(rows):
        recorder.append(row, [{"text": "mark", "i": i}] if event_every and i % event_every == 0 else ())
    assert recorder.failed is None
    if close:
        recorder.close()
    return recorder


def rotating(folder: Path, columns: list[str], rotate_s: float, clock: list[float]) -> Recorder:
    return Recorder(folder, columns, {"site": "t"}, rotate_s, block_rows=10, wait_for_disk=True, clock=lambda: clock[0])


def read(path: Path) -> tuple[np.ndarray, list[str]]:
    recording = open_recording(path)
    blocks = list(recording.rows())
    width = len(recording.columns)
    return np.concatenate(blocks) if blocks else np.empty((0, width)), recording.damage
