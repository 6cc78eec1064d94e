"""P2 and P3: roll-outs of many candidates over many steps, which the product does not make yet.

Its plan weighs candidates by the steady model (`thermal.plant.evaluate_plant`) and looks ahead with one roll-out of one
candidate (`thermal.dynamics.ride_through_s`); nothing would use K candidates x H steps.
"""

from __future__ import annotations

from collections.abc import Iterator

from coolctl.bench.rows import Row, missing

WHY = "candidates are weighed by the steady model; the only roll-out is one candidate's ride-through (thermal/dynamics.py)"


def p2() -> Iterator[Row]:
    """Rows of P2."""
    yield missing("P2", "rollout", "roll-out of K candidates over H steps against C", WHY)


def p3() -> Iterator[Row]:
    """Rows of P3."""
    yield missing("P3", "candidates", "256 candidates x 60 steps, one core and two threads", WHY)
