"""Random episodes of a plant's life: weather, load, who is in charge, and what breaks, all drawn from one seed.

An episode is its kind and its number: the same two give the same episode, so a violation needs nothing else to be seen
again. `random` has faults of every class under the shipped policy, `adversary` a policy that wants the hall hot, and
`year` is six hours at a time of a calendar year with a fault every quarter of an hour.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coolctl.control.mode import MODES
from coolctl.control.tick import Tick
from coolctl.site import Site
from sim_plant import faults
from sim_plant.load import Load
from sim_plant.lumped import LumpedPlant
from sim_plant.plant import SimPlant
from sim_plant.weather import Weather, from_statistics
from tools.adversaries import NETWORKS, WISHES, Adversary, Outputs, Silent
from tools.soak_chain import ACK, BMS, SP, TEL, TICK, Chain, Copies, Flaw, in_one_process

KINDS = ("random", "adversary", "year")
EPISODE_S, YEAR_PIECE_S, YEAR_FAULT_EVERY_S = 1800.0, 21600.0, 900.0
YEAR_PIECES = 1460
STATIONS = ("CHN_Guiyang", "CHN_Beijing", "CHN_Shanghai", "CHN_Guangzhou", "CHN_Harbin", "CHN_Chongqing")
JOB_MAX = 0.3  # of the design load that one job starts or ends with, as in `load.synthetic`
LIMIT_C, OWN_SLACK_K = 27.0, 0.5  # bar R3 counts from here; what a head start may grow by
Act = Callable[[Chain], None]


@dataclass
class Episode:
    """What is drawn: everything that a run needs beside the site."""

    kind: str
    seed: int
    weather: Weather
    load: Load
    seconds: float
    dt_s: float
    mode: str
    wish: str = ""
    plant_faults: list[str] = field(default_factory=list)
    sensor_faults: list[str] = field(default_factory=list)
    acts: list[tuple[float, str, Act]] = field(default_factory=list)

    @property
    def broken(self) -> list[faults.Fault]:
        return [faults.parse(text) for text in self.plant_faults]


@functools.cache
def _weather(station: str) -> Weather:
    return from_statistics(station)


def draw(kind: str, seed: int, site: Site, dt_s: float) -> Episode:
    """The episode `seed` of its kind; `site` is the lumped plant's."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    year = kind == "year"
    station = STATIONS[0] if year else str(rng.choice(STATIONS))
    hour = 6 * (seed % YEAR_PIECES) if year else int(rng.integers(8760))
    seconds = YEAR_PIECE_S if year else EPISODE_S
    mode = str(rng.choice(["auto", "bounded", "fallback"], p=[0.8, 0.15, 0.05])) if kind == "random" else "auto"
    e = Episode(kind, seed, _weather(station).starting(hour), _load(rng, seconds), seconds, dt_s, mode)
    if kind == "adversary":
        e.wish = str(rng.choice([*WISHES, *NETWORKS]))
        e.mode = str(rng.choice(["auto", "bounded"], p=[0.8, 0.2]))
    count = {"random": int(rng.integers(1, 5)), "adversary": int(rng.integers(0, 3))}.get(kind, 0)
    for _ in range(count):
        _break(e, rng, site, float(rng.uniform(60.0, seconds - 300.0)), plant_too=kind == "random")
    for k in range(int(seconds / YEAR_FAULT_EVERY_S) if year else 0):
        _break(e, rng, site, 60.0 + YEAR_FAULT_EVERY_S * k + float(rng.uniform(0.0, 600.0)), plant_too=rng.random() < 0.3)
    e.acts.sort(key=lambda a: a[0])
    return e


def _load(rng: np.random.Generator, seconds: float) -> Load:
    """Constant, a few jobs, many jobs, synchronised work, or the one step from idle to all that P21 is about."""
    kind, base = int(rng.choice(5, p=[0.2, 0.25, 0.25, 0.25, 0.05])), float(rng.uniform(0.2, 0.9))
    if kind == 4:
        at_s = float(rng.uniform(400.0, seconds - 600.0))
        return Load("step", np.array([0.0, at_s, 1e6]), np.array([0.2, 0.9, 0.9]))
    if kind == 3:
        t = np.arange(0.0, seconds, float(rng.uniform(10.0, 400.0)))
        other = float(np.clip(base + rng.uniform(-JOB_MAX, JOB_MAX), 0.15, 0.95))
        ratio = np.where(np.arange(len(t)) % 2, base, other)
    else:
        count = (0, int(rng.integers(1, 6)), int(rng.integers(6, 40)))[kind]
        t = np.sort(np.concatenate([[0.0], rng.uniform(0.0, seconds, count)]))
        ratio = np.empty(len(t))
        for k in range(len(t)):
            ratio[k] = base
            base = float(np.clip(base + rng.uniform(-JOB_MAX, JOB_MAX), 0.15, 0.95))
    return Load("drawn", np.concatenate([t, [1e6]]), np.concatenate([ratio, ratio[-1:]]))


def _break(e: Episode, rng: np.random.Generator, site: Site, at_s: float, plant_too: bool) -> None:
    """One more thing that goes wrong at `at_s`, and for how long."""
    end_s = at_s + float(rng.choice([5.0, 20.0, 60.0, 200.0, 600.0, 1200.0]))
    group = str(
        rng.choice(["sensor", "plant", "link", "process"], p=[0.3, 0.25 if plant_too else 0.0, 0.25, 0.2 if plant_too else 0.45])
    )
    if group == "sensor":
        for _ in range(int(rng.choice([1, 1, 1, 3]))):
            e.sensor_faults.append(_sensor_fault(rng, site) + f"@{at_s:.0f}-{end_s:.0f}")
    elif group == "plant":
        e.plant_faults.append(_plant_fault(rng, site) + f"@{at_s:.0f}-{end_s:.0f}")
    elif group == "link":
        name, rule = _link_fault(rng, at_s, end_s)
        e.acts.append((at_s, name, lambda chain: chain.rules.append(rule)))
    else:
        e.acts += _process_fault(rng, at_s, end_s)


def _sensor_fault(rng: np.random.Generator, site: Site) -> str:
    ids = [p.id for p in site.table.points if not p.writable and p.role != "valve"]
    kind = str(rng.choice(faults.KINDS[1:]))
    value = {
        "off": 0.0, "stuck": rng.choice([0.0, 15.0, 22.0, 85.0, 65535.0]), "garbage": 10.0 ** rng.uniform(-1, 2),
        "wrong": rng.normal(0.0, 5.0), "slow": rng.uniform(3, 60), "delayed": rng.integers(5, 60),
        "intermittent": rng.uniform(0.1, 0.9),
    }[kind]  # fmt: skip
    shown = "" if kind in ("off", "stuck") and rng.random() < 0.5 else f":{float(value):.3f}"
    return f"{kind}:{rng.choice(ids)}{shown}"


def _plant_fault(rng: np.random.Generator, site: Site) -> str:
    hall = site.halls[0]
    share = float(rng.uniform(0.1, 0.6))
    return str(
        rng.choice([
            *(f"off:chiller{i + 1}" for i in range(site.file.chillers.count)), "off:tower", f"slow:tower:{share:.2f}",
            "off:cw_pumps", "off:chw_pumps", f"slow:chw_pumps:{1.0 - 0.5 * share:.2f}", f"off:{hall}.crahs:{share:.2f}",
            f"stuck:{hall}.valve:{rng.uniform(0.0, 1.0):.2f}", f"wrong:{hall}.valve:{rng.uniform(0.1, 8.0):.2f}",
            f"intermittent:{hall}.valve:{rng.uniform(0.02, 0.1):.2f}", f"delayed:{hall}.valve",
        ])
    )  # fmt: skip


def _link_fault(rng: np.random.Generator, at_s: float, end_s: float) -> tuple[str, Callable[[str, Any, float], Copies]]:
    """A rule of the network between two moments."""
    where = str(rng.choice([TEL, TICK, ACK, SP, BMS]))
    what = str(rng.choice(["cut", "late", "loss", "repeat", "jitter", "damage" if where in (SP,) else "late"]))
    delay_s, share = float(rng.choice([1.0, 3.0, 5.0, 8.0, 20.0, 60.0])), float(rng.uniform(0.1, 0.9))
    own = np.random.default_rng(rng.integers(1 << 62))

    def rule(kind: str, payload: Any, now_s: float) -> Copies:
        if kind != where or not at_s <= now_s < end_s:
            return [(0.0, payload)]
        if what == "cut":
            return []
        if what == "late":
            return [(delay_s, payload)]
        if what == "loss":
            return [] if own.random() < share else [(0.0, payload)]
        if what == "repeat":
            return [(float(d), payload) for d in (0.0, 0.0, 1.0, delay_s)]
        if what == "jitter":
            return [(float(own.uniform(0.0, delay_s)), payload)]
        raw = bytearray(payload)
        raw[int(own.integers(len(raw)))] ^= 1 << int(own.integers(8))
        return [(0.0, bytes(raw))]

    return f"{what} {where}", rule


def _process_fault(rng: np.random.Generator, at_s: float, end_s: float) -> list[tuple[float, str, Act]]:
    """Controller, gateway and people."""
    kind = str(rng.choice(["pause", "kill", "gateway", "hand", "grant", "replay", "forge"]))
    seed, mode = int(rng.integers(1 << 62)), str(rng.choice(MODES))
    if kind == "pause":
        return [(at_s, kind, lambda c: setattr(c, "paused", True)), (end_s, "resume", lambda c: setattr(c, "paused", False))]
    if kind == "kill":
        return [(at_s, kind, lambda c: setattr(c, "paused", True)), (end_s, "start", _start)]
    if kind == "gateway":
        return [(at_s, kind, Chain.restart_gateway)]
    if kind == "hand":
        return [(at_s, kind, lambda c: _take_in_hand(c, True)), (end_s, "hand back", lambda c: _take_in_hand(c, False))]
    if kind == "grant":
        return [(at_s, f"grant {mode}", lambda c: c.grant(mode)), (end_s, "grant auto", lambda c: c.grant("auto"))]
    return [(at_s + k, kind, lambda c: _flood(c, seed, kind)) for k in range(0, int(min(end_s - at_s, 60.0)), 5)]


def _start(chain: Chain) -> None:
    chain.paused = False
    chain.restart_controller()


def _take_in_hand(chain: Chain, taken: bool) -> None:
    chain.plant.faults.items = [f for f in chain.plant.faults.items if f.target != "hand"]
    if taken:
        chain.plant.faults.add(faults.parse("stuck:hand:1"))


def _flood(chain: Chain, seed: int, kind: str) -> None:
    """Old leases once more, or bytes that were changed."""
    rng = np.random.default_rng([seed, int(chain.plant.t_s)])
    for raw in [chain.sent[int(k)] for k in rng.integers(len(chain.sent), size=20)] if chain.sent else []:
        if kind == "forge":
            changed = bytearray(raw)
            for _ in range(int(rng.integers(1, 4))):
                changed[int(rng.integers(len(changed)))] = int(rng.integers(32, 127))
            raw = bytes(changed)
        chain.inject(raw)


def run(e: Episode, site: Site, policy: Any, on_fine: bool = False) -> dict[str, Any]:
    """Play an episode; what was seen. `on_fine`: `site` is the full one, its plant and racks, second by second."""
    began_s = time.process_time()
    rng = np.random.default_rng([99, KINDS.index(e.kind), e.seed])
    made = Outputs(e.wish, rng) if e.wish in NETWORKS else Silent() if e.wish else policy

    def make_tick(of: Site, granted: str) -> Tick:
        return Adversary(of, made, granted, e.wish, rng) if e.wish in WISHES else Tick(of, made, granted)

    plant = _plant(e, site, on_fine)
    with in_one_process():
        chain = Chain(plant, make_tick, e.mode, 1.0 if on_fine else e.dt_s)
        put = [plant.faults.add(f) for f in e.broken]
        known = {p.id for p in site.table.points}
        put_sensors = [plant.faults.add(f) for t in e.sensor_faults if (f := faults.parse(t)).target in known]
        inlets = np.array(list(_play(chain, e, put)))
    flaws = chain.flaws[:]
    own_k = head_k = 0.0
    if e.plant_faults and len(e.plant_faults):
        own_k, head_k = _beside_own(e, site, on_fine, inlets, chain.dt_s)
        if own_k > head_k + OWN_SLACK_K and not e.sensor_faults and not e.acts:
            flaws.append(Flaw(e.seconds, "R3", f"{own_k:.2f} K over own control, {head_k:.2f} K before the fault"))
    return {
        "kind": e.kind, "seed": e.seed, "plant": "fine" if on_fine else "lumped", "dt_s": chain.dt_s, "ticks": chain.ticks,
        "violations": [f"{f.t_s:.0f} s {f.id}: {f.text}" for f in flaws[:5]], "count": len(flaws),
        "by": dict(Counter(f.id for f in flaws)), "wish": e.wish, "mode": e.mode, "modes": len(chain.modes),
        "policy": chain.policy_ticks, "leased": chain.leased_ticks, "touched": chain.touched,
        "felt": sum(f.felt > 0 for f in [*put, *put_sensors]), "faults": len(put) + len(put_sensors) + len(e.acts),
        "hottest_c": round(chain.hottest_c, 2), "warm_s": chain.warm_most_s, "own_k": round(own_k, 2), "head_k": round(head_k, 2),
        "rejects": sum(chain.rejects.values()), "machines": len(e.plant_faults),
        "seconds": round(time.process_time() - began_s, 3),
    }  # fmt: skip


def _plant(e: Episode, site: Site, on_fine: bool) -> SimPlant:
    there = site.at_pressure(e.weather.pressure_mean_pa)
    plant = SimPlant(there, e.weather, e.load) if on_fine else LumpedPlant(there, e.weather, e.load)
    plant.rng = np.random.default_rng(e.seed)
    return plant


def _play(chain: Chain, e: Episode, broken: list[faults.Fault]) -> Iterator[float]:
    """Step by step; each step's hottest rack."""
    todo = list(e.acts)
    while chain.plant.t_s < e.seconds - 1e-6:
        while todo and todo[0][0] <= chain.plant.t_s:
            todo.pop(0)[2](chain)
        t_s, next_s = chain.plant.t_s, chain.plant.t_s + chain.dt_s
        past = min(e.load.at(max(t_s - back_s, 0.0)) for back_s in (0.0, 30.0, 60.0, 90.0, 120.0))
        steps = e.load.at(next_s) - past > 1.1 * JOB_MAX  # two jobs at once are a step too
        chain.step(any(f.start_s <= next_s and t_s < f.end_s for f in broken), steps)
        yield float(chain.plant.rack_inlet_c.max())


def _beside_own(e: Episode, site: Site, on_fine: bool, ours: np.ndarray, dt_s: float) -> tuple[float, float]:
    """How far the hottest rack was over the plant's own control's where it was warm [K], and before the first fault."""
    own = _plant(e, site, on_fine)
    for f in e.broken:
        own.faults.add(f)
    theirs = np.empty(len(ours))
    for k in range(len(ours)):
        own.advance(None, dt_s)
        theirs[k] = own.rack_inlet_c.max()
    first = max(int(min(f.start_s for f in e.broken) / dt_s) - 1, 0)
    reached = np.maximum(np.maximum.accumulate(theirs), LIMIT_C)
    over = np.where(ours > LIMIT_C, ours - reached, 0.0)
    return float(over.max()), float(max(ours[first] - theirs[first], 0.0))
