"""Loads that come and go within minutes: racks stay at their limit while they follow, not above it."""

from __future__ import annotations

import numpy as np
import pytest

from coolctl.controller import Controller
from coolctl.site import Site
from sim_plant.load import Load
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

LOW, HIGH, HOLD_S, RAMP_S = 0.5, 0.8, 1200.0, 120.0
STEP_S, SETTLE_S, HOURS = 5.0, 3600.0, 3.0
LIMIT_C, OVER_MAX_KMIN = 25.0, 0.1


def swinging() -> Load:
    """Jobs that begin and end: held low, up within two minutes, held high, down as fast."""
    period_s = 2.0 * (HOLD_S + RAMP_S)
    starts = np.arange(0.0, HOURS * 3600.0, period_s)
    t_s = (starts[:, None] + np.array([0.0, HOLD_S, HOLD_S + RAMP_S, 2.0 * HOLD_S + RAMP_S])).ravel()
    return Load("swinging", t_s, np.tile([LOW, LOW, HIGH, HIGH], len(starts)))


@pytest.mark.parametrize("start", ["10-01T03", "07-15T06"])
def test_racks_are_not_taken_for_cool_while_they_warm(site: Site, policy: object, start: str) -> None:
    """A rack behind a rising load looks as if it had something in hand; supply air that is warmed for it overshoots."""
    cold = site.at_limit(LIMIT_C)
    plant = SimPlant(cold, from_statistics("CHN_Guiyang").starting(start), swinging(), coarse=True)
    controller = Controller(cold, policy, "auto")  # type: ignore[arg-type]
    readings, over_kmin = plant.reset(1), 0.0
    for k in range(int(HOURS * 3600.0 / STEP_S)):
        found = plant.step(controller.tick(readings, k * STEP_S).setpoints, STEP_S)
        assert found is not None
        readings = found
        if k * STEP_S >= SETTLE_S:
            over_kmin += max(float(plant.truth.rack_inlet_c.max()) - LIMIT_C, 0.0) * STEP_S / 60.0
    print(f"{start}: {over_kmin:.2f} K·min above the limit")
    assert over_kmin <= OVER_MAX_KMIN
