"""SQL of the Prometheus metrics: sums over the jobs' own rows, so that every replica tells the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.jobs.models import Attempt, Job
from cpt_core.lifecycle import ACTIVE, Reason, State


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the whole service."""

    states: dict[str, int]
    """Jobs by state."""
    queues: dict[str, tuple[int, datetime]]
    """Waiting jobs by queue: how many, and since when the first of them has waited."""
    lost: int
    """Attempts that were ended for silence, ever."""
    running: list[str]
    """The latest steps of running jobs, as JSON."""


def trace_of(session: Session, job_id: str) -> str | None:
    """The trace of the request that made a job, if it left one."""
    return session.scalar(select(Job.traceparent).where(Job.id == job_id))


def snapshot(session: Session) -> Snapshot:
    """Look once. Every query goes by an index but the count of lost attempts, of which there is a row each."""
    states = session.execute(select(Job.state, func.count()).group_by(Job.state)).all()
    waiting = (
        select(Job.queue, func.count(), func.min(Job.queued_at)).where(Job.state == State.QUEUED).group_by(Job.queue)
    )
    lost = select(func.count()).select_from(Attempt).where(Attempt.reason == Reason.WORKER_LOST)
    steps = select(Job.last_step).where(Job.state.in_([str(state) for state in ACTIVE]), Job.last_step.is_not(None))
    return Snapshot(
        states=dict(states),
        queues={queue: (count, since) for queue, count, since in session.execute(waiting) if since},
        lost=session.scalar(lost) or 0,
        running=[step for step in session.scalars(steps) if step],
    )
