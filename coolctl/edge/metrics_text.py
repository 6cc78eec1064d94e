"""The per-point metrics as text: names are written once, a scrape only writes numbers beside them.

Thousands of series are the bulk of a scrape, and the library builds a family, a sample and a line for each of them anew.
What comes out is byte for byte what the library writes for the same families (see tests/test_metrics_text.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.utils import floatToGoString

F64 = NDArray[np.float64]

PLAIN_BELOW = 1e6  # from here on the library writes numbers with an exponent
FAMILIES = (
    ("coolctl_point_value", "last good value, NaN when not usable"),
    ("coolctl_point_age_seconds", "since the last message"),
    ("coolctl_point_quality_code", "1 = good"),
)


class PointsText:
    """Text of value, age and quality of one site's points."""

    def __init__(self, site: str, points: Sequence[tuple[str, str, str]]):
        """`points` are id, role and unit."""
        self.site, self.points = site, points
        where = f'site="{escaped(site)}"'
        ids = [f'point="{escaped(name)}"' for name, _role, _unit in points]
        more = [f',role="{escaped(role)}",{where},unit="{escaped(unit)}"' for _name, role, unit in points]
        value, age, quality = (name for name, _text in FAMILIES)
        self._values = [f"{value}{{{i}{m}}} " for i, m in zip(ids, more, strict=True)]
        self._ages = [f"{age}{{{i},{where}}} " for i in ids]
        self._qualities = [f"{quality}{{{i},{where}}} " for i in ids]

    def fits(self, site: str, points: Sequence[tuple[str, str, str]]) -> bool:
        """Whether this is the text of `points`; a reload may bring others."""
        return points is self.points and site == self.site

    def render(self, values: F64, ages_s: F64, qualities: NDArray[np.int8]) -> bytes:
        """The three families."""
        parts: list[str] = []
        columns: tuple[Any, ...] = (values, ages_s, qualities)
        for (name, text), prefixes, column in zip(FAMILIES, (self._values, self._ages, self._qualities), columns, strict=True):
            parts.append(f"# HELP {name} {text}\n# TYPE {name} gauge\n")
            parts += [f"{prefix}{number}\n" for prefix, number in zip(prefixes, numbers(column), strict=True)]
        return "".join(parts).encode()


def numbers(column: NDArray[np.float64] | NDArray[np.int8]) -> Iterable[str]:
    """The column's numbers as the exposition format writes them."""
    wide = column.astype(np.float64)
    if bool((np.abs(wide) < PLAIN_BELOW).all()):  # false with a NaN among them
        return map(repr, wide.tolist())
    return map(floatToGoString, wide.tolist())


def escaped(label: str) -> str:
    """A label's value inside its quotes."""
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
