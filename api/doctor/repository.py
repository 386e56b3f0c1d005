"""What the database tells of itself."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, inspect, select, text
from sqlalchemy.orm import Session

from api.jobs.models import Job
from cpt_core.lifecycle import State


def revision(session: Session) -> str | None:
    """The migration at which the database is; None: it is empty."""
    if not inspect(session.connection()).has_table("alembic_version"):
        return None
    return session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def clock(session: Session) -> datetime | None:
    """The database's own clock; None: it has none, as SQLite."""
    if session.get_bind().dialect.name == "sqlite":
        return None
    found: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return found


def waiting(session: Session) -> list[tuple[str, int]]:
    """(queue, jobs of all projects that wait in it)."""
    query = select(Job.queue, func.count()).where(Job.state == State.QUEUED).group_by(Job.queue)
    return [(row[0], row[1]) for row in session.execute(query)]
