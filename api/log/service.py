"""Reading the log of a job and the changes in a project. Each function is one transaction."""

from __future__ import annotations

from collections.abc import Collection
from itertools import zip_longest
from typing import get_args

from api.db import Database
from api.jobs.models import Event
from api.jobs.repository import LogRecord
from api.jobs.service import find
from api.log import repository, views
from api.log.feed import Batch
from api.problems import FieldProblem, invalid
from cpt_core.events import AnyEvent
from cpt_core.lifecycle import FINAL, State

PAGE = 500

TYPES = tuple(
    str(model.model_fields["type"].default)
    for member in get_args(LogRecord)
    for model in (get_args(get_args(member)[0]) if member is AnyEvent else (member,))
)
"""All types of entries."""


def types(asked: list[str] | None) -> frozenset[str] | None:
    """The types of entries that a client asked for, repeated or with commas between them; None: all.

    Raises:
        ApiError: there is no such type.
    """
    names = [name.strip() for part in asked or [] for name in part.split(",") if name.strip()]
    faults = [
        FieldProblem(
            parameter="types",
            code="unknown_type",
            message=f"there is no type {name[:50]!r}; there are {', '.join(TYPES)}",
        )
        for name in names
        if name not in TYPES
    ]
    if faults:
        raise invalid(*faults)
    return frozenset(names) or None


def events(database: Database, project: str, job_id: str, *, after: int, limit: int) -> list[Event]:
    """One event more than `limit` if there are more."""
    with database.read() as session:
        return repository.events(session, find(session, project, job_id), after=after, limit=limit + 1)


def entries(
    database: Database, project: str, job_id: str, *, after: int, types: Collection[str] | None = None
) -> Batch:
    """The next entries of a job's log, and its end if they are the last there will ever be."""
    with database.read() as session:
        job = find(session, project, job_id)
        rows = repository.entries(session, job, after=after, limit=PAGE, types=types)
        done = len(rows) < PAGE
        head = max(after, job.position) if done else rows[-1].position
        final = State(job.state) if done and job.state in FINAL else None
    return Batch(tuple(views.entry(row) for row in rows), head=head, more=not done, end=final)


def now(database: Database) -> int:
    """The stamp up to which all changes have been committed."""
    with database.read() as session:
        return repository.horizon(session)


def changes(database: Database, project: str, *, after: int) -> Batch:
    """The jobs of a project that have changed, each as it is now.

    A stamp from the future is another database's, restored since: then all jobs come.
    """
    with database.read() as session:
        until = repository.horizon(session)
        jobs = repository.changed(session, project, after=after if after <= until else 0, until=until, limit=PAGE)
    done = len(jobs) < PAGE
    stamps = [job.changed for job in jobs]
    found = tuple(views.change(job, whole=job.changed != following) for job, following in zip_longest(jobs, stamps[1:]))
    return Batch(found, head=until if done else jobs[-1].changed, more=not done, end=None)
