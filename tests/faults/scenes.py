"""Where the rows of the matrix are played: a paired run beside the plant's own control, or the whole stack."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from virtual import VirtualStack

from coolctl.audit import Audit
from coolctl.control.decision import Decision
from coolctl.controller import Controller
from coolctl.site import Site
from sim_plant import faults
from sim_plant.load import Load, constant
from sim_plant.plant import SimPlant
from sim_plant.weather import Weather, from_statistics

# Bars R2 and R3: what no fault may exceed.
SOFTWARE_MAX_C, SOFTWARE_OVER_27_S = 32.0, 120.0
OVER_OWN_K, OVER_OWN_K_MIN, OVER_OWN_32_S = 1.0, 0.5, 30.0
WARM_C, ALLOWABLE_C = 27.0, 32.0
ARMED_S = 360  # proof test of the gateway, and five clean minutes
FAULT_S = 600  # when most faults begin

Change = Callable[[dict[str, float], float], dict[str, float]]


@dataclass(frozen=True)
class Play:
    """One row's set-up: faults by their text, weather, load and how long."""

    faults: tuple[str, ...] = ()
    seconds: int = 2400
    start: str = "07-15T12"
    load: Load = field(default_factory=lambda: constant(0.6))
    change: Change | None = None
    weather: Callable[[Weather], Weather] | None = None
    arrange: Callable[[SimPlant, float], None] | None = None
    own_too: bool = True


@dataclass
class Seen:
    """What a play showed, ours beside the plant's own; the trace is every second's hottest rack."""

    hottest_c: float = 0.0
    own_hottest_c: float = 0.0
    over_own_k: float = 0.0
    worst_k_min: float = 0.0
    head_start_k: float = 0.0
    over_32_s: float = 0.0
    over_27_s: float = 0.0
    felt: int = 0
    violations: list[Any] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    trace: list[dict[str, float]] = field(default_factory=list)

    def text(self) -> str:
        own = f", own control {self.own_hottest_c:.1f}" if self.own_hottest_c else ""
        return f"hottest {self.hottest_c:.1f} °C{own}; {self.over_27_s:.0f} s over 27"

    def modes(self) -> list[str]:
        """The modes in their order, repeats left out."""
        found: list[str] = []
        for d in self.decisions:
            if not found or found[-1] != d.mode:
                found.append(d.mode)
        return found

    def at(self, t_s: int) -> Decision:
        return self.decisions[t_s]

    def reversals(self, name: str, start_s: int = 0) -> int:
        """How often a setpoint turned round."""
        moves = np.diff([d.setpoints.get(name, np.nan) for d in self.decisions[start_s:]])
        moves = moves[np.abs(moves) > 1e-6]
        return int((np.sign(moves[1:]) != np.sign(moves[:-1])).sum()) if len(moves) > 1 else 0


def plant_for(site: Site, play: Play) -> SimPlant:
    weather = from_statistics(site.file.weather.station).starting(play.start)
    return SimPlant(site, play.weather(weather) if play.weather else weather, play.load)


def play(site: Site, policy: object, p: Play, seed: int = 1, mode: str = "auto") -> Seen:
    """The controller under the faults, and beside it the plant's own control under the same."""
    seen = Seen()
    racks = _run_ours(site, policy, p, seed, mode, seen)
    if p.own_too:
        _compare(racks, _run_own(site, p, seed), seen)
    seen.hottest_c = float(racks.max())
    seen.over_27_s = float((racks.max(axis=1) > WARM_C).sum())
    return seen


def _run_ours(site: Site, policy: object, p: Play, seed: int, mode: str, seen: Seen) -> np.ndarray:
    plant = plant_for(site, p)
    readings = plant.reset(seed)
    controller = Controller(site, policy, mode)  # type: ignore[arg-type]
    audit = Audit(site, controller.control)
    put = [plant.faults.add(faults.parse(text)) for text in p.faults]
    machine_fault = any(f.target in plant.faults.machines for f in put)
    racks = []
    for k in range(p.seconds):
        now_s = float(k)
        if p.arrange:
            p.arrange(plant, now_s)
        seen_now = p.change(dict(readings), now_s) if p.change else readings
        controller.store.put_readings(seen_now, now_s)
        snap = controller.store.snapshot(now_s)
        d = controller.tick_snapshot(snap)
        t = plant.truth
        audit.look(d, snap, inlet_c=float(t.rack_inlet_c.max()), plant_fault=machine_fault or p.arrange is not None)
        seen.decisions.append(d)
        seen.trace.append(
            {"unmet_w": t.unmet_w, "chiller_w": t.chiller_w, "dewpoint_c": t.dewpoint_c, "fan_travel": t.fan_travel,
             "aisle_pa": readings.get("hall1.aisle_dp", np.nan)}
        )  # fmt: skip
        racks.append(t.rack_inlet_c)
        readings = plant.step(d.setpoints, 1.0)  # type: ignore[assignment]
    seen.felt = sum(f.felt for f in put) if put else -1
    assert all(f.felt for f in put), [f.target for f in put if not f.felt]
    seen.violations = audit.violations
    return np.array(racks)


def _run_own(site: Site, p: Play, seed: int) -> np.ndarray:
    plant = plant_for(site, p)
    plant.reset(seed)
    for text in p.faults:
        plant.faults.add(faults.parse(text))
    racks = []
    for k in range(p.seconds):
        if p.arrange:
            p.arrange(plant, float(k))
        racks.append(plant.truth.rack_inlet_c)
        plant.step(None, 1.0)
    return np.array(racks)


def _compare(ours: np.ndarray, own: np.ndarray, seen: Seen) -> None:
    """Bar R3: only where ours is above 27 °C, rack by rack."""
    seen.own_hottest_c = float(own.max())
    hot = ours > WARM_C
    # Rack by rack and up to now: a rack may be late to a temperature that it has under own control too.
    reached = np.maximum.accumulate(own, axis=0)
    seen.over_own_k = float(np.where(hot, ours - np.maximum(reached, WARM_C), 0.0).max())
    seen.head_start_k = float((ours[FAULT_S - 1] - own[FAULT_S - 1]).max())
    k_min = (np.maximum(ours - WARM_C, 0.0).sum(axis=0) - np.maximum(own - WARM_C, 0.0).sum(axis=0)) / 60.0
    seen.worst_k_min = float(k_min.max())
    seen.over_32_s = float(((ours > ALLOWABLE_C).sum(axis=0) - (own > ALLOWABLE_C).sum(axis=0)).max())


# -- bounds


def never_worse(seen: Seen) -> None:
    """Bar R3 against the plant's own control under the same fault."""
    assert seen.over_own_k <= OVER_OWN_K, f"{seen.over_own_k:.2f} K over own control"
    assert seen.worst_k_min <= OVER_OWN_K_MIN, f"{seen.worst_k_min:.2f} K·min over own control"
    assert seen.over_32_s <= OVER_OWN_32_S, f"{seen.over_32_s:.0f} s more above 32 °C"


def stays_safe(seen: Seen | VirtualStack) -> None:
    """Bar R2: never above 32 °C, above 27 °C for at most two minutes."""
    assert seen.hottest_c <= SOFTWARE_MAX_C, f"{seen.hottest_c:.2f} °C"
    assert seen.over_27_s <= SOFTWARE_OVER_27_S, f"{seen.over_27_s:.0f} s over 27 °C"


def clean(seen: Seen | VirtualStack) -> None:
    """No invariant broken."""
    found = seen.violations() if isinstance(seen, VirtualStack) else seen.violations
    assert not found, found[:3]


def doubted(seen: Seen, point: str, within_s: int, fault_s: int) -> float:
    """Seconds from the fault until a point is no longer believed. Fails when it takes longer."""
    for d in seen.decisions[fault_s : fault_s + within_s]:
        if point in d.doubted:
            return d.now_s - fault_s
    raise AssertionError(f"{point} was believed for {within_s} s")


class Stage:
    """What a row may use: the shipped site and policy, a folder, and the stack on virtual time."""

    def __init__(self, site: Site, policy: object, folder: Path, monkeypatch: Any, seed: int):
        self.site, self.policy, self.folder, self.monkeypatch, self.seed = site, policy, folder, monkeypatch, seed

    def play(self, p: Play, mode: str = "auto", policy: object = "shipped") -> Seen:
        return play(self.site, self.policy if policy == "shipped" else policy, p, self.seed, mode)

    def stack(self, **more: Any) -> VirtualStack:
        """The stack with the policy in charge of it."""
        return VirtualStack(self.monkeypatch, self.site, self.folder, seed=self.seed, **more)

    def armed(self, **more: Any) -> VirtualStack:
        """The stack once the policy has earned its charge."""
        stack = self.stack(**more).run(ARMED_S)
        assert stack.one.decision is not None and stack.one.decision.mode == "auto", stack.one.modes
        return stack


def summary(stack: VirtualStack) -> str:
    """What a stack showed, in short."""
    modes = [m for m, _same in itertools.groupby(m for t, m, _g in stack.one.modes if t > ARMED_S - 60)]
    return f"hottest {stack.hottest_c:.1f} °C; {' → '.join(modes[-5:])}"


def until(stack: VirtualStack, true: Callable[[], bool], within_s: int) -> int:
    """Seconds until `true`; fails when it takes longer."""
    for k in range(within_s):
        stack.step()
        if true():
            return k + 1
    raise AssertionError(f"not within {within_s} s")


def without(names: Iterable[str], start_s: float = 0.0, end_s: float = np.inf) -> Change:
    """Readings with some points silent."""
    gone = frozenset(names)

    def change(readings: dict[str, float], now_s: float) -> dict[str, float]:
        return {i: v for i, v in readings.items() if i not in gone} if start_s <= now_s < end_s else readings

    return change


def replaced(values: Mapping[str, float], start_s: float = 0.0) -> Change:
    """Readings with some points at fixed values."""
    return lambda readings, now_s: {**readings, **values} if now_s >= start_s else readings
