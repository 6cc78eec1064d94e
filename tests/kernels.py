"""What the kernel tests share: every kernel of a module, and compiled against plain over drawn arguments."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from coolctl import jit

Ranges = Mapping[str, tuple[tuple[float, float], ...]]
DRAWS = 200


def kernels_of(module: ModuleType) -> dict[str, Any]:
    """The kernels that `module` itself defines, by name; works with the compiler switched off too."""
    return {k.__name__: k for k in jit.KERNELS if k.__module__ == module.__name__}


def assert_compiled_equals_plain(kernel: Callable[..., float], ranges: tuple[tuple[float, float], ...]) -> None:
    """Same numbers from both over drawn arguments, and NaN in both or none for each argument unknown."""
    plain = getattr(kernel, "py_func", kernel)
    rng = random.Random(5)
    draws = [[rng.uniform(*r) for r in ranges] for _ in range(DRAWS)]
    draws += [[math.nan if i == k else 0.5 * sum(r) for i, r in enumerate(ranges)] for k in range(len(ranges))]
    for args in draws:
        got, expected = kernel(*args), plain(*args)
        # The compiler may contract within strict IEEE rules: a few units in the last place, more near a cancellation.
        assert math.isclose(got, expected, rel_tol=1e-11, abs_tol=1e-12) or (got != got and expected != expected), args
