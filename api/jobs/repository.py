"""All SQL of the jobs aggregate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, insert, or_, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.orm import Session

from api.checkpoints import repository as checkpoints
from api.db import Base
from api.jobs.ledger import Ledger
from api.jobs.models import Attempt, DeletedJob, Event, Job, Metric, Node
from api.jobs.schemas import CancelRequested, PauseRequested, ResumeRequested, StateChanged
from api.metrics.repository import roll_up
from api.webhooks import outbox
from cpt_core.events import AnyEvent, BestCheckpoint, Checkpoint, Evaluation, Finished, Started, StepDone, now
from cpt_core.lifecycle import ACTIVE, FINAL, Reason, State

LogRecord = AnyEvent | StateChanged | CancelRequested | PauseRequested | ResumeRequested

METRIC_FIELDS = tuple(name for name in StepDone.model_fields if name != "type")


def get(session: Session, job_id: str, *, lock: bool = False) -> Job | None:
    """The job, locked against other writers if asked."""
    query = select(Job).where(Job.id == job_id)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def by_idempotency_key(session: Session, project: str, key: str) -> Job | None:
    """The job that was created with this key."""
    return session.scalars(select(Job).where(Job.project == project, Job.idempotency_key == key)).one_or_none()


def page(
    session: Session,
    project: str,
    *,
    before: str | None,
    states: Sequence[State],
    queue: str | None,
    archived: bool,
    sweep: str | None,
    limit: int,
) -> list[Job]:
    """Up to `limit` jobs, newest first, older than the job `before`; the archived ones, or the others."""
    query = select(Job).where(Job.project == project).order_by(Job.pk.desc()).limit(limit)
    query = query.where(Job.archived_at.is_not(None) if archived else Job.archived_at.is_(None))
    if before is not None:
        query = query.where(Job.pk < select(Job.pk).where(Job.id == before).scalar_subquery())
    if states:
        query = query.where(Job.state.in_([str(state) for state in states]))
    if queue is not None:
        query = query.where(Job.queue == queue)
    if sweep is not None:
        query = query.where(Job.sweep == sweep)
    return list(session.scalars(query))


def queues_with_work(session: Session) -> list[str]:
    """Queues in which a job waits, or one that has begun waits for its other nodes."""
    queued = select(Job.queue).where(Job.state == State.QUEUED)
    return list(session.scalars(queued.union(promised().with_only_columns(Job.queue))))


def promised() -> Select[Node]:
    """Nodes that are reserved and not taken."""
    return (
        select(Node)
        .join(Job, (Job.pk == Node.job) & (Job.attempt == Node.attempt))
        .where(Job.state.in_([str(state) for state in ACTIVE]), Node.worker.is_(None))
    )


def overdue(session: Session, at: datetime) -> list[str]:
    """Jobs that have waited in the queue for too long."""
    return list(session.scalars(select(Job.id).where(Job.state == State.QUEUED, Job.queue_deadline <= at)))


def delete(session: Session, job: Job) -> None:
    """Delete a job and its whole log, and note that its files are to go."""
    session.add(DeletedJob(id=job.id, project=job.project, deleted_at=now()))
    session.execute(sql_delete(Job).where(Job.pk == job.pk))  # the database deletes what belongs to it


def was_deleted(session: Session, project: str, job_id: str) -> bool:
    """There was such a job in the project."""
    deleted = session.get(DeletedJob, job_id)
    return deleted is not None and deleted.project == project


def get_attempt(session: Session, job: Job, attempt: int) -> Attempt | None:
    """One attempt of a job."""
    return session.get(Attempt, (job.pk, attempt))


def ledger(job: Job, attempt: Attempt | None) -> Ledger:
    """What the protocol decides on, out of the rows."""
    return Ledger(
        state=State(job.state),
        reason=Reason(job.reason) if job.reason else None,
        message=job.message,
        attempt=job.attempt,
        acked=attempt.acked if attempt else 0,
        progressed=attempt.progressed if attempt else False,
        step=attempt.step if attempt else 0,
        steps=_steps(job) if attempt and attempt.started_at else None,
        strikes=job.strikes,
        cancel=job.cancel_requested,
        pause=job.pause_requested,
    )


def _steps(job: Job) -> int | None:
    """Steps in all of the attempt that started last."""
    return int(json.loads(job.last_started)["steps"]) if job.last_started else None


def store(job: Job, attempt: Attempt | None, ledger: Ledger) -> None:
    """What the protocol decided, into the rows."""
    if ledger.state is not State.QUEUED:
        job.queued_at = job.queue_deadline = None
    elif job.state != State.QUEUED:
        job.queued_at = now()
        job.queue_deadline = job.queued_at + timedelta(seconds=job.queue_timeout) if job.queue_timeout else None
    job.state, job.reason, job.message = ledger.state, ledger.reason, ledger.message
    job.attempt, job.strikes = ledger.attempt, ledger.strikes
    job.cancel_requested, job.pause_requested = ledger.cancel, ledger.pause
    if ledger.state is State.RUNNING and job.started_at is None:
        job.started_at = now()
    if ledger.state in FINAL:
        job.finished_at = job.finished_at or now()
    if attempt is None:
        return
    attempt.acked, attempt.progressed, attempt.step = ledger.acked, ledger.progressed, ledger.step
    if ledger.state is State.RUNNING and attempt.started_at is None:
        attempt.started_at = now()
    if ledger.state not in ACTIVE and attempt.ended_at is None:
        attempt.ended_at, attempt.reason, attempt.message = now(), ledger.reason, ledger.message


def log(session: Session, job: Job, records: Sequence[LogRecord]) -> None:
    """Append records to the job's log, at the positions that follow, and remember the newest of each kind."""
    events, metrics = [], []
    first = job.position + 1
    job.position += len(records)
    if job.pk is None:  # a new job is stored with the position that it gets here
        session.flush()
    for position, record in enumerate(records, first):
        row: dict[str, Any] = {"job": job.pk, "position": position, "attempt": job.attempt}
        if isinstance(record, StepDone):
            metrics.append(row | {name: getattr(record, name) for name in METRIC_FIELDS})
        else:
            data = record.model_dump_json(exclude_none=True)
            events.append(row | {"type": record.type, "time": record.time, "data": data})
    if metrics:
        session.execute(
            insert(Base.metadata.tables[Metric.__tablename__]), metrics
        )  # past the ORM, which takes as long again for each row
        roll_up(session, job.pk, job.attempt, metrics[0]["step"], metrics[-1]["step"])
    if events:
        session.execute(insert(Event), events)
    for record in records:
        if isinstance(record, Checkpoint | BestCheckpoint):
            checkpoints.register(session, job, record)
    # A run's first record is `started`, so it is also the first of its kind here: steps after it stay remembered.
    for newest in {type(record): record for record in records}.values():
        _remember(session, job, newest)
    outbox.write(session, job, records)


def _remember(session: Session, job: Job, newest: LogRecord) -> None:
    match newest:
        case Started():
            job.last_started, job.last_step = newest.model_dump_json(), None
            _cut(session, job, newest.resume_step)
        case StepDone():
            job.last_step = newest.model_dump_json()
        case Evaluation():
            job.last_evaluation = newest.model_dump_json()
        case Checkpoint():
            job.last_checkpoint, job.checkpoint_of = newest.model_dump_json(), None
        case Finished(result=result) if result is not None:
            job.result = result.model_dump_json()
        case Finished(reason=Reason.CHECKPOINT_DAMAGED):
            _fall_back(session, job)


def _fall_back(session: Session, job: Job) -> None:
    """The last checkpoint is damaged: the next attempt goes on from the one before it, or from the start."""
    if job.last_checkpoint is None:
        return
    damaged = Checkpoint.model_validate_json(job.last_checkpoint)
    owner = job if job.checkpoint_of is None else get(session, job.checkpoint_of)
    before = checkpoints.drop(session, owner, damaged.path) if owner is not None else None
    job.last_checkpoint = before.model_dump_json() if before else None
    if before is None:
        job.checkpoint_of = None


def _cut(session: Session, job: Job, step: int) -> None:
    """The current attempt goes on from `step`: what earlier ones did from there on no longer counts."""
    session.execute(
        update(Attempt)
        .where(
            Attempt.job == job.pk,
            Attempt.attempt < job.attempt,
            or_(Attempt.end_step.is_(None), Attempt.end_step > step),
        )
        .values(end_step=step)
    )
