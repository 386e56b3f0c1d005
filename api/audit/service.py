"""What admins can see of the audit log."""

from __future__ import annotations

from api.audit import repository
from api.audit.models import AuditEntry
from api.db import Database


def page(
    database: Database,
    project: str | None,
    *,
    cursor: int | None,
    action: str | None,
    target: str | None,
    limit: int,
) -> list[AuditEntry]:
    """One entry more than `limit` if there are more, of a project or of all (None)."""
    with database.read() as session:
        return repository.page(session, project, before=cursor, action=action, object_id=target, limit=limit + 1)
