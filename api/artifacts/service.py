"""What clients can do with artifacts. Each function is one transaction."""

from __future__ import annotations

from api.artifacts import repository
from api.artifacts.models import Artifact
from api.db import Database
from api.files.download import StoredFile
from api.jobs import service as jobs
from api.pages import row_at
from api.problems import ApiError


def page(database: Database, project: str, job_id: str, *, cursor: str | None, limit: int) -> list[Artifact]:
    """One artifact more than `limit` if there are more.

    Raises:
        ApiError: there is no such job, or the cursor is none of this list.
    """
    with database.read() as session:
        job = jobs.find(session, project, job_id)
        after = row_at(cursor, lambda key: repository.get(session, job, key))
        return repository.page(session, job, after=after, limit=limit + 1)


def file(database: Database, project: str, job_id: str, artifact_id: str) -> StoredFile:
    """One artifact's file.

    Raises:
        ApiError: there is no such job, or it has no such artifact.
    """
    with database.read() as session:
        row = repository.get(session, jobs.find(session, project, job_id), artifact_id)
    if row is None:
        raise ApiError(404, "artifact_not_found", f"{job_id} has no artifact {artifact_id}: list its artifacts")
    return StoredFile(row.path, row.sha256, row.size, f"{job_id}-{row.name.replace('/', '-')}", row.media_type)
