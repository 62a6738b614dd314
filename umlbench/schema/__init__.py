"""What is read from YAML: closed models, positions of every key, errors in plain words.

`located` reads a file with positions, `wording` turns a model's errors into one line per place.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

Scalar = str | int | float | bool | None


def as_label(value: Scalar) -> str:
    """A value of an axis that has no label: null means all of them, and 1.0 is 1."""
    if value is None:
        return "all"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class Closed(BaseModel):
    """Unknown keys and silent conversions (text for a number) are errors; instances are frozen."""

    def identity(self) -> dict[str, Any]:
        """The fields that can change a figure, as plain JSON values: all, unless a model says."""
        return self.model_dump(mode="json")

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
