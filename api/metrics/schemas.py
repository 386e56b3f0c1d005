"""What clients see of metrics."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from api.jobs.schemas import Resource


class MetricView(Resource):
    """One step's metrics: all of them, or those that `keys` asks for."""

    id: int
    """Position in the job's log: the cursor."""
    attempt: int
    """Attempt that ran it."""
    type: Literal["step"] = "step"
    """Kind of entry."""
    time: AwareDatetime
    """When it was done, UTC."""
    step: int
    """0-based index of the optimiser step."""
    epoch: int | None = None
    """0-based epoch."""
    forward_bits: int | None = None
    """Bit width of weights and activations."""
    backward_bits: int | None = None
    """Bit width of the errors."""
    loss: float | None = None
    """Training loss."""
    accuracy: float | None = None
    """Training accuracy over the batch; null for language models."""
    lr: float | None = None
    """Learning rate."""
    samples_per_second: float | None = None
    """Speed over all ranks."""
    gbitops: float | None = None
    """Cumulative GBitOPs."""
    modelled_joules: float | None = None
    """Cumulative modelled energy."""
    energy_joules: float | None = None
    """Cumulative measured energy of the attempt; null where no counter is available."""
    step_gbitops: float | None = None
    """GBitOPs of this step; null if an older worker ran it."""
    step_modelled_joules: float | None = None
    """Modelled energy of this step; null if an older worker ran it."""
    step_energy_joules: float | None = None
    """Measured energy of this step; null where no counter is available."""


class SampledMetrics(Resource):
    """A job's metrics over a range of steps, thinned out for a plot.

    The steps are cut into buckets of equal width, and of each bucket the smallest and the largest value are kept, at
    the steps that had them; so are the first and the last value. Whatever stands out is there.
    """

    object: Literal["metrics.sampled"] = "metrics.sampled"
    """Kind of this resource."""
    from_step: int | None
    """First step that was looked at; null without steps."""
    to_step: int | None
    """Last step that was looked at; null without steps."""
    bucket_steps: int
    """Steps of a bucket; 1: nothing is left out."""
    series: dict[str, list[tuple[int, float]]]
    """Of each key `[step, value]` in the order of steps, `max_points` at most. Steps without a value are left out."""
