"""What the API answers, typed. Unknown fields of a newer server are kept, not refused."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from cpt_client.errors import NOT_A_SERVER, CptError
from cpt_core import events
from cpt_core.lifecycle import FINAL


class Resource(BaseModel):
    """Base of all answers: keeps fields it does not know."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)


class Progress(Resource):
    """How far a job is."""

    step: int
    """Steps completed."""
    steps: int
    """Steps in all."""
    epoch: int | None = None
    """0-based epoch."""
    fraction: float = 0.0
    """Completed part, 0 to 1."""
    eta_seconds: float | None = None
    """Expected time to the end; null when unknown."""


class Latest(Resource):
    """Figures of the last step."""

    forward_bits: int
    """Bit width of weights and activations; 32 is full precision."""
    backward_bits: int
    """Bit width of the errors; 32 is full precision."""
    loss: float
    """Mean training loss."""
    accuracy: float | None = None
    """Top-1 training accuracy, 0 to 1."""
    lr: float | None = None
    """Learning rate."""
    samples_per_second: float | None = None
    """Throughput over all ranks."""


class Evaluation(Resource):
    """The last evaluation."""

    step: int
    """Steps completed when it was taken."""
    bits: int
    """Bit width at which it was taken."""
    averaged: bool = False
    """Whether it is of averaged weights, not of the last ones."""
    loss: float
    """Mean loss."""
    accuracy: float | None = None
    """Top-1 accuracy, 0 to 1; null for language models."""
    top5_accuracy: float | None = None
    """Top-5 accuracy, 0 to 1; null for language models and for fewer than 6 classes."""
    perplexity: float | None = None
    """exp(loss); null for classifiers."""
    samples: int | None = None
    """Samples evaluated."""


class Cost(Resource):
    """Cost so far, and what other precisions would have cost for the same steps."""

    gbitops: float
    """GBitOPs."""
    gbitops_static: float
    """GBitOPs of static training at the schedules' highest bits, forward and backward."""
    gbitops_fp32: float
    """GBitOPs of full precision."""
    saved_vs_static: float | None = None
    """Saved part of the static cost, 0 to 1."""
    saved_vs_fp32: float | None = None
    """Saved part of the full-precision cost, 0 to 1."""


class EnergyFigure(Resource):
    """One figure of energy."""

    joules: float | None = None
    """Joules; null where nothing was measured."""
    kwh: float | None = None
    """The same in kilowatt-hours."""
    gco2e: float | None = None
    """Grams of CO2-equivalent."""
    source: str | None = None
    """`nvml`, `rapl` or `model`; null without a counter."""
    scope: str | None = None
    """What it covers."""
    reason: str | None = None
    """Why there is no figure, when there is none."""


class Energy(Resource):
    """Energy so far; a measured figure and a modelled one are never mixed."""

    measured: EnergyFigure
    """By a hardware counter."""
    modelled: EnergyFigure
    """By the per-operation model."""
    grid_gco2e_per_kwh: float | None = None
    """Grams of CO2-equivalent per kWh of electricity, as the worker is set."""


class CheckpointRef(Resource):
    """The last registered checkpoint."""

    step: int
    """Steps completed."""
    path: str
    """Folder, relative to the storage root."""
    size: int | None = None
    """Bytes."""


class Result(events.Result):
    """Summary of a job that trained to its last step."""

    model_config = ConfigDict(extra="allow")


class Job(Resource):
    """One training job."""

    id: str
    """`job_…`."""
    name: str
    """Label for people."""
    state: str
    """One of `cpt_core.lifecycle.State`, or one that a newer server knows."""
    reason: str | None = None
    """Why it ended, one of `cpt_core.lifecycle.Reason`."""
    message: str | None = None
    """The end in a sentence."""
    sweep: str | None = None
    """The sweep it is a member of."""
    queue: str = "default"
    """Queue."""
    priority: int = 0
    """Higher starts first."""
    attempt: int = 0
    """Attempts started."""
    cancel_requested: bool = False
    """Whether somebody asked to cancel it."""
    pause_requested: bool = False
    """Whether a pause is under way."""
    actions: list[str] = []
    """What can be done with it now: `cancel`, `pause`, `resume`, `retry`, `clone`, `archive`, `unarchive`, `delete`."""
    retry_of: str | None = None
    """The job that this one tries again."""
    clone_of: str | None = None
    """The job whose spec this one's was made from."""
    created_at: AwareDatetime
    """When it was submitted."""
    queued_at: AwareDatetime | None = None
    """When its present wait in the queue began; null while it does not wait there."""
    started_at: AwareDatetime | None = None
    """When it first started."""
    finished_at: AwareDatetime | None = None
    """When it ended."""
    archived_at: AwareDatetime | None = None
    """Since when lists hide it; null: they show it."""
    spec: dict[str, Any]
    """The job spec, complete."""
    progress: Progress
    """How far it is."""
    latest: Latest | None = None
    """Figures of the last step."""
    evaluation: Evaluation | None = None
    """The last evaluation."""
    cost: Cost | None = None
    """Cost so far."""
    energy: Energy | None = None
    """Energy so far."""
    checkpoint: CheckpointRef | None = None
    """The last registered checkpoint."""
    result: Result | None = None
    """Summary, of a job that succeeded."""

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in FINAL

    def _repr_html_(self) -> str:
        """For notebooks."""
        from cpt_client.view.html import job

        return job(self)


class Queue(Resource):
    """A queue, as far as this project is concerned."""

    name: str
    """Its name."""
    queued: int
    """Jobs that wait."""
    running: int = 0
    """Jobs that workers hold."""
    paused: int = 0
    """Jobs that are paused."""
    oldest_queued_at: AwareDatetime | None = None
    """When the longest wait of those that wait began."""
    workers: int = 0
    """Workers online that take jobs from it."""


class Worker(Resource):
    """A worker."""

    name: str
    """Its name."""
    online: bool
    """Whether it was heard of within the last half minute."""
    seen_at: AwareDatetime
    """When it was last heard of."""
    device: str
    """`cpu` or `cuda`."""
    slots: int
    """Jobs it runs at the same time."""
    devices: int
    """Devices of each slot."""
    busy: int = 0
    """Slots in use, by jobs of any project."""
    queues: list[str] = []
    """Queues it takes jobs from, the first preferred."""
    labels: list[str] = []
    """What jobs may require of it."""
    jobs: list[str] = []
    """Jobs of this project that it holds."""


class Event(Resource):
    """One row of a job's log: a `step`, `evaluation`, `checkpoint`, `log`, `state`, …; the fields follow its type."""

    id: int
    """Cursor within the job, ascending."""
    type: str = "step"
    """Kind of the event."""
    attempt: int | None = None
    """Attempt that wrote it; null for the server's own."""
    time: AwareDatetime | None = None
    """When it happened."""

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of its type, such as `loss` of a step: see `cpt_core.events`."""
        return self.model_extra or {}


class Key(Resource):
    """An API key, without its secret."""

    id: str
    """`key_…`."""
    prefix: str
    """How the key begins."""
    name: str
    """Label for people."""
    project: str
    """Project it belongs to."""
    scope: str
    """read, submit, admin or operator."""
    requests_per_minute: int | None = None
    """Requests a minute it may make; null: as many as its project."""
    created_at: AwareDatetime
    """When it was made."""
    expires_at: AwareDatetime | None = None
    """When it ends; null: never."""
    revoked_at: AwareDatetime | None = None
    """When it was revoked."""
    last_used_at: AwareDatetime | None = None
    """When it was last used, up to a minute late."""


class NewKey(Key):
    """An API key that was just made."""

    key: str = Field(repr=False)
    """The key itself; shown this once."""


class Page(Resource):
    """One page of a list."""

    data: list[dict[str, Any]]
    """The items."""
    has_more: bool = False
    """Whether more follow."""
    next_cursor: str | int | None = None
    """Where they follow."""


Model = TypeVar("Model", bound=BaseModel)


class Checkpoint(Resource):
    """A checkpoint that is kept."""

    id: str
    """Identifier, `ckpt_…`."""
    attempt: int
    """Attempt that made it."""
    kind: str
    """`regular`, or `best`: of the best evaluation."""
    step: int
    """Steps completed."""
    size: int
    """Bytes."""
    created_at: AwareDatetime
    """When it was made."""


class Artifact(Resource):
    """A file of a job."""

    id: str
    """Identifier, `art_…`."""
    kind: str
    """What it is, such as `log`."""
    name: str
    """Its name, unique in the job."""
    size: int
    """Bytes."""
    created_at: AwareDatetime
    """When it was stored."""


class Dataset(Resource):
    """An uploaded dataset."""

    name: str
    """What a spec calls it: `dataset.upload`."""
    sha256: str
    """Digest of the archive."""
    size: int
    """Bytes of the archive."""
    files: int
    """Files in it."""
    unpacked_size: int
    """Bytes of these files."""
    created_at: AwareDatetime
    """When it was uploaded."""


class LogLine(Resource):
    """A line of a rank's output."""

    attempt: int
    """Attempt that printed it."""
    rank: int
    """Rank that printed it; -1: the launcher."""
    offset: int
    """Place of its first byte in the output."""
    next_offset: int
    """Place of the next line."""
    line: str
    """The line, without its end."""


def parse(kind: type[Model], body: str | bytes, client: object = None) -> Model:
    """The answer in `body`, of this client.

    Raises:
        CptError: it is not what a CPT server says.
    """
    try:
        return kind.model_validate_json(body, context=client)
    except ValidationError as error:
        raise _not_understood(kind, error) from error


def validate(kind: type[Model], item: dict[str, Any], client: object = None) -> Model:
    """The item of a list of this client, typed.

    Raises:
        CptError: it is not what a CPT server says.
    """
    try:
        return kind.model_validate(item, context=client)
    except ValidationError as error:
        raise _not_understood(kind, error) from error


def _not_understood(kind: type[BaseModel], error: ValidationError) -> CptError:
    first = error.errors()[0]
    where = "/".join(str(part) for part in first["loc"]) or "body"
    return CptError(NOT_A_SERVER, f"the answer is no {kind.__name__.lower()} of a CPT server ({where}: {first['msg']})")
