"""The site file's limits and rates as setpoint vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.site_schema import LimitsTable, RatesTable
from coolctl.thermal.plant import PlantParams

F64 = NDArray[np.float64]


def limit_vectors(lim: LimitsTable, halls: int, p: PlantParams) -> tuple[F64, F64]:
    """Lowest and highest setpoint vector that the site allows."""
    lo = [lim.chwst_sp_min_c, lim.chw_dp_sp_min_pa, 0.0 if p.economizer.present > 0.5 else 1.0, lim.cwst_sp_min_c, 1.0,
          lim.cw_flow_sp_min_ratio, 0.0, *([lim.sat_sp_min_c, lim.fan_speed_sp_min_ratio] * halls)]  # fmt: skip
    hi = [lim.chwst_sp_max_c, lim.chw_dp_sp_max_pa, p.chillers, lim.cwst_sp_max_c, p.cells, lim.cw_flow_sp_max_ratio,
          p.economizer.present, *([lim.sat_sp_max_c, lim.fan_speed_sp_max_ratio] * halls)]  # fmt: skip
    return np.array(lo, dtype=float), np.array(hi, dtype=float)


def rate_vectors(rates: RatesTable, halls: int) -> tuple[F64, F64]:
    """Fastest fall and rise of each setpoint per second; counts are held by dwell instead."""
    free = 1e9  # counts are held by dwell; finite, because dt may be zero
    down = [rates.chwst_sp_cool_k_per_min / 60.0, rates.chw_dp_sp_down_pa_per_min / 60.0, free,
            rates.cwst_sp_k_per_min / 60.0, free, rates.cw_flow_sp_down_ratio_per_min / 60.0, free]  # fmt: skip
    up = [rates.chwst_sp_warm_k_per_min / 60.0, rates.chw_dp_sp_up_pa_per_min / 60.0, free,
          rates.cwst_sp_k_per_min / 60.0, free, rates.cw_flow_sp_up_ratio_per_min / 60.0, free]  # fmt: skip
    down += [rates.sat_sp_cool_k_per_min / 60.0, rates.fan_speed_sp_down_ratio_per_s] * halls
    up += [rates.sat_sp_warm_k_per_min / 60.0, rates.fan_speed_sp_up_ratio_per_s] * halls
    return np.array(down), np.array(up)
