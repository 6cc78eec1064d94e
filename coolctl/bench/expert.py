"""P9: the expert's joint optimum, the policy chain of a tick, and how both grow with the plant."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from coolctl.bench.pairs import growth
from coolctl.bench.rows import Curve, Row, not_run
from coolctl.bench.sites import default_site
from coolctl.bench.tick import ticks
from coolctl.paths import shared_folder
from coolctl.site import Site, load_site
from coolctl.training.expert import Expert

STATES, GROWN_STATES, TICKS = 40, 4, 600
SIZES = (1, 2, 4)
BUDGET_S = 20.0


def grown(expert: Expert, times: int) -> Expert:
    """The same optimiser for a plant of `times` the halls, chillers, cells and pumps."""
    p, e = expert.p, expert.p.economizer
    expert.halls = np.tile(expert.halls, (times, 1))
    expert.it_nom_w = np.tile(expert.it_nom_w, times)
    expert.p = p._replace(
        chillers=p.chillers * times, chillers_redundant=p.chillers_redundant * times, cells=p.cells * times,
        chw_pumps=p.chw_pumps * times, cw_pumps=p.cw_pumps * times, chw_flow_nom_kgs=p.chw_flow_nom_kgs * times,
        loop_volume_m3=p.loop_volume_m3 * times, buffer_m3=p.buffer_m3 * times,
        economizer=e._replace(ua_nom_wk=e.ua_nom_wk * times, flow_nom_kgs=e.flow_nom_kgs * times),
    )  # fmt: skip
    expert._u, expert._out = np.zeros(7 + 2 * len(expert.halls)), expert._out
    return expert


def solve_s(expert: Expert, states: int, seed: int = 9, budget_s: float = BUDGET_S) -> list[float]:
    """Processor seconds of each optimum at drawn conditions; stops when `budget_s` is spent."""
    rng = np.random.default_rng(seed)
    found: list[float] = []
    expert.solve(expert.draw(rng))
    while not found or (len(found) < states and sum(found) < budget_s):
        conditions = expert.draw(rng)
        start = time.thread_time()
        expert.solve(conditions)
        found.append(time.thread_time() - start)
    return found


def p9() -> Iterator[Row | Curve]:
    """Rows of P9."""
    seconds = solve_s(Expert(default_site()), STATES)
    low, middle, high = (1e3 * float(v) for v in np.percentile(seconds, (25, 50, 75)))
    what = f"expert, full joint optimum at 1 MW, median of {len(seconds)} drawn states"
    yield Row("P9", "expert", what, middle, "ms", 30.0, spread=(low, high))
    chain = 1e3 * float(np.median(ticks(default_site(), TICKS).seconds))
    yield Row("P9", "chain", "policy chain at 1 MW: bytes in to decision's bytes out, median", chain, "ms", 2.0)
    costs = []
    for times in SIZES:
        some = solve_s(grown(Expert(default_site()), times), GROWN_STATES, budget_s=BUDGET_S)
        costs.append(1e3 * float(np.median(some)))
    sizes = [float(n) for n in SIZES]
    if costs:
        what = f"growth of the expert's time with plant size, exponent over {sizes[0]:g} … {sizes[-1]:g} MW"
        yield Row("P9", "growth_expert", what, growth(sizes, costs), "exponent", 1.1)
        yield Curve("expert", "MW", "ms an optimum", sizes, {"expert": costs})
    campus = load_site(shared_folder("config") / "sites" / "campus10mw.toml")
    yield from _chain_growth(campus, chain)


def _chain_growth(campus: Site, small_ms: float) -> Iterator[Row | Curve]:
    what = "growth of the policy chain's time from 1 MW to 10 MW, exponent"
    try:
        large_ms = 1e3 * float(np.median(ticks(campus, TICKS).seconds))
    except RuntimeError as why:
        yield not_run("P9", "growth_chain", what, str(why))
        return
    yield Row("P9", "growth_chain", what, growth([1.0, 10.0], [small_ms, large_ms]), "exponent", 1.1,
              figures={"ms_at_1mw": small_ms, "ms_at_10mw": large_ms})  # fmt: skip
    yield Curve("chain", "MW", "ms a tick", [1.0, 10.0], {"policy chain": [small_ms, large_ms]})
