"""All SQL of the keys aggregate."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from api.keys.models import ApiKey
from api.projects.models import Project


def get(session: Session, key_id: str, *, lock: bool = False) -> ApiKey | None:
    """The key, locked against other writers if asked."""
    query = select(ApiKey).where(ApiKey.id == key_id)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def with_project(session: Session, key_id: str) -> tuple[ApiKey, Project] | None:
    """The key and its project."""
    query = select(ApiKey, Project).join(Project, Project.id == ApiKey.project).where(ApiKey.id == key_id)
    row = session.execute(query).one_or_none()
    return (row[0], row[1]) if row else None


def valid(session: Session, key_ids: Collection[str], at: datetime) -> set[str]:
    """Those of the keys that open something at that time."""
    lasting = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > at)
    return set(session.scalars(select(ApiKey.id).where(ApiKey.id.in_(key_ids), ApiKey.revoked_at.is_(None), lasting)))


def page(session: Session, project: str, *, before: str | None, limit: int) -> list[ApiKey]:
    """Up to `limit` keys of a project, newest first, older than the key `before`."""
    query = select(ApiKey).where(ApiKey.project == project).order_by(ApiKey.pk.desc()).limit(limit)
    if before is not None:
        query = query.where(ApiKey.pk < select(ApiKey.pk).where(ApiKey.id == before).scalar_subquery())
    return list(session.scalars(query))


def used(session: Session, times: Mapping[str, datetime]) -> None:
    """Note when keys were last used."""
    for key_id, time in sorted(times.items()):  # in one order, so that two replicas do not block each other
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=time))
