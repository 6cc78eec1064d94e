"""What an estimator works on: equal steps of time with energy, load, weather and the arm that was assigned to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
BASELINE, AI, NO_ARM = 0.0, 1.0, -1.0


class Series(NamedTuple):
    """Arrays of one length, a step each; NaN = not measured.

    `block` and `pair` are numbers of the schedule (-1 = none), `arm` is the one assigned (1 = policy, 0 = baseline, -1 =
    none), `into_h` the hours since the block began.
    """

    step_h: float
    energy_kwh: F64
    it_kwh: F64
    oawb_c: F64
    block: F64
    pair: F64
    arm: F64
    into_h: F64


class Pairs(NamedTuple):
    """Matched blocks: one of each arm at the same clock hours of neighbouring days, a pair each.

    Energies [kWh] are of the hours counted, `expected_*` what the normalising model gives for the same hours.
    """

    ai_kwh: F64
    baseline_kwh: F64
    expected_ai_kwh: F64
    expected_baseline_kwh: F64
    number: F64
    left_out: int

    @property
    def size(self) -> int:
        return len(self.ai_kwh)
