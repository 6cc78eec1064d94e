"""Waterside economizer: a plate heat exchanger ahead of the chillers on the chilled water return; on the condenser side in
series with the condensers or beside them."""

from __future__ import annotations

import math
from typing import NamedTuple

from coolctl.jit import kernel
from coolctl.psychro import CP_WATER_JKGK


class EconomizerParams(NamedTuple):
    """`present` and `parallel` are 0 or 1; the pressure drop is that of one side at nominal flow."""

    present: float
    ua_nom_wk: float
    flow_nom_kgs: float
    pressure_drop_nom_pa: float
    parallel: float


@kernel
def heat_w(chwrt_c: float, chw_kgs: float, cwst_c: float, cw_kgs: float, p: EconomizerParams) -> float:
    """Heat moved from chilled to condenser water [W]: counter-flow ε-NTU, `UA ∝ (C_min/C_nom)^0.4`.

    Zero when the condenser water is not colder than the chilled water return.
    """
    if not (chwrt_c > cwst_c and chw_kgs > 0.0 and cw_kgs > 0.0):
        return 0.0
    return conductance_wk(chw_kgs, cw_kgs, p) * (chwrt_c - cwst_c)


@kernel
def water_needed_c(load_w: float, chwrt_c: float, chw_kgs: float, cw_kgs: float, p: EconomizerParams) -> float:
    """Warmest condenser water [°C] with which the plates alone carry `load_w` [W]."""
    return chwrt_c - load_w / conductance_wk(max(chw_kgs, 0.01), max(cw_kgs, 0.01), p)


@kernel
def conductance_wk(chw_kgs: float, cw_kgs: float, p: EconomizerParams) -> float:
    """Heat moved per kelvin between the two entering waters [W/K]."""
    c_min = min(chw_kgs, cw_kgs) * CP_WATER_JKGK
    c_ratio = min(chw_kgs, cw_kgs) / max(chw_kgs, cw_kgs)
    ntu = p.ua_nom_wk * (c_min / (p.flow_nom_kgs * CP_WATER_JKGK)) ** 0.4 / c_min
    if 1.0 - c_ratio < 1e-6:
        effectiveness = ntu / (1.0 + ntu)
    else:
        e = math.exp(-ntu * (1.0 - c_ratio))
        effectiveness = (1.0 - e) / (1.0 - c_ratio * e)
    return effectiveness * c_min
