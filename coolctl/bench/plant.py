"""P14: the simulated plant against real time and EnergyPlus, and a year in closed loop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from coolctl.bench import energyplus
from coolctl.bench.model import product, scene
from coolctl.bench.rows import Curve, Row, not_run
from coolctl.bench.sites import default_site, of_text, with_racks
from coolctl.controller import Controller, RuleController
from coolctl.edge.onnx_policy import load_policy
from coolctl.site import Site
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

LUMPED_STEPS, ROUNDS = 20_000, 9
SENSOR_STEPS = 2_000
DAYS, STEP_S = 2, 60.0
DAY_STEPS = round(86_400.0 / STEP_S)
SEASONS = ("01-15T00", "07-15T00")


def real_time(racks: int) -> tuple[float, float, float]:
    """Plant seconds a second of the bare kernel at 1 s steps: median and quartiles."""
    sc, speeds = scene(racks), []
    product(sc, 100)
    for _ in range(ROUNDS):
        begun = time.thread_time()
        product(sc, LUMPED_STEPS)
        speeds.append(LUMPED_STEPS / (time.thread_time() - begun))
    low, middle, high = np.percentile(speeds, (25, 50, 75))
    return float(middle), float(low), float(high)


def with_sensors(site: Site, steps: int) -> float:
    """Plant seconds a second of the whole plant: BMS, load, weather, sensors with noise, readings; 1 s steps."""
    plant = SimPlant(site, load=synthetic())
    plant.reset(1)
    begun = time.thread_time()
    for _ in range(steps):
        plant.step(None, 1.0)
    return steps / (time.thread_time() - begun)


def year_s(site: Site, name: str, steps: int) -> float:
    """Processor seconds of a year at 60 s steps in closed loop, from days in winter and in summer."""
    total = 0.0
    for start in SEASONS:
        plant = SimPlant(site, from_statistics(site.file.weather.station).starting(start), synthetic(), coarse=True)
        controller: Any = Controller(site, load_policy("default"), "auto") if name == "ai" else RuleController(site, name)
        readings = plant.reset(1)
        begun = 0.0
        for k in range(steps + 10):
            begun = time.thread_time() if k == 10 else begun
            decision = controller.tick(readings, k * STEP_S)
            found = plant.step(getattr(decision, "setpoints", decision), STEP_S)
            assert found is not None
            readings = found
        total += time.thread_time() - begun
    return total / (len(SEASONS) * steps) * 365.0 * DAY_STEPS


def p14() -> Iterator[Row | Curve]:
    """Rows of P14."""
    sizes = (32, 256, 1024)
    speeds = [real_time(n) for n in sizes]
    middle, low, high = speeds[0]
    what = "simulated plant's kernel, 32 racks, 1 s steps"
    yield Row("P14", "lumped", what, middle / 1e6, "M × real time", 1.0, "≥", spread=(low / 1e6, high / 1e6))
    speed = with_sensors(of_text(with_racks(256)), SENSOR_STEPS)
    yield Row("P14", "sensors", "whole simulated plant, 256 racks, all sensors, 1 s steps", speed, "× real time", 2_000.0, "≥")
    yield Curve("plant", "racks", "M × real time", [float(n) for n in sizes], {"kernel": [s[0] / 1e6 for s in speeds]})
    for name, target_s in (("b2", 60.0), ("ai", 300.0)):
        seconds = year_s(default_site(), name, DAYS * DAY_STEPS // 2)
        what = f"a year at 60 s steps in closed loop, {name}, scaled from {DAYS} days, one core"
        yield Row("P14", f"year_{name}", what, seconds, "s", target_s)
    yield _against_energyplus()


def _against_energyplus() -> Row:
    what = "whole simulated plant at 1-minute steps over EnergyPlus, same number of machines: simulated seconds a second"
    try:
        found = energyplus.speed()
    except energyplus.NotHere as why:
        return not_run("P14", "energyplus", what, str(why))
    plant = SimPlant(default_site(), load=synthetic(), coarse=True)
    plant.reset(1)
    begun = time.thread_time()
    for _ in range(DAY_STEPS):
        plant.step(None, STEP_S)
    mine = 86_400.0 / (time.thread_time() - begun)
    figures = {"product_s_per_s": mine, "energyplus_s_per_s": found.seconds_per_s}
    return Row("P14", "energyplus", what, mine / found.seconds_per_s, "ratio", 20.0, "≥", found.version, figures=figures)
