"""S: sensors that lie, freeze, jump or say nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from faults.rows import Row
from faults.scenes import Change, Play, Stage, clean, doubted, never_worse, stays_safe, without

HOT = "hall1.rack05.rack_inlet"
AT_S = 1900  # neighbours are compared once a rack has been known for half an hour
Run = Callable[[Stage], str]


def lies(*faults: str, found: str = "", within_s: int = 900, at_s: int = AT_S, seconds: int = 3200, **more: object) -> Run:
    """The racks stay safe; where `found` names a point, it is no longer believed in time."""

    def run(stage: Stage) -> str:
        seen = stage.play(Play(tuple(f"{f}@{at_s}" for f in faults), seconds=seconds, **more))  # type: ignore[arg-type]
        clean(seen)
        stays_safe(seen)
        said = f"; not believed after {doubted(seen, found, within_s, at_s):.0f} s" if found else ""
        return seen.text() + said

    return run


def rails(stage: Stage) -> str:
    """Each code in turn; none may move the hall's hottest rack as the controller sees it."""
    texts = []
    for code in (0.0, -127.0, 85.0, 850.0, 65535.0):
        seen = stage.play(Play(change=at_value(HOT, code), seconds=1000, own_too=False))
        clean(seen)
        stays_safe(seen)
        d = seen.at(701)
        told = d.terms["hottest_c"]
        assert 20.0 < told < 30.0, f"{code}: hottest {told:.1f}"
        texts.append(f"{code:g} → {told:.1f}")
    return "hottest as seen: " + ", ".join(texts)


def at_value(point: str, value: float, start_s: float = 700.0) -> Change:
    def change(readings: dict[str, float], now_s: float) -> dict[str, float]:
        return {**readings, point: value} if now_s >= start_s else readings

    return change


def spikes(stage: Stage) -> str:
    rng = np.random.default_rng(stage.seed)

    def change(readings: dict[str, float], now_s: float) -> dict[str, float]:
        if rng.random() < 0.01 and now_s > 700.0:
            readings[HOT] += 20.0 * (1 if rng.random() < 0.5 else -1)
        return readings

    seen = stage.play(Play(change=change, seconds=2000, own_too=False))
    calm = stage.play(Play(seconds=2000, own_too=False))
    clean(seen)
    stays_safe(seen)
    pairs = zip(seen.decisions[700:], calm.decisions[700:], strict=True)
    off_k = max(abs(a.setpoints["hall1.sat_sp"] - b.setpoints["hall1.sat_sp"]) for a, b in pairs)
    return f"{seen.text()}; supply air at most {off_k:.2f} K from the run without spikes"


def fahrenheit(stage: Stage) -> str:
    def change(readings: dict[str, float], now_s: float) -> dict[str, float]:
        if now_s >= 1200.0:
            for name in list(readings):
                if name.endswith("rack_inlet"):
                    readings[name] = 1.8 * readings[name] + 32.0
            readings["hall1.it_power"] *= 1000.0
        return readings

    seen = stage.play(Play(change=change, seconds=2400))
    clean(seen)
    stays_safe(seen)
    assert seen.at(1206).mode in ("fallback", "release", "emergency"), seen.at(1206).mode
    return f"{seen.text()}; {seen.at(1206).mode} 6 s later"


def flipped(stage: Stage) -> str:
    def change(readings: dict[str, float], now_s: float) -> dict[str, float]:
        if now_s >= 700.0:
            readings["oawb"], readings["chwst"] = -readings["oawb"], -readings["chwst"]
        return readings

    seen = stage.play(Play(change=change, seconds=2400))
    clean(seen)
    stays_safe(seen)
    never_worse(seen)
    return f"{seen.text()}; doubted: {', '.join(sorted(seen.at(720).doubted)) or 'out of range'}"


def swapped(a: str, b: str, start_s: float = 700.0) -> Change:
    def change(readings: dict[str, float], now_s: float) -> dict[str, float]:
        if now_s >= start_s:
            readings[a], readings[b] = readings[b], readings[a]
        return readings

    return change


def rounded(readings: dict[str, float], now_s: float) -> dict[str, float]:
    return {i: float(round(v)) if i.endswith(("rack_inlet", "chwst", "sat", "oawb")) else v for i, v in readings.items()}


def wrapped(readings: dict[str, float], now_s: float) -> dict[str, float]:
    """Power meters that reset, wrap and go negative."""
    for name in readings:
        if name.endswith("_power") and name != "hall1.it_power":
            readings[name] = (-5.0, 0.0, 429496.7)[int(now_s / 60.0) % 3]
    return readings


def group(stage: Stage, share: float, off_k: float) -> str:
    """Many racks low by the same: nothing inside the hall can tell, so the authority and the energy balance must hold."""
    racks = [f"hall1.rack{n:02d}.rack_inlet" for n in range(1, 101)]
    ids = [p.id for p in stage.site.table.points if p.id.endswith("rack_inlet")]
    low = frozenset([i for i in ids if i in racks or i in ids][: round(share * len(ids))])

    def change(readings: dict[str, float], now_s: float) -> dict[str, float]:
        return {i: v + off_k if i in low and now_s >= AT_S else v for i, v in readings.items()}

    seen = stage.play(Play(change=change, seconds=3600))
    clean(seen)
    assert seen.hottest_c <= 32.0
    return seen.text()


def stale_weather(stage: Stage) -> str:
    seen = stage.play(Play(("delayed:oawb:21600", "delayed:oadb:21600"), seconds=2400))
    clean(seen)
    stays_safe(seen)
    return seen.text()


ROWS = (
    Row("S01", "an inlet reads 4 K low", "not believed within 10 min; safe", lies(f"wrong:{HOT}:-4", found=HOT, within_s=600)),
    Row("S01a", "an inlet reads 1 K low", "safe", lies(f"wrong:{HOT}:-1")),
    Row("S01b", "an inlet reads 2 K high", "believed (it may be true); safe", lies(f"wrong:{HOT}:2", seconds=3000)),
    Row("S02", "an inlet drifts low by half a kelvin an hour", "safe", lies(seconds=9000, change=lambda r, t: {**r, HOT: r[HOT] - min(t / 7200.0, 4.0)}), tier="N"),
    Row("S03", "an inlet stuck at its last value", "not believed within 15 min; safe", lies(f"stuck:{HOT}", found=HOT, within_s=900)),
    Row("S04", "the hottest rack stuck at 22.0 °C", "not believed within 10 min; safe", lies(f"stuck:{HOT}:22", found=HOT, within_s=600)),
    Row("S05", "rail codes 0, -127, 85, 850, 65535", "never used", rails),
    Row("S06", "ten times the noise", "safe", lies(f"garbage:{HOT}:1.0", "garbage:oawb:1.0", "garbage:chwst:0.5", at_s=700, seconds=3000), tier="N"),
    Row("S07", "spikes of 20 K in one sample of a hundred", "safe", spikes),
    Row("S08", "an inlet falls silent", "safe", lies(f"off:{HOT}", at_s=700, seconds=1800)),
    Row("S09", "every inlet of a hall 3 K low", "said within 10 min; true inlets below 32 °C", lambda stage: group(stage, 1.0, -3.0), short="the lie is not found"),
    Row("S10", "supply and return water swapped", "safe", lies(change=swapped("chwst", "chwrt"), seconds=2400), tier="N"),
    Row("S11", "°C to °F and kW to W in mid-stream", "the rules within 6 s; safe", fahrenheit),
    Row("S12", "sign flipped", "safe; never worse", flipped, tier="N"),
    Row("S13", "whole degrees only", "safe", lies(change=rounded, seconds=3000), tier="R"),
    Row("S14", "flow reads nothing while the pump runs", "safe", lies("stuck:chw_flow:0", at_s=700, seconds=2400), tier="N"),
    Row("S15", "meters wrap, reset, go negative", "no control effect", lies(change=wrapped, seconds=2400)),
    Row("S16", "dew point stuck", "safe", lies("stuck:hall1.room_dewpoint", at_s=700, seconds=2400), tier="N"),
    Row("S17", "weather six hours late", "held, then the design day; safe", stale_weather, tier="N"),
    Row("S18", "60 % of the inlets low by 3 K", "said within 10 min; true inlets below 32 °C", lambda stage: group(stage, 0.6, -3.0), tier="N", short="the lie is not found"),
    Row("S19", "every inlet of a hall silent", "the rules in charge; safe", lies(change=without([f"hall1.rack{n:02d}.rack_inlet" for n in range(1, 200)], 700.0), seconds=1800)),
)  # fmt: skip
