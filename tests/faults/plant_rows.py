"""P: machines, weather and load."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from coolctl.control.feedforward import AISLE_SHORT_PA
from coolctl.points import U_CHILLERS
from faults.rows import NOT_YET, Row
from faults.scenes import Play, Seen, Stage, clean, never_worse, stays_safe
from sim_plant.load import Load, constant
from sim_plant.plant import SimPlant
from sim_plant.weather import Weather

AT_S = 600
SHORT = "over the bar of 1.0 K by the head start that a warmer hall gives the fault"
Run = Callable[[Stage], str]


def steps(*parts: tuple[float, float]) -> Load:
    """A load that holds `(from [s], ratio)` after another, for ever the last."""
    t = np.array([a for a, _r in parts] + [1e7])
    return Load("steps", t, np.array([r for _a, r in parts] + [parts[-1][1]]))


def swinging(low: float, high: float, period_s: float, begin_s: float = 600.0) -> Load:
    """Calm until `begin_s`, then between two ratios for ever: synchronised training."""
    t = np.concatenate([[0.0], np.arange(begin_s, 8000.0, period_s / 2.0)])
    ratio = np.concatenate([[0.6], np.where(np.arange(len(t) - 1) % 2, low, high)])
    return Load("swinging", t, ratio)


def warmer(by_k: float, humid_k: float | None = None) -> Callable[[Weather], Weather]:
    return lambda w: Weather(
        w.name, w.oadb_c + by_k, w.oawb_c + (by_k if humid_k is None else humid_k), w.pressure_pa, w.start_hour
    )


def beside_own(*faults: str, check: Callable[..., str] | None = None, **more: object) -> Run:
    """Never worse than the plant's own control under the same faults; `check` may ask for more."""

    def run(stage: Stage) -> str:
        seen = stage.play(Play(faults, **more))  # type: ignore[arg-type]
        never_worse(seen)
        clean(seen)
        said = check(seen) if check else ""
        return "; ".join(filter(None, [seen.text(), said]))

    return run


def chiller_trip(stage: Stage) -> str:
    """Seven chillers' worth of load on two of three: the third is asked for within seconds."""
    seen = stage.play(Play(("off:chiller1@600",), load=constant(0.9), weather=warmer(4.0)))
    never_worse(seen)
    clean(seen)
    before = seen.at(AT_S - 1).u[2]
    asked = next((d.now_s - AT_S for d in seen.decisions[AT_S:] if d.u[2] >= min(before, 2.0)), np.inf)
    assert asked <= 5.0
    rules = _rules_after(seen)
    return f"{seen.text()}; the rules after {rules} ticks, as many chillers asked for after {asked:.0f} s"


def _rules_after(seen: Seen, within: int = 3) -> int:
    """Ticks from the fault, as it is first measured, until the policy is out."""
    assert seen.at(AT_S).mode == "auto"
    took = next(k for k, d in enumerate(seen.decisions[AT_S + 1 :], 1) if d.mode != "auto")
    assert took <= within, f"the policy stays for {took} ticks"
    return took


def all_trip(stage: Stage) -> str:
    trips = tuple(f"off:chiller{n}@600-{end}" for n, end in ((1, 1200), (2, 660), (3, 660)))
    seen = stage.play(Play(trips, seconds=3000))
    never_worse(seen)
    clean(seen)
    assert seen.at(AT_S).mode == "auto" and seen.at(AT_S + 3).mode == "emergency"
    dark = seen.decisions[AT_S + 3 : 660]
    warm = [d.now_s for a, d in itertools.pairwise(dark) if d.u[0] > a.u[0] + 1e-6]
    assert not warm, f"water asked for warmer at {warm[:3]}"
    return f"{seen.text()}; modes {' → '.join(seen.modes())}"


def head_start(*faults: str, slack_k: float = 0.5, **more: object) -> Run:
    """Where a whole hall loses its cooling at once, a hall that was warmer before stays warmer by that much: more than
    the bar allows, so the row says by how much it falls short. What may not be is that the distance grows."""

    def run(stage: Stage) -> str:
        seen = stage.play(Play(faults, **more))  # type: ignore[arg-type]
        assert seen.over_own_k <= seen.head_start_k + slack_k, f"{seen.over_own_k:.2f} K after {seen.head_start_k:.2f}"
        clean(seen)
        said = f"{seen.over_own_k:.1f} K over own control at the worst moment, {seen.head_start_k:.1f} K before the fault"
        return f"{seen.text()}; {said}"

    return run


def crah_share(share: float) -> Run:
    """Faster than the same fans would be at that second with all of them well: the load moves by itself. And soon enough that
    the aisle, as it is measured, is never short of air for longer than ten seconds."""

    def run(stage: Stage) -> str:
        well = stage.play(Play(seconds=2400))
        seen = stage.play(Play((f"off:hall1.crahs:{share}@600",), seconds=2400))
        never_worse(seen)
        clean(seen)
        speeds = [[d.setpoints.get("hall1.fan_speed_sp", 0.0) for d in s.decisions[AT_S:]] for s in (seen, well)]
        up_s = next((k for k, (now, then) in enumerate(zip(*speeds, strict=True)) if now > then + 1.0), np.inf)
        short_s = longest(t["aisle_pa"] < AISLE_SHORT_PA for t in seen.trace[AT_S:])
        assert up_s <= 60.0 and short_s <= 10
        return f"{seen.text()}; the others faster after {up_s:.0f} s; the aisle short of air for {short_s} s at a time"

    return run


def longest(told: Iterable[bool]) -> int:
    """The longest time that something held without a break [s]."""
    return max((len(list(run)) for holds, run in itertools.groupby(told) if holds), default=0)


def beyond_weather(stage: Stage) -> str:
    seen = stage.play(Play(weather=warmer(25.0, 20.0), seconds=1500, start="07-15T14", load=constant(0.5)))
    clean(seen)
    never_worse(seen)
    assert "auto" not in seen.modes()
    fault = seen.decisions[-1].alarm
    assert "outside the trained range" in fault
    return f"{seen.text()}; {fault}"


def step_up(stage: Stage) -> str:
    seen = stage.play(Play(load=steps((0.0, 0.2), (1200.0, 0.9)), seconds=3000))
    clean(seen)
    stays_safe(seen)
    never_worse(seen)
    return seen.text()


def swing(stage: Stage) -> str:
    load = swinging(0.3, 1.0, 10.0)
    seen = stage.play(Play(load=load, seconds=4200))
    rules = stage.play(Play(load=load, seconds=4200, own_too=False), mode="fallback")
    clean(seen)
    stays_safe(seen)
    ours, theirs = seen.reversals("hall1.fan_speed_sp", AT_S), rules.reversals("hall1.fan_speed_sp", AT_S)
    assert ours <= max(theirs, 20), f"fans turned {ours} times, under the rules {theirs}"
    return f"{seen.text()}; fans turned {ours} times, under the rules {theirs}"


def thinner_containment(plant: SimPlant, now_s: float) -> None:
    """A fifth more of the exhaust air comes back."""
    if now_s == AT_S:
        from sim_plant import params

        plant._rows = plant._rows.copy()
        plant._rows[:, params.H_RECIRC] += 0.2


def locked_group(plant: SimPlant, now_s: float) -> None:
    """From the fault on one chiller is left, whoever asks for more: the group control answers and does nothing."""
    if now_s == AT_S:
        follow = plant.bms.step

        def locked(leased: object, view: object, dt_s: float) -> np.ndarray:
            u = follow(leased, view, dt_s).copy()  # type: ignore[arg-type]
            u[U_CHILLERS] = min(u[U_CHILLERS], 1.0)
            return u

        plant.bms.step = locked  # type: ignore[method-assign, assignment]


def group_control(stage: Stage) -> str:
    """One chiller for more than it carries: no worse than own control under the same lock, and starts are not asked for over
    and over."""
    seen = stage.play(Play(arrange=locked_group, load=steps((0.0, 0.45), (900.0, 0.75)), weather=warmer(4.0), seconds=3000))
    never_worse(seen)
    clean(seen)
    asked = [d.u[U_CHILLERS] for d in seen.decisions[AT_S:]]
    assert max(asked) > 1.0, "the lock was not felt: nothing more was asked for"
    rises = sum(b > a for a, b in itertools.pairwise(asked))
    assert rises <= 4, f"{rises} times asked for one more"
    more_s = AT_S + next(k for k, n in enumerate(asked) if n > 1.0)
    said_s = next(k for k, d in enumerate(seen.decisions) if "chillers_on_sp" in d.without_effect) - more_s
    assert said_s <= stage.site.chiller.restart_s + 65.0 and not seen.at(AT_S).without_effect
    return f"{seen.text()}; said {said_s} s after the first command; {max(asked):.0f} asked for, one runs; asked for one more {rises} times in 40 min"


def humid(stage: Stage) -> str:
    def dewpoint_c(now_s: float) -> float:
        """Breathing, as a live sensor does: one that stands still is not believed after a quarter of an hour."""
        return 21.5 + 0.1 * math.sin(now_s / 40.0)

    def excursion(readings: Mapping[str, float], now_s: float) -> dict[str, float]:
        return {**readings, **({"hall1.room_dewpoint": dewpoint_c(now_s)} if now_s >= AT_S else {})}

    seen = stage.play(Play(change=excursion, seconds=2400))
    clean(seen)
    stays_safe(seen)
    late = range(AT_S + 300, 2400)
    over_k = [seen.decisions[k].setpoints["hall1.sat_sp"] - dewpoint_c(float(k)) for k in late]
    assert min(over_k) >= 2.0 - 0.05
    return f"{seen.text()}; supply air not within {min(over_k):.1f} K of a dew point of 21.5"


def freezing(stage: Stage) -> str:
    seen = stage.play(Play(weather=warmer(-12.0), start="01-15T04", seconds=3000))
    clean(seen)
    stays_safe(seen)
    cells = seen.reversals("tower_cells_on_sp")
    assert cells <= 2
    return f"{seen.text()}; tower cells turned {cells} times"


ROWS = (
    Row("P01", "one running chiller trips", "the rules within 3 ticks, as many asked for within 5 s; never worse", chiller_trip),
    Row("P02", "all chillers trip, one stays out", "emergency within 3 s, no warm move while dark; never worse", all_trip),
    Row("P03", "loop too warm to restart", "no repeated start; never worse", tier="N", why_not=f"{NOT_YET}: chillers of the plant restart at any water"),
    Row("P04", "all chilled water pumps stop for 5 min", "never worse", head_start("off:chw_pumps@600-900"), short=SHORT),
    Row("P05", "pump stuck at 40 %", "never worse", beside_own("slow:chw_pumps:0.4@600"), tier="N"),
    Row("P06", "cooling valve stuck closed", "never worse", head_start("stuck:hall1.valve:0@600"), short=SHORT),
    Row("P06a", "cooling valve stuck at 15 %", "never worse", head_start("stuck:hall1.valve:0.15@600"), short=SHORT),
    Row("P06b", "cooling valve stuck at 65 %", "never worse", beside_own("stuck:hall1.valve:0.65@600"), tier="N"),
    Row("P06c", "cooling valve stuck open", "never worse", beside_own("stuck:hall1.valve:1@600"), tier="N"),
    Row("P07", "valve leaks", "no hunting", tier="N", why_not=f"{NOT_YET}: valves of the plant close fully"),
    Row("P08", "buffer tank shut off", "never worse", beside_own(arrange=lambda plant, t: setattr(plant, "_p", plant._p._replace(buffer_kg=1.0)) if t == AT_S else None)),
    Row("P09", "air lock in the loop", "few staging changes; never worse", tier="N", why_not=f"{NOT_YET}: the loop of the plant has no air"),
    Row("P10", "group control ignores commands", "said within 60 s; no command over and over; never worse", group_control, tier="N", short="a chiller has 420 s for its start; said a minute after that"),
    Row("P11", "one CRAH of ten dead", "the others faster within 10 s; never worse", crah_share(0.1), short="slower than 10 s while the aisle has air in hand"),
    Row("P12", "a quarter of the CRAHs disabled at once", "the rules within 3 ticks, the others faster within 10 s; never worse", crah_share(0.25), short="the policy stays, its fans follow"),
    Row("P13", "CRAHs stop when remote control is lost", "refused at the proof test", held_by="tests/test_gateway.py::test_proof_that_ends_with_units_off_refuses_to_arm"),
    Row("P14", "adjacent units fight", "spread of commands bounded", tier="N", why_not=f"{NOT_YET}: one setpoint a hall"),
    Row("P15", "tower fan off", "never worse", beside_own("off:tower@600"), tier="N"),
    Row("P16", "tower a quarter weaker", "never worse", beside_own("slow:tower:0.75@600"), tier="R"),
    Row("P17", "-8 °C outside, wet tower", "cells do not cycle; safe", freezing, tier="N"),
    Row("P18", "condenser fouled", "never worse", tier="N", why_not=f"{NOT_YET}: chillers fail whole; the fouled plants of the mismatch runs stand for it"),
    Row("P19", "chiller a fifth weaker", "never worse", tier="R", why_not=f"{NOT_YET}: as P18"),
    Row("P20", "weather far beyond the training range", "recognised, the rules in charge; never worse", beyond_weather),
    Row("P21", "IT load from 20 to 90 % in a second", "safe; never worse", step_up),
    Row("P22", "load swings 30-100 % at 0.1 Hz for an hour", "safe; fans turn no more than under the rules", swing, tier="N"),
    Row("P23", "utility lost, chillers back after minutes", "kW cap kept; never worse", tier="N", why_not=f"{NOT_YET}: the plant has no power side"),
    Row("P24", "a fifth more recirculation", "never worse", head_start(arrange=thinner_containment), tier="N", short=SHORT),
    Row("P25", "humidity to 95 %", "supply air stays over the dew point", humid),
    Row("P26", "make-up water lost", "never worse", tier="R", why_not=f"{NOT_YET}: the basin of the plant is always full"),
    Row("P27", "thermal store empty", "margin grows", tier="N", why_not=f"{NOT_YET}: no store beside the buffer"),
    Row("P28", "flow to liquid-cooled racks lost", "alarm within 2 s", tier="N", why_not=f"{NOT_YET}: no liquid-cooled racks"),
)  # fmt: skip
