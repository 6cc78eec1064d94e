"""Outdoor conditions: a synthetic year from shipped month-by-hour statistics, or a real year from EPW or CSV.

The synthetic year adds a slow synoptic wave (AR(1), 48 h) and a faster humidity noise to the mean of each month and
hour, scaled by that hour's spread. Hourly values are joined by straight lines; the wet bulb never passes the dry bulb.
"""

from __future__ import annotations

import csv
import gzip
import importlib.resources
import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import ConfigError, Fault
from coolctl.psychro import wet_bulb_c

F64 = NDArray[np.float64]
HOURS = 8760
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
SYNOPTIC_HOURS = 48.0
DEFAULT_STATION = "CHN_Guiyang"


def hour_of_year(start: str) -> int:
    """Hour of the year of `MM-DDTHH`. Raises `ConfigError` for anything else."""
    try:
        date, hour = start.split("T")
        month, day = (int(v) for v in date.split("-"))
        if 1 <= month <= 12 and 1 <= day <= MONTH_DAYS[month - 1] and 0 <= int(hour) < 24:
            return (sum(MONTH_DAYS[: month - 1]) + day - 1) * 24 + int(hour)
    except ValueError:
        pass
    raise ConfigError([Fault("start", None, start, "is not a time of the year like 07-15T06")])


class Weather:
    """Hourly dry bulb, wet bulb [°C] and pressure [Pa] of a year; `at` interpolates from a start hour on."""

    def __init__(self, name: str, oadb_c: F64, oawb_c: F64, pressure_pa: F64, start_hour: int = 0):
        self.name = name
        self.start_hour = start_hour
        self.oadb_c = np.ascontiguousarray(oadb_c, dtype=float)
        self.oawb_c = np.minimum(np.ascontiguousarray(oawb_c, dtype=float), self.oadb_c)
        self.pressure_pa = np.ascontiguousarray(pressure_pa, dtype=float)

    def starting(self, start: str | int) -> Weather:
        """The same year, with `t_s = 0` at `start` (`MM-DDTHH` or an hour of the year)."""
        hour = hour_of_year(start) if isinstance(start, str) else start
        return Weather(self.name, self.oadb_c, self.oawb_c, self.pressure_pa, hour % len(self.oadb_c))

    def at(self, t_s: float) -> tuple[float, float, float]:
        """Dry bulb [°C], wet bulb [°C] and pressure [Pa] at `t_s` [s] after the start."""
        position = self.start_hour + t_s / 3600.0
        hour = math.floor(position)
        f = position - hour
        n = len(self.oadb_c)
        i, j = hour % n, (hour + 1) % n
        db = (1.0 - f) * self.oadb_c[i] + f * self.oadb_c[j]
        wb = (1.0 - f) * self.oawb_c[i] + f * self.oawb_c[j]
        return float(db), float(min(wb, db)), float(self.pressure_pa[i])


def stations() -> list[str]:
    """Names of the shipped stations."""
    return sorted({row["station"] for row in _statistics()})


def _statistics() -> Iterable[dict[str, str]]:
    text = importlib.resources.files("sim_plant").joinpath("data/weather_stats.csv").read_text(encoding="utf-8")
    return csv.DictReader(io.StringIO(text))


def from_statistics(station: str = DEFAULT_STATION, seed: int = 1) -> Weather:
    """A synthetic year of a shipped station. Raises `ConfigError` for an unknown one."""
    rows = [row for row in _statistics() if row["station"] == station]
    if not rows:
        raise ConfigError([Fault("weather", None, station, f"is not one of {', '.join(stations())}")])
    table = np.full((12, 24, 5), np.nan)
    columns = ("oadb_mean_c", "oadb_sd_k", "oawb_mean_c", "oawb_sd_k", "pressure_kpa")
    for row in rows:
        table[int(row["month"]) - 1, int(row["hour"]) % 24] = [float(row[c]) for c in columns]
    rng = np.random.default_rng(seed)
    rho = math.exp(-1.0 / SYNOPTIC_HOURS)
    wave, humid = np.empty(HOURS), np.empty(HOURS)
    a = b = 0.0
    for i, (x, y) in enumerate(rng.normal(size=(HOURS, 2))):
        a = rho * a + math.sqrt(1.0 - rho * rho) * x
        b = 0.95 * b + math.sqrt(1.0 - 0.95**2) * y
        wave[i], humid[i] = a, b
    month = np.repeat(np.arange(12), [24 * d for d in MONTH_DAYS])
    hour = np.arange(HOURS) % 24
    mean_db, sd_db, mean_wb, sd_wb, kpa = (table[month, hour, k] for k in range(5))
    # Dry and wet bulb share most of the synoptic wave; the rest of the wet bulb's spread is humidity.
    db = mean_db + sd_db * wave
    wb = mean_wb + sd_wb * (0.85 * wave + math.sqrt(1.0 - 0.85**2) * humid)
    return Weather(station, db, wb, 1e3 * kpa)


def _open_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8", "replace")
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise ConfigError([Fault(str(path), None, "weather", f"cannot be read: {error}")]) from error


def from_csv(path: str | Path) -> Weather:
    """Columns month, day, hour, db_c, wb_c, rh_pct, p_pa; one row an hour. `ConfigError` names the faulty line."""
    path = Path(path)
    reader = csv.DictReader(io.StringIO(_open_text(path)))
    missing = {"db_c", "p_pa"} - set(reader.fieldnames or ())
    if missing:
        raise ConfigError([Fault(str(path), 1, ", ".join(sorted(missing)), "column missing")])
    rows = []
    for line, row in enumerate(reader, start=2):
        try:
            db, pressure = float(row["db_c"]), float(row["p_pa"])
            wet = row.get("wb_c")
            wb = float(wet) if wet else float(wet_bulb_c(db, float(row["rh_pct"]) / 100.0, pressure))
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError([Fault(str(path), line, "row", f"is not numbers: {error}")]) from error
        rows.append((db, wb, pressure))
    return _year(path, rows)


def from_epw(path: str | Path) -> Weather:
    """An EnergyPlus weather file: dry bulb, relative humidity and pressure, eight header lines."""
    path = Path(path)
    rows = []
    for line, text in enumerate(_open_text(path).splitlines()[8:], start=9):
        fields = text.split(",")
        try:
            db, rh, pressure = float(fields[6]), float(fields[8]), float(fields[9])
        except (IndexError, ValueError) as error:
            raise ConfigError([Fault(str(path), line, "row", f"is not an EPW row: {error}")]) from error
        rows.append((db, float(wet_bulb_c(db, min(rh, 100.0) / 100.0, pressure)), pressure))
    return _year(path, rows)


def _year(path: Path, rows: list[tuple[float, float, float]]) -> Weather:
    if len(rows) < 24:
        raise ConfigError([Fault(str(path), None, "rows", f"only {len(rows)} hours: a day is the least")])
    data = np.array(rows)
    name = path.name.split(".")[0]
    if not np.isfinite(data).all():
        raise ConfigError([Fault(str(path), None, "rows", "holds values that are not numbers")])
    return Weather(name, data[:, 0], data[:, 1], data[:, 2])


def load_weather(source: str, start: str | int = 0) -> Weather:
    """A weather by name: a shipped station, an EPW or a CSV (gz too)."""
    stem = source.removesuffix(".gz").lower()
    if stem.endswith(".epw"):
        return from_epw(source).starting(start)
    if stem.endswith(".csv"):
        return from_csv(source).starting(start)
    return from_statistics(source or DEFAULT_STATION).starting(start)
