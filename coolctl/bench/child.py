"""The process of one row: `python -m coolctl.bench.child P1` writes rows and curves as lines of JSON."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator

from coolctl.bench.rows import Curve, Row
from coolctl.bench.runner import CURVE, ROW
from coolctl.bench.table import MODULES

Measure = Callable[[], Iterator[Row | Curve]]


def measure(id: str) -> Iterator[Row | Curve]:
    """The rows of `id`."""
    module = importlib.import_module(f"coolctl.bench.{MODULES[id]}")
    return getattr(module, id.lower())()  # type: ignore[no-any-return]


def main(argv: list[str]) -> int:
    # So that every `finally` on the way closes what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for item in measure(argv[0]):
        print(json.dumps({ROW if isinstance(item, Row) else CURVE: item.as_dict()}, allow_nan=False), flush=True)
    return 0


if __name__ == "__main__":
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    sys.exit(main(sys.argv[1:]))
