"""Ranges and the strict table that the schemas of site files and equipment records share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Celsius = Annotated[float, Field(ge=-40, le=80)]
Count = Annotated[int, Field(ge=1, le=1000)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Six = Annotated[list[float], Field(min_length=6, max_length=6)]
Three = Annotated[list[float], Field(min_length=3, max_length=3)]


class Table(BaseModel):
    """A table that refuses unknown keys: an unread option is an error, not a surprise."""

    # Strict: TOML has types of its own, so "12" for 12 or true for 1 is a slip. NaN and inf are no figures of a plant.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)
