"""SQL of queues and workers."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from api.fleet.models import Worker
from api.jobs.models import Attempt, Job, Node
from cpt_core.lifecycle import ACTIVE, FINAL, State
from cpt_core.protocol import HEARTBEAT_SECONDS

ONLINE = timedelta(seconds=3 * HEARTBEAT_SECONDS)
"""A worker that was heard of within this is there."""


def workers(session: Session) -> list[Worker]:
    """All workers that are known, by name."""
    return list(session.scalars(select(Worker).order_by(Worker.name)))


def forget(session: Session, *, name: str | None = None, seen_before: datetime | None = None) -> None:
    """Delete a worker, or those that were not heard of since."""
    wanted = Worker.name == name if seen_before is None else Worker.seen_at < seen_before
    session.execute(delete(Worker).where(wanted))


def held(session: Session) -> list[tuple[str, str, str]]:
    """(worker, project, job) of every slot that a worker has given to a job, in the order of submission."""
    active = Job.state.in_([str(state) for state in ACTIVE])
    first = (
        select(Attempt.worker, Job.project, Job.id, Job.pk)
        .join(Attempt, (Attempt.job == Job.pk) & (Attempt.attempt == Job.attempt))
        .where(active)
    )
    others = (
        select(Node.worker, Job.project, Job.id, Job.pk)
        .join(Node, (Node.job == Job.pk) & (Node.attempt == Job.attempt))
        .where(active, Node.worker.is_not(None))
    )
    rows = session.execute(first.union_all(others).order_by("pk"))
    return [(row[0], row[1], row[2]) for row in rows]


def open_jobs(session: Session, project: str) -> list[tuple[str, State, int, datetime | None]]:
    """(queue, state, jobs, since when the first of them waits) of the project's jobs that have not ended."""
    query = (
        select(Job.queue, Job.state, func.count(), func.min(Job.queued_at))
        .where(Job.project == project, Job.state.in_([str(state) for state in State if state not in FINAL]))
        .group_by(Job.queue, Job.state)
    )
    return [(row[0], State(row[1]), row[2], row[3]) for row in session.execute(query)]
