"""What a training run reports: typed events, one JSON object a line, a discriminated union on `type`.

A run is `started`, then `step`s with `evaluation`s, `checkpoint`s and `log`s between them, then one `finished`.
Numbering of steps: a `step` event's `step` is the 0-based index of the optimiser step, the t of the schedule;
everywhere else `step` counts the steps completed, so a checkpoint at step 100 resumes with step index 100.
This module must not import torch.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from cpt_core.carbon import GridFactor
from cpt_core.range_test import Bounds, PrecisionGain

VERSION = 1
"""Version of this schema; a reader refuses a higher one."""

MAX_STEP = 10_000_000
"""The last step that can be."""

Step = Annotated[int, Field(ge=0, le=MAX_STEP)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Real = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)


class Event(BaseModel):
    """Base of all events."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    time: AwareDatetime = Field(default_factory=now)
    """When it happened, UTC, by the clock of the machine that trains."""


class EnergySource(BaseModel):
    """Where measured energy comes from. Without a counter `source` is null and `reason` says why."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    source: Literal["nvml", "rapl"] | None = None
    """The hardware counter, or null."""
    scope: Annotated[str, Field(max_length=200)] | None = None
    """What the counter covers, such as "GPU 0,1" or "package-0, all processes of the machine"."""
    reason: Annotated[str, Field(max_length=500)] | None = None
    """Why there is no counter, when there is none."""


class Started(Event):
    """Training begins or resumes; everything before this was set-up."""

    type: Literal["started"] = "started"
    version: Literal[1] = 1
    """Version of the event schema."""
    resume_step: Step
    """Steps already completed: 0, or the step of the checkpoint that was loaded."""
    steps: Step
    """Steps in all."""
    world_size: Annotated[int, Field(ge=1)]
    """DDP processes."""
    device: Annotated[str, Field(max_length=200)]
    """What trains, such as "cpu" or "NVIDIA H100"."""
    parameters: Count
    """Parameters of the model."""
    macs: Count
    """Multiply-accumulates of one sample's forward pass. A sample is an image, or a word of a text in its place."""
    energy: EnergySource
    """Source of `energy_joules` in the steps."""
    grid_gco2e_per_kwh: GridFactor | None = None
    """Grams of CO2-equivalent per kWh of electricity, by which energy is converted: a setting of the worker."""
    backends: dict[Literal["simulated", "int8", "fp8"], list[str]] = Field(default_factory=dict)
    """The quantised layers by what computes their products, see `precision.backend`."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Versions of what runs: python, torch, cpt_core; and the instructions that products in integers take."""


class StepDone(Event):
    """One optimiser step: its own figures, and sums up to and including it since the job's first step.

    The step's own cost and energy are null in records of versions before they were reported.
    """

    type: Literal["step"] = "step"
    step: Step
    """0-based index of the step, the t of the schedule."""
    epoch: Step
    """0-based epoch of the batch."""
    forward_bits: Annotated[int, Field(ge=2, le=32)]
    """Bit width of weights and activations; 32 is full precision."""
    backward_bits: Annotated[int, Field(ge=2, le=32)]
    """Bit width of the errors; 32 is full precision."""
    loss: Real
    """Mean training loss over the batches of all ranks."""
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Top-1 training accuracy over the batches of all ranks; null for language models."""
    lr: Positive
    """Learning rate of the step."""
    samples_per_second: Positive
    """Over all ranks, data loading included."""
    gbitops: Positive
    """Cumulative GBitOPs."""
    modelled_joules: Positive
    """Cumulative energy by the per-operation model."""
    energy_joules: Positive | None = None
    """Cumulative measured energy, evaluations and checkpoints included; null where no counter is available. Restarts at
    0 in each attempt."""
    step_gbitops: Positive | None = None
    """GBitOPs of this step."""
    step_modelled_joules: Positive | None = None
    """Energy of this step by the per-operation model."""
    step_energy_joules: Positive | None = None
    """Measured energy of this step; null where no counter is available."""


class Evaluation(Event):
    """Quality on the evaluation split."""

    type: Literal["evaluation"] = "evaluation"
    step: Step
    """Steps completed."""
    bits: Annotated[int, Field(ge=2, le=32)]
    """Bit width at which it was taken."""
    split: Literal["test"] = "test"
    """The split."""
    samples: Count
    """Images, or words of a text, evaluated."""
    averaged: bool = False
    """Whether it is of averaged weights (training.averaging), not of the last ones."""
    loss: Real
    """Mean loss."""
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Top-1 accuracy; null for language models."""
    top5_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Top-5 accuracy; null for language models and for fewer than 6 classes."""
    perplexity: Positive | None = None
    """exp(loss); null for classifiers, and where no float holds it."""


class RangeTest(Event):
    """The precision range test is over: its options, the whole curve and what it shows."""

    type: Literal["range_test"] = "range_test"
    step: Step
    """Steps completed."""
    steps_per_bits: Annotated[int, Field(ge=1)]
    """Steps at each bit width."""
    window: Annotated[int, Field(ge=1)]
    """Steps over which scores were averaged."""
    threshold: Annotated[float, Field(ge=0, lt=1)]
    """Part of the highest width's gain that B_min had to reach."""
    tolerance: Annotated[float, Field(ge=0, lt=1)]
    """Part of the highest width's last score that B_max might stay behind."""
    curve: Annotated[list[PrecisionGain], Field(min_length=1, max_length=15)]
    """Score at each bit width, ascending: training accuracy, for language models exp(-loss)."""
    bounds: Bounds | None = None
    """B_min and B_max; null if even the highest width learnt next to nothing."""


class Checkpoint(Event):
    """A checkpoint is complete in storage. Resuming from it continues bit for bit."""

    type: Literal["checkpoint"] = "checkpoint"
    step: Step
    """Steps completed."""
    path: Annotated[str, Field(min_length=1, max_length=500)]
    """Folder of the checkpoint, relative to the storage root."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the checkpoint's manifest, which lists the digests of its files."""
    size: Count
    """Bytes."""


class BestCheckpoint(Event):
    """The checkpoint of the best evaluation so far is complete in storage, in the place of the former one.

    The job does not resume from it; it is there to be downloaded.
    """

    type: Literal["best_checkpoint"] = "best_checkpoint"
    step: Step
    """Steps completed."""
    path: Annotated[str, Field(min_length=1, max_length=500)]
    """Folder of the checkpoint, relative to the storage root."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the checkpoint's manifest, which lists the digests of its files."""
    size: Count
    """Bytes."""


class Log(Event):
    """A line worth keeping."""

    type: Literal["log"] = "log"
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Severity."""
    message: Annotated[str, Field(max_length=8192)]
    """The text."""
    rank: Annotated[int, Field(ge=0)] | None = None
    """The rank that said it; null for the worker."""


class Best(BaseModel):
    """The best evaluation of a run: the highest accuracy, or for language models the lowest loss; the first of equals.

    It chooses by the same split that it reports on, so it flatters a little, as the best epoch of a paper does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    step: Step
    """Steps completed."""
    bits: Annotated[int, Field(ge=2, le=32)]
    """Bit width at which it was taken."""
    averaged: bool = False
    """Whether it is of averaged weights."""
    loss: Real
    """Mean loss."""
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Top-1 accuracy; null for language models."""
    top5_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Top-5 accuracy; null for language models and for fewer than 6 classes."""
    perplexity: Positive | None = None
    """exp(loss); null for classifiers, and where no float holds it."""
    checkpoint: Annotated[str, Field(max_length=500)] | None = None
    """Folder of its checkpoint, relative to the storage root; null unless `checkpoint.keep_best` asks for one."""


class Result(BaseModel):
    """Summary of a run that came to its end. A job of type `range_test` has no quality: its weights are thrown away."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Top-1 accuracy on the test split, of the last weights or their average; null for language models."""
    top5_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Top-5 accuracy; null for language models and for fewer than 6 classes."""
    perplexity: Positive | None = None
    """exp(loss); null for classifiers, and where no float holds it."""
    loss: Real | None = None
    """Mean loss on the test split; null for a range test."""
    bits: Annotated[int, Field(ge=2, le=32)] | None = None
    """Bit width at which accuracy and loss were taken; null for a range test."""
    averaged: bool = False
    """Whether they are of averaged weights, which `averaged.safetensors` of the final checkpoint has."""
    bounds: Bounds | None = None
    """What the precision range test found; null where the spec has none."""
    steps: Step
    """Optimiser steps."""
    samples: Count
    """Images, or words of a text, trained on."""
    gbitops: Positive
    """GBitOPs of the whole run."""
    gbitops_static: Positive
    """What static training at the schedules' highest bits, forward and backward, would have cost."""
    gbitops_fp32: Positive
    """What full precision would have cost."""
    modelled_joules: Positive
    """Energy of the whole run by the per-operation model."""
    energy_joules: Positive | None = None
    """Measured energy of the last attempt; null where no counter is available."""
    grid_gco2e_per_kwh: GridFactor | None = None
    """Grams of CO2-equivalent per kWh of electricity, as `started` has it."""
    modelled_kwh: Positive | None = None
    """`modelled_joules` in kilowatt-hours."""
    modelled_gco2e: Positive | None = None
    """Grams of CO2-equivalent of `modelled_kwh`: modelled too."""
    energy_kwh: Positive | None = None
    """`energy_joules` in kilowatt-hours; null where nothing was measured."""
    energy_gco2e: Positive | None = None
    """Grams of CO2-equivalent of `energy_kwh`; null where nothing was measured."""
    samples_per_second: Positive
    """Median over the steps of the last attempt."""
    peak_memory: Count | None = None
    """Bytes of the rank that took most in the last attempt: on a GPU what its tensors took there, on a CPU the resident
    set of the process."""
    best: Best | None = None
    """The best of all evaluations, those of earlier attempts included; null if nobody kept it."""
    checkpoint: Annotated[str, Field(max_length=500)] | None = None
    """Folder of the final checkpoint, relative to the storage root; null for a range test."""


class Finished(Event):
    """The end of an attempt. Nothing follows."""

    type: Literal["finished"] = "finished"
    outcome: Literal["succeeded", "failed", "cancelled", "paused", "preempted"]
    """What became of it."""
    reason: Annotated[str, Field(max_length=64)]
    """One of `cpt_core.lifecycle.Reason`."""
    message: Annotated[str, Field(max_length=8192)]
    """A sentence a person can act on."""
    result: Result | None = None
    """Summary, of a run that succeeded."""


AnyEvent = Annotated[
    Started | StepDone | Evaluation | RangeTest | Checkpoint | BestCheckpoint | Log | Finished,
    Field(discriminator="type"),
]

ADAPTER: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
"""Parses and prints any event."""


def parse(line: str | bytes) -> AnyEvent:
    """One event from its JSON line.

    Raises:
        pydantic.ValidationError: it is no event.
    """
    return ADAPTER.validate_json(line)


def dump(event: AnyEvent) -> str:
    """The event as one line of JSON, without the line end. Fields without a value are left out."""
    return event.model_dump_json(exclude_none=True)
