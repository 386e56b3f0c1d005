"""What clients see of jobs: resources, log entries, lists."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from cpt_core.events import EnergySource, Event, Result
from cpt_core.lifecycle import Action, Reason, State
from cpt_core.spec import JobSpec


class Resource(BaseModel):
    """Base of what the API answers with."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class StateChanged(Event):
    """The job's state changed; made by the API."""

    type: Literal["state"] = "state"
    state: State
    """State from now on."""
    previous: State | None = None
    """State until now; null for a new job."""
    reason: Reason | None = None
    """Why, where there is more to say than the state."""
    message: str | None = None
    """The same as a sentence."""


class CancelRequested(Event):
    """Somebody asked for the end while a worker held the job; made by the API."""

    type: Literal["cancel_requested"] = "cancel_requested"


class PauseRequested(Event):
    """Somebody asked for a pause while a worker held the job; made by the API."""

    type: Literal["pause_requested"] = "pause_requested"


class ResumeRequested(Event):
    """Somebody took a pause back that was under way; made by the API."""

    type: Literal["resume_requested"] = "resume_requested"


class Progress(Resource):
    """How far the training is."""

    step: int
    """Steps completed."""
    steps: int
    """Steps in all."""
    epoch: int
    """0-based epoch of the latest step."""
    fraction: float
    """step / steps."""
    eta_seconds: float | None
    """Time left at the speed of the latest step; null before the first."""


class Latest(Resource):
    """The latest step."""

    forward_bits: int
    """Bit width of weights and activations."""
    backward_bits: int
    """Bit width of the errors."""
    loss: float
    """Training loss."""
    accuracy: float | None
    """Training accuracy over the batch."""
    lr: float
    """Learning rate."""
    samples_per_second: float
    """Speed over all ranks."""


class EvaluationView(Resource):
    """The latest evaluation."""

    step: int
    """Steps completed."""
    bits: int
    """Bit width at which it was taken."""
    averaged: bool
    """Whether it is of averaged weights, not of the last ones."""
    accuracy: float | None
    """Top-1 accuracy; null for language models."""
    top5_accuracy: float | None
    """Top-5 accuracy; null for language models and for fewer than 6 classes."""
    perplexity: float | None
    """exp(loss); null for classifiers."""
    loss: float
    """Mean loss."""
    samples: int
    """Images, or words of a text, evaluated."""


class Cost(Resource):
    """Training cost so far, in GBitOPs, beside what two alternatives would have cost for the same steps."""

    gbitops: float
    """So far."""
    gbitops_static: float
    """Static training at the schedules' highest bits, forward and backward."""
    gbitops_fp32: float
    """Full precision."""
    saved_vs_static: float
    """1 - gbitops / gbitops_static."""
    saved_vs_fp32: float
    """1 - gbitops / gbitops_fp32."""


class MeasuredEnergy(EnergySource):
    """Energy by a hardware counter, of the current attempt."""

    joules: float | None
    """Null where no counter is available; `reason` says why."""
    kwh: float | None
    """The same in kilowatt-hours."""
    gco2e: float | None
    """Grams of CO2-equivalent, by `grid_gco2e_per_kwh`."""


class ModelledEnergy(Resource):
    """Energy by the per-operation model of docs/how-cpt-works.md: not measured."""

    joules: float
    """So far."""
    kwh: float | None
    """The same in kilowatt-hours."""
    gco2e: float | None
    """Grams of CO2-equivalent, by `grid_gco2e_per_kwh`: modelled too."""
    source: Literal["model"] = "model"
    """Always the model."""
    scope: str = "arithmetic and memory traffic of the quantised layers, 45 nm"
    """What the model covers."""


class Energy(Resource):
    """Measured and modelled energy, side by side and never mixed."""

    measured: MeasuredEnergy
    """By a hardware counter."""
    modelled: ModelledEnergy
    """By the model."""
    grid_gco2e_per_kwh: float | None
    """Grams of CO2-equivalent per kWh of electricity, as the worker is set; null if an older one did not say."""


class CheckpointView(Resource):
    """The latest registered checkpoint."""

    step: int
    """Steps completed."""
    path: str
    """Folder, relative to the storage root."""
    size: int
    """Bytes."""


class JobView(Resource):
    """A training job."""

    id: str
    """Identifier, `job_…`."""
    object: Literal["job"] = "job"
    """Kind of this resource."""
    name: str
    """Label from the spec."""
    state: State
    """Where it is in its life."""
    reason: Reason | None
    """Why it is there, where there is more to say than the state."""
    message: str | None
    """The same as a sentence."""
    sweep: str | None
    """The sweep it is a member of, `sweep_…`; null: none."""
    queue: str
    """Queue it waits or waited in."""
    priority: int
    """Higher starts first."""
    attempt: int
    """Attempts so far."""
    cancel_requested: bool
    """A cancel is under way."""
    pause_requested: bool
    """A pause is under way."""
    actions: list[Action]
    """What can be done with it now: the names of its sub-resources to POST to, and `delete`."""
    retry_of: str | None
    """The job that this one tries again; it may be deleted by now."""
    clone_of: str | None
    """The job whose spec this one's was made from; it may be deleted by now."""
    created_at: AwareDatetime
    """When it was accepted."""
    queued_at: AwareDatetime | None
    """When its present wait in the queue began; null while it does not wait there."""
    started_at: AwareDatetime | None
    """When it first trained."""
    finished_at: AwareDatetime | None
    """When it ended."""
    archived_at: AwareDatetime | None
    """Since when lists hide it; null: they show it."""
    progress: Progress
    """How far it is."""
    latest: Latest | None
    """Its latest step."""
    evaluation: EvaluationView | None
    """Its latest evaluation."""
    cost: Cost | None
    """Its cost so far."""
    energy: Energy | None
    """Its energy so far."""
    checkpoint: CheckpointView | None
    """Its latest checkpoint."""
    result: Result | None
    """Its result, once succeeded."""
    spec: JobSpec
    """What it trains, defaults filled in."""


Item = TypeVar("Item")


class Page(Resource, Generic[Item]):
    """One page of a list."""

    # For each `Page[...]` made at import, docstrings would be looked for in the source of every caller: half a second.
    model_config = ConfigDict(use_attribute_docstrings=False)

    object: Annotated[Literal["list"], Field(description="Kind of this resource.")] = "list"
    data: Annotated[list[Item], Field(description="The items.")]
    has_more: Annotated[bool, Field(description="There is another page.")]
    next_cursor: Annotated[
        str | None,
        Field(
            description="Pass as the list's cursor parameter for the next page; "
            "for logs, also when more may come later."
        ),
    ]


class LogEntry(BaseModel):
    """One entry of a job's log that is no step. More fields follow by `type`, those of `cpt_core.events`."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    id: int
    """Position in the job's log: the cursor."""
    attempt: int
    """Attempt it belongs to; 0 before the first."""
    type: str
    """started, evaluation, range_test, checkpoint, log, finished, state, cancel_requested, pause_requested or
    resume_requested."""
    time: AwareDatetime
    """When it happened, UTC."""


class Validation(Resource):
    """The answer to a spec that is valid."""

    valid: Literal[True] = True
    """Always; an invalid spec is answered with a problem."""
    spec: JobSpec
    """The spec with all defaults filled in."""


class Retry(BaseModel):
    """How a job is tried again."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, json_schema_extra={"examples": [{"from": "start"}]}
    )

    start: Annotated[Literal["checkpoint", "start"] | None, Field(alias="from")] = None
    """`checkpoint`: go on from the job's last checkpoint; `start`: from scratch. Null: from the last checkpoint, if
    there is one."""


class Clone(BaseModel):
    """How a copy of a job differs from it."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"overrides": {"name": "another seed", "training": {"seed": 1}}}]},
    )

    overrides: dict[str, JsonValue] = {}
    """JSON merge patch (RFC 7396) for the spec: objects are merged, null takes a field away, so that its default holds,
    and anything else replaces what was there."""


JobId = Annotated[str, Field(pattern=r"^job_[0-9a-f]{24}$", description="Id of a job.")]
SweepId = Annotated[str, Field(pattern=r"^sweep_[0-9a-f]{24}$", description="Id of a sweep.")]
