"""Label making: many drawn conditions solved by the expert, in seeded chunks that can be resumed and spread out."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coolctl.backend import Sweep
from coolctl.control.policy import F32
from coolctl.site import load_site
from coolctl.training.expert import Example, Expert

CHUNK = 50


def solve_chunk(job: tuple[str, int, int]) -> list[Example]:
    """One chunk of examples: the same for the same site, seed and number, wherever it runs."""
    site_path, seed, chunk = job
    expert = Expert(load_site(site_path))
    rng = np.random.default_rng([seed, chunk])
    found: list[Example] = []
    while len(found) < CHUNK:
        example = expert.solve(expert.draw(rng))
        if example is not None:
            found.append(example)
    return found


def _rows(examples: Sequence[Example]) -> tuple[F32, F32]:
    return np.array([e.features for e in examples]), np.array([e.outputs for e in examples])


def make(sites: Sequence[str], examples: int, seed: int, cache: Path, sweep: Sweep) -> tuple[F32, F32]:
    """Features and labels [examples]; finished chunks are kept in `cache` and not solved again."""
    cache.mkdir(parents=True, exist_ok=True)
    jobs = [(sites[k % len(sites)], seed, k) for k in range(-(-examples // CHUNK))]
    files = [cache / f"chunk-{s}-{k:05d}.npz" for _, s, k in jobs]
    todo = [(job, f) for job, f in zip(jobs, files, strict=True) if not f.exists()]
    started_s = time.monotonic()
    solved = sweep(solve_chunk, [job for job, _ in todo])
    for done, ((_, path), found) in enumerate(zip(todo, solved, strict=True), start=1):
        x, y = _rows(found)
        temporary = path.with_suffix(".part.npz")
        np.savez(temporary, x=x, y=y)
        temporary.rename(path)
        _progress(done, len(todo), started_s)
    parts = [np.load(f, allow_pickle=False) for f in files]
    return np.concatenate([p["x"] for p in parts]), np.concatenate([p["y"] for p in parts])


def _progress(done: int, total: int, started_s: float) -> None:
    left_s = (time.monotonic() - started_s) / done * (total - done)
    bar = "#" * (30 * done // total)
    end = "\n" if done == total or not sys.stderr.isatty() else "\r"
    if sys.stderr.isatty() or done % 20 == 0 or done == total:
        print(f"labels [{bar:<30}] {done * CHUNK}/{total * CHUNK}, {left_s:.0f} s left", end=end, file=sys.stderr)
