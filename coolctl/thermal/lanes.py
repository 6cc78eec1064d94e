"""Exponentials, powers and corners of arithmetic alone, for loops that a compiler puts side by side.

A call of the C library ends such a loop: one candidate at a time. What is here is within 1e-7 of it, and branch-free.
"""

from __future__ import annotations

from coolctl.jit import fused_kernel

LANES = 32  # candidates side by side: 16 leave the processor's units waiting for each other


@fused_kernel
def smaller(a: float, b: float) -> float:
    """The smaller of two numbers."""
    return a if a < b else b


@fused_kernel
def larger(a: float, b: float) -> float:
    """The larger of two numbers."""
    return a if a > b else b


@fused_kernel
def exp_minus(x: float) -> float:
    """`exp(−x)` for `x` ≥ 0, nought beyond 60: one over the series of a sixteenth, squared four times."""
    y = smaller(x, 60.0) * 0.0625
    s = 1.0 + y * (1.0 / 7.0) * (1.0 + y * 0.125)
    s = 1.0 + y * 0.5 * (1.0 + y * (1.0 / 3.0) * (1.0 + y * 0.25 * (1.0 + y * 0.2 * (1.0 + y * (1.0 / 6.0) * s))))
    s = 1.0 + y * s
    s *= s
    s *= s
    s *= s
    return 1.0 / (s * s)


@fused_kernel
def log_one_plus(z: float) -> float:
    """`log(1 + z)` for `z` from 0 to 1: the series of the inverse hyperbolic tangent."""
    s = z / (2.0 + z)
    q = s * s
    series = 1.0 + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0))))))
    return 2.0 * s * series


@fused_kernel
def soft_corner(x: float, width: float) -> float:
    """`num.softplus`: smooth `max(0, x)` with corner `width`."""
    return larger(x, 0.0) + width * log_one_plus(exp_minus(abs(x) / width))


@fused_kernel
def power_minus_08(x: float) -> float:
    """`x ** −0.8` for `x` from 0.005 to 2: a fitted quotient within 1 % of the inverse fifth root, then Newton's steps."""
    y = (3.485 + x * (153.4 + x * 158.4)) / (1.0 + x * (96.77 + x * 219.8))
    for _ in range(3):
        q = y * y
        y *= 1.2 - 0.2 * x * y * q * q
    q = y * y
    return q * q
