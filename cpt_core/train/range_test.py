"""The precision range test at the beginning of a training, as one rank runs it."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

from cpt_core import events
from cpt_core.range_test import Bounds, Progress, curve, find_bounds
from cpt_core.spec import AutoPrecision
from cpt_core.train.errors import SpecError


class RangeTest:
    """Has every bit width start from the initial weights, watches the scores, and finds the bounds.

    The test goes on from the initial weights and `progress` alone. All ranks see the same scores, so they agree.
    """

    def __init__(self, options: AutoPrecision, model: nn.Module, optimizer: Optimizer) -> None:
        """Keep the initial state: parameters and buffers of `model`, and an optimiser that has done nothing yet."""
        self.progress = Progress()
        """What a checkpoint holds of the test."""
        self.options = options
        """The part of the spec that asks for it."""
        self._model, self._optimizer = model, optimizer
        self._initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def covers(self, step: int) -> bool:
        """Whether a step belongs to the test."""
        return step < self.options.test_steps

    @property
    def bounds(self) -> Bounds:
        """What the test found, after it.

        Raises:
            SpecError: no bit width learns.
        """
        if self.progress.bounds is None:
            raise SpecError(
                f"The precision range test found no bit width up to {self.options.max_bits} that learns in "
                f"{self.options.steps_per_bits} steps: raise precision.steps_per_bits, or change optimizer.lr."
            )
        return self.progress.bounds

    def begin(self, step: int) -> int:
        """Make ready for a step. Returns the step whose batch, learning rate and noise it takes.

        That is the step itself after the test; in it the count begins anew with each bit width, and so do the weights.
        """
        if not self.covers(step):
            return step
        position = step % self.options.steps_per_bits
        if position == 0:
            with torch.no_grad():
                for name, tensor in self._model.state_dict().items():
                    tensor.copy_(self._initial[name])
            self._optimizer.state.clear()
        return position

    def end(self, step: int, score: float) -> events.RangeTest | None:
        """Take in the score of a step of the test. Returns the outcome after the last step of the test."""
        options, seen = self.options, self.progress.scores
        seen.append(score)
        if self.covers(step + 1):
            return None
        points = curve(
            seen, min_bits=options.min_bits, steps_per_bits=options.steps_per_bits, window=options.averaged_steps
        )
        bounds = find_bounds(points, threshold=options.threshold, tolerance=options.tolerance)
        self.progress = Progress(bounds=bounds)
        self._initial.clear()
        return events.RangeTest(
            step=step + 1,
            steps_per_bits=options.steps_per_bits,
            window=options.averaged_steps,
            threshold=options.threshold,
            tolerance=options.tolerance,
            curve=points,
            bounds=bounds,
        )
