"""All SQL of the sweeps aggregate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.jobs.models import Attempt, Job
from api.sweeps.models import Sweep
from api.sweeps.schemas import Counts


def get(session: Session, sweep_id: str, *, lock: bool = False) -> Sweep | None:
    """The sweep, locked against other writers if asked. Whoever locks members too locks them first."""
    query = select(Sweep).where(Sweep.id == sweep_id)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def by_idempotency_key(session: Session, project: str, key: str) -> Sweep | None:
    """The sweep that was created with this key."""
    return session.scalars(select(Sweep).where(Sweep.project == project, Sweep.idempotency_key == key)).one_or_none()


def page(session: Session, project: str, *, before: str | None, limit: int) -> list[Sweep]:
    """Up to `limit` sweeps, newest first, older than the sweep `before`."""
    query = select(Sweep).where(Sweep.project == project).order_by(Sweep.pk.desc()).limit(limit)
    if before is not None:
        query = query.where(Sweep.pk < select(Sweep.pk).where(Sweep.id == before).scalar_subquery())
    return list(session.scalars(query))


def members(session: Session, sweep: Sweep, *, lock: bool = False) -> list[Job]:
    """The sweep's jobs in their order, locked against other writers if asked."""
    query = select(Job).where(Job.sweep == sweep.id).order_by(Job.pk)
    return list(session.scalars(query.with_for_update() if lock else query))


@dataclass(slots=True)
class Tally:
    """What the rows of a sweep's members say together."""

    counts: Counts = field(default_factory=Counts)
    steps_done: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    members: list[str] = field(default_factory=list)


def counts(session: Session, sweep_id: str) -> Counts:
    """A sweep's members by state."""
    query = select(Job.state, func.count()).where(Job.sweep == sweep_id).group_by(Job.state)
    return Counts(**dict(session.execute(query).all()))


def tallies(session: Session, sweep_ids: Sequence[str]) -> dict[str, Tally]:
    """The tally of each sweep. Steps are those of each member's latest attempt: it counts on from where it resumed."""
    query = (
        select(
            Job.sweep,
            Job.state,
            func.count(),
            func.coalesce(func.sum(Attempt.step), 0),
            func.min(Job.started_at),
            func.max(Job.finished_at),
        )
        .outerjoin(Attempt, (Attempt.job == Job.pk) & (Attempt.attempt == Job.attempt))
        .where(Job.sweep.in_(sweep_ids))
        .group_by(Job.sweep, Job.state)
    )
    found = {sweep_id: Tally() for sweep_id in sweep_ids}
    for sweep_id, state, number, steps, started_at, finished_at in session.execute(query):
        tally = found[str(sweep_id)]
        tally.counts = tally.counts.model_copy(update={state: number})
        tally.steps_done += int(steps)
        tally.started_at = min(filter(None, (tally.started_at, started_at)), default=None)
        tally.finished_at = max(filter(None, (tally.finished_at, finished_at)), default=None)
    rows = session.execute(select(Job.sweep, Job.id).where(Job.sweep.in_(sweep_ids)).order_by(Job.pk))
    for sweep_id, job_id in rows:
        found[str(sweep_id)].members.append(job_id)
    return found
