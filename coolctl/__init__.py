"""coolctl: AI-driven cooling control for data centres.

`load_site`, `Controller` and `evaluate` are the library surface; everything else may move.
"""

from __future__ import annotations

import os

# onnxruntime's Linux wheels phone home unless told otherwise before the first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# One control thread per site: a second BLAS or OpenMP thread only adds jitter.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

__version__ = "0.1.0"
__all__ = ["Controller", "evaluate", "load_site"]


def __getattr__(name: str) -> object:
    # Late imports: `coolctl --help` and the page process must not pay for numba and onnxruntime.
    if name == "load_site":
        from coolctl.site import load_site

        return load_site
    if name == "Controller":
        from coolctl.controller import Controller

        return Controller
    if name == "evaluate":
        from coolctl.savings.evaluate import evaluate

        return evaluate
    raise AttributeError(f"module 'coolctl' has no attribute {name!r}")
