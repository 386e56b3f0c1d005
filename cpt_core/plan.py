"""What a training will do and cost, known before anything runs.

The figures are those that the run then reports, exactly: both come from the same schedules, the same count of the
model's work and the same sums.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cpt_core.forecast import Forecast, forecasts
from cpt_core.sizes import steps_per_epoch
from cpt_core.spec import JobSpec


class Plan(BaseModel):
    """A training, before it runs."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    steps: int
    """Optimiser steps."""
    batch_size: int
    """Images, or parallel streams of text, of a step, over all devices."""
    samples: int
    """Images, or words of a text, in all."""
    epochs: float
    """Passes over the training split; an epoch leaves out its incomplete last batch."""
    parameters: int
    """Parameters of the model."""
    macs: int
    """Multiply-accumulates of the forward pass on an image, or on a word of a text."""
    max_bits: int
    """The schedule's highest bit width, that of the static training compared with."""
    forecast: Forecast | None
    """The cost; null where a precision range test has yet to find the bounds."""
    forecast_between: tuple[Forecast, Forecast] | None
    """Then the least and the most that it can be: the lowest or the highest bit width throughout after the test."""


def plan(spec: JobSpec, data_root: Path) -> Plan:
    """The plan of a spec. Loads torch; reads the dataset only where its size is not known from its name.

    Raises:
        DataError: the dataset has to be read, and is missing, corrupt or smaller than a batch.
        SpecError: the model is from outside, and is not here or cannot be built so.
    """
    from cpt_core.data import DataError
    from cpt_core.data.size import size
    from cpt_core.models.measure import measure

    outputs, training_samples = size(spec.dataset, data_root)
    steps, an_epoch = spec.steps, steps_per_epoch(spec, training_samples)
    if an_epoch == 0:
        raise DataError(
            f"A batch of {spec.samples_per_step} samples is larger than the training split, which has "
            f"{training_samples}: lower training.batch_size."
        )
    parameters, profile = measure(spec, outputs)
    least, *most = forecasts(spec, profile)
    return Plan(
        steps=steps,
        batch_size=spec.training.batch_size,
        samples=steps * spec.samples_per_step,
        epochs=steps / an_epoch,
        parameters=parameters,
        macs=profile.macs,
        max_bits=spec.precision.max_bits,
        forecast=None if most else least,
        forecast_between=(least, most[0]) if most else None,
    )
