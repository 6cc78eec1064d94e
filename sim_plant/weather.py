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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import ConfigError, Fault
from coolctl.psychro import wet_bulb_c

F64 = NDArray[np.float64]
HOURS = 8760
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
SYNOPTIC_HOURS = 48.0
# What a row may say; wet bulb may exceed dry bulb by its rounding.
OADB_C, PRESSURE_PA, WETBULB_OVER_K = (-60.0, 60.0), (50e3, 110e3), 0.6
FAULTS_MAX = 20
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

    @property
    def pressure_mean_pa(self) -> float:
        """Mean pressure [Pa]: the altitude that this weather belongs to."""
        return float(self.pressure_pa.mean())

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

    def calendar(self, t_s: float) -> tuple[int, float]:
        """Month (1 … 12) and hour of the day (0 … 24, local standard time) at `t_s` [s] after the start."""
        hour = (self.start_hour + t_s / 3600.0) % HOURS
        month = int(np.searchsorted(np.cumsum(MONTH_DAYS), hour // 24.0, side="right")) + 1
        return month, hour % 24.0


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


class _Row(NamedTuple):
    """One hour of a file: where it stood, when it was, and what it says."""

    line: int
    when: tuple[int, int, int]  # month, day, hour as the file counts them
    oadb_c: float
    oawb_c: float
    pressure_pa: float


def from_csv(path: str | Path) -> Weather:
    """Columns month, day, hour, db_c, wb_c, rh_pct, p_pa; one row an hour. `ConfigError` names the faulty line."""
    path = Path(path)
    reader = csv.DictReader(io.StringIO(_open_text(path)))
    missing = {"month", "day", "hour", "db_c", "p_pa"} - set(reader.fieldnames or ())
    if missing:
        raise ConfigError([Fault(str(path), 1, ", ".join(sorted(missing)), "column missing")])
    rows = []
    for line, row in enumerate(reader, start=2):
        try:
            when = (int(row["month"]), int(row["day"]), int(row["hour"]))
            db, pressure = float(row["db_c"]), float(row["p_pa"])
            wet = row.get("wb_c")
            wb = float(wet) if wet else _wet_bulb_c(db, float(row["rh_pct"]), pressure)
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError([Fault(str(path), line, "row", f"is not numbers: {error}")]) from error
        rows.append(_Row(line, when, db, wb, pressure))
    return _year(path, rows)


def from_epw(path: str | Path) -> Weather:
    """An EnergyPlus weather file: dry bulb, relative humidity and pressure, eight header lines."""
    path = Path(path)
    rows = []
    for line, text in enumerate(_open_text(path).splitlines()[8:], start=9):
        fields = text.split(",")
        try:
            when = (int(fields[1]), int(fields[2]), int(fields[3]))
            db, rh, pressure = float(fields[6]), float(fields[8]), float(fields[9])
        except (IndexError, ValueError) as error:
            raise ConfigError([Fault(str(path), line, "row", f"is not an EPW row: {error}")]) from error
        rows.append(_Row(line, when, db, _wet_bulb_c(db, rh, pressure), pressure))
    return _year(path, rows)


def _wet_bulb_c(oadb_c: float, rh_percent: float, pressure_pa: float) -> float:
    """Wet bulb [°C]; NaN where the humidity is no humidity (an EPW writes 999 for what is missing)."""
    return float(wet_bulb_c(oadb_c, min(rh_percent, 100.0) / 100.0, pressure_pa)) if 0.0 <= rh_percent <= 110.0 else math.nan


def _year(path: Path, rows: list[_Row]) -> Weather:
    """A year, or whole days of one, of which every hour is there and plausible. A 29 February is left out."""
    rows = [row for row in rows if row.when[:2] != (2, 29)]
    if len(rows) < 24:
        raise ConfigError([Fault(str(path), None, "rows", f"only {len(rows)} hours: a day is the least")])
    faults = [fault for row in rows if (fault := _row_fault(path, row))] or _gaps(path, rows)
    if faults:
        raise ConfigError(faults[:FAULTS_MAX])
    data = np.array([row[2:] for row in rows])
    name = path.name.split(".")[0]
    return Weather(name if len(rows) == HOURS else f"{name} ({len(rows)} h, repeated)", data[:, 0], data[:, 1], data[:, 2])


def _row_fault(path: Path, row: _Row) -> Fault | None:
    """What no place on earth has measured."""
    if not OADB_C[0] <= row.oadb_c <= OADB_C[1]:
        return Fault(str(path), row.line, "dry bulb", f"{row.oadb_c:g} °C is not a weather")
    if not PRESSURE_PA[0] <= row.pressure_pa <= PRESSURE_PA[1]:
        hint = ": pascals are expected, and this looks like kPa" if 40.0 <= row.pressure_pa <= 110.0 else ""
        return Fault(str(path), row.line, "pressure", f"{row.pressure_pa:g} Pa is not air pressure{hint}")
    if not OADB_C[0] <= row.oawb_c <= row.oadb_c + WETBULB_OVER_K:
        return Fault(str(path), row.line, "wet bulb", f"{row.oawb_c:g} °C does not go with {row.oadb_c:g} °C dry bulb")
    return None


def _gaps(path: Path, rows: list[_Row]) -> list[Fault]:
    """Hours that do not follow one another: a filled gap would be an invention, a shifted year a lie."""
    first_hour = min(row.when[2] for row in rows)  # files count 0…23 or 1…24
    try:
        at = [hour_of_year(f"{m:02d}-{d:02d}T{h - first_hour:02d}") for _, (m, d, h), *_ in rows]
    except ConfigError as error:
        return [Fault(str(path), None, "rows", f"have an impossible date: {error.faults[0].key}")]
    return [
        Fault(str(path), row.line, "rows", f"hour {now} of the year follows hour {before}")
        for before, now, row in zip(at, at[1:], rows[1:], strict=False)
        if now != (before + 1) % HOURS
    ]


def load_weather(source: str, start: str | int = 0) -> Weather:
    """A weather by name: a shipped station, an EPW or a CSV (gz too)."""
    stem = source.removesuffix(".gz").lower()
    if stem.endswith(".epw"):
        return from_epw(source).starting(start)
    if stem.endswith(".csv"):
        return from_csv(source).starting(start)
    return from_statistics(source or DEFAULT_STATION).starting(start)
