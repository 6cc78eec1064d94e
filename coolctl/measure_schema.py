"""The tables of the site file that are about measuring what is saved: the switchback and the report."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from coolctl.schema_base import NonNegative, Table


class SwitchbackTable(Table):
    """A test by lot: blocks of the policy and of the rule baseline in turn, so that the saving can be measured."""

    enabled: bool = False
    """Caps the granted mode at `fallback` in blocks of the baseline; never raises a mode."""
    start: str = ""
    """First day, as `2027-01-15`, midnight of the site's time zone. A simulated plant starts at its own time nought."""
    days: Annotated[int, Field(ge=2, le=3660, multiple_of=2)] = 56
    """How long it takes; pairs are made of neighbouring days, so an even number."""
    block_h: Literal[1, 2, 3, 4, 6, 8, 12, 24] = 6
    """Length of a block [h]; blocks begin at the same hours every day."""
    washout_h: NonNegative = 1.0
    """Left out at the beginning of every block of either arm [h]; less than half a block."""
    seed: Annotated[int, Field(ge=0, le=2**53)] = 1
    """Of the lots that are drawn, beside the hash of the whole configuration."""

    @field_validator("start")
    @classmethod
    def _is_a_date(cls, text: str) -> str:
        if text:
            datetime.date.fromisoformat(text)
        return text

    @model_validator(mode="after")
    def _fits(self) -> SwitchbackTable:
        if self.washout_h > 0.5 * self.block_h:
            raise ValueError(f"washout_h {self.washout_h:g} is more than half of block_h {self.block_h}")
        return self


class ReportTable(Table):
    """What the meters of the site are, for the figures of `coolctl report`."""

    it_meter_category: Annotated[int, Field(ge=1, le=3)] = 1
    """Where IT energy is metered (ISO/IEC 30134-2): 1 at the UPS's output, 2 at the PDUs' output, 3 at the IT's input."""
    other_loss_ratio: Annotated[float, Field(ge=0, le=0.5)] = 0.07
    """What UPS, distribution and light draw over IT energy, not metered: added to make a PUE of the partial PUE."""
    pue_limit: Annotated[float, Field(ge=1, le=3)] | None = None
    """What the site has promised or its hub asks for."""
