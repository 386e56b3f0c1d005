"""How large a job's model may be. No torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ModelLimits(BaseModel):
    """The largest model that may train; null: any. Whoever builds models counts, before it builds one with values."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    max_parameters: Annotated[int, Field(ge=0)] | None = None
    """Parameters."""
    max_macs: Annotated[int, Field(ge=0)] | None = None
    """Multiply-accumulates of the forward pass on one sample."""

    def exceeded(self, parameters: int, macs: int) -> str | None:
        """Why a model of this size may not train; None: it may."""
        for size, allowed, what in (
            (parameters, self.max_parameters, "parameters"),
            (macs, self.max_macs, "multiply-accumulates a sample"),
        ):
            if allowed is not None and size > allowed:
                return (
                    f"The model has {size:,} {what}, above the project's limit of {allowed:,}: make it smaller, or ask "
                    "an operator for more."
                )
        return None
