"""Metrics as text: names are written once, a scrape only writes numbers beside them.

Thousands of series are the bulk of a scrape, and the library builds a family, a sample and a line for each of them anew; of
the rest it writes every line's names and labels anew. What comes out is byte for byte what the library writes for the same
families (see tests/test_metrics_text.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

F64 = NDArray[np.float64]

CODES = {code: repr(float(code)) for code in range(-128, 128)}
PLAIN_BELOW = 1e6  # from here on the library writes numbers with an exponent
FAMILIES = (
    ("coolctl_point_value", "last good value, NaN when not usable"),
    ("coolctl_point_age_seconds", "since the last message"),
    ("coolctl_point_quality_code", "1 = good"),
)


class _One:
    """A registry of one family, for the library to write."""

    def __init__(self, family: Metric):
        self._family = family

    def collect(self) -> Iterable[Metric]:
        """That family."""
        return (self._family,)


class FamiliesText:
    """Text of families whose names and labels come again from scrape to scrape: the library writes each of them once."""

    def __init__(self) -> None:
        self._heads: dict[str, str] = {}
        self._prefixes: dict[tuple[str, ...], str] = {}

    def render(self, families: Iterable[Metric]) -> str:
        """All of them. A family has the same labels each time; samples have no time of their own."""
        parts: list[str] = []
        for family in families:
            parts.append(self._heads.get(family.name) or self._head(family))
            for sample in family.samples:
                prefix = self._prefixes.get((sample.name, *sample.labels.values())) or self._prefix(family, sample)
                parts.append(f"{prefix}{floatToGoString(sample.value)}\n")
        return "".join(parts)

    def _head(self, family: Metric) -> str:
        bare = copy(family)
        bare.samples = []
        text = self._heads[family.name] = generate_latest(_One(bare)).decode()
        return text

    def _prefix(self, family: Metric, sample: Sample) -> str:
        alone = copy(family)
        alone.samples = [sample._replace(value=0.0)]
        line = generate_latest(_One(alone)).decode().splitlines()[-1]
        prefix = self._prefixes[(sample.name, *sample.labels.values())] = line.removesuffix("0.0")
        return prefix


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

    def render(self, values: F64, ages_s: F64, qualities: NDArray[np.int8]) -> str:
        """The three families."""
        parts: list[str] = []
        columns: tuple[Any, ...] = (values, ages_s, qualities)
        for (name, text), prefixes, column in zip(FAMILIES, (self._values, self._ages, self._qualities), columns, strict=True):
            parts.append(f"# HELP {name} {text}\n# TYPE {name} gauge\n")
            parts += [f"{prefix}{number}\n" for prefix, number in zip(prefixes, numbers(column), strict=True)]
        return "".join(parts)


def numbers(column: NDArray[np.float64] | NDArray[np.int8]) -> Iterable[str]:
    """The column's numbers as the exposition format writes them."""
    if column.dtype == np.int8:
        return map(CODES.__getitem__, column.tolist())
    unknown = np.isnan(column)
    if not bool((unknown | (np.abs(column) < PLAIN_BELOW)).all()):
        return map(floatToGoString, column.tolist())
    texts = [*map(repr, column.tolist())]
    for i in np.flatnonzero(unknown).tolist():
        texts[i] = "NaN"  # as the library writes it
    return texts


def escaped(label: str) -> str:
    """A label's value inside its quotes."""
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
