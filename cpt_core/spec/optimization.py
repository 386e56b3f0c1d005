"""The optimiser and its learning rate."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cpt_core.spec.base import SpecModel, field_error

LearningRate = Annotated[float, Field(gt=0, le=1000)]


class Sgd(SpecModel):
    """Stochastic gradient descent with momentum; the authors' settings are the defaults."""

    name: Literal["sgd"]
    lr: LearningRate = 0.1
    """Learning rate before its schedule."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    """L2 penalty."""
    nesterov: bool = False
    """Nesterov momentum."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise field_error(
                "/optimizer/nesterov", "nesterov needs a momentum above 0: set momentum or nesterov: false"
            )
        return self


class AdamW(SpecModel):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"]
    lr: LearningRate = 1e-3
    """Learning rate before its schedule."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the second moment."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Decoupled weight decay."""


OptimizerSpec = Annotated[Sgd | AdamW, Field(discriminator="name")]


class LrScheduleBase(SpecModel):
    """What every learning rate schedule has in common."""

    warmup_steps: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Steps at `warmup_lr` before the schedule takes over (the authors: 400 for ResNet-110 and deeper)."""
    warmup_lr: LearningRate = 0.01
    """Learning rate of the warm-up steps."""


class ConstantLr(LrScheduleBase):
    """The same learning rate throughout."""

    name: Literal["constant"]


class MultiStepLr(LrScheduleBase):
    """Multiply by `gamma` at each milestone."""

    name: Literal["multistep"]
    milestones: Annotated[list[Annotated[int, Field(ge=1, le=10_000_000)]], Field(min_length=1, max_length=100)]
    """Steps at which the learning rate is multiplied by `gamma`, ascending."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The factor."""

    @field_validator("milestones")
    @classmethod
    def _ascending(cls, value: list[int]) -> list[int]:
        if any(later <= earlier for earlier, later in itertools.pairwise(value)):
            raise PydanticCustomError("not_ascending", "milestones must be strictly ascending")
        return value


class CosineLr(LrScheduleBase):
    """Half a cosine from the optimiser's learning rate to `final_lr` over the whole training."""

    name: Literal["cosine"]
    final_lr: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Learning rate at the end."""


LrScheduleSpec = Annotated[ConstantLr | MultiStepLr | CosineLr, Field(discriminator="name")]


class WeightAveraging(SpecModel):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights is what is evaluated.

    Once begun, evaluations and the result are of averaged weights, with batch norm statistics and activation ranges of
    their own. Training itself goes on as without it.
    """

    from_step: Annotated[int, Field(ge=1, le=10_000_000)]
    """Steps completed when the first weights are taken."""
    every_steps: Annotated[int, Field(ge=1, le=10_000_000)]
    """Steps from there to the next ones, and so on; with CPT best a whole cycle, so that all are of equal precision."""
