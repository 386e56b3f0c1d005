"""What a worker and the API say to each other: the doorbell's name and the messages of claim and append.

Transport-neutral: this module knows neither HTTP nor Celery, it only fixes names and shapes for both sides.
How the exchange works is told in docs/protocol.md.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cpt_core.events import AnyEvent, Checkpoint
from cpt_core.lifecycle import Reason
from cpt_core.model_limits import ModelLimits
from cpt_core.run import Endpoint, Gang
from cpt_core.spec import JobSpec, Labels, Name
from cpt_core.uploads import Upload

DOORBELL = "cpt.doorbell"
"""The only task: "there may be work in this queue". It has no arguments and may be lost, late or repeated."""

MAX_RECORDS = 1000
"""Records in one append."""

HEARTBEAT_SECONDS = 10.0
"""How often a worker tells the API that it is there. (An attempt's own heartbeat is its append.)"""


def celery_queue(queue: str) -> str:
    """Name of the Celery queue, and so of the broker's key, in which a queue's doorbells ring."""
    return f"cpt.{queue}"


class Message(BaseModel):
    """Base of all messages: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ClaimRequest(Message):
    """A free slot asks for work."""

    claim_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """Chosen by the worker, new for each claim; a repeat after a lost reply gets the same attempt again."""
    worker: Annotated[str, Field(min_length=1, max_length=200)]
    """Name of the worker, unique among the live ones."""
    queue: Name
    """Queue to take from."""
    device: Literal["cpu", "cuda"]
    """Kind of the slot's devices."""
    devices: Annotated[int, Field(ge=1, le=64)]
    """Devices of the slot; on a CPU the number of processes it accepts."""
    labels: Labels = ()
    """Labels of the worker; it gets jobs that require none but these."""
    endpoint: Endpoint | None = None
    """Where the nodes of a job may meet, `address:port` on the worker's machine, should this slot become the first of
    them. Null: the worker knows no jobs of several nodes, and gets none."""


class Assignment(Message):
    """The answer to a claim: one attempt at one job."""

    job_id: str
    """The job."""
    attempt: int
    """Number of the attempt, from 1."""
    token: str
    """Proof of holding the attempt; sent as a bearer token with each append."""
    spec: JobSpec
    """What to train."""
    model_limits: ModelLimits = ModelLimits()
    """How large its model may be. Only the worker can count, so it ends the attempt with `spec_error`."""
    resume: Checkpoint | None
    """Last registered checkpoint, to continue from."""
    upload: Upload | None = None
    """The uploaded dataset that the spec names; null if it names none, or a deleted one."""
    lease_seconds: float
    """Silence after which the API ends the attempt. The worker stops on its own well before."""
    gang: Annotated[Gang | None, Field(exclude_if=lambda gang: gang is None)] = None
    """The slot's place among the nodes of the job; null: it trains the job alone. Node 0 has the attempt's log."""
    running_seconds: float = 0.0
    """How long earlier attempts have trained; they count towards the spec's `limits.max_runtime`."""


class AppendRequest(Message):
    """Records of an attempt, in order, numbered from `first_seq` on. None: a heartbeat."""

    first_seq: Annotated[int, Field(ge=1)]
    """Number of the first record; the attempt's records are numbered from 1 without gaps."""
    records: Annotated[list[AnyEvent], Field(max_length=MAX_RECORDS)]
    """The records."""


LAUNCHER = -1
"""In the place of a rank: the launcher, which starts the ranks, and its output."""

MAX_LOG_CHUNK = 256 * 1024
"""Bytes of a rank's output in one request."""


class LogReply(Message):
    """How much of a rank's output the API has."""

    size: int
    """Bytes; the next chunk begins there."""


class NodeFailure(Message):
    """What ended the processes of one node."""

    node: Annotated[int, Field(ge=0, le=63)]
    """Number of the node."""
    reason: Reason
    """Why they ended."""
    message: Annotated[str, Field(max_length=8192)]
    """A sentence that a person can act on."""


class NodeReport(Message):
    """A node other than the first is there; the heartbeat of its part in the attempt."""

    failure: NodeFailure | None = None
    """What ended its processes, unless it was the loss of others."""


class NodeReply(Message):
    """The attempt holds its job still."""

    command: Literal["continue", "cancel", "pause"]
    """What the attempt shall do; the first node carries it out."""


class AppendReply(Message):
    """What is stored, and what to do."""

    acked: int
    """Number of the last record that is durably stored; everything up to it may be forgotten."""
    command: Literal["continue", "cancel", "pause"]
    """What the attempt shall do."""
    failure: Annotated[NodeFailure | None, Field(exclude_if=lambda failure: failure is None)] = None
    """What ended the processes of another node: this one's are to end too, and its log tells why."""


class WorkerReport(Message):
    """A worker tells that it is there."""

    worker: Annotated[str, Field(min_length=1, max_length=200)]
    """Name of the worker."""
    version: Annotated[str, Field(max_length=50)]
    """Version of its software."""
    queues: Annotated[list[Name], Field(min_length=1, max_length=100)]
    """Queues it takes jobs from, the first preferred."""
    labels: Labels = ()
    """Its labels."""
    device: Literal["cpu", "cuda"]
    """Kind of its devices."""
    slots: Annotated[int, Field(ge=1, le=64)]
    """Jobs it runs at the same time."""
    devices: Annotated[int, Field(ge=1, le=64)]
    """Devices of each slot."""
    gangs: bool = False
    """Its slots can train a job together with others."""
    leaving: bool = False
    """It takes no more jobs and will be gone soon."""
