"""Weather and load across the boundaries between plates alone, plates with chillers, and chillers alone."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import numpy as np
import pytest

from coolctl.controller import Controller
from coolctl.points import U_CHILLERS, U_CHWST, U_ECONOMIZER
from coolctl.site import Site
from sim_plant.load import Load
from sim_plant.plant import SimPlant
from sim_plant.weather import Weather

HALF_SWEEP_S, FOLLOWING_S = 7200.0, 600
SETTLING_S = 2400  # what the start leaves running is held by its dwell for half an hour


class Sweep(Weather):
    """Wet bulb down and up by 3 K around a middle, 3 K/h."""

    def __init__(self, middle_c: float, pressure_pa: float):
        self.name, self.middle_c, self.station_pa = "sweep", middle_c, pressure_pa

    def at(self, t_s: float) -> tuple[float, float, float]:
        wetbulb_c = self.middle_c + 3.0 * (4.0 * abs(t_s / (2.0 * HALF_SWEEP_S) % 1.0 - 0.5) - 1.0)
        return wetbulb_c + 4.0, wetbulb_c, self.station_pa


@pytest.mark.parametrize(
    ("middle_c", "plates"),
    [pytest.param(12.0, 0.75, marks=pytest.mark.nightly), (16.0, 1.0), pytest.param(19.0, 1.0, marks=pytest.mark.nightly)],
)
def test_machines_change_by_what_they_can_carry(site: Site, policy: object, middle_c: float, plates: float) -> None:
    """Three crossings with load steps of a fifth, one with fouled plates: few changes, cold water, nobody too warm.

    Water is judged against the warmest setpoint of the last ten minutes: a loop cannot follow a setpoint that falls.
    """
    load = Load("steps", 1800.0 * np.arange(24), np.resize([0.60, 0.72, 0.60, 0.48], 24))
    plant = SimPlant(site, Sweep(middle_c, site.pressure_pa), load)
    readings = plant.reset(1)
    plant._p = plant._p._replace(hx_ua=plates * plant._p.hx_ua)
    controller = Controller(site, policy, "auto")  # type: ignore[arg-type]
    machines: list[tuple[float, float]] = []
    asked_c: deque[float] = deque(maxlen=FOLLOWING_S)
    warm_k = hottest_c = 0.0
    for k in range(int(3 * HALF_SWEEP_S)):
        decision = controller.tick(readings, float(k))
        readings = plant.step(decision.setpoints, 1.0)  # type: ignore[assignment]
        asked_c.append(decision.u[U_CHWST])
        if k > SETTLING_S:
            machines.append((decision.u[U_CHILLERS], decision.u[U_ECONOMIZER]))
            warm_k = max(warm_k, readings["chwst"] - max(asked_c))
            hottest_c = max(hottest_c, float(plant.truth.rack_inlet_c.max()))
    changes = sum(a != b for a, b in pairwise(machines))
    assert 1 <= changes <= 2 * 3, f"{changes} changes in three crossings"
    assert warm_k <= 1.5 and hottest_c <= 26.0
