"""How far the expert is from brute force: many random starts for every choice of machines, the same cost.

    python -m tools.expert_regret --site config/sites/hall1mw.toml --states 200 --starts 40

Prints mean, median, 99th percentile and worst excess of the expert's cost over the cheapest point found by either.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from coolctl.control.objective import Z_CWST, Z_HALL
from coolctl.control.refine import descend, first_steps
from coolctl.site import load_site
from coolctl.thermal.plant import W_OAWB
from coolctl.training.expert import Conditions, Expert

SWEEPS, SEED = 60, 5


def brute_force_w(expert: Expert, c: Conditions, starts: int, rng: np.random.Generator) -> float:
    """Cheapest cost [W] over all machine choices, each descended from `starts` random points."""
    lim, (lo, hi) = expert.limits(c), expert.bounds(c)
    free, step, best = np.full(len(expert._u), np.nan), np.empty(len(lo)), np.inf
    for economizer in range(2 if c.p.economizer.present > 0.5 else 1):
        for chillers in range(int(c.available) + 1):
            for _ in range(starts if chillers or economizer else 0):
                z = start(c, lo, hi, rng)
                first_steps(step, 1.0)
                n, e, u, out = float(chillers), float(economizer), expert._u, expert._out
                best = min(best, descend(z, n, e, free, c.w, c.halls, c.p.row, lim.row, lo, hi, SWEEPS, step, u, out))
    return float(best)


def start(c: Conditions, lo: NDArray[np.float64], hi: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A random point; tower water and air are drawn where optima can be."""
    z = rng.uniform(lo, hi)
    z[Z_CWST] = c.w[W_OAWB] + rng.uniform(1.0, 12.0)
    z[Z_HALL::2] = c.limit_c - rng.uniform(0.5, 5.0, len(c.halls))
    z[Z_HALL + 1 :: 2] = rng.uniform(0.95, 1.3, len(c.halls))
    return z


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--states", type=int, default=200)
    parser.add_argument("--starts", type=int, default=40)
    args = parser.parse_args()
    expert, rng, excess = Expert(load_site(args.site)), np.random.default_rng(SEED), []
    for _ in range(args.states):
        c = expert.draw(rng)
        mine = expert.solve(c)
        if mine is not None:
            excess.append(mine.cost_w / min(brute_force_w(expert, c, args.starts, rng), mine.cost_w) - 1.0)
    found = 100.0 * np.array(excess)
    p99 = np.quantile(found, 0.99)
    print(f"{len(found)} of {args.states} states feasible: mean {found.mean():.3f} %, median {np.median(found):.3f} %, "
          f"p99 {p99:.2f} %, worst {found.max():.2f} %")  # fmt: skip


if __name__ == "__main__":
    main()
