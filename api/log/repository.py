"""All SQL that reads the log of a job, or what has changed in a project."""

from __future__ import annotations

from collections.abc import Collection
from operator import attrgetter
from typing import Any

from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session

from api.jobs.models import Event, Job, Metric
from api.jobs.repository import METRIC_FIELDS

STEP = "step"
"""Type of the entries that are rows of `Metric`; all others are rows of `Event`."""

_METRIC = [Metric.position, Metric.attempt, *(getattr(Metric, name) for name in METRIC_FIELDS)]
_EVENT = [Event.position, Event.attempt, Event.type, Event.time, Event.data]


def events(session: Session, job: Job, *, after: int, limit: int) -> list[Event]:
    """Entries of the log that are no steps, in order."""
    query = select(Event).where(Event.job == job.pk, Event.position > after).order_by(Event.position).limit(limit)
    return list(session.scalars(query))


def entries(
    session: Session, job: Job, *, after: int, limit: int, types: Collection[str] | None = None
) -> list[Row[Any]]:
    """The log in order, or its entries of these types, up to the position that `job` was read with.

    The bound matters: the two tables are read one after the other, and a commit in between must not be half seen.
    """
    rows: list[Row[Any]] = []
    if types is None or STEP in types:
        inside = (Metric.job == job.pk, Metric.position > after, Metric.position <= job.position)
        rows += session.execute(select(*_METRIC).where(*inside).order_by(Metric.position).limit(limit))
    if types is None or set(types) - {STEP}:
        inside = (Event.job == job.pk, Event.position > after, Event.position <= job.position)
        query = select(*_EVENT).where(*inside).order_by(Event.position).limit(limit)
        rows += session.execute(query if types is None else query.where(Event.type.in_(types)))
    return sorted(rows, key=attrgetter("position"))[:limit]


def horizon(session: Session) -> int:
    """The stamp up to which everything that changes jobs has been committed: nothing will appear at or below it."""
    if session.get_bind().dialect.name == "postgresql":
        # Transactions commit in another order than they take their numbers; those before the oldest open one are done.
        return int(session.scalar(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1")))
    return session.scalar(select(func.max(Job.changed))) or 0


def changed(session: Session, project: str, *, after: int, until: int, limit: int) -> list[Job]:
    """Jobs of the project whose last change has a stamp in (after, until], in its order.

    Jobs with the same stamp come together, so there may be more of them than `limit`.
    """
    query = (
        select(Job)
        .where(Job.project == project, Job.changed > after, Job.changed <= until)
        .order_by(Job.changed, Job.pk)
    )
    rows = list(session.scalars(query.limit(limit)))
    if len(rows) == limit:
        rest = query.where(Job.changed == rows[-1].changed, Job.pk > rows[-1].pk)
        rows += session.scalars(rest)
    return rows
