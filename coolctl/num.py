"""Small NaN-safe numerics. `min(hi, max(lo, nan))` gives a plausible number; the kernels here give NaN."""

from __future__ import annotations

import math

from coolctl.jit import kernel


@kernel
def clamp(x: float, lo: float, hi: float) -> float:
    """`x` held inside `lo`..`hi`; NaN stays NaN."""
    if math.isnan(x):
        return x
    if x < lo:
        return lo
    if x > hi:
        return hi
    return x


@kernel
def slew(target: float, last: float, down_per_s: float, up_per_s: float, dt_s: float) -> float:
    """Move from `last` towards `target` no faster than the rates; an unknown `last` starts at the target."""
    if math.isnan(target):
        return last
    if math.isnan(last):
        return target
    return clamp(target, last - down_per_s * dt_s, last + up_per_s * dt_s)


@kernel
def first_order(x: float, target: float, tau_s: float, dt_s: float) -> float:
    """Exact first-order lag step from `x` towards `target`."""
    if math.isnan(x):
        return target
    if math.isnan(target):
        return x
    if tau_s <= 0.0:
        return target
    return target + (x - target) * math.exp(-dt_s / tau_s)


@kernel
def biquadratic(c0: float, c1: float, c2: float, c3: float, c4: float, c5: float, x: float, y: float) -> float:
    """`c0 + c1 x + c2 x² + c3 y + c4 y² + c5 x y` (DOE-2 / EnergyPlus order)."""
    return c0 + c1 * x + c2 * x * x + c3 * y + c4 * y * y + c5 * x * y


@kernel
def softplus(x: float, width: float) -> float:
    """Smooth `max(0, x)` with corner `width` (same unit as `x`); exact limits far from the corner."""
    z = x / width
    if z > 30.0:
        return x
    if z < -30.0:
        return 0.0
    return width * math.log1p(math.exp(z))
