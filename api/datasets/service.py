"""What clients can do with datasets, and how jobs refer to them."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import BinaryIO

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.audit import recorder
from api.datasets import repository
from api.datasets.models import DatasetRow, JobDataset
from api.db import Database
from api.files import repository as files
from api.files.download import refused
from api.jobs.models import Job
from api.pages import row_at
from api.problems import ApiError, FieldProblem, invalid
from api.projects.repository import limits_of
from cpt_core import archives
from cpt_core.archives import ArchiveError, Contents
from cpt_core.events import now
from cpt_core.spec import FileDataset, JobSpec
from cpt_core.storage import Storage, StorageError, dataset_file
from cpt_core.uploads import Upload

ABANDONED = timedelta(days=1)
"""After which a file goes whose upload was never completed, because this process died."""


def create(
    database: Database,
    storage: Storage,
    project: str,
    name: str,
    archive: BinaryIO,
    *,
    sha256: str,
    size: int,
    max_bytes: int,
) -> tuple[DatasetRow, bool]:
    """Check and keep an archive that has been received. False: the project has the same one under this name.

    Raises:
        ApiError: it is refused, the name is taken by another one, or the storage does not take it.
    """
    try:
        contents = archives.inspect(archive, max_bytes)
    except ArchiveError as error:
        raise invalid(FieldProblem(pointer="", code=error.code, message=str(error))) from error
    dataset_id = f"ds_{secrets.token_hex(12)}"
    path = dataset_file(dataset_id)
    with database.write() as session:
        recorder.aside(session)
        earlier = repository.by_name(session, project, name)
        if earlier is None:
            files.doom(session, [path], ABANDONED)
    if earlier is not None:
        return _same(earlier, sha256), False
    try:
        archive.seek(0)
        storage.put(path, archive)
    except StorageError as error:
        raise refused(error) from error
    try:
        with database.write() as session:
            row = _row(dataset_id, project, name, sha256, size, contents)
            session.add(row)
            files.spare(session, path)
            return row, True
    except IntegrityError:  # the same name, at the same moment
        with database.write() as session:
            recorder.aside(session)
            files.spare(session, path)
            files.doom(session, [path])
            earlier = repository.by_name(session, project, name)
        if earlier is None:
            raise
        return _same(earlier, sha256), False


def _row(dataset_id: str, project: str, name: str, sha256: str, size: int, contents: Contents) -> DatasetRow:
    return DatasetRow(
        id=dataset_id,
        project=project,
        name=name,
        path=dataset_file(dataset_id),
        sha256=sha256,
        size=size,
        files=contents.files,
        unpacked_size=contents.bytes,
        created_at=now(),
    )


def _same(earlier: DatasetRow, sha256: str) -> DatasetRow:
    if earlier.sha256 == sha256:
        return earlier
    message = f"there is another dataset called {earlier.name}: choose another name, or delete that one"
    fault = FieldProblem(parameter="name", code="dataset_exists", message=message)
    raise ApiError(409, "dataset_exists", message, errors=[fault])


def room(database: Database, project: str, max_bytes: int) -> int:
    """Bytes that the project's next dataset may have, `max_bytes` at most.

    Raises:
        ApiError: it has as many as it may have.
    """
    with database.read() as session:
        allowed = limits_of(session, project).max_dataset_bytes
        if allowed is None:
            return max_bytes
        left = allowed - repository.stored_bytes(session, project)
    if left <= 0:
        message = f"project {project} may keep {allowed} bytes of datasets, and has: delete one, or ask an operator"
        raise ApiError(409, "dataset_bytes_limit", message)
    return min(max_bytes, left)


def page(database: Database, project: str, *, cursor: str | None, limit: int) -> list[DatasetRow]:
    """One dataset more than `limit` if there are more.

    Raises:
        ApiError: the cursor is none of this list.
    """
    with database.read() as session:
        gone = "is no cursor of this list, or its dataset is gone: begin with the first page"
        before = row_at(cursor, lambda key: repository.by_id(session, project, key), gone)
        return repository.page(session, project, before=before, limit=limit + 1)


def get(database: Database, project: str, name: str) -> DatasetRow:
    """One dataset.

    Raises:
        ApiError: the project has none of this name.
    """
    with database.read() as session:
        row = repository.by_name(session, project, name)
    if row is None:
        raise _not_found(name)
    return row


def delete(database: Database, project: str, name: str) -> None:
    """Delete a dataset that no job needs any more.

    Raises:
        ApiError: the project has none of this name, or a job that has not ended refers to it.
    """
    with database.write() as session:
        row = repository.by_name(session, project, name, lock=True)
        if row is None:
            raise _not_found(name)
        if users := repository.users(session, row, limit=5):
            detail = f"{name} is needed by jobs that have not ended ({', '.join(users)}): cancel them or wait"
            raise ApiError(409, "dataset_in_use", detail, jobs=users)
        session.delete(row)
        files.doom(session, [row.path])


def link(session: Session, project: str, job: Job, spec: JobSpec) -> None:
    """Have a job that is being accepted hold on to the uploaded dataset that its spec names, if it names one.

    Raises:
        ApiError: the project has none of this name.
    """
    if (row := _needed(session, project, spec)) is not None:
        session.add(JobDataset(job=job.pk, dataset=row.pk))


def require(database: Database, project: str, spec: JobSpec) -> None:
    """Check that the project has the uploaded dataset that a spec names, if it names one.

    Raises:
        ApiError: it has not.
    """
    with database.read() as session:
        _needed(session, project, spec)


def upload_of(session: Session, job: Job) -> Upload | None:
    """What a worker needs to know of the uploaded dataset that a job trains on."""
    row = repository.of_job(session, job)
    if row is None:
        return None
    return Upload(name=row.name, path=row.path, sha256=row.sha256, size=row.size, unpacked=row.unpacked_size)


def _needed(session: Session, project: str, spec: JobSpec) -> DatasetRow | None:
    if not isinstance(spec.dataset, FileDataset) or spec.dataset.upload is None:
        return None
    row = repository.to_use(session, project, spec.dataset.upload)
    if row is None:
        message = f"there is no uploaded dataset {spec.dataset.upload}: upload it with POST /v1/datasets"
        raise invalid(FieldProblem(pointer="/dataset/upload", code="dataset_not_found", message=message))
    return row


def _not_found(name: str) -> ApiError:
    return ApiError(404, "dataset_not_found", f"there is no dataset {name}")
