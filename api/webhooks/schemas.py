"""What clients see of webhooks, and what is sent to them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, HttpUrl, StringConstraints

from api.jobs.schemas import JobId, Resource
from api.sweeps.schemas import Counts, SweepState
from cpt_core.lifecycle import Reason, State

WebhookId = Annotated[str, Field(pattern=r"^webhook_[0-9a-f]{24}$", description="Id of a webhook.")]
DeliveryId = Annotated[str, Field(pattern=r"^delivery_[0-9a-f]{24}$", description="Id of a delivery.")]
Description = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class EventType(StrEnum):
    """What is told."""

    JOB_QUEUED = "job.queued"
    """A job waits: it is new, resumed, or its next attempt is due."""
    JOB_RUNNING = "job.running"
    """A job trains."""
    JOB_PAUSED = "job.paused"
    """A job is paused."""
    JOB_SUCCEEDED = "job.succeeded"
    """A job trained to its last step."""
    JOB_FAILED = "job.failed"
    """A job failed."""
    JOB_CANCELLED = "job.cancelled"
    """A job was cancelled."""
    SWEEP_FINISHED = "sweep.finished"
    """All members of a sweep have ended."""
    PING = "ping"
    """A test, sent on request whatever events are wanted."""


Wanted = Annotated[list[EventType], Field(min_length=1, max_length=len(EventType))]


class WebhookRequest(BaseModel):
    """Where events are to be sent, and which."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [{"url": "https://example.com/hooks/cpt", "events": ["job.succeeded", "job.failed"]}]
        },
    )

    url: HttpUrl
    """Where to POST events: https, and a public address."""
    events: Wanted | None = None
    """Types of events that are wanted; null: all."""
    job: JobId | None = None
    """Only events of this job; null: of all jobs and sweeps of the project."""
    description: Description = ""
    """For people."""
    enabled: bool = True
    """False: nothing is sent or kept for it."""


class WebhookUpdate(BaseModel):
    """What is to change; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, json_schema_extra={"examples": [{"enabled": False}]}
    )

    url: HttpUrl | None = None
    """Where to POST events; null is as good as leaving it out."""
    events: Wanted | None = None
    """Types of events that are wanted; null: all."""
    description: Description | None = None
    """For people; null is as good as leaving it out."""
    enabled: bool | None = None
    """False: nothing more is sent or kept for it, and what waits goes on waiting; null is as good as leaving it out."""


class WebhookView(Resource):
    """A URL to which events are sent."""

    id: str
    """Identifier, `webhook_…`."""
    object: Literal["webhook"] = "webhook"
    """Kind of this resource."""
    url: str
    """Where events are sent."""
    events: list[EventType] | None
    """Types of events that are wanted; null: all."""
    job: str | None
    """Only events of this job; null: of all jobs and sweeps of the project."""
    description: str
    """For people."""
    enabled: bool
    """Whether anything is sent. A receiver that answers 410 (gone) disables it."""
    created_at: AwareDatetime
    """When it was made."""


class WebhookWithSecret(WebhookView):
    """A webhook with its secret, which is shown this once."""

    secret: str
    """`whsec_…`, with which a receiver checks signatures; keep it."""


class DeliveryState(StrEnum):
    """State of a delivery."""

    PENDING = "pending"
    """To be sent, or sent again."""
    SUCCEEDED = "succeeded"
    """The receiver took it: it answered with a status from 200 to 299."""
    FAILED = "failed"
    """Given up."""


class DeliveryView(Resource):
    """One event for one webhook, and how its delivery goes."""

    id: str
    """Identifier, `delivery_…`: the header `webhook-id`, the same in every attempt."""
    object: Literal["webhook.delivery"] = "webhook.delivery"
    """Kind of this resource."""
    type: EventType
    """What it tells."""
    state: DeliveryState
    """Whether it has arrived."""
    attempts: int
    """How often it was sent."""
    next_attempt_at: AwareDatetime | None
    """When it is sent next; null: never."""
    last_attempt_at: AwareDatetime | None
    """When it was sent last; null: not yet."""
    response_status: int | None
    """HTTP status of the latest answer; null: there was none."""
    error: str | None
    """Why the latest attempt came to nothing; null: it did not."""
    created_at: AwareDatetime
    """When the event happened."""
    delivered_at: AwareDatetime | None
    """When the receiver took it."""
    payload: WebhookEvent
    """The body that is sent."""


class JobEvent(Resource):
    """A job that changed its state. Ask for the job itself to know more."""

    object: Literal["job"] = "job"
    """Kind of what changed."""
    id: str
    """The job."""
    name: str
    """Label from its spec."""
    state: State
    """State from then on."""
    previous: State | None
    """State until then; null for a new job."""
    reason: Reason | None
    """Why, where there is more to say than the state."""
    message: str | None
    """The same as a sentence."""
    attempt: int
    """Attempts begun."""
    sweep: str | None
    """The sweep it is a member of."""


class SweepEvent(Resource):
    """A sweep that came to its end."""

    object: Literal["sweep"] = "sweep"
    """Kind of what changed."""
    id: str
    """The sweep."""
    name: str
    """Its label."""
    state: SweepState
    """How it ended."""
    counts: Counts
    """Members by state."""


class PingEvent(Resource):
    """Nothing happened: somebody tests the webhook."""

    object: Literal["webhook"] = "webhook"
    """Kind of what is told of."""
    id: str
    """The webhook."""


class WebhookEvent(Resource):
    """The body of a delivery. It may come more than once and not in order: go by `id` and `timestamp`."""

    id: str
    """Id of the delivery, as in the header `webhook-id`: the same however often it comes."""
    type: EventType
    """What happened."""
    timestamp: AwareDatetime
    """When it happened, UTC."""
    data: Annotated[JobEvent | SweepEvent | PingEvent, Field(discriminator="object")]
    """What it happened to."""


DeliveryView.model_rebuild()
