"""All SQL of the audit log."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from api.audit.models import AuditEntry
from cpt_core.events import now


def add(session: Session, **fields: str | None) -> None:
    """Add an entry, made now."""
    session.execute(insert(AuditEntry), [{"time": now(), **fields}])


def prune(session: Session, before: datetime, limit: int) -> int:
    """Delete up to `limit` entries made before, the oldest first. Returns how many.

    Entries are numbered in the order of their time, so the first that is young enough ends the search.
    """
    oldest = select(AuditEntry.pk, AuditEntry.time).order_by(AuditEntry.pk).limit(limit)
    old = [pk for pk, time in session.execute(oldest) if time < before]
    if old:
        session.execute(delete(AuditEntry).where(AuditEntry.pk.in_(old)))
    return len(old)


def page(
    session: Session,
    project: str | None,
    *,
    before: int | None,
    action: str | None,
    object_id: str | None,
    limit: int,
) -> list[AuditEntry]:
    """Up to `limit` entries of a project, or of all, newest first."""
    query = select(AuditEntry).order_by(AuditEntry.pk.desc()).limit(limit)
    for column, value in (
        (AuditEntry.project, project),
        (AuditEntry.action, action),
        (AuditEntry.object, object_id),
    ):
        if value is not None:
            query = query.where(column == value)
    return list(session.scalars(query if before is None else query.where(AuditEntry.pk < before)))
