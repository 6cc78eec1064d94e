"""The plant's step without the compiler, racks as NumPy arrays: `python -m coolctl.bench.plain RACKS`, asked over a pipe.

Started with NUMBA_DISABLE_JIT=1. Each line is a number of steps, answered by the seconds that they took, or `state`.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from numpy.typing import NDArray

from sim_plant import physics

F64 = NDArray[np.float64]


def racks(inlet_c: F64, supplied_c: float, cold_c: float, hot_c: float, gain: F64, offset_k: F64, moved_ratio: float) -> None:
    """As `sim_plant.room.racks`, all racks at once."""
    own_c = np.minimum(supplied_c + gain * (cold_c - supplied_c), max(hot_c, cold_c))
    inlet_c += (own_c + offset_k - inlet_c) * moved_ratio


def main(argv: list[str]) -> int:
    from coolctl.bench.model import product, scene

    physics.racks = racks  # type: ignore[assignment]
    sc = scene(int(argv[0]))
    for line in sys.stdin:
        word = line.strip()
        if word == "state":
            print(json.dumps(sc.state().tolist()), flush=True)
            continue
        begun = time.thread_time()
        product(sc, int(word))
        print(time.thread_time() - begun, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
