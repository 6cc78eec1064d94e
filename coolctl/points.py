"""The point table: what each number of the plant means, and the snapshot of all of them that a tick works on.

A role is the quantity (closed vocabulary); a point is one role at one machine of one site. Roles carry the internal
unit and the physically possible range, so that a wrong unit on the wire is refused on its first sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.jit import kernel
from coolctl.units import UNITS, from_internal, to_internal

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I8 = NDArray[np.int8]


class Quality(IntEnum):
    """Why a value may or may not be used. Only GOOD values reach the controller's arithmetic."""

    NEVER = 0
    GOOD = 1
    SOURCE_BAD = 2
    STALE = 3
    OUT_OF_RANGE = 4
    IMPLAUSIBLE = 5


ON_CHANGE = ("dsx", "sparkplug-b")  # their sources speak when something changes, and seldom else: stamps are of the change
CLOCK_DRIFT_RATIO = 1e-3  # by which two clocks may part, each of them held by NTP or by none

GOOD, STALE, OUT_OF_RANGE = int(Quality.GOOD), int(Quality.STALE), int(Quality.OUT_OF_RANGE)


@dataclass(frozen=True, slots=True)
class Role:
    """A quantity: internal unit suffix, the level it belongs to, the possible range, and whether it is a setpoint."""

    name: str
    suffix: str
    level: str
    low: float
    high: float
    writable: bool
    description: str


def _roles() -> dict[str, Role]:
    rows = [
        # name, suffix, level, low, high, writable, description
        ("it_power", "w", "hall", 0.0, 1e9, False, "IT power including server fans"),
        ("rack_inlet", "c", "rack", -10.0, 70.0, False, "air temperature at a rack's inlet"),
        ("sat", "c", "hall", -5.0, 60.0, False, "supply air temperature, mean of the hall's CRAHs"),
        ("rat", "c", "hall", -5.0, 80.0, False, "return air temperature"),
        ("room_dewpoint", "c", "hall", -40.0, 40.0, False, "dew point of the cold aisle"),
        ("crah_fan_speed", "ratio", "hall", 0.0, 1.2, False, "CRAH fan speed"),
        ("crah_fan_power", "w", "hall", 0.0, 1e8, False, "electric power of the hall's CRAH fans"),
        ("server_fan_power", "w", "hall", 0.0, 1e8, False, "electric power of the server fans, inside it_power"),
        ("valve", "ratio", "hall", -0.05, 1.05, False, "the widest open CRAH valve"),
        ("aisle_dp", "pa", "hall", -200.0, 200.0, False, "cold aisle over hot aisle pressure"),
        ("oadb", "c", "plant", -60.0, 60.0, False, "outdoor dry bulb"),
        ("oawb", "c", "plant", -60.0, 45.0, False, "outdoor wet bulb"),
        ("chwst", "c", "plant", -5.0, 60.0, False, "chilled water supply temperature"),
        ("chwrt", "c", "plant", -5.0, 70.0, False, "chilled water return temperature"),
        ("chw_flow", "kgs", "plant", 0.0, 1e5, False, "chilled water flow"),
        ("chw_dp", "pa", "plant", -1e4, 1e6, False, "chilled water differential pressure at the halls"),
        ("cwst", "c", "plant", -10.0, 60.0, False, "condenser water leaving the towers"),
        ("cwrt", "c", "plant", -10.0, 70.0, False, "condenser water entering the towers"),
        ("cw_flow", "kgs", "plant", 0.0, 1e5, False, "condenser water flow"),
        ("tower_speed", "ratio", "plant", 0.0, 1.2, False, "tower fan speed"),
        ("tower_cells_on", "count", "plant", 0.0, 1e3, False, "tower cells in operation"),
        ("chillers_on", "count", "plant", 0.0, 1e3, False, "chillers running"),
        ("chillers_available", "count", "plant", 0.0, 1e3, False, "chillers that run or could be started"),
        ("economizer_on", "flag", "plant", 0.0, 1.0, False, "waterside economizer in the loop"),
        ("chiller_power", "w", "plant", 0.0, 1e9, False, "electric power of the chillers"),
        ("tower_power", "w", "plant", 0.0, 1e8, False, "electric power of the tower fans"),
        ("chw_pump_power", "w", "plant", 0.0, 1e8, False, "electric power of the chilled water pumps"),
        ("cw_pump_power", "w", "plant", 0.0, 1e8, False, "electric power of the condenser water pumps"),
        ("bms_remote", "flag", "plant", 0.0, 1.0, False, "1 while the plant follows leased setpoints"),
        ("hand", "flag", "plant", 0.0, 1.0, False, "1 while a person holds the plant at the BMS"),
        ("energy_price", "per_kwh", "plant", -5.0, 100.0, False, "price of a kilowatt-hour now, in the tariff's currency"),
        ("energy_price_ahead", "per_kwh", "plant", -5.0, 100.0, False, "price of a kilowatt-hour an hour from now"),
        ("carbon_factor", "kg_per_kwh", "plant", 0.0, 3.0, False, "CO2 emitted for a kilowatt-hour from the grid now"),
        ("chwst_sp", "c", "plant", 0.0, 40.0, True, "chilled water supply temperature"),
        ("chw_dp_sp", "pa", "plant", 0.0, 1e6, True, "chilled water differential pressure"),
        ("chillers_on_sp", "count", "plant", 0.0, 1e3, True, "chillers to run"),
        ("cwst_sp", "c", "plant", -5.0, 45.0, True, "condenser water leaving the towers"),
        ("tower_cells_on_sp", "count", "plant", 0.0, 1e3, True, "tower cells to run"),
        ("cw_flow_sp", "ratio", "plant", 0.0, 2.0, True, "condenser water flow over the running chillers' design flow"),
        ("economizer_on_sp", "flag", "plant", 0.0, 1.0, True, "waterside economizer in the loop"),
        ("sat_sp", "c", "hall", 5.0, 40.0, True, "supply air temperature"),
        ("fan_speed_sp", "ratio", "hall", 0.0, 1.0, True, "CRAH fan speed"),
    ]  # fmt: skip
    return {row[0]: Role(*row) for row in rows}  # type: ignore[arg-type]


ROLES = _roles()
PLANT_SETPOINTS = tuple(r.name for r in ROLES.values() if r.writable and r.level == "plant")
HALL_SETPOINTS = tuple(r.name for r in ROLES.values() if r.writable and r.level == "hall")

# The setpoint vector: the plant's entries in the order of PLANT_SETPOINTS, then two per hall.
U_CHWST, U_CHW_DP, U_CHILLERS, U_CWST, U_CELLS, U_CW_FLOW, U_ECONOMIZER, U_HALL = range(8)
U_PER_HALL = 2


def u_size(halls: int) -> int:
    """Length of the setpoint vector of a site with `halls` halls."""
    return U_HALL + U_PER_HALL * halls


def u_names(halls: Iterable[str]) -> tuple[str, ...]:
    """Name of each entry of the setpoint vector: `chwst_sp` … `hall1.sat_sp`, `hall1.fan_speed_sp`."""
    return PLANT_SETPOINTS + tuple(f"{hall}.{role}" for hall in halls for role in HALL_SETPOINTS)


@dataclass(frozen=True, slots=True)
class Point:
    """One role at one machine. `unit` is the wire's; `low`/`high` are internal and at least as tight as the role's."""

    id: str
    role: str
    machine: str
    unit: str
    topic: str
    dialect: str
    field: str
    age_max_s: float
    low: float
    high: float

    @property
    def writable(self) -> bool:
        return ROLES[self.role].writable

    def decode(self, wire: float) -> float:
        """Wire value in internal units."""
        return to_internal(wire, self.unit)

    def encode(self, internal: float) -> float:
        """Internal value in the wire's unit."""
        return from_internal(internal, self.unit)


class Sample(NamedTuple):
    """One decoded value: position into the point table, internal unit, source time [s] or NaN, quality."""

    i: int
    value: float
    t_source_s: float
    quality: int


class Batch(NamedTuple):
    """Good values of many points at one source time: positions, internal units, source time [s] or NaN."""

    i: NDArray[np.int64]
    value: F64
    t_source_s: float


def each(samples: Iterable[Sample | Batch]) -> Iterator[Sample]:
    """The samples one by one, batches taken apart."""
    for s in samples:
        if isinstance(s, Batch):
            yield from (Sample(int(i), float(v), s.t_source_s, Quality.GOOD) for i, v in zip(s.i, s.value, strict=True))
        else:
            yield s


class PointTable:
    """The site's points in file order, with the arrays that kernels and health checks use."""

    def __init__(self, points: Iterable[Point]):
        self.points = tuple(points)
        self.index = {p.id: i for i, p in enumerate(self.points)}
        self.low = np.array([p.low for p in self.points])
        self.high = np.array([p.high for p in self.points])
        self.age_max_s = np.array([p.age_max_s for p in self.points])
        self.stamped = np.array([p.dialect not in ON_CHANGE for p in self.points], dtype=np.bool_)
        self.scale = np.array([UNITS[p.unit].scale for p in self.points])
        self.offset = np.array([UNITS[p.unit].offset for p in self.points])

    def __len__(self) -> int:
        return len(self.points)

    def decode(self, i: NDArray[np.int64], wire: F64) -> F64:
        """Wire values of the points `i` in internal units."""
        return wire * self.scale[i] + self.offset[i]

    def by_role(self, role: str, machine: str | None = None) -> NDArray[np.int64]:
        """Indices of the points with `role`, at `machine` or below it (`hall1` covers `hall1.rack03`)."""
        hits = [
            i
            for i, p in enumerate(self.points)
            if p.role == role and (machine is None or p.machine == machine or p.machine.startswith(machine + "."))
        ]
        return np.array(hits, dtype=np.int64)

    def one(self, role: str, machine: str = "plant") -> int:
        """Index of the single point, or -1 where the site has none."""
        hits = self.by_role(role, machine)
        return int(hits[0]) if len(hits) else -1


class Snapshot(NamedTuple):
    """Everything known at `now_s`: float64 value (NaN = not known), age [s], quality; one row per point."""

    now_s: float
    value: F64
    age_s: F64
    quality: NDArray[np.int8]


@kernel
def heard_at(now_s: float, t_source_s: float, newest_s: float, least_lag_s: float) -> tuple[float, float]:
    """When, by our own clock, a value would have come had it not been on its way longer than its source's quickest [s], and
    that quickest one's lag, in which the two clocks' distance is [s].

    `newest_s` is the stamp of the value before; a `least_lag_s` of NaN: this source's stamps do not tell. A stamp that comes
    again, or none, tells nothing either; a clock that was set back begins anew.
    """
    lag_s = now_s - t_source_s
    if math.isnan(least_lag_s) or math.isnan(lag_s) or t_source_s == newest_s:
        return now_s, least_lag_s
    if t_source_s < newest_s:
        return now_s, lag_s
    least_s = min(lag_s, least_lag_s + CLOCK_DRIFT_RATIO * (t_source_s - newest_s))
    return now_s - (lag_s - least_s), least_s


@kernel
def take_values(
    at: I64, value: F64, t_source_s: float, now_s: float, low: F64, high: F64, age_max_s: F64, held: F64, t_seen_s: F64,
    held_source_s: F64, t_refused_s: F64, least_lag_s: F64, quality: I8,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Good values of the points `at` from one source time into the arrays of a store, as the samples one by one. Returns how
    many came from a clock set back, were older than the newest, came too late, and were out of range."""
    set_back, older, late, outside = 0, 0, 0, 0
    for k in range(at.shape[0]):
        i = at[k]
        if t_source_s < held_source_s[i]:
            believed = t_source_s > t_refused_s[i] and now_s - t_seen_s[i] > age_max_s[i]
            t_refused_s[i] = t_source_s
            if not believed:
                older += 1
                continue
            set_back += 1
        t_refused_s[i] = np.inf
        t_seen_s[i], least_lag_s[i] = heard_at(now_s, t_source_s, held_source_s[i], least_lag_s[i])
        late += 1 if now_s - t_seen_s[i] > age_max_s[i] else 0
        if t_source_s == t_source_s:
            held_source_s[i] = t_source_s
        inside = low[i] <= value[k] <= high[i]
        outside += 0 if inside else 1
        held[i], quality[i] = value[k], GOOD if inside else OUT_OF_RANGE
    return set_back, older, late, outside


@kernel
def decode_known(at: I64, wire: F64, scale: F64, offset: F64, found: I64, value: F64) -> int:
    """Positions and internal values of what is a point and has a number, into `found` and `value`; how many these are."""
    count = 0
    for k in range(at.shape[0]):
        if at[k] >= 0 and wire[k] == wire[k]:
            found[count], value[count] = at[k], wire[k] * scale[at[k]] + offset[at[k]]
            count += 1
    return count


@kernel
def usable_values(
    now_s: float, held: F64, t_seen_s: F64, held_quality: I8, age_max_s: F64, value: F64, age_s: F64, quality: I8
) -> None:
    """What a tick may see of a store: not good or too old is NaN in `value`; ages into `age_s`, why not into `quality`."""
    for i in range(held.shape[0]):
        age_s[i], quality[i] = now_s - t_seen_s[i], held_quality[i]
        if quality[i] == GOOD and age_s[i] > age_max_s[i]:
            quality[i] = STALE
        value[i] = held[i] if quality[i] == GOOD else np.nan


class SampleStore:
    """Newest sample of each point. Newest wins: an older source time than the stored one is refused and counted.

    A source whose clock was set back would be refused until it has caught up, perhaps for a day. So once the stored value
    has gone stale on our own clock, a source time that moves on from the last refused one is believed again.

    A value is as old as it was on its way, where its stamps tell: by how much longer than the quickest one of its source. So
    what a slow link or a gateway's buffer delivers late is not taken for the present. Not told is what has been late from the
    first message on: then the two clocks may as well be apart.
    """

    def __init__(self, table: PointTable):
        self.table = table
        self.value = np.full(len(table), np.nan)
        self.t_seen_s = np.full(len(table), -np.inf)
        self.t_source_s = np.full(len(table), -np.inf)
        self._t_refused_s = np.full(len(table), np.inf)
        self._least_lag_s = np.where(table.stamped, np.inf, np.nan)
        self.quality = np.zeros(len(table), dtype=np.int8)
        self.rejects: dict[str, int] = {}
        self._names: tuple[str, ...] = ()
        self._positions, self._unknown = np.zeros(0, dtype=np.int64), 0

    def reject(self, reason: str, count: int = 1) -> None:
        """Count what is not used, by reason."""
        if count:
            self.rejects[reason] = self.rejects.get(reason, 0) + count

    def put(self, samples: Iterable[Sample | Batch], now_s: float) -> None:
        """Take samples received at `now_s` [s]."""
        for sample in samples:
            if isinstance(sample, Batch):
                self._put_batch(sample, now_s)
                continue
            i, value, t_source_s, quality = sample
            if t_source_s < self.t_source_s[i]:
                moves_on = t_source_s > self._t_refused_s[i]
                self._t_refused_s[i] = t_source_s
                if not moves_on or now_s - self.t_seen_s[i] <= self.table.age_max_s[i]:
                    self.reject("older_than_newest")
                    continue
                self.reject("source_clock_set_back")
            self._t_refused_s[i] = np.inf
            seen_s, self._least_lag_s[i] = heard_at(now_s, t_source_s, self.t_source_s[i], self._least_lag_s[i])
            if now_s - seen_s > self.table.age_max_s[i]:
                self.reject("late")
            if t_source_s == t_source_s:
                self.t_source_s[i] = t_source_s
            if quality == Quality.GOOD and not (self.table.low[i] <= value <= self.table.high[i]):
                self.reject("out_of_range")
                quality = Quality.OUT_OF_RANGE
            self.value[i] = value
            self.t_seen_s[i] = seen_s
            self.quality[i] = quality

    def _put_batch(self, batch: Batch, now_s: float) -> None:
        """As the samples one by one, at once."""
        set_back, older, late, outside = take_values(
            batch.i, batch.value, float(batch.t_source_s), float(now_s), self.table.low, self.table.high, self.table.age_max_s,
            self.value, self.t_seen_s, self.t_source_s, self._t_refused_s, self._least_lag_s, self.quality,
        )  # fmt: skip
        self.reject("source_clock_set_back", set_back)
        self.reject("older_than_newest", older)
        self.reject("late", late)
        self.reject("out_of_range", outside)

    def restart(self) -> None:
        """The clock began anew: nothing heard before counts as fresh, as old or as quick."""
        self.t_seen_s[:] = self.t_source_s[:] = -np.inf
        self._least_lag_s = np.where(self.table.stamped, np.inf, np.nan)

    def forget(self, i: NDArray[np.int64]) -> None:
        """What was heard of the points `i` counts no longer, as if it had grown old."""
        self.t_seen_s[i] = -np.inf

    def put_readings(self, readings: Mapping[str, float], now_s: float) -> None:
        """Take `{point id: value in the site file's unit}`; absent or NaN means not measured now."""
        at = self._positions_of(tuple(readings))
        wire = np.fromiter(readings.values(), dtype=np.float64, count=len(readings))
        found, value = np.empty_like(at), np.empty_like(wire)
        count = decode_known(at, wire, self.table.scale, self.table.offset, found, value)
        self._put_batch(Batch(found[:count], value[:count], np.nan), now_s)

    def _positions_of(self, names: tuple[str, ...]) -> I64:
        """Where the points stand, -1 for those that are not known. A plant repeats its names in the same order."""
        if names != self._names:
            self._names = names
            self._positions = np.array([self.table.index.get(point_id, -1) for point_id in names], dtype=np.int64)
            self._unknown = int((self._positions < 0).sum())
        self.reject("unknown_point", self._unknown)
        return self._positions

    def snapshot(self, now_s: float) -> Snapshot:
        """The values as a tick may see them: not good or too old is NaN."""
        value, age_s, quality = np.empty_like(self.value), np.empty_like(self.value), np.empty_like(self.quality)
        usable_values(float(now_s), self.value, self.t_seen_s, self.quality, self.table.age_max_s, value, age_s, quality)
        return Snapshot(now_s, value, age_s, quality)
