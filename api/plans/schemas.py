"""What clients see of a plan."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from api.jobs.schemas import Resource
from cpt_core.spec import JobSpec


class PlannedRun(Resource):
    """Consecutive steps of the same bit widths."""

    start: int
    """The first of them, 0-based."""
    stop: int
    """The step after the last of them."""
    forward_bits: int
    """Bit width of weights and activations."""
    backward_bits: int
    """Bit width of the errors."""


class Figures(Resource):
    """What the whole training costs beside the alternatives. Null where `unknown` says why."""

    mean_forward_bits: float
    """Bit width of weights and activations, averaged over the steps."""
    mean_backward_bits: float
    """Bit width of the errors, averaged over the steps."""
    saved_vs_static: float
    """Part of the GBitOPs of static training at the schedules' highest bits that is saved."""
    saved_vs_fp32: float
    """Part of the GBitOPs of full precision that is saved."""
    gbitops: float | None
    """GBitOPs."""
    gbitops_static: float | None
    """The same steps at the schedules' highest bits, forward and backward."""
    gbitops_fp32: float | None
    """The same steps in full precision."""
    modelled_joules: float | None
    """Energy by the per-operation model."""
    modelled_joules_static: float | None
    """The same steps at the highest bits."""
    modelled_joules_fp32: float | None
    """The same steps in full precision."""


class PlanView(Resource):
    """A training, before it runs. What it costs is exactly what the run then reports."""

    object: Literal["plan"] = "plan"
    """Kind of this resource."""
    document: dict[str, JsonValue]
    """The spec as it came, as JSON: what to submit."""
    spec: JobSpec
    """The same, defaults filled in."""
    steps: int
    """Optimiser steps."""
    batch_size: int
    """Images, or parallel streams of text, of a step, over all devices."""
    samples: int
    """Images, or words of a text, in all."""
    max_bits: int
    """The schedule's highest bit width, that of the static training compared with."""
    epochs: float | None
    """Passes over the training split; an epoch leaves out its incomplete last batch."""
    parameters: int | None
    """Parameters of the model."""
    macs: int | None
    """Multiply-accumulates of the forward pass on an image, or on a word of a text."""
    unknown: str | None
    """Why figures are null: what only the worker, or `cpt plan`, can tell."""
    runs: list[PlannedRun]
    """The schedule, by runs of the same bit widths, 2,000 at most: where it has more, from its beginning. Where a
    precision range test has yet to find the bounds, after the test at the highest width."""
    forecast: Figures | None
    """The cost; null where a precision range test has yet to find the bounds, or where `unknown` says why."""
    forecast_between: tuple[Figures, Figures] | None
    """Then the least and the most that it can be: the lowest or the highest bit width throughout after the test."""
