"""The closed pydantic base of everything read from YAML."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

Scalar = str | int | float | bool | None


class Closed(BaseModel):
    """Unknown keys and silent conversions (a string for a number) are errors; instances are frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
