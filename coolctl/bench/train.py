"""P16: training of the shipped policy from nothing: labels a second, how they spread over workers, the fit."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from coolctl.bench.machine import cores, too_busy
from coolctl.bench.rows import Row, not_run
from coolctl.control.policy import HIGH, LOW, OUTPUTS
from coolctl.edge.onnx_policy import load_policy
from coolctl.paths import shared_folder

CHUNKS = 4
FIT_EPOCHS = 3
MINUTES = 30.0


def labels_s(chunks: int, workers: int, seed: int) -> float:
    """Wall seconds of `chunks` chunks of labels with `workers` processes, started and warm."""
    from coolctl.backend import local
    from coolctl.training.dataset import CHUNK, make

    site = str(shared_folder("config") / "sites" / "hall1mw.toml")
    with (
        tempfile.TemporaryDirectory(prefix="coolctl-bench-") as folder,
        contextlib.redirect_stderr(io.StringIO()),
        local(workers) as sweep,
    ):
        make([site], workers * CHUNK, seed + 1000, Path(folder), sweep)  # processes up, kernels loaded
        begun = time.monotonic()
        make([site], chunks * CHUNK, seed, Path(folder), sweep)
        return time.monotonic() - begun


def fit_s(examples: int) -> float:
    """Processor seconds of the whole fit on `examples` labels, from a few of its epochs."""
    from coolctl.training import fit

    rng = np.random.default_rng(16)
    x = rng.uniform(LOW, HIGH, (examples, LOW.size)).astype(np.float32)
    y = rng.normal(size=(examples, len(OUTPUTS))).astype(np.float32)
    epochs, fit.EPOCHS = fit.EPOCHS, FIT_EPOCHS
    try:
        begun = time.process_time()
        fit.fit(x, y, 1)
        return (time.process_time() - begun) / FIT_EPOCHS * epochs
    finally:
        fit.EPOCHS = epochs


def p16() -> Iterator[Row]:
    """Rows of P16."""
    if importlib.util.find_spec("sklearn") is None:
        yield not_run("P16", "all", "training from nothing", "scikit-learn is not installed (coolctl[train])")
        return
    from coolctl.training.dataset import CHUNK

    examples = int(load_policy("default").passport["examples"])
    one_s = labels_s(CHUNKS, 1, 16)
    what = f"labels of {CHUNKS * CHUNK}: two workers' rate over twice one worker's"
    why = too_busy()
    rate_s = one_s / CHUNKS / 2.0
    if why:
        yield not_run("P16", "linear", what, why)
    else:
        two_s = labels_s(CHUNKS, 2, 16)
        rate_s = two_s / CHUNKS
        yield Row(
            "P16",
            "linear",
            what,
            one_s / (2.0 * two_s),
            "ratio",
            0.9,
            "≥",
            "one worker",
            figures={"one_s": one_s, "two_s": two_s},
        )
    minutes = (rate_s * examples / CHUNK + fit_s(examples)) / 60.0
    what = (
        f"training of the shipped policy ({examples:,} labels), two workers, scaled from {CHUNKS} chunks and {FIT_EPOCHS} epochs"
    )
    yield Row("P16", "train", what, minutes, "min", MINUTES, figures={"cores": float(cores())})
