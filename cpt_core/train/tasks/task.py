"""What the training loop needs to know of what is learnt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Outcome(NamedTuple):
    """What a forward pass gave."""

    loss: Tensor
    """Mean over the samples, 0-d, with its graph."""
    correct: Tensor
    """How many of the samples were predicted right, 0-d."""
    samples: int
    """Samples, at least 1."""


class Task(ABC):
    """A dataset, as batches and what is measured on them. Everything is a function of the step but what is carried."""

    outputs: int
    """Classes, or words, that the model tells apart."""
    reports_accuracy: bool
    """Whether accuracy is what its field looks at."""

    @abstractmethod
    def epoch(self, step: int) -> int:
        """The epoch, 0-based, that a step's batch belongs to."""

    @abstractmethod
    def forward(self, model: nn.Module, step: int, part: int) -> Outcome:
        """Forward pass and loss on one part of this rank's share of a step's batch; parts are taken in order."""

    @abstractmethod
    def test(self, model: nn.Module) -> dict[str, Tensor | float]:
        """Sums over this rank's share of the test split: `loss`, `samples`, and what `metrics` makes more of.

        Over all ranks every sample counts once. Nothing that is carried changes.
        """

    @abstractmethod
    def metrics(self, means: dict[str, float]) -> dict[str, float | None]:
        """The fields of an evaluation from the means of what `test` summed up over all ranks."""

    def carried(self) -> dict[str, Tensor]:
        """What this rank carries from step to step besides the model, of equal names and shapes on all ranks."""
        return {}

    def carry_on(self, carried: dict[str, Tensor]) -> None:  # noqa: B027  # most tasks carry nothing
        """Go on from what `carried` returned."""
