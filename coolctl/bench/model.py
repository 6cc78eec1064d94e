"""P1: the simulated plant's step, racks resolved, beside the same equations in C and in Python with NumPy over the racks."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.bench.native import NoTwin, Twin, compilers, twin
from coolctl.bench.pairs import Pairs, interleave, of_times
from coolctl.bench.rows import Curve, Row, inverse, not_run, ratio_row
from coolctl.bench.sites import default_site
from sim_plant import params, physics
from sim_plant.faults import well
from sim_plant.room import HALL_OUTPUTS, HALL_STATES

F64 = NDArray[np.float64]
SIZES = (32, 256, 1024, 4096)
STEPS, ROUNDS, PLAIN_STEPS, PLAIN_ROUNDS = 4000, 25, 20, 15
EQUAL_STEPS = 3600
# Rows of a hall and of the plant as they are after some hours of half load; the run itself settles them.
HALL_START = (34.5, 28.5, 22.5, 34.5, 33.0, 22.0, 0.7, 0.4, 1.0, 0.0085, 0.4, 22.0, 22.0, 22.0, 0.4, 0.4, 22.0, 22.0)
PLANT_START = (12.0, 12.0, 20.0, 20.0, 12.0, 22.0, 0.5, 0.4, 140e3, 1.0, 0.0, 26.0)
SETPOINTS = (14.0, 120e3, 2.0, 20.0, 2.0, 0.9, 1.0, 22.0, 0.75)  # chwst, dp, chillers, cwst, cells, flow, economizer; sat, fans
WEATHER = (20.0, 15.0, 89e3, 0.008)


class Scene(NamedTuple):
    """Arguments of the plant's step; the first four are the state."""

    x: F64
    s: F64
    machines: F64
    inlet_c: F64
    gain: F64
    offset_k: F64
    starts: NDArray[np.int64]
    it_w: F64
    u: F64
    weather: F64
    health: F64
    chillers_ok: F64
    plant_ok: F64
    rows: F64
    p: params.PlantRecord
    y: F64
    out: F64

    def state(self) -> F64:
        """All states and outputs in one row."""
        return np.concatenate([a.ravel() for a in (self.x, self.s, self.machines, self.inlet_c, self.y, self.out)])


def scene(racks: int) -> Scene:
    """The default site's plant with `racks` racks, economizer and two chillers in the loop."""
    site = default_site()
    rows, record = params.hall_rows(site), params.plant_record(site)
    gain, offset = params.rack_pattern(site)[0]
    machines = np.zeros((site.file.chillers.count, 6))
    machines[:2, 0], machines[:2, 2] = 2.0, 1.0
    it_w = 0.6 * rows[:, params.H_IT_NOM]
    return Scene(
        np.array([HALL_START]), np.array(PLANT_START), machines, np.full(racks, 23.0), np.resize(gain, racks).copy(),
        np.resize(offset, racks).copy(), np.array([0, racks], dtype=np.int64), it_w, np.array(SETPOINTS), np.array(WEATHER),
        well(1), np.ones(len(machines)), np.ones(3), rows, record, np.zeros((1, HALL_OUTPUTS)), np.zeros(physics.PLANT_OUTPUTS),
    )  # fmt: skip


def product(sc: Scene, count: int, dt_s: float = 1.0) -> None:
    """`count` steps by the plant's own kernel."""
    physics.steps(count, *sc[:15], dt_s, sc.y, sc.out)


def flat(record: tuple[Any, ...]) -> list[float]:
    """A parameter tuple and those inside it as one list."""
    return [v for field in record for v in (flat(field) if isinstance(field, tuple) else (float(field),))]


def in_c(made: Twin, sc: Scene) -> Callable[[int], None]:
    """The same steps by the twin, on the arrays of `sc`. Raises `NoTwin` where its record is another."""
    record = np.array(flat(sc.p))
    if made.library.plant_doubles() != len(record):
        raise NoTwin("the twin's plant record is not the plant's: change twin.c with it")
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (*sc[:14], record, sc.y, sc.out)]
    x, s, machines, inlet, *middle, rows, given, y, out = pointers
    call, counts = made.library.plant_steps, (ctypes.c_long(len(sc.machines)), ctypes.c_long(len(sc.rows)))

    def run(count: int) -> None:
        call(
            ctypes.c_long(count), x, s, machines, counts[0], inlet, *middle, rows, counts[1], given, ctypes.c_double(1.0), y, out
        )
        assert len(record)  # the pointers above live as long as this array

    return run


def difference(a: F64, b: F64) -> float:
    """The largest difference, relative where a value is larger than 1."""
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1.0)))


def against_c(made: Twin, racks: int, steps: int = STEPS, rounds: int = ROUNDS) -> tuple[Pairs, float]:
    """Product over C at `racks` racks, and how far their states are apart after an hour."""
    assert len(HALL_START) == HALL_STATES
    mine, theirs = scene(racks), scene(racks)
    run = in_c(made, theirs)
    product(mine, EQUAL_STEPS)
    run(EQUAL_STEPS)
    apart = difference(mine.state(), theirs.state())
    count = max(steps * 64 // (racks + 64), 50)
    pairs = interleave(lambda: product(mine, count), lambda: run(count), rounds)
    return pairs._replace(a_s=pairs.a_s / count, b_s=pairs.b_s / count), apart


class Plain:
    """The same Python source without the compiler, racks as NumPy arrays, in a process of its own."""

    def __init__(self, racks: int):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "coolctl.bench.plain", str(racks)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def steps(self, count: int) -> float:
        """Seconds that `count` steps took there."""
        return float(self._ask(str(count)))

    def state(self) -> F64:
        """Its states so far."""
        return np.array(json.loads(self._ask("state")))

    def _ask(self, line: str) -> str:
        assert self._child.stdin and self._child.stdout
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()
        return self._child.stdout.readline()

    def close(self) -> None:
        """End it."""
        assert self._child.stdin
        self._child.stdin.close()
        self._child.wait(5.0)


def against_numpy(racks: int, steps: int = PLAIN_STEPS, rounds: int = PLAIN_ROUNDS) -> tuple[Pairs, float]:
    """Product over NumPy, and how far their states are apart."""
    import time

    mine, plain = scene(racks), Plain(racks)
    try:
        mine_s, plain_s = [], []
        product(mine, steps)
        plain.steps(steps)
        apart = difference(mine.state(), plain.state())
        for _ in range(rounds):
            begun = time.thread_time()
            product(mine, 50 * steps)
            mine_s.append((time.thread_time() - begun) / (50 * steps))
            plain_s.append(plain.steps(steps) / steps)
        return of_times(mine_s, plain_s), apart
    finally:
        plain.close()


def p1() -> Iterator[Row | Curve]:
    """Rows of P1."""
    costs: dict[str, list[float]] = {"product": []}
    for compiler in ("gcc", "clang"):
        try:
            made = twin(compiler)
        except NoTwin as why:
            yield not_run("P1", compiler, f"plant step against {compiler}", str(why))
            continue
        apart_max, name = 0.0, f"C, {compiler}"
        costs[name] = []
        for racks in SIZES:
            pairs, apart = against_c(made, racks)
            apart_max = max(apart, apart_max)
            if len(costs["product"]) < len(SIZES):
                costs["product"].append(1e6 * pairs.a_s)
            costs[name].append(1e6 * pairs.b_s)
            if racks in (256, 4096):
                yield ratio_row(
                    "P1", f"{compiler}_{racks}", f"plant step, {racks} racks, over C", pairs, 1.25, "≤", made.compiler
                )
        what = f"states after {EQUAL_STEPS} steps, product against C, largest difference"
        yield Row("P1", f"{compiler}_equal", what, apart_max, "relative", 1e-9, reference=made.compiler)
    pairs, apart = against_numpy(256)
    what = "plant step, 256 racks: NumPy's time over the product's"
    yield ratio_row("P1", "numpy_256", what, inverse(pairs), 15.0, "≥", "the same source without a compiler, racks in NumPy")
    yield Row("P1", "numpy_equal", f"states after {PLAIN_STEPS} steps, product against NumPy", apart, "relative", 1e-9)
    if compilers():
        yield Curve("plant_step", "racks", "µs a step", [float(n) for n in SIZES], costs)
