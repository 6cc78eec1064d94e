"""What the shield is told of a tick: measured or computed without the policy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate

F64 = NDArray[np.float64]


class Context(NamedTuple):
    """What the shield is told beside the wish: all of it measured or computed without the policy.

    `own_u` has what the plant keeps for itself, as it is now; NaN where the shield decides.
    """

    est: Estimate
    demand_speed: F64
    baseline_u: F64
    bounded: bool
    emergency: bool
    mode_changed: bool
    confirmed: bool
    chwst_cap_c: float
    chwst_cap_name: str
    ride_through_s: float
    available: float
    own_u: F64
