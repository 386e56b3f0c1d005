"""SQL of claims and leases. The rows are those of the jobs aggregate."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Select, bindparam, exists, func, or_, select
from sqlalchemy.orm import Session

from api.jobs.models import Attempt, Job, JobLabel
from cpt_core.events import now
from cpt_core.lifecycle import ACTIVE, State
from cpt_core.protocol import ClaimRequest

_CLAIMS = 0x637074  # any number that no other advisory lock of this database has

_ACTIVE = [str(state) for state in ACTIVE]


def one_claim_at_a_time(session: Session) -> None:
    """Wait until no other transaction decides on a claim, and keep others waiting until this one's end.

    Limits and fair order count the rows of active jobs, which only claims make more. On SQLite every transaction that
    writes is alone anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_CLAIMS)))


def has_work(session: Session, queue: str) -> bool:
    """A job waits in the queue, whatever it needs."""
    return session.execute(select(exists().where(Job.state == State.QUEUED, Job.queue == queue))).scalar_one()


class Next(NamedTuple):
    """A job that waits, not locked."""

    pk: int
    project: str
    devices: int


def _next() -> Select[int, str, int]:
    """The statement of `next_queued`, built once: building it takes longer than running it."""
    use = (
        select(Job.project, func.sum(Job.devices).label("devices"))
        .where(Job.state.in_(_ACTIVE))
        .group_by(Job.project)
        .subquery()
    )
    queued = Job.state == State.QUEUED, Job.queue == bindparam("queue")
    waiting = select(Job.project).where(*queued).distinct().subquery()
    # Of each project only its first is looked at, which the index finds: the work does not grow with the queue.
    first = (
        select(Job.pk)
        .where(
            *queued,
            Job.project == waiting.c.project,
            Job.devices <= bindparam("devices"),
            Job.device.in_(["auto", bindparam("device")]),
            ~exists().where(JobLabel.job == Job.pk, JobLabel.label.not_in(bindparam("labels", expanding=True))),
            or_(Job.queue_deadline.is_(None), Job.queue_deadline > bindparam("now")),
            Job.pk.not_in(bindparam("but", expanding=True)),
        )
        .order_by(Job.priority.desc(), Job.pk)
        .limit(1)
        .correlate(waiting)
        .scalar_subquery()
    )
    return (
        select(Job.pk, Job.project, Job.devices)
        .select_from(waiting)
        .join(Job, Job.pk == first)
        .outerjoin(use, use.c.project == Job.project)
        .where(waiting.c.project.not_in(bindparam("but_projects", expanding=True)))
        .order_by(Job.priority.desc(), func.coalesce(use.c.devices, 0), Job.pk)
        .limit(1)
    )


_NEXT = _next()


def next_queued(
    session: Session, request: ClaimRequest, *, but: Collection[int], but_projects: Collection[str]
) -> Next | None:
    """The job that a slot should take next, but for some jobs and projects.

    The highest priority first; among equal ones the project with the fewest devices in use; then the oldest.
    """
    found = session.execute(
        _NEXT,
        {
            "queue": request.queue,
            "devices": request.devices,
            "device": request.device,
            "labels": request.labels,
            "now": now(),
            "but": list(but),
            "but_projects": list(but_projects),
        },
    )
    row = found.one_or_none()
    return Next(*row) if row else None


def lock_queued(session: Session, pk: int) -> Job | None:
    """The job, locked; None if another transaction is deciding on it, or has."""
    query = select(Job).where(Job.pk == pk, Job.state == State.QUEUED).with_for_update(skip_locked=True)
    return session.scalars(query).one_or_none()


def running_devices(session: Session, project: str) -> int:
    """Devices of the project's jobs that workers hold."""
    query = select(func.coalesce(func.sum(Job.devices), 0)).where(Job.project == project, Job.state.in_(_ACTIVE))
    return session.execute(query).scalar_one()


def by_claim(session: Session, claim_id: str) -> tuple[Job, Attempt] | None:
    """The attempt that a claim led to, its job locked."""
    query = select(Job, Attempt).join(Attempt, Attempt.job == Job.pk).where(Attempt.claim_id == claim_id)
    row = session.execute(query.with_for_update(of=Job)).one_or_none()
    return (row[0], row[1]) if row else None


def running_seconds(session: Session, job: Job) -> float:
    """How long the attempts of the job that have ended have trained, each from its first record to its end."""
    query = select(Attempt.started_at, Attempt.ended_at).where(
        Attempt.job == job.pk, Attempt.started_at.is_not(None), Attempt.ended_at.is_not(None)
    )
    spans = [ended - started for started, ended in session.execute(query) if started and ended]
    return sum(span.total_seconds() for span in spans)


@dataclass(frozen=True, slots=True)
class Pulse:
    """A live attempt and how many appends it has made."""

    job_id: str
    attempt: int
    beat: int


def pulses(session: Session) -> list[Pulse]:
    """All live attempts."""
    query = (
        select(Job.id, Job.attempt, Attempt.beat)
        .join(Attempt, (Attempt.job == Job.pk) & (Attempt.attempt == Job.attempt))
        .where(Job.state.in_(_ACTIVE))
    )
    return [Pulse(*row) for row in session.execute(query)]
