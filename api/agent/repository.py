"""SQL of claims and leases. The rows are those of the jobs aggregate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Boolean, Select, bindparam, exists, func, literal, or_, select
from sqlalchemy.orm import Session

from api.fleet import repository as fleet
from api.fleet.repository import ONLINE
from api.jobs.gangs import Room
from api.jobs.models import Attempt, Job, JobLabel, Node
from api.jobs.repository import promised
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
    """A job waits in the queue, whatever it needs, or one has begun whose nodes are not all taken."""
    queued = exists().where(Job.state == State.QUEUED, Job.queue == queue)
    waiting = promised().where(Job.queue == queue).exists()
    return session.execute(select(or_(queued, waiting))).scalar_one()


def next_node(session: Session, request: ClaimRequest) -> Node | None:
    """A node that the slot can take, of the attempt that began first; its job is not locked."""
    if request.endpoint is None:
        return None
    query = (
        promised()
        .where(Job.queue == request.queue, Job.devices <= request.devices, Node.device == request.device)
        .where(~exists().where(JobLabel.job == Job.pk, JobLabel.label.not_in(request.labels)))
        .order_by(Node.job, Node.node)
        .limit(1)
    )
    return session.scalars(query).one_or_none()


def nodes(session: Session, attempt: Attempt) -> list[Node]:
    """The nodes of an attempt but the first, which is the attempt itself."""
    query = select(Node).where(Node.job == attempt.job, Node.attempt == attempt.attempt).order_by(Node.node)
    return list(session.scalars(query))


def room(session: Session, job: Job, request: ClaimRequest) -> Room:
    """The slots that could train a node of the job beside the asking one, which is among them."""
    labels = set(session.scalars(select(JobLabel.label).where(JobLabel.job == job.pk)))
    held = Counter(worker for worker, _, _ in fleet.held(session))
    slots = {request.worker: held[request.worker] + 1}  # it may not have reported yet
    for worker in fleet.workers(session):
        if not worker.gangs or now() - worker.seen_at > ONLINE or job.queue not in worker.queues.split(","):
            continue
        if (
            worker.device == request.device
            and worker.devices >= job.devices
            and labels <= set(worker.labels.split(","))
        ):
            slots[worker.name] = max(worker.slots, slots.get(worker.name, 0))
    taken = session.execute(select(func.count()).select_from(promised().subquery())).scalar_one()
    free = sum(max(0, count - held[name]) for name, count in slots.items())
    return Room(total=sum(slots.values()), free=max(1, free - taken))


class Next(NamedTuple):
    """A job that waits, not locked."""

    pk: int
    project: str
    devices: int
    """Of all nodes together."""


def _next() -> Select[int, str, int]:
    """The statement of `next_queued`, built once: building it takes longer than running it."""
    use = (
        select(Job.project, func.sum(Job.devices * Job.nodes).label("devices"))
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
            or_(Job.nodes == 1, bindparam("gangs", type_=Boolean)),
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
        select(Job.pk, Job.project, Job.devices * Job.nodes)
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
            "gangs": request.endpoint is not None,
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
    query = select(func.coalesce(func.sum(Job.devices * Job.nodes), 0)).where(
        Job.project == project, Job.state.in_(_ACTIVE)
    )
    return session.execute(query).scalar_one()


def by_claim(session: Session, claim_id: str) -> tuple[Job, Attempt, Node | None] | None:
    """The attempt, or the node of one, that a claim led to, its job locked."""
    first = select(Job, Attempt).join(Attempt, Attempt.job == Job.pk).where(Attempt.claim_id == claim_id)
    row = session.execute(first.with_for_update(of=Job)).one_or_none()
    if row is not None:
        return row[0], row[1], None
    other = (
        select(Job, Attempt, Node)
        .join(Attempt, Attempt.job == Job.pk)
        .join(Node, (Node.job == Attempt.job) & (Node.attempt == Attempt.attempt))
        .where(Node.claim_id == claim_id)
    )
    found = session.execute(other.with_for_update(of=Job)).one_or_none()
    return (found[0], found[1], found[2]) if found else None


def running_seconds(session: Session, job: Job) -> float:
    """How long the attempts of the job that have ended have trained, each from its first record to its end."""
    query = select(Attempt.started_at, Attempt.ended_at).where(
        Attempt.job == job.pk, Attempt.started_at.is_not(None), Attempt.ended_at.is_not(None)
    )
    spans = [ended - started for started, ended in session.execute(query) if started and ended]
    return sum(span.total_seconds() for span in spans)


@dataclass(frozen=True, slots=True)
class Pulse:
    """One node of a live attempt, and how often it has been heard."""

    job_id: str
    attempt: int
    beat: int
    node: int = 0


def pulses(session: Session) -> list[Pulse]:
    """All nodes of all live attempts."""
    first = (
        select(Job.id, Job.attempt, Attempt.beat, literal(0))
        .join(Attempt, (Attempt.job == Job.pk) & (Attempt.attempt == Job.attempt))
        .where(Job.state.in_(_ACTIVE))
    )
    others = (
        select(Job.id, Job.attempt, Node.beat, Node.node)
        .join(Node, (Node.job == Job.pk) & (Node.attempt == Job.attempt))
        .where(Job.state.in_(_ACTIVE))
    )
    return [Pulse(*row) for row in session.execute(first.union_all(others))]
