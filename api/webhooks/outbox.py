"""Writes what webhooks are to be told, in the transaction of the change itself: either both are stored, or neither."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.jobs.models import Job
from api.jobs.schemas import StateChanged
from api.sweeps import repository as sweeps
from api.sweeps.state import is_final, state_of
from api.webhooks import repository
from api.webhooks.models import Delivery, Webhook
from api.webhooks.schemas import DeliveryState, EventType, JobEvent, PingEvent, SweepEvent, WebhookEvent
from cpt_core.events import now
from cpt_core.lifecycle import FINAL, State

MAX_ATTEMPTS = 10
"""Attempts of a delivery before it is given up."""

JOB_EVENTS = {
    State.QUEUED: EventType.JOB_QUEUED,
    State.RUNNING: EventType.JOB_RUNNING,
    State.PAUSED: EventType.JOB_PAUSED,
    State.SUCCEEDED: EventType.JOB_SUCCEEDED,
    State.FAILED: EventType.JOB_FAILED,
    State.CANCELLED: EventType.JOB_CANCELLED,
}
"""The states that are told of."""


def write(session: Session, job: Job, records: Sequence[BaseModel]) -> None:
    """Tell the webhooks that listen of the changes of state among these records of a job's log."""
    changes = [record for record in records if isinstance(record, StateChanged)]
    listening = repository.listening(session, job.project) if changes else ()
    for change in changes:
        kind = JOB_EVENTS.get(change.state)
        if kind is None:
            continue
        told = JobEvent(
            id=job.id,
            name=job.name,
            state=change.state,
            previous=change.previous,
            reason=change.reason,
            message=change.message,
            attempt=job.attempt,
            sweep=job.sweep,
        )
        hooks = [hook for hook in listening if hook.job in (None, job.id)]
        put(session, _wanting(kind, hooks), kind, told, change.time)
    if job.sweep is not None and changes and changes[-1].state in FINAL:
        hooks = _wanting(EventType.SWEEP_FINISHED, [hook for hook in listening if hook.job is None])
        if hooks:
            _finish(session, job.sweep, hooks, changes[-1].time)


def _finish(session: Session, sweep_id: str, hooks: Sequence[Webhook], time: datetime) -> None:
    """Tell of the end of the sweep if this was its last member."""
    # Of two members that end at the same moment the lock lets only one go on before the other has committed, so that
    # the second sees that both have ended.
    sweep = sweeps.get(session, sweep_id, lock=True)
    counts = sweeps.counts(session, sweep_id)
    if sweep is not None and is_final(counts):
        told = SweepEvent(id=sweep.id, name=sweep.name, state=state_of(counts), counts=counts)
        put(session, hooks, EventType.SWEEP_FINISHED, told, time)


def _wanting(kind: EventType, hooks: Iterable[Webhook]) -> list[Webhook]:
    return [hook for hook in hooks if hook.events is None or kind in hook.events.split()]


def put(
    session: Session,
    hooks: Iterable[Webhook],
    kind: EventType,
    data: JobEvent | SweepEvent | PingEvent,
    time: datetime,
) -> list[Delivery]:
    """Store a delivery for each of these webhooks, due at once."""
    due, deliveries = now(), []
    for hook in hooks:
        delivery_id = f"delivery_{secrets.token_hex(12)}"
        event = WebhookEvent(id=delivery_id, type=kind, timestamp=time, data=data)
        deliveries.append(
            Delivery(
                id=delivery_id,
                webhook=hook.pk,
                type=kind,
                payload=event.model_dump_json(),
                created_at=due,
                state=DeliveryState.PENDING,
                attempts=0,
                attempt_limit=MAX_ATTEMPTS,
                next_attempt_at=due,
            )
        )
    session.add_all(deliveries)
    return deliveries
