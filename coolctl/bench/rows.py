"""A row of the table: what was measured, the target, the reference, or why it was not run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from coolctl.bench.pairs import Pairs

MEASURED, NOT_RUN = "measured", "not run"


@dataclass(frozen=True)
class Row:
    """One figure. `sense` is the side of the target on which it is met; without a target it stands for information."""

    id: str
    name: str  # stable key of the figure inside its id
    what: str
    value: float | None = None
    unit: str = ""
    target: float | None = None
    sense: str = "≤"
    reference: str = ""
    spread: tuple[float, float] | None = None
    status: str = MEASURED
    why: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or nothing was measured."""
        if self.target is None or self.value is None or self.status != MEASURED:
            return None
        if not math.isfinite(self.value):
            return False
        return self.value <= self.target if self.sense == "≤" else self.value >= self.target

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON holds it: finite numbers or null."""
        data = asdict(self)
        data["value"] = _finite(self.value)
        data["spread"] = [_finite(v) for v in self.spread] if self.spread else None
        data["figures"] = {k: _finite(v) for k, v in self.figures.items()}
        data["target"] = f"{self.sense} {self.target:g}" if self.target is not None else ""
        data["met"] = self.met
        del data["sense"]
        return data


@dataclass(frozen=True)
class Curve:
    """Cost against size, for a plot: one list of costs for each way of doing it."""

    name: str
    x_label: str
    y_label: str
    x: list[float]
    y: dict[str, list[float]]

    def as_dict(self) -> dict[str, Any]:
        """The curve as JSON holds it."""
        return asdict(self)


def _finite(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def ratio_row(
    id: str, name: str, what: str, pairs: Pairs, target: float, sense: str, reference: str, **figures: float
) -> Row:  # fmt: skip
    """The row of a ratio from interleaved runs."""
    spread = (pairs.low, pairs.high)
    more = {"product_s": pairs.a_s, "reference_s": pairs.b_s, "pairs": float(pairs.rounds), **figures}
    return Row(id, name, what, pairs.ratio, "ratio", target, sense, reference, spread, figures=more)


def inverse(pairs: Pairs) -> Pairs:
    """The same pairs as B over A."""
    return pairs._replace(ratio=1.0 / pairs.ratio, low=1.0 / pairs.high, high=1.0 / pairs.low)


def not_run(id: str, name: str, what: str, why: str) -> Row:
    """A row that says why it holds no figure."""
    return Row(id, name, what, status=NOT_RUN, why=why)
