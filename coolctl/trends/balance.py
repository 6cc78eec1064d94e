"""Checks of columns against each other: heat of the water against power, load and the other side of the machine.

A chiller's heat is flow · cp · ΔT. Divided by its power it must be a coefficient of performance that a chiller can have;
a flow in another unit, an exchanged pair of sensors or a wrong sign shows there first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.psychro import CP_WATER_JKGK
from coolctl.trends.checks import Column
from coolctl.trends.digest import Digest
from coolctl.trends.findings import ERROR, NOTE, WARNING, Finding

F64 = NDArray[np.float64]

COP_MIN, COP_MAX, COP_USUAL = 2.0, 14.0, 5.5
EXCHANGED_RATIO, DELTA_MIN_K = 0.8, 0.2
RATIO_MIN, RATIO_MAX = 0.6, 1.6
SAMPLES_MIN = 24
# How a flow comes to be wrong: factor that cures it, and what happened.
MIS_SCALED = (
    (60.0, "60 times too small: L/s taken for L/min, or divided by 60 once too often"),
    (1.0 / 60.0, "60 times too large: L/min taken for L/s"),
    (0.0630902, "16 times too large: GPM taken for L/s"),
    (15.850323, "16 times too small: L/s taken for GPM"),
    (1.0 / 3.6, "3.6 times too large: m³/h taken for L/s"),
    (3.6, "3.6 times too small: L/s taken for m³/h"),
    (0.2271247, "4.4 times too large: GPM taken for m³/h"),
    (4.4028675, "4.4 times too small: m³/h taken for GPM"),
    (1000.0, "1000 times too small: m³/s taken for L/s"),
    (1e-3, "1000 times too large: L/h taken for m³/h, or the like"),
    (1.0 / 3600.0, "3600 times too large: L/h taken for L/s"),
)  # fmt: skip
CLOSE = 1.6


class Plant(NamedTuple):
    """The plant's columns as arrays of the digest; NaN arrays where there is none."""

    chwst: F64
    chwrt: F64
    cwst: F64
    cwrt: F64
    chw_flow: F64
    cw_flow: F64
    chiller_power: F64
    load_w: F64
    running: NDArray[np.bool_]


def plant_of(columns: list[Column], d: Digest) -> Plant:
    """Roles put together: powers and flows of several columns add up, temperatures are their mean."""
    by_role: dict[str, list[F64]] = {}
    for c in columns:
        by_role.setdefault(c.role, []).append(d.v[c.at])
    none = np.full(len(d.t_s), np.nan)

    def total(role: str) -> F64:
        return np.sum(by_role[role], axis=0) if role in by_role else none

    def middle(role: str) -> F64:
        return np.mean(by_role[role], axis=0) if role in by_role else none

    heat = [d.v[c.at] for c in columns if c.suffix == "w" and not c.role and _is_load(c.name)]
    power, flow = total("chiller_power"), total("chw_flow")
    running = np.zeros(len(d.t_s), dtype=bool)
    for v in (power, flow) if np.isfinite(power).sum() < SAMPLES_MIN else (power,):
        if np.isfinite(v).any():
            running = v > 0.2 * np.nanquantile(v, 0.95)
    load = np.sum(heat, axis=0) if heat else none
    return Plant(middle("chwst"), middle("chwrt"), middle("cwst"), middle("cwrt"), flow, total("cw_flow"), power, load, running)


def _is_load(name: str) -> bool:
    low = name.casefold()
    return any(word in low for word in ("load", "ton", "cooling", "heat", "capacity", "btu"))


def check_balance(columns: list[Column], d: Digest, capacity_w: float = math.nan) -> Iterator[Finding]:
    """Findings of the plant as a whole; `capacity_w` is what its chillers can do, where a site says so."""
    p = plant_of(columns, d)
    names = {c.role: c.name for c in columns if c.role}
    yield from _exchanged(p, names)
    yield from _heat(p, names, capacity_w)
    yield from _other_side(p, names)


def _exchanged(p: Plant, names: dict[str, str]) -> Iterator[Finding]:
    pairs = (
        ("chwrt", "chwst", p.chwrt - p.chwst, "return water warmer than supply"),
        ("cwrt", "cwst", p.cwrt - p.cwst, "water to the tower warmer than from it"),
    )
    for warm, cold, delta_k, rule in pairs:
        delta_k = delta_k[p.running & (np.abs(delta_k) > DELTA_MIN_K)]
        if len(delta_k) < SAMPLES_MIN:
            continue
        wrong = float((delta_k < 0.0).mean())
        if wrong > EXCHANGED_RATIO:
            yield Finding(
                "supply_and_return_exchanged",
                ERROR,
                f"{names[cold]}, {names[warm]}",
                f"while running, {names[warm]} is the colder in {100.0 * wrong:.0f} % of the time; {rule} is how a plant cools",
                "exchange the two points in the map",
            )
        elif wrong > 0.2:
            yield Finding(
                "supply_and_return_cross",
                WARNING,
                f"{names[cold]}, {names[warm]}",
                f"while running, {names[warm]} is the colder in {100.0 * wrong:.0f} % of the time",
                "bypass, standing water, or a sensor that is off",
            )


def _heat(p: Plant, names: dict[str, str], capacity_w: float) -> Iterator[Finding]:
    heat_w = p.chw_flow * CP_WATER_JKGK * np.abs(p.chwrt - p.chwst)
    good = p.running & np.isfinite(heat_w) & (np.abs(p.chwrt - p.chwst) > DELTA_MIN_K)
    flow = names.get("chw_flow", "chw_flow")
    if good.sum() < SAMPLES_MIN:
        if "chiller_power" in names or "chw_flow" in names:
            lacks = [r for r in ("chw_flow", "chwst", "chwrt", "chiller_power") if r not in names]
            yield Finding(
                "balance_not_told",
                NOTE,
                "plant",
                f"heat cannot be set against power: {', '.join(lacks) or 'too few moments that run'}"
                f"{' is not there' if lacks else ''}",
                "map what the log has of these",
            )
        return
    typical_w = float(np.median(heat_w[good]))
    known = good & np.isfinite(p.chiller_power) & (p.chiller_power > 0.0)
    if known.sum() >= SAMPLES_MIN:
        cop = float(np.median(heat_w[known] / p.chiller_power[known]))
        what = f"flow · cp · ΔT is {cop:.3g} times the chiller's power (median of {int(known.sum())} running moments)"
        yield from _judge(cop, COP_USUAL, (COP_MIN, COP_MAX), flow, what, "a chiller has 3 to 8")
    else:
        yield Finding(
            "balance_not_told",
            NOTE,
            flow,
            f"no chiller power: heat ({typical_w / 1e3:.4g} kW, median) stands alone",
            "a wrong flow or an exchanged pair may hide here",
        )
    if np.isfinite(p.load_w).sum() >= SAMPLES_MIN and (some := good & (p.load_w > 0.0)).sum() >= SAMPLES_MIN:
        ratio = float(np.median(heat_w[some] / p.load_w[some]))
        yield from _judge(
            ratio,
            1.0,
            (RATIO_MIN, RATIO_MAX),
            flow,
            f"flow · cp · ΔT is {ratio:.3g} times the logged load",
            "they are the same heat",
        )
    if capacity_w == capacity_w:
        top = float(np.quantile(heat_w[good], 0.95)) / capacity_w
        if not 0.03 <= top <= 1.5:
            yield Finding(
                "heat_does_not_fit_site",
                WARNING,
                flow,
                f"the most heat that the water carries is {100.0 * top:.3g} % of the chillers' capacity in the site file",
                "another plant's log, a flow in another unit, or one machine of several",
            )


def _judge(ratio: float, usual: float, span: tuple[float, float], flow: str, what: str, rule: str) -> Iterator[Finding]:
    if span[0] <= ratio <= span[1]:
        yield Finding("energy_balance", NOTE, flow, f"{what}: plausible", "")
        return
    fits = sorted((abs(math.log(ratio * f / usual)), f, why) for f, why in MIS_SCALED)
    near = [(f, why) for off, f, why in fits if off < math.log(CLOSE)]
    if near:
        causes = "; or ".join(why for _, why in near)
        yield Finding(
            "flow_mis_scaled",
            ERROR,
            flow,
            f"{what}, and {rule}; it would fit if the flow were {causes}",
            f"look at the meter; scale = {near[0][0]:.6g} in its row of the map, or its true unit",
        )
    else:
        yield Finding(
            "energy_balance_open",
            ERROR,
            flow,
            f"{what}, and {rule}",
            "look at flow, both temperatures and power: one of them is another machine's",
        )


def _other_side(p: Plant, names: dict[str, str]) -> Iterator[Finding]:
    """The condenser carries the evaporator's heat and the power."""
    power_w = np.where(
        np.isfinite(p.chiller_power), p.chiller_power, 0.2 * np.abs(p.chwrt - p.chwst) * CP_WATER_JKGK * p.chw_flow
    )
    heat_w = p.chw_flow * CP_WATER_JKGK * np.abs(p.chwrt - p.chwst) + power_w
    lift_k = np.abs(p.cwrt - p.cwst)
    good = p.running & np.isfinite(heat_w) & np.isfinite(lift_k) & (lift_k > 2 * DELTA_MIN_K)
    if good.sum() < SAMPLES_MIN:
        return
    needed_kgs = heat_w[good] / (CP_WATER_JKGK * lift_k[good])
    if "cw_flow" in names and (known := np.isfinite(p.cw_flow[good])).sum() >= SAMPLES_MIN:
        ratio = float(np.median(p.cw_flow[good][known] / needed_kgs[known]))
        if not RATIO_MIN <= ratio <= RATIO_MAX:
            yield Finding(
                "condenser_balance_open",
                WARNING,
                names["cw_flow"],
                f"the condenser water carries {ratio:.3g} times the heat that evaporator and power put in",
                "one of the two flows is off, or a temperature",
            )
        return
    ratio = float(np.median(needed_kgs / p.chw_flow[good]))
    if not 0.4 <= ratio <= 3.0:
        yield Finding(
            "condenser_balance_open",
            WARNING,
            names.get("chw_flow", "chw_flow"),
            f"the condenser's rise in temperature would need {ratio:.3g} times the chilled water's flow",
            "machines are built for 0.8 to 1.5 times: the chilled water's flow is probably off by such a factor",
        )
