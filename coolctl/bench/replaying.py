"""P13: replay of a recording at 500 points against real time, every decision bit for bit; and model with policy alone."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from coolctl import replay
from coolctl.bench.recording import record, rows_of
from coolctl.bench.rows import Row
from coolctl.bench.sites import of_points, of_text
from coolctl.control.estimate import Estimator
from coolctl.control.policy import LOW, Situation, decode, describe, features
from coolctl.edge.onnx_policy import load_policy
from coolctl.points import u_size
from coolctl.recording import Recording
from coolctl.site import Site
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import OUTPUTS, evaluate_plant
from coolctl.thermal.room import HallParams
from coolctl.trace import Unpacker

TICKS, ROUNDS = 900, 3


def p13() -> Iterator[Row]:
    """Rows of P13."""
    site = of_text(of_points(500))
    rows = rows_of(site, TICKS)
    with tempfile.TemporaryDirectory(prefix="coolctl-bench-") as name:
        path, _cpu, _wall = record(site, rows, Path(name), 0.0)
        speeds, cpu, identical = [], [], True
        for _ in range(ROUNDS):
            begun = time.thread_time()
            found = verified(path)
            cpu.append(time.thread_time() - begun)
            speeds.append(found["times_real_time"])
            identical = identical and found["identical"] is True and found["ticks"] == TICKS
        what = f"replay at {len(site.table)} points, the whole chain, processor time, reading the file included"
        each = sorted(TICKS / s for s in cpu)
        yield Row("P13", "whole", what, each[len(each) // 2], "× real time", 2_000.0, "≥", spread=(each[0], each[-1]),
                  figures={"wall": float(np.median(speeds))})  # fmt: skip
        yield Row(
            "P13",
            "identical",
            "replays whose decisions are not bit for bit the recorded ones",
            float(not identical),
            "replays",
            0.0,
        )
        yield _model_and_policy(site, Recording(path).read())


def verified(path: Path) -> dict[str, Any]:
    """What `coolctl replay --verify --json -` says of the recording."""
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard):
        replay.main(parser.parse_args([str(path), "--verify", "--json", "-"]))
    found: dict[str, Any] = json.loads(heard.getvalue())
    return found


def _model_and_policy(site: Site, rows: np.ndarray) -> Row:  # type: ignore[type-arg]
    """Estimate, features, network, its setpoints and their steady state for every recorded row."""
    policy, unpack = load_policy("default"), Unpacker(site)
    halls, p = hall_array(site), plant_params(site)
    estimator, plant = Estimator(site, halls), describe(halls, p)
    it_nom_w = float(halls[:, HallParams._fields.index("it_power_nom_w")].sum())
    u, out, begun, finite = np.full(u_size(len(halls)), 0.7), np.zeros(len(OUTPUTS)), time.thread_time(), 0
    for row in rows:
        snap, _gateway, _grant = unpack.inputs(row)
        est = estimator.assess(snap)
        x = features(est, Situation(26.0, 18.0, p.chillers), it_nom_w, plant, p.chillers)
        z, chillers, economizer = decode(policy.infer(x)[0], est.w, 26.0, len(halls), p)
        u[:7] = z[0], p.chw_pump.head_static_pa, chillers, z[1], p.cells, z[2], economizer
        u[7::2] = z[3::2]
        evaluate_plant(u, est.w, halls, p.row, out)
        finite += bool(np.isfinite(out).all())
    seconds = time.thread_time() - begun
    if finite < len(rows) // 2 or x.shape[1] != LOW.size:
        raise RuntimeError(f"only {finite} of {len(rows)} states could be evaluated")
    what = f"estimate, policy and model alone at {len(site.table)} points, processor time"
    return Row("P13", "model_policy", what, len(rows) / seconds, "× real time", 20_000.0, "≥")
