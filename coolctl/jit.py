"""The decorators for compiled kernels, and the cache folder that keeps them honest.

Numba's own cache keeps STALE machine code when a callee in another file changes, so the cache folder is
keyed by a hash of every source file of the package. Numba reads `NUMBA_CACHE_DIR` when it is first imported,
so this module must be imported before any other that imports numba; `kernel` and `fused_kernel` are the only ways in.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def source_hash() -> str:
    """Hash of every source file of the package and the plant."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent
    folders = [root, root.parent / "sim_plant"]
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> Path:
    base = os.environ.get("COOLCTL_CACHE_DIR") or os.environ.get("CACHE_DIRECTORY") or os.environ.get("XDG_CACHE_HOME")
    root = Path(base) if base else Path.home() / ".cache"
    return root / "coolctl" / source_hash()


if "NUMBA_CACHE_DIR" not in os.environ:
    folder = _cache_folder()
    try:
        # Numba's cache index is a pickle: the folder must be private to this user.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.environ["NUMBA_CACHE_DIR"] = str(folder)
    except OSError:
        pass  # A read-only home only costs the compile time at each start.


def _load_numba() -> None:
    """Numba without scipy, in which it would look for a BLAS: no kernel multiplies matrices, and a daemon would carry the 13 MB
    of it wherever scipy is installed for reports."""
    there = "scipy" in sys.modules
    if not there:
        sys.modules["scipy"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("numba")
        importlib.import_module("numba.np.arraymath")
    except ModuleNotFoundError:
        pass  # another numba: then it looks when it compiles
    finally:
        if not there:
            del sys.modules["scipy"]


_load_numba()

import numba  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

KERNELS: list[Any] = []
"""Every kernel of the process, so that a test can assert one signature each and the daemon can freeze them."""
_frozen = False


def kernel(function: F) -> F:
    """Compile `function` for the control path: strict IEEE (NaN survives), cached, releasing the GIL.

    Nothing calls a kernel from C, so none gets the wrapper for that: it would only take time to compile.
    """
    return _compiled(function, False)


def fused_kernel(function: F) -> F:
    """As `kernel`, `a*b + c` rounded once where the processor can: for what advises people, never for what a tick decides."""
    return _compiled(function, {"contract", "nsz"})


def _compiled(function: F, fastmath: Any) -> F:
    options: dict[str, Any] = {"cache": "NUMBA_CACHE_DIR" in os.environ, "nogil": True, "error_model": "numpy"}
    compiled = numba.njit(**options, no_cfunc_wrapper=True, fastmath=fastmath)(function)  # type: ignore[call-overload]
    KERNELS.append(compiled)
    return compiled  # type: ignore[no-any-return]


class Parameters:
    """Beside a named tuple of floats, nested or not: the same as one flat row.

    Into a kernel a tuple goes field by field, at a tenth of a microsecond each; its row goes in as one pointer.
    """

    @cached_property
    def row(self) -> NDArray[np.float64]:
        """The fields in order, those of nested tuples in their places; made once and not to be written to."""
        return np.array(list(_flat(self)))


def _flat(values: Any) -> Iterator[float]:
    for value in values:
        yield from _flat(value) if isinstance(value, tuple) else (float(value),)


def freeze() -> None:
    """Forbid further compilation: from here on a new signature is an error, not a 0.5 s stall inside a tick."""
    global _frozen
    _frozen = True
    for compiled in KERNELS:
        if getattr(compiled, "signatures", None):
            compiled.disable_compile()


def signature_count() -> int:
    """How many specialisations are compiled in all; constant after warm-up (invariant I-22)."""
    return sum(len(getattr(compiled, "overloads", ())) for compiled in KERNELS)


def signatures_when_ready() -> int | None:
    """As `signature_count` once compiling is forbidden; before that it may grow, and nothing is said."""
    return signature_count() if _frozen else None
