"""What rules or policy would see if they were in charge.

Rules work by feedback: a valve wide open asks for colder water, a rack near its limit for colder air. While somebody else
drives the plant, that feedback is of somebody else's setpoints: answered in vain it winds a reset up to its end within the
hour. The rules would then take over with the coldest water that there is, and their power, shown as what was saved against,
would be that of setpoints which they would never have come to. So they are shown the calibrated model at their own setpoints,
under the weather and load that are measured, until the plant is theirs.

The shield of a controller that only watches asks the same question. Seen from a plant that its own control keeps cold, nearly
every setpoint of the policy is a leap that it would forbid; its steps from where it would have been are what it is asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.jit import kernel
from coolctl.points import U_CHILLERS, U_CHW_DP, U_CHWST, U_ECONOMIZER, U_HALL
from coolctl.thermal import room
from coolctl.thermal.air import hall_air
from coolctl.thermal.plant import (
    O_CHW_FLOW,
    O_CHWRT,
    O_CHWST,
    O_CWRT,
    O_CWST,
    O_TOWER_SPEED,
    OUTPUTS,
    W_HALL,
    W_PRESSURE,
    PlantParams,
    evaluate_plant,
    plant_of,
)

F64 = NDArray[np.float64]

WATER = {"chwst": O_CHWST, "chwrt": O_CHWRT, "chw_flow": O_CHW_FLOW, "cwst": O_CWST, "cwrt": O_CWRT, "tower_speed": O_TOWER_SPEED}


@kernel
def halls_at(u: F64, w: F64, halls: F64, plant: F64, bias_k: F64, inlet_mean_c: F64, inlet_max_c: F64, valve: F64) -> None:
    """Mean and hottest inlet [°C], this with `bias_k` on the model's, and widest valve [ratio] of every hall at `u` under `w`."""
    p = plant_of(plant)
    open_ratio = (u[U_CHW_DP] / p.chw_pump.head_static_pa) ** 0.5
    for h in range(halls.shape[0]):
        hall = room.hall_params(halls[h])
        sat_c, speed = u[U_HALL + 2 * h], u[U_HALL + 2 * h + 1]
        a = hall_air(u[U_CHWST], sat_c, speed, w[W_HALL + h], w[W_PRESSURE], open_ratio, hall)
        inlet_mean_c[h], inlet_max_c[h] = a.inlet_c, a.hottest_c + bias_k[h]
        valve[h] = min(a.weakest_water_ratio / open_ratio, 1.0)


class OwnView:
    """For one site; arrays are made once."""

    def __init__(self, halls: int):
        self._inlet_mean_c, self._inlet_max_c, self._valve = np.zeros(halls), np.zeros(halls), np.zeros(halls)
        self._out = np.zeros(len(OUTPUTS))
        self.there: Estimate | None = None

    def see(self, est: Estimate, u: F64, halls: F64, p: PlantParams, bias_k: F64) -> Estimate:
        """`est` with the plant as the model has it at one's own setpoints `u`; `bias_k` [K] is each hall's measured
        hottest inlet over the model's. What the model does not know is as it is measured."""
        evaluate_plant(u, est.w, halls, p.row, self._out)
        halls_at(u, est.w, halls, p.row, bias_k, self._inlet_mean_c, self._inlet_max_c, self._valve)
        plant = est.plant | {role: float(self._out[k]) for role, k in WATER.items()}
        plant |= {"chillers_on": float(u[U_CHILLERS]), "economizer_on": float(u[U_ECONOMIZER]), "chw_dp": float(u[U_CHW_DP])}
        return est._replace(
            inlet_mean_c=self._inlet_mean_c.copy(), inlet_max_c=self._inlet_max_c.copy(), valve=self._valve.copy(),
            sat_c=u[U_HALL::2].copy(), fan_speed=u[U_HALL + 1 :: 2].copy(), plant=plant,
            hottest_c=float(self._inlet_max_c.max()),
        )  # fmt: skip

    def follow(
        self, watching: bool, est: Estimate, last: F64 | None, wish: F64, halls: F64, p: PlantParams, bias_k: F64
    ) -> Estimate:  # fmt: skip
        """Where a controller that only watches would be by now, kept in `there`: at `last`, what it would have published last,
        with the fans of its `wish`, which follow a load within seconds; the model's racks do not wait for them. `est` itself
        for one that is in charge."""
        self.there = None
        if watching and last is not None:
            u = last.copy()
            u[U_HALL + 1 :: 2] = wish[U_HALL + 1 :: 2]
            self.there = self.see(est, u, halls, p, bias_k)
        return self.there or est
