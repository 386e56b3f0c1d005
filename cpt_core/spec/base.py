"""What all parts of a spec are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError


def _trainable(bits: int) -> int:
    if 16 < bits < 32:
        raise PydanticCustomError(
            "bits_not_trainable", "{bits} bits cannot be trained: use 2 to 16, or 32 for full precision", {"bits": bits}
        )
    return bits


Bits = Annotated[int, Field(ge=2, le=32), AfterValidator(_trainable)]
"""A bit width: 2 to 16, or 32 for full precision (nothing is quantised)."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


def _as_a_set(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(labels)))


Labels = Annotated[tuple[Name, ...], Field(max_length=16, strict=False), AfterValidator(_as_a_set)]
"""A set of labels, sorted."""


class SpecModel(BaseModel):
    """Base of every part of a spec: strict types, no unknown fields, no NaN or infinity, immutable."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def field_error(pointer: str, message: str) -> PydanticCustomError:
    """An error of a rule between fields, which names the field to change by JSON pointer."""
    escaped = message.replace("{", "(").replace("}", ")")
    return PydanticCustomError("cross_field", escaped, {"pointer": pointer})
