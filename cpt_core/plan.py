"""What a training will do and cost, known before anything runs.

The figures are those that the run then reports, exactly: both come from the same schedules, the same count of the
model's work and the same sums.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cpt_core import cost
from cpt_core.range_test import Bounds
from cpt_core.schedules import Schedule
from cpt_core.spec import AutoPrecision, JobSpec
from cpt_core.train.spent import Spent


class PlanModel(BaseModel):
    """Base of the parts of a plan."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Forecast(PlanModel):
    """What the whole training costs, beside static training at the highest bits and full precision."""

    mean_forward_bits: float
    """Bit width of weights and activations, averaged over the steps."""
    mean_backward_bits: float
    """Bit width of the errors, averaged over the steps."""
    gbitops: float
    """GBitOPs."""
    gbitops_static: float
    """The same steps at the schedules' highest bits, forward and backward."""
    gbitops_fp32: float
    """The same steps in full precision."""
    saved_vs_static: float
    """1 - gbitops / gbitops_static."""
    saved_vs_fp32: float
    """1 - gbitops / gbitops_fp32."""
    modelled_joules: float
    """Energy by the per-operation model."""
    modelled_joules_static: float
    """The same steps at the highest bits."""
    modelled_joules_fp32: float
    """The same steps in full precision."""


class Plan(PlanModel):
    """A training, before it runs."""

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
    from cpt_core.data.size import size, steps_per_epoch
    from cpt_core.models.measure import measure

    outputs, training_samples = size(spec.dataset, data_root)
    steps, an_epoch = spec.steps, steps_per_epoch(spec, training_samples)
    if an_epoch == 0:
        raise DataError(
            f"A batch of {spec.samples_per_step} samples is larger than the training split, which has "
            f"{training_samples}: lower training.batch_size."
        )
    parameters, profile = measure(spec, outputs)
    precision = spec.precision
    least, *most = _forecasts(spec, profile)
    return Plan(
        steps=steps,
        batch_size=spec.training.batch_size,
        samples=steps * spec.samples_per_step,
        epochs=steps / an_epoch,
        parameters=parameters,
        macs=profile.macs,
        max_bits=precision.max_bits,
        forecast=None if most else least,
        forecast_between=(least, most[0]) if most else None,
    )


def _forecasts(spec: JobSpec, profile: cost.Profile) -> list[Forecast]:
    """The forecast, or the least and the most."""
    precision, steps = spec.precision, spec.steps
    if isinstance(precision, AutoPrecision) and spec.type == "training":
        extremes = [Bounds(min_bits=bits, max_bits=bits) for bits in (precision.min_bits, precision.max_bits)]
        schedules = [precision.forward_schedule(steps, bounds) for bounds in extremes]
    else:
        schedules = [precision.forward_schedule(steps)]
    return [_forecast(spec, profile, forward, precision.backward_schedule(steps)) for forward in schedules]


def _forecast(spec: JobSpec, profile: cost.Profile, forward: Schedule, backward: Schedule) -> Forecast:
    steps, precision = spec.steps, spec.precision

    def spent(forward: Iterable[int], backward: Iterable[int]) -> Spent:
        total = Spent(profile, spec.samples_per_step)
        total.add_all(forward, backward)
        return total

    forward_bits, backward_bits = forward.all(), backward.all()
    planned = spent(forward_bits.tolist(), backward_bits.tolist())
    static = spent(repeat(precision.max_bits, steps), repeat(precision.max_gradient_bits, steps))
    full = spent(repeat(32, steps), repeat(32, steps))
    compared = cost.compare(
        planned.gbitops, profile.macs, steps * spec.samples_per_step, precision.max_bits, precision.max_gradient_bits
    )
    return Forecast(
        mean_forward_bits=forward_bits.mean(),
        mean_backward_bits=backward_bits.mean(),
        gbitops=compared.gbitops,
        gbitops_static=compared.gbitops_static,
        gbitops_fp32=compared.gbitops_fp32,
        saved_vs_static=compared.saved_vs_static,
        saved_vs_fp32=compared.saved_vs_fp32,
        modelled_joules=planned.modelled_joules,
        modelled_joules_static=static.modelled_joules,
        modelled_joules_fp32=full.modelled_joules,
    )
