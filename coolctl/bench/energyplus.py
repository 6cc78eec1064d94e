"""EnergyPlus as a reference, where its wheel is installed: a plant with the same number of machines at 1-minute steps."""

from __future__ import annotations

from typing import NamedTuple


class NotHere(Exception):
    """Why EnergyPlus cannot be run."""


class Speed(NamedTuple):
    """Simulated seconds a second, and what made them."""

    seconds_per_s: float
    version: str


def speed() -> Speed:
    """Run the reference plant for a day. Raises `NotHere`."""
    raise NotHere("EnergyPlus is not installed")
