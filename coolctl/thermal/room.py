"""A data hall in steady state: servers, their fans, leakage, recirculation, and the cooling coil that serves it.

Servers speed their fans up above a knee inlet temperature, so warmer supply air is not free. Recirculation grows
steeply when the CRAHs move less air than the servers; the airflow limit of the optimiser stands well above that.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from coolctl.jit import kernel
from coolctl.num import softplus
from coolctl.psychro import CP_AIR_JKGK, CP_WATER_JKGK, LATENT_JKG, saturation_humidity_ratio_kgkg

KNEE_WIDTH_K = 0.5
COIL_FLOW_MIN_RATIO = 0.02
COIL_ITERATIONS, COIL_TOLERANCE = 24, 1e-7  # three or four are the rule
METAL_OVER_WATER = 0.35  # coldest metal: so far from water to leaving air
DEWPOINT_DRY_C = -60.0


class HallParams(NamedTuple):
    """One hall; CRAH figures are the hall's total."""

    it_power_nom_w: float
    crahs: float
    air_flow_nom_kgs: float
    fan_power_nom_w: float
    fan_exponent: float
    fan_power_floor_w: float
    fan_speed_min_ratio: float
    coil_ua_nom_wk: float
    coil_water_flow_nom_kgs: float
    leak_ratio: float
    recirculation_ratio: float
    hot_spot_gain: float
    hot_spot_offset_k: float
    misc_heat_w: float
    server_fan_ratio: float
    server_fan_slope_per_k: float
    server_fan_knee_c: float
    server_delta_t_nom_k: float
    server_leakage_per_k: float
    structure_jk: float
    crah_worst_ua_ratio: float
    coil_bypass_ratio: float
    dewpoint_c: float  # of the air now; far below any coil where not known


HALL_COLUMNS = len(HallParams._fields)


@kernel
def hall_params(row) -> HallParams:  # type: ignore[no-untyped-def]
    """A row of the halls' array as named parameters, so that one compiled signature serves any number of halls."""
    return HallParams(
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], row[9],
        row[10], row[11], row[12], row[13], row[14], row[15], row[16], row[17], row[18], row[19],
        row[20], row[21], row[22],
    )  # fmt: skip


@kernel
def over_knee_k(inlet_c: float, p: HallParams) -> float:
    """How far the mean inlet [°C] is above the knee of the servers' fans [K]: `softplus(T − knee)`, dear enough to be asked
    once per inlet."""
    return softplus(inlet_c - p.server_fan_knee_c, KNEE_WIDTH_K)


@kernel
def speed_over_idle(over_k: float, p: HallParams) -> float:
    """Server fan speed over idle [-], `over_k` [K] above the knee: `1 + k over_k`."""
    return 1.0 + p.server_fan_slope_per_k * over_k


@kernel
def power_over_base(over_k: float, p: HallParams) -> float:
    """Servers' electric power over their power without fans below the knee [-], `over_k` [K] above it."""
    s = speed_over_idle(over_k, p)
    return 1.0 + p.server_leakage_per_k * over_k + p.server_fan_ratio * s * s * s


@kernel
def server_speed(inlet_c: float, p: HallParams) -> float:
    """Server fan speed over idle [-] at the mean inlet [°C]."""
    return speed_over_idle(over_knee_k(inlet_c, p), p)


@kernel
def server_power_w(it_base_w: float, inlet_c: float, p: HallParams) -> float:
    """Servers' electric power [W] at the mean inlet [°C]: IT work, leakage above the knee and fans.

    `it_base_w` is the power without fans below the knee.
    """
    return it_base_w * power_over_base(over_knee_k(inlet_c, p), p)


@kernel
def server_fan_increase_w(server_w: float, it_base_w: float, p: HallParams) -> float:
    """Server power `server_w` [W] above what the same work draws where the fans idle [W]; charged to cooling."""
    return server_w - it_base_w * (1.0 + p.server_fan_ratio)


@kernel
def it_base_w(it_power_w: float, inlet_c: float, p: HallParams) -> float:
    """IT work [W] behind a metered `it_power_w` [W] that includes the server fans at `inlet_c` [°C]."""
    return it_power_w / (server_power_w(1.0, inlet_c, p))


@kernel
def server_air_kgs(base_w: float, inlet_c: float, p: HallParams) -> float:
    """Air that the servers draw [kg/s] at the mean inlet [°C]."""
    return idle_air_kgs(base_w, p) * server_speed(inlet_c, p)


@kernel
def idle_air_kgs(base_w: float, p: HallParams) -> float:
    """Air that the servers draw [kg/s] while their fans idle."""
    return base_w / (CP_AIR_JKGK * p.server_delta_t_nom_k)


@kernel
def inlets_c(base_w: float, sat_c: float, crah_air_kgs: float, p: HallParams) -> tuple[float, float, float]:
    """Mean inlet [°C], hottest inlet [°C] and airflow ratio [-] of a hall supplied at `sat_c` with `crah_air_kgs`.

    `r = r0 + (1 − r0)·softplus(m_srv − (1 − β) m_crah)/m_srv`, `T_in = T_sup + r/(1 − r)·P/(m_srv c_p)`,
    `T_max = T_sup + κ (T_in − T_sup) + offset`. The ratio is supplied over drawn air.
    """
    inlet_c = sat_c + 0.3
    ratio = 0.0
    for _ in range(3):
        over_k = over_knee_k(inlet_c, p)
        drawn_kgs = idle_air_kgs(base_w, p) * speed_over_idle(over_k, p)
        supplied_kgs = (1.0 - p.leak_ratio) * crah_air_kgs
        ratio = supplied_kgs / drawn_kgs
        short = softplus(drawn_kgs - supplied_kgs, 0.03 * drawn_kgs) / drawn_kgs
        r = min(p.recirculation_ratio + (1.0 - p.recirculation_ratio) * short, 0.9)
        inlet_c = sat_c + r / (1.0 - r) * (base_w * power_over_base(over_k, p)) / (drawn_kgs * CP_AIR_JKGK)
        inlet_c = min(inlet_c, sat_c + 40.0)
    hottest_c = sat_c + p.hot_spot_gain * (inlet_c - sat_c) + p.hot_spot_offset_k
    return inlet_c, hottest_c, ratio


@kernel
def coil_heat_w(
    water_ratio: float, chwst_c: float, air_in_c: float, air_kgs: float, air_ratio: float, ua_nom_wk: float, p: HallParams
) -> float:
    """Heat that the hall's coils of `ua_nom_wk` [W/K] take out as sensible heat [W]: counter-flow ε-NTU.

    `UA = UA_nom / (0.65 f_a^-0.8 + 0.35 f_w^-0.8)`; `air_ratio` is mass flow over nominal.
    """
    return coil_heat_through_w(water_ratio, chwst_c, air_in_c, air_kgs, air_resistance(air_ratio), ua_nom_wk, p)


@kernel
def air_resistance(air_ratio: float) -> float:
    """The air's part of the coil's thermal resistance over the nominal whole [-], at mass flow over nominal `air_ratio`."""
    return 0.65 * air_ratio**-0.8


@kernel
def coil_heat_through_w(
    water_ratio: float, chwst_c: float, air_in_c: float, air_kgs: float, resistance: float, ua_nom_wk: float, p: HallParams
) -> float:
    """`coil_heat_w` [W] with the air's part of the `resistance` [-] known: it stays while a search moves the water."""
    water_kgs = water_ratio * p.coil_water_flow_nom_kgs
    ua = ua_nom_wk / (resistance + 0.35 * water_ratio**-0.8)
    c_air = air_kgs * CP_AIR_JKGK
    c_water = water_kgs * CP_WATER_JKGK
    c_min = min(c_air, c_water)
    c_ratio = c_min / max(c_air, c_water)
    ntu = ua / c_min
    if 1.0 - c_ratio < 1e-6:
        effectiveness = ntu / (1.0 + ntu)
    else:
        e = math.exp(-ntu * (1.0 - c_ratio))
        effectiveness = (1.0 - e) / (1.0 - c_ratio * e)
    return effectiveness * c_min * (air_in_c - chwst_c)


@kernel
def coil_water_ratio(
    heat_w: float, chwst_c: float, sat_c: float, air_kgs: float, air_ratio: float, ratio_max: float, ua_nom_wk: float,
    p: HallParams,
) -> tuple[float, float]:  # fmt: skip
    """Water flow over nominal [-] at which the coils carry `heat_w` [W] down to `sat_c`, and the heat not carried [W]."""
    air_in_c, resistance = sat_c + heat_w / (air_kgs * CP_AIR_JKGK), air_resistance(air_ratio)
    most_w = coil_heat_through_w(ratio_max, chwst_c, air_in_c, air_kgs, resistance, ua_nom_wk, p)
    if not most_w >= heat_w:
        return ratio_max, heat_w - max(most_w, 0.0)
    if not heat_w > 0.0:
        return COIL_FLOW_MIN_RATIO, 0.0
    # One over heat is nearly straight in one over flow: a secant there, kept inside a bracket.
    lo, hi = COIL_FLOW_MIN_RATIO, ratio_max
    before, gap_before = 1.0 / ratio_max, 1.0 / most_w - 1.0 / heat_w
    ratio = max(ratio_max * heat_w / most_w, COIL_FLOW_MIN_RATIO)
    for _ in range(COIL_ITERATIONS):
        found_w = coil_heat_through_w(ratio, chwst_c, air_in_c, air_kgs, resistance, ua_nom_wk, p)
        if abs(found_w - heat_w) <= COIL_TOLERANCE * heat_w:
            break
        if found_w < heat_w:
            lo = ratio
        else:
            hi = ratio
        now, gap = 1.0 / ratio, 1.0 / found_w - 1.0 / heat_w
        slope = (gap - gap_before) / (now - before) if now != before else 0.0
        before, gap_before = now, gap
        ratio = 1.0 / max(now - gap / slope, 1e-3) if slope > 0.0 else lo
        if not lo < ratio < hi:
            ratio = 0.5 * (lo + hi)
    return ratio, 0.0


@kernel
def weakest_ua_wk(p: HallParams) -> float:
    """Conductance [W/K] that the hall would have if all its coils were like the weakest."""
    return p.coil_ua_nom_wk * p.crahs * p.crah_worst_ua_ratio / (p.crahs - 1.0 + p.crah_worst_ua_ratio)


@kernel
def coil_latent_w(chwst_c: float, sat_c: float, air_kgs: float, pressure_pa: float, p: HallParams) -> float:
    """Heat of condensation [W] where the coils' coldest metal is below the dew point of the air."""
    metal_c = chwst_c + METAL_OVER_WATER * max(sat_c - chwst_c, 0.0)
    if not metal_c < p.dewpoint_c:
        return 0.0
    dried = saturation_humidity_ratio_kgkg(p.dewpoint_c, pressure_pa) - saturation_humidity_ratio_kgkg(metal_c, pressure_pa)
    return air_kgs * (1.0 - p.coil_bypass_ratio) * dried * LATENT_JKG


@kernel
def crah_water_ratios(
    heat_w: float, chwst_c: float, sat_c: float, air_kgs: float, air_ratio: float, ratio_max: float, p: HallParams
) -> tuple[float, float, float]:
    """Water of the hall over nominal [-], the same of its thirstiest CRAH, and the heat not carried [W].

    All CRAHs move the same air at the same supply temperature; the weakest coil needs more water for it.
    """
    if p.crah_worst_ua_ratio > 0.999 or p.crahs < 1.5:
        ratio, short_w = coil_water_ratio(heat_w, chwst_c, sat_c, air_kgs, air_ratio, ratio_max, p.coil_ua_nom_wk, p)
        return ratio, ratio, short_w
    others, worst_wk = p.crahs - 1.0, weakest_ua_wk(p)
    ua_wk = worst_wk / p.crah_worst_ua_ratio
    ratio, short_w = coil_water_ratio(heat_w, chwst_c, sat_c, air_kgs, air_ratio, ratio_max, ua_wk, p)
    worst, worst_short_w = coil_water_ratio(heat_w, chwst_c, sat_c, air_kgs, air_ratio, ratio_max, worst_wk, p)
    return (others * ratio + worst) / p.crahs, worst, (others * short_w + worst_short_w) / p.crahs
