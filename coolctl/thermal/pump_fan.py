"""Pumps and fans: power from the work they do, with the losses that part-load curves forget."""

from __future__ import annotations

from typing import NamedTuple

from coolctl.jit import kernel

WATER_DENSITY_KGM3 = 998.0
AIR_DENSITY_NOM_KGM3 = 1.2


class PumpParams(NamedTuple):
    """One pump of a group in parallel, at its design point."""

    flow_nom_kgs: float
    head_static_pa: float
    head_friction_pa: float
    efficiency_ratio: float
    power_floor_w: float


@kernel
def pump_power_w(flow_kgs: float, head_pa: float, running: float, p: PumpParams) -> float:
    """Electric power [W] of `running` equal pumps moving `flow_kgs` [kg/s] against `head_pa` [Pa].

    `P = m·Δp / (ρ·η)`; the efficiency falls away from the best point as `1 − 0.25 (1 − q)²` with q the flow of each
    over nominal (shape of a variable-speed pump on a system curve with static head). Includes motor and drive.
    """
    if not flow_kgs > 0.0:
        return 0.0
    q = flow_kgs / (max(running, 1.0) * p.flow_nom_kgs)
    efficiency = p.efficiency_ratio * max(1.0 - 0.25 * (1.0 - q) ** 2, 0.4)
    return flow_kgs * head_pa / (WATER_DENSITY_KGM3 * efficiency) + running * p.power_floor_w


@kernel
def fan_power_w(speed_ratio: float, density_kgm3: float, power_nom_w: float, exponent: float, floor_w: float) -> float:
    """Electric power of one CRAH fan [W]: `P_nom s^n ρ/1.2 + floor`. Includes motor and drive."""
    return power_nom_w * speed_ratio**exponent * density_kgm3 / AIR_DENSITY_NOM_KGM3 + floor_w
