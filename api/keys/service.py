"""What admins can do with keys. Each function is one transaction."""

from __future__ import annotations

from api.db import Database
from api.keys import repository, secret
from api.keys.models import ApiKey
from api.keys.schemas import NewKey
from api.pages import own, row_at
from api.problems import ApiError, FieldProblem, invalid
from api.projects import repository as projects
from cpt_core.events import now


def create(database: Database, project: str, wanted: NewKey) -> tuple[ApiKey, str]:
    """Make a key of a project; the second is the key itself, which is stored nowhere.

    Raises:
        ApiError: there is no such project, or the key would have expired already.
    """
    made = now()
    if wanted.expires_at is not None and wanted.expires_at <= made:
        raise invalid(FieldProblem(pointer="/expires_at", code="in_the_past", message="must be in the future"))
    key_id, key = secret.new()
    row = ApiKey(
        id=key_id,
        project=project,
        name=wanted.name,
        digest=secret.digest(key),
        scope=wanted.scope,
        requests_per_minute=wanted.requests_per_minute,
        created_at=made,
        expires_at=wanted.expires_at,
    )
    with database.write() as session:
        if projects.get(session, project) is None:
            raise invalid(
                FieldProblem(pointer="/project", code="project_not_found", message="there is no such project")
            )
        session.add(row)
    return row, key


def page(database: Database, project: str, *, cursor: str | None, limit: int) -> list[ApiKey]:
    """One key more than `limit` if there are more."""
    with database.read() as session:
        row_at(cursor, lambda key: own(repository.get(session, key), project))
        return repository.page(session, project, before=cursor, limit=limit + 1)


def get(database: Database, project: str, key_id: str) -> ApiKey:
    """One key.

    Raises:
        ApiError: the project has no such key.
    """
    with database.read() as session:
        return _found(repository.get(session, key_id), project, key_id)


def revoke(database: Database, project: str | None, key_id: str) -> ApiKey:
    """End a key of a project, or of any (None). Idempotent.

    Raises:
        ApiError: there is no such key.
    """
    with database.write() as session:
        key = _found(repository.get(session, key_id, lock=True), project, key_id)
        key.revoked_at = key.revoked_at or now()
        return key


def _found(key: ApiKey | None, project: str | None, key_id: str) -> ApiKey:
    if key is None or (project is not None and key.project != project):
        raise ApiError(404, "key_not_found", f"there is no key {key_id}")
    return key
