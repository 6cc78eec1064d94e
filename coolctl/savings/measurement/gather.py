"""From recordings to quarter hours: energy by meter, weather, service, modes and limits, and what is missing.

Only what a meter said counts: a tick with a meter that was silent, stale or out of range is a gap, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.mode import MODES
from coolctl.control.shield import LIMITS
from coolctl.errors import ForeignRecording, WrongSite
from coolctl.points import Quality
from coolctl.recording import SUFFIX, Recording
from coolctl.savings.measurement.series import Series
from coolctl.savings.switchback import Schedule, schedule_of
from coolctl.site import Site
from coolctl.trace import open_recording

F64 = NDArray[np.float64]

STEP_S, GAP_S = 900.0, 60.0  # a library may tick once a minute; a longer silence is a gap
FILLED_MIN_RATIO = 0.5
METERS = ("chiller_power", "tower_power", "chw_pump_power", "cw_pump_power", "crah_fan_power")
HEADER_KEYS = {"site_text", "record_texts", "config_hash", "site_name", "model_hash", "coolctl_version"}
# Sums of a step. Energies in J of the seconds in which every meter was good.
SUMS = ("seen_s", "good_s", "it_j", *METERS, "oawb_cs", "oawb_s", "model_j", "baseline_j", "shadow_s", "shadow_measured_j",
        "carbon_kg", "policy_s", "assigned_s", "ai_s")  # fmt: skip
AT = {name: k for k, name in enumerate(SUMS)}
INLET_EDGES_C = np.arange(10.0, 45.0, 0.05)


class Gap(NamedTuple):
    """A stretch without rows [s of the recording's clock]."""

    from_s: float
    to_s: float


@dataclass
class Service:
    """What the racks got in one arm: K·min above the limit and time at each inlet per hall, minutes above allowable."""

    over_k_min: F64
    inlet_s: F64
    above_allowable_min: float = 0.0
    hours: float = 0.0

    @classmethod
    def of(cls, halls: int) -> Service:
        """Nothing seen yet."""
        return cls(np.zeros(halls), np.zeros((halls, len(INLET_EDGES_C) + 1)))

    def p999_c(self) -> list[float | None]:
        """What a hall's hottest rack stays below for 99.9 % of the time [°C]."""
        found: list[float | None] = []
        for row in self.inlet_s:
            share = np.cumsum(row) / max(row.sum(), 1e-9)
            found.append(
                float(INLET_EDGES_C[min(int(np.searchsorted(share, 0.999)), len(INLET_EDGES_C) - 1)]) if row.any() else None
            )
        return found


@dataclass
class Gathered:
    """Everything of one configuration, from one or more recordings."""

    site: Site
    schedule: Schedule | None
    model_hashes: set[str] = field(default_factory=set)
    files: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    steps: dict[int, F64] = field(default_factory=dict)
    mode_s: F64 = field(default_factory=lambda: np.zeros(len(MODES)))
    limit_s: F64 = field(default_factory=lambda: np.zeros(len(LIMITS)))
    service: dict[int, Service] = field(default_factory=dict)
    wall_clock: bool = True
    first_s: float = np.inf
    last_s: float = -np.inf

    def column(self, name: str) -> F64:
        """One sum of every step, in order of time."""
        return np.array([self.steps[k][AT[name]] for k in sorted(self.steps)])

    def total(self, name: str) -> float:
        return float(self.column(name).sum()) if self.steps else 0.0

    def cooling_j(self) -> F64:
        """Electric energy of all cooling meters, each step [J]."""
        return np.sum([self.column(m) for m in METERS], axis=0)  # type: ignore[no-any-return]

    def series(self) -> Series:
        """The steps as the estimators want them; a step that was not seen for half of its time is not known."""
        good_s, wet_s = self.column("good_s"), self.column("oawb_s")
        known = good_s >= FILLED_MIN_RATIO * STEP_S
        fill = np.where(known, STEP_S / np.maximum(good_s, 1e-9), np.nan) / 3.6e6
        oawb_c = np.where(wet_s > 0.0, self.column("oawb_cs") / np.maximum(wet_s, 1e-9), np.nan)
        place = np.array([self._place(k) for k in sorted(self.steps)]).reshape(-1, 4)
        return Series(STEP_S / 3600.0, self.cooling_j() * fill, self.column("it_j") * fill, oawb_c, *place.T)

    def _place(self, step: int) -> tuple[float, float, float, float]:
        """Block, pair, the arm that was recorded, and hours into the block."""
        s, sums = self.schedule, self.steps[step]
        block = s.block_at((step + 0.5) * STEP_S) if s else -1
        if s is None or block < 0 or not sums[AT["assigned_s"]] > 0.0:
            return -1.0, -1.0, -1.0, np.nan
        into_h = (step * STEP_S - s.begins_s(block)) / 3600.0
        return float(block), float(s.pair_of(block)), float(round(sums[AT["ai_s"]] / sums[AT["assigned_s"]])), into_h

    def not_as_registered_h(self) -> float:
        """Hours whose recorded arm is not the one that the schedule had drawn [h]: nought, or somebody interfered."""
        if self.schedule is None:
            return 0.0
        placed = [self._place(k) for k in sorted(self.steps)]
        return sum(
            STEP_S / 3600.0 for block, _pair, arm, _h in placed if block >= 0.0 and arm != self.schedule.arm_of(int(block))
        )


def gather(paths: Iterable[str]) -> list[Gathered]:
    """Every configuration met, most steps first. Raises `RecordingError`, and `WrongSite` where they are of several sites."""
    found: dict[str, Gathered] = {}
    seen: set[Path] = set()
    name = ""
    for path in (run for given in paths for run in runs(given)):
        if path in seen:
            continue
        seen.add(path)
        head = Recording(path).header
        if not head.keys() >= HEADER_KEYS:
            raise ForeignRecording(f"{path}: not a recording of a controller (its header has no site)")
        recording, site, _site = open_recording(str(path))
        if name and site.name != name:
            raise WrongSite(f"{path}: of site {site.name!r}, the recordings before of {name!r}; report one site at a time")
        name = site.name
        key = str(head["config_hash"])
        mine = found.setdefault(key, Gathered(site, schedule_of(site)))
        _Reader(recording, site, mine).read()
        mine.model_hashes.add(str(head["model_hash"]))
        mine.files += [p.name for p in recording.segments]
        mine.damage += recording.damage
    return sorted(found.values(), key=lambda g: -len(g.steps))


def runs(path: str) -> Iterator[Path]:
    """The first segment of every run in a folder, or the file itself."""
    folder = Path(path)
    firsts = {p.name.rsplit("-", 1)[0]: p for p in sorted(folder.glob(f"*{SUFFIX}"), reverse=True)} if folder.is_dir() else {}
    yield from (firsts[stem] for stem in sorted(firsts)) if firsts else [folder]


class _Reader:
    """One recording, block by block."""

    def __init__(self, recording: Recording, site: Site, into: Gathered):
        self.recording, self.into, self.site = recording, into, site
        at = {name: k for k, name in enumerate(recording.columns)}
        self._at = at
        ids = {
            role: [site.table.points[i].id for i in site.table.by_role(role)]
            for role in (*METERS, "it_power", "oawb", "carbon_factor")
        }
        self._value = {role: [at[f"value:{i}"] for i in names] for role, names in ids.items()}
        self._quality = {role: [at[f"quality:{i}"] for i in names] for role, names in ids.items()}
        racks = [[p.id for p in site.table.points if p.role == "rack_inlet" and p.machine.split(".")[0] == h] for h in site.halls]
        self._racks = [([at[f"value:{i}"] for i in names], [at[f"quality:{i}"] for i in names]) for names in racks]
        self._bits = [k for name, k in at.items() if name.startswith("limits:")]
        self._last_s = np.nan
        self._carbon = site.file.carbon.factor_kg_per_kwh

    def read(self) -> None:
        for rows in self.recording.rows():
            self._take(rows)

    def _clock(self, rows: F64) -> F64:
        k = self._at.get("clock_s")
        if k is not None and np.isfinite(rows[:, k]).all():
            self.into.wall_clock = not self.site.file.site.simulated
            return rows[:, k]
        self.into.wall_clock = False
        return rows[:, self._at["now_s"]]

    def _take(self, rows: F64) -> None:
        g, clock = self.into, self._clock(rows)
        before = np.concatenate([[self._last_s], clock[:-1]])
        dt = clock - before
        for at in np.flatnonzero(dt > GAP_S):
            g.gaps.append(Gap(float(before[at]), float(clock[at])))
        usual = float(np.median(dt[1:])) if len(dt) > 1 else 1.0
        dt = np.where(np.isfinite(dt) & (dt > 0.0) & (dt <= GAP_S), dt, min(max(usual, 0.0), GAP_S))
        self._last_s = float(clock[-1])
        g.first_s, g.last_s = min(g.first_s, float(clock[0])), max(g.last_s, float(clock[-1]))
        modes = rows[:, self._at["mode"]].astype(int)
        g.mode_s += np.bincount(modes, weights=dt, minlength=len(MODES))[: len(MODES)]
        bits = np.bitwise_or.reduce(rows[:, self._bits].astype(np.int64), axis=1)
        g.limit_s += [float(dt[(bits >> k & 1) > 0].sum()) for k in range(len(LIMITS))]
        sums = self._sums(rows, dt, modes)
        steps = np.floor(clock / STEP_S).astype(int)
        for step in np.unique(steps):
            mine = sums[steps == step].sum(axis=0)
            g.steps[int(step)] = g.steps[int(step)] + mine if int(step) in g.steps else mine
        self._serve(rows, dt, clock)

    def _sums(self, rows: F64, dt: F64, modes: NDArray[np.int64]) -> F64:
        out = np.zeros((len(rows), len(SUMS)))
        watts = {role: rows[:, at].sum(axis=1) for role, at in self._value.items() if at}
        good = np.ones(len(rows), dtype=bool)
        for role in ("it_power", *METERS):
            good &= (rows[:, self._quality[role]] == float(Quality.GOOD)).all(axis=1)
        good &= np.isfinite(sum((watts[r] for r in ("it_power", *METERS) if r in watts), np.zeros(len(rows))))
        out[:, AT["seen_s"]], out[:, AT["good_s"]] = dt, dt * good
        cooling_w = np.zeros(len(rows))
        for role in METERS:
            w = np.where(good, watts.get(role, 0.0), 0.0)
            out[:, AT[role]] = w * dt
            cooling_w += w
        it_w = np.where(good, watts["it_power"], 0.0)
        out[:, AT["it_j"]] = it_w * dt
        factor = rows[:, self._value["carbon_factor"][0]] if self._value["carbon_factor"] else np.full(len(rows), self._carbon)
        factor = np.where(np.isfinite(factor), factor, self._carbon)
        loss = 1.0 + self.site.file.report.other_loss_ratio
        out[:, AT["carbon_kg"]] = (it_w * loss + cooling_w) * dt / 3.6e6 * factor
        oawb_c = rows[:, self._at["term:oawb_c"]]
        wet = np.isfinite(oawb_c) & (rows[:, self._quality["oawb"]] == float(Quality.GOOD)).all(axis=1)
        out[:, AT["oawb_cs"]], out[:, AT["oawb_s"]] = np.where(wet, oawb_c, 0.0) * dt, dt * wet
        model_w, base_w = rows[:, self._at["term:model_w"]], rows[:, self._at["term:baseline_w"]]
        ruled = (modes == MODES.index("bounded")) | (modes == MODES.index("auto"))
        out[:, AT["policy_s"]] = dt * ruled
        if (arm_at := self._at.get("switchback:arm")) is not None:
            out[:, AT["assigned_s"]], out[:, AT["ai_s"]] = dt * (rows[:, arm_at] >= 0.0), dt * (rows[:, arm_at] == 1.0)
        shadow = good & np.isfinite(model_w) & np.isfinite(base_w)
        out[:, AT["shadow_s"]] = dt * shadow * ruled
        for name, w in (("model_j", model_w), ("baseline_j", base_w), ("shadow_measured_j", cooling_w)):
            out[:, AT[name]] = np.where(shadow & ruled, w, 0.0) * dt
        return out

    def _serve(self, rows: F64, dt: F64, clock: F64) -> None:
        limits, k = self.site.file.limits, self._at.get("switchback:arm")
        arms = rows[:, k].astype(int) if k is not None else np.full(len(rows), -1)
        for arm in np.unique(arms):
            s = self.into.service.setdefault(int(arm), Service.of(len(self._racks)))
            mine = arms == arm
            s.hours += float(dt[mine].sum()) / 3600.0
            hottest = np.full(int(mine.sum()), -np.inf)
            for h, (values, qualities) in enumerate(self._racks):
                good = rows[np.ix_(mine, qualities)] == float(Quality.GOOD)
                inlet_c = np.where(good, rows[np.ix_(mine, values)], -np.inf).max(axis=1)
                known = np.isfinite(inlet_c)
                over_k = np.maximum(inlet_c[known] - limits.rack_inlet_limit_c, 0.0)
                s.over_k_min[h] += float(over_k @ dt[mine][known]) / 60.0
                place = np.searchsorted(INLET_EDGES_C, inlet_c[known])
                s.inlet_s[h] += np.bincount(place, weights=dt[mine][known], minlength=len(INLET_EDGES_C) + 1)
                hottest = np.maximum(hottest, inlet_c)
            s.above_allowable_min += float(dt[mine][hottest > limits.rack_inlet_allowable_c].sum()) / 60.0
