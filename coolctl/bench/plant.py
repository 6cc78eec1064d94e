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
from coolctl.control.fixed_rules import B1
from coolctl.controller import Controller, RuleController
from coolctl.edge.onnx_policy import load_policy
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_HALL, u_size
from coolctl.site import Site
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import O_COOLING, OUTPUTS, W_HALL, evaluate_plant
from coolctl.thermal.room import HallParams
from sim_plant.load import synthetic
from sim_plant.lumped import LumpedPlant, lumped_site
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

LUMPED_STEPS, ROUNDS = 20_000, 9
QUASI_DAYS = 7
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


def real_time_lumped(racks: int) -> tuple[float, float, float]:
    """As `real_time`, of the plant whose halls are one zone each, every rack with a sensor of its own."""
    plant = LumpedPlant(lumped_site(default_site(), racks), load=synthetic(), racks_meant=racks)
    speeds, it_w = [], np.array([6e5])
    for _ in range(ROUNDS + 1):
        begun = time.thread_time()
        plant._integrate(LUMPED_STEPS, it_w, plant.bms.u, float(LUMPED_STEPS))  # the equations without the instruments
        speeds.append(LUMPED_STEPS / (time.thread_time() - begun))
    low, middle, high = np.percentile(speeds[1:], (25, 50, 75))
    return float(middle), float(low), float(high)


def quasi_steady(site: Site) -> tuple[float, float]:
    """Plant seconds a second, and kWh of cooling a day, of the steady equations at fixed setpoints: a step a minute, each with
    the weather and load of its minute, as a building simulation takes it."""
    halls, p = hall_array(site), plant_params(site)
    weather, load = from_statistics(site.file.weather.station).starting(SEASONS[1]), synthetic()
    u, out, w = np.zeros(u_size(len(halls))), np.zeros(len(OUTPUTS)), np.zeros(W_HALL + len(halls))
    u[[U_CHWST, U_CHW_DP, U_CHILLERS, U_CWST, U_CELLS, U_CW_FLOW]] = B1.CHWST_C, B1.DP_PA, 2.0, 22.0, 2.0, 1.0
    u[U_HALL::2], u[U_HALL + 1 :: 2] = B1.SAT_C, 0.8
    nominal_w = halls[:, HallParams._fields.index("it_power_nom_w")].copy()
    joules, begun = 0.0, 0.0
    for k in range(-10, QUASI_DAYS * DAY_STEPS):
        begun = time.thread_time() if k == 0 else begun
        w[:W_HALL] = weather.at(STEP_S * abs(k))
        w[W_HALL:] = load.at(STEP_S * abs(k)) * nominal_w
        evaluate_plant(u, w, halls, p.row, out)
        joules += out[O_COOLING] * STEP_S
    return QUASI_DAYS * 86_400.0 / (time.thread_time() - begun), joules / 3.6e6 / QUASI_DAYS


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
    middle, low, high = real_time_lumped(32)
    what = "simulated plant's lumped form, 32 racks, 1 s steps"
    figures = {"of_all_masses_m": speeds[0][0] / 1e6}
    yield Row(
        "P14", "lumped", what, middle / 1e6, "M × real time", 1.0, "≥", spread=(low / 1e6, high / 1e6), figures=figures
    )  # fmt: skip
    speed = with_sensors(of_text(with_racks(256)), SENSOR_STEPS)
    yield Row("P14", "sensors", "whole simulated plant, 256 racks, all sensors, 1 s steps", speed, "× real time", 2_000.0, "≥")
    yield Curve("plant", "racks", "M × real time", [float(n) for n in sizes], {"kernel": [s[0] / 1e6 for s in speeds]})
    for name, target_s in (("b2", 60.0), ("ai", 300.0)):
        seconds = year_s(default_site(), name, DAYS * DAY_STEPS // 2)
        what = f"a year at 60 s steps in closed loop, {name}, scaled from {DAYS} days, one core"
        yield Row("P14", f"year_{name}", what, seconds, "s", target_s)
    yield from _against_energyplus()


def _against_energyplus() -> Iterator[Row]:
    dynamic = (
        "whole simulated plant, dynamic, over EnergyPlus at 1-minute steps, same number of machines: simulated seconds a second"
    )
    steady = "quasi-steady plant at 1-minute steps over EnergyPlus's, same number of machines: simulated seconds a second"
    try:
        found = energyplus.speed()
    except energyplus.NotHere as why:
        yield not_run("P14", "energyplus", steady, str(why))
        yield not_run("P14", "energyplus_dynamic", dynamic, str(why))
        return
    speed, kwh = quasi_steady(default_site())
    figures = {"product_s_per_s": speed, "energyplus_s_per_s": found.seconds_per_s, "kwh_a_day": kwh}
    yield Row("P14", "energyplus", steady, speed / found.seconds_per_s, "ratio", 20.0, "≥", found.version, figures=figures)
    plant = SimPlant(default_site(), load=synthetic(), coarse=True)
    plant.reset(1)
    begun = time.thread_time()
    for _ in range(DAY_STEPS):
        plant.step(None, STEP_S)
    mine = 86_400.0 / (time.thread_time() - begun)
    figures = {"product_s_per_s": mine, "energyplus_s_per_s": found.seconds_per_s}
    yield Row("P14", "energyplus_dynamic", dynamic, mine / found.seconds_per_s, "ratio", reference=found.version, figures=figures)
