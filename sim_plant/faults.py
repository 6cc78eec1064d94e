"""Faults in a closed vocabulary: {ok, off, stuck, garbage, wrong, slow, delayed, intermittent} × a point or a machine.

An unknown word or target is an error, never silently nothing; every fault counts how often the plant felt it.
`KIND:TARGET[:VALUE][@START[-END]]` is its text form, times in plant seconds: `wrong:hall1.rack03.rack_inlet:4@600-1200`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import ConfigError
from coolctl.errors import Fault as ConfigFault
from sim_plant.room import LOOP_GAIN, LOOP_STICTION, LOOP_STUCK, LOOP_WIND_UP, WELL

F64 = NDArray[np.float64]

KINDS = ("ok", "off", "stuck", "garbage", "wrong", "slow", "delayed", "intermittent")
DEFAULT_VALUE = {"stuck": np.nan, "garbage": 10.0, "wrong": 4.0, "slow": 10.0, "delayed": 30.0, "intermittent": 0.5, "off": 0.0}


# What can be wrong with a valve's loop: entry of its health, default amount, least and most.
VALVE_FAULTS = {
    "stuck": (LOOP_STUCK, 0.0, 0.0, 1.0),
    "wrong": (LOOP_GAIN, 5.0, 0.05, 50.0),
    "intermittent": (LOOP_STICTION, 0.05, 0.0, 0.5),
    "delayed": (LOOP_WIND_UP, 1.0, 1.0, 1.0),
}


WELL_HALL = np.concatenate([[1.0], WELL])


def well(halls: int) -> F64:
    """Health of every hall: share of its CRAHs, then its valve loop, as `sim_plant.room` reads it."""
    return np.tile(WELL_HALL, (halls, 1))


@dataclass(slots=True)
class Fault:
    """One fault on one target from `start_s` to `end_s` [s of plant time]."""

    kind: str
    target: str
    start_s: float = 0.0
    end_s: float = np.inf
    value: float = np.nan
    felt: int = 0
    _held: float = np.nan
    _past: deque[float] = field(default_factory=deque)

    def active(self, t_s: float) -> bool:
        return self.start_s <= t_s < self.end_s

    def apply(self, value: float, rng: np.random.Generator) -> float:
        """The sensor's reading under this fault; NaN = no message."""
        amount = self.value if self.value == self.value else DEFAULT_VALUE.get(self.kind, np.nan)
        changed = value
        if self.kind == "off":
            changed = np.nan
        elif self.kind == "stuck":
            if self._held != self._held:
                self._held = amount if amount == amount else value
            changed = self._held
        elif self.kind == "garbage":
            changed = value + rng.normal(0.0, amount)
        elif self.kind == "wrong":
            changed = value + amount
        elif self.kind == "slow":
            self._held = value if self._held != self._held else self._held + (value - self._held) / (1.0 + amount)
            changed = self._held
        elif self.kind == "delayed":
            self._past.append(value)
            changed = self._past.popleft() if len(self._past) > amount else np.nan
        elif self.kind == "intermittent" and rng.random() < amount:
            changed = np.nan
        self.felt += changed != value
        return changed


def parse(text: str) -> Fault:
    """A fault from its text form. Raises `ConfigError` with what is wrong."""
    body, _, span = text.partition("@")
    parts = body.split(":")
    try:
        if parts[0] not in KINDS:
            raise ValueError(f"unknown kind {parts[0]!r}; one of {', '.join(KINDS)}")
        if len(parts) not in (2, 3):
            raise ValueError("wants KIND:TARGET[:VALUE][@START[-END]]")
        value = float(parts[2]) if len(parts) == 3 else np.nan
        start, _, end = span.partition("-")
        return Fault(parts[0], parts[1], float(start or 0.0), float(end) if end else np.inf, value)
    except ValueError as error:
        raise ConfigError([ConfigFault("fault", None, text, str(error))]) from error


class Faults:
    """The faults of a run. Points are sensor faults; machines are `chiller1`, `tower`, `chw_pumps`, `cw_pumps`,
    `<hall>.crahs` (share lost) and `<hall>.valve`: `stuck` (position), `wrong` (factor on its loop's gain), `intermittent`
    (moves in jumps of this size only), `delayed` (its controller winds up at the end of travel). A hall's valve has a
    point of the same name: the fault is the machine's, the point tells the truth of it."""

    def __init__(self, point_ids: Sequence[str], halls: Sequence[str], chillers: int):
        self.index = {name: i for i, name in enumerate(point_ids)}
        self.halls = list(halls)
        self.machines = [f"chiller{i + 1}" for i in range(chillers)] + ["tower", "chw_pumps", "cw_pumps"]
        self.machines += [f"{h}.{m}" for h in halls for m in ("crahs", "valve")]
        self.items: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Take a fault; `ok` removes what is on its target. Raises `ConfigError` for an unknown target or pairing."""
        if fault.kind == "ok":
            self.items = [f for f in self.items if f.target != fault.target]
            return fault
        if fault.target not in self.index and fault.target not in self.machines:
            raise ConfigError([ConfigFault("fault", None, fault.target, "no such point or machine")])
        allowed = tuple(VALVE_FAULTS) if fault.target.endswith(".valve") else ("off", "slow")
        if fault.target in self.machines and fault.kind not in allowed:
            raise ConfigError([ConfigFault("fault", None, fault.kind, f"{fault.target} knows only {', '.join(allowed)}")])
        self.items.append(fault)
        return fault

    def on_sensors(self, values: F64, t_s: float, rng: np.random.Generator) -> None:
        """Change readings in place."""
        for fault in self.items:
            i = None if fault.target in self.machines else self.index.get(fault.target)
            if i is not None and fault.active(t_s):
                values[i] = fault.apply(float(values[i]), rng)

    def on_machines(self, t_s: float, health: F64, chillers_ok: F64, plant_ok: F64) -> None:
        """Fill the health arrays of the physics step: 1 = well; a `slow` machine keeps `value` (default 0.4) of itself."""
        health[:] = WELL_HALL
        chillers_ok[:] = 1.0
        plant_ok[:] = 1.0
        for fault in self.items:
            if fault.target not in self.machines or not fault.active(t_s):
                continue
            fault.felt += 1
            left = 0.0 if fault.kind == "off" else (fault.value if fault.value == fault.value else 0.4)
            self._set(fault, left, health, chillers_ok, plant_ok)

    def _set(self, fault: Fault, left: float, health: F64, chillers_ok: F64, plant_ok: F64) -> None:
        if fault.target.startswith("chiller"):
            chillers_ok[int(fault.target[7:]) - 1] = 0.0
        elif fault.target in ("chw_pumps", "cw_pumps", "tower"):
            plant_ok[("chw_pumps", "cw_pumps", "tower").index(fault.target)] = left
        elif fault.target.endswith(".crahs"):
            share = fault.value if fault.value == fault.value else 0.1
            health[self.halls.index(fault.target[:-6]), 0] = max(1.0 - share, 0.05)
        else:
            column, default, least, most = VALVE_FAULTS[fault.kind]
            amount = fault.value if fault.value == fault.value else default
            health[self.halls.index(fault.target[:-6]), 1 + column] = min(max(amount, least), most)
