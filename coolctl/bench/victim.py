"""Records as fast as it can and acknowledges each tick on standard output: `python -m coolctl.bench.victim FOLDER`."""

from __future__ import annotations

import os
import sys

import numpy as np

from coolctl.edge.recorder import Recorder

COLUMNS = 400


def main(argv: list[str]) -> int:
    recorder = Recorder(argv[0], "victim", [f"c{k}" for k in range(COLUMNS)], {})
    rng = np.random.default_rng(os.getpid())
    k = 0
    while not recorder.failed:
        row = np.round(rng.uniform(0.0, 30.0, COLUMNS), 2)
        row[0] = float(k)
        recorder.append(row)
        if not recorder.failed:
            os.write(1, b".\n")
        k += 1
    print(recorder.failed, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
