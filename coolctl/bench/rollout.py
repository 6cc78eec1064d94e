"""P2 and P3: roll-outs of many candidates beside the same equations in C, candidates a second, and what threads bring.

Candidates are what `coolctl.outlook` rolls out: failures on plants that the true one might be. A hall stands for 32 racks.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.bench.model import difference
from coolctl.bench.native import FAST, STRICT, NoTwin, Twin, compilers, twin
from coolctl.bench.pairs import interleave
from coolctl.bench.rows import Curve, Row, inverse, not_run, ratio_row
from coolctl.bench.sites import default_site
from coolctl.thermal import rollout as r
from coolctl.thermal.lanes import LANES
from coolctl.thermal.params import hall_array

F64 = NDArray[np.float64]

CANDIDATES, STEPS, STEP_S, RACKS_A_HALL = 256, 60, 10.0, 32
PRESSURE_PA, FIRST_C, SECOND_C = 88e3, 27.0, 32.0
ROUNDS, TRIALS = 25, 5
SIDE_BY_SIDE = (1, 16, 32)
HALL = {
    "sat_c": 22.0, "fan": 0.7, "mass_c": 34.0, "structure_c": 32.0, "inlet_c": 22.5, "hottest_c": 23.5, "it_now_w": 6e5,
    "coldest_c": 21.0, "it_w": 6e5, "sat_sp_c": 22.0, "sat_own_c": 22.0, "fan_sp": 0.7, "fan_own": 0.8, "crah_share": 1.0,
    "coil": 1.0, "hot_k": 0.5, "valve": 1.0, "mass_jk": 2.2e7, "sat_min_c": 16.0,
}  # fmt: skip
PLANT = {
    "supply_c": 14.0, "return_c": 20.0, "open": 0.6, "open_max": 1.0, "chwst_sp_c": 14.0, "chwst_own_c": 12.0, "later_s": 420.0,
    "cwst_c": 18.0, "lost_s": 1e9,
}  # fmt: skip
A_HALL = {"able_w": 4e5, "able_later_w": 7e5, "plates_wk": 2e4, "supply_jk": 1.1e8, "return_jk": 2.5e7}


class Scene(NamedTuple):
    """Rows of the candidates (halls, rows, candidates) and (rows, candidates), and the halls' parameters."""

    hall: F64
    plant: F64
    halls: F64

    def side_by_side(self, lanes: int) -> tuple[F64, F64]:
        """The rows as a roll-out of `lanes` candidates at a time takes them."""
        groups, count = CANDIDATES // lanes, len(self.halls)
        hall = self.hall.reshape(count, -1, groups, lanes).transpose(2, 0, 1, 3)
        plant = self.plant.reshape(-1, groups, lanes).transpose(1, 0, 2)
        return hall.reshape(groups, count, -1).copy(), plant.reshape(groups, -1).copy()


def scene(halls: int) -> Scene:
    """`CANDIDATES` that differ in load, machines, coils and who is in charge, for `halls` halls like the default site's."""
    rng = np.random.default_rng(7)
    hall, plant = np.zeros((halls, len(r.HALL_ROWS), CANDIDATES)), np.zeros((len(r.PLANT_ROWS), CANDIDATES))
    for name, value in HALL.items():
        hall[:, r.HALL_ROWS.index(name)] = value
    for name, value in (PLANT | {n: v * halls for n, v in A_HALL.items()}).items():
        plant[r.PLANT_ROWS.index(name)] = value
    for name, low, high in (("it_w", 0.5, 1.6), ("coil", 0.7, 1.2), ("crah_share", 0.9, 1.0), ("fan_sp", 0.8, 1.3)):
        hall[:, r.HALL_ROWS.index(name)] *= rng.uniform(low, high, (halls, CANDIDATES))
    plant[r.PLANT_ROWS.index("able_w")] *= rng.uniform(0.0, 1.5, CANDIDATES)
    plant[r.PLANT_ROWS.index("lost_s"), ::4] = 17.0
    plant[r.PLANT_ROWS.index("open_max"), ::16] = plant[r.PLANT_ROWS.index("open"), ::16] = 0.0
    return Scene(hall, plant, np.repeat(hall_array(default_site()), halls, axis=0))


def by_candidate(found: F64, lanes: int) -> F64:
    """Results (groups, rows * lanes) as (rows, candidates)."""
    return found.reshape(-1, len(r.RESULTS), lanes).transpose(1, 0, 2).reshape(len(r.RESULTS), -1)


def product(sc: Scene, pool: ThreadPoolExecutor | None = None, threads: int = 1) -> tuple[Callable[[], None], F64]:
    """The product's roll-out of a scene, split over `threads` of the pool if there is one; where it leaves its results."""
    hall, plant = sc.side_by_side(LANES)
    groups = len(hall)
    found = np.zeros((groups, len(r.RESULTS) * LANES))

    def part(begin: int, end: int) -> None:
        r.roll_out(hall, plant, begin, end, STEPS, STEP_S, PRESSURE_PA, sc.halls, FIRST_C, SECOND_C, found)

    if pool is None:
        return lambda: part(0, groups), found
    cuts = [groups * k // threads for k in range(threads + 1)]

    def split() -> None:
        for _done in pool.map(part, cuts[:-1], cuts[1:]):
            pass

    return split, found


def in_c(made: Twin, sc: Scene, lanes: int) -> tuple[Callable[[], None], F64]:
    """The same by the twin. Raises `NoTwin` where its hall is another."""
    if made.library.hall_doubles() != sc.halls.shape[1]:
        raise NoTwin("the roll-out's hall in C is not the model's: change rollout.c with it")
    hall, plant = sc.side_by_side(lanes)
    found, scratch = np.zeros((len(hall), len(r.RESULTS) * lanes)), (np.empty_like(hall[0]), np.empty_like(plant[0]))

    def at(a: F64) -> ctypes.c_void_p:
        return a.ctypes.data_as(ctypes.c_void_p)

    arguments = (
        at(hall), at(plant), ctypes.c_long(0), ctypes.c_long(len(hall)), ctypes.c_long(STEPS), ctypes.c_double(STEP_S),
        ctypes.c_double(PRESSURE_PA), at(sc.halls), ctypes.c_long(len(sc.halls)), ctypes.c_double(FIRST_C),
        ctypes.c_double(SECOND_C), at(found), at(scratch[0]), at(scratch[1]),
    )  # fmt: skip

    def run() -> None:
        made.library.roll_out(*arguments)
        assert len(hall) and len(plant) and scratch  # the pointers above live as long as these arrays

    return run, found


def twins() -> Iterator[tuple[Twin, int, bool]]:
    """Every way to compile the twin here: compiler, candidates side by side, strictly or not. Raises `NoTwin`."""
    for compiler in compilers():
        for strict in (True, False):
            for lanes in SIDE_BY_SIDE:
                flags = (*(STRICT if strict else FAST), f"-DLANES={lanes}")
                yield twin(compiler, flags, "rollout.c"), lanes, strict


def _seconds(one: Callable[[], object]) -> float:
    """The quickest of some runs [s], processor time."""
    one()
    times = []
    for _ in range(TRIALS):
        begun = time.thread_time()
        one()
        times.append(time.thread_time() - begun)
    return min(times)


def p2() -> Iterator[Row | Curve]:
    """Rows of P2."""
    sc = scene(8)
    what = f"roll-out of {CANDIDATES} candidates over {STEPS} steps, {RACKS_A_HALL * len(sc.halls)} racks"
    mine, mine_found = product(sc)
    try:
        ways = [(*in_c(made, sc, lanes), made, lanes, strict) for made, lanes, strict in twins()]
        if not ways:
            raise NoTwin("no C compiler on this machine")
    except NoTwin as why:
        yield not_run("P2", "best", f"{what}, over the best of C", str(why))
        return
    took = [_seconds(run) for run, *_rest in ways]
    mine()
    best = ways[int(np.argmin(took))]
    scalar = next(way for way in ways if way[3] == 1 and way[4])
    figures = {f"ms_{m.compiler.split()[0]}_{n}_{'strict' if s else 'fast'}": 1e3 * t
               for (_run, _found, m, n, s), t in zip(ways, took, strict=True)}  # fmt: skip
    pairs = interleave(mine, best[0], ROUNDS)
    yield ratio_row("P2", "best", f"{what}, over the best of C", pairs, 1.25, "≤", best[2].compiler, **figures)
    pairs = interleave(mine, scalar[0], ROUNDS)
    yield ratio_row("P2", "scalar", f"{what}, over C one at a time", pairs, 0.4, "≤", scalar[2].compiler)
    same = next(way for way in ways if way[3] == LANES and way[4])
    apart = difference(by_candidate(mine_found, LANES), by_candidate(same[1], LANES))
    yield Row("P2", "equal", "what candidates come to, product against C, largest difference", apart, "relative", 1e-9,
              reference=same[2].compiler)  # fmt: skip


def p3() -> Iterator[Row | Curve]:
    """Rows of P3."""
    sizes, costs = (1, 8, 32), []
    for halls in sizes:
        costs.append(1e3 * _seconds(product(scene(halls))[0]))
    for halls, cost, target in zip(sizes[1:], costs[1:], (10.0, 40.0), strict=True):
        what = f"{CANDIDATES} candidates x {STEPS} steps, {RACKS_A_HALL * halls} racks in {halls} halls, one core"
        yield Row("P3", f"one_core_{RACKS_A_HALL * halls}", what, cost, "ms", target)
    yield Curve("rollout", "racks", "ms", [float(RACKS_A_HALL * n) for n in sizes], {"256 candidates x 60 steps": costs})
    yield from _threads(scene(sizes[-1]))


def _threads(sc: Scene) -> Iterator[Row]:
    one, alone = product(sc)
    with ThreadPoolExecutor(5) as pool:
        what = f"two threads over one, {RACKS_A_HALL * len(sc.halls)} racks, wall time"
        if (os.cpu_count() or 1) > 1:
            two, _found = product(sc, pool, 2)
            pairs = inverse(interleave(two, one, ROUNDS, time.perf_counter))
            yield ratio_row("P3", "two_threads", what, pairs, 1.7, "≥", "one thread")
        else:
            yield not_run("P3", "two_threads", what, "one core")
        one()
        differ = 0
        for threads in (2, 3, 5):
            run, found = product(sc, pool, threads)
            run()
            differ += int(not np.array_equal(found, alone))
    what = "of 2, 3 and 5 threads, numbers whose results are not bit for bit one thread's"
    yield Row("P3", "identical", what, float(differ), "runs", 0.0)
