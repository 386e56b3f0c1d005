"""What clients can do with checkpoints: one transaction each for the rows, then, outside of it, the storage."""

from __future__ import annotations

import hashlib
import logging

from api.checkpoints import repository
from api.checkpoints.models import CheckpointRow
from api.checkpoints.schemas import CheckpointFile
from api.db import Database
from api.files.download import StoredFile, refused
from api.jobs import service as jobs
from api.pages import row_at
from api.problems import ApiError
from cpt_core.checkpoint import MANIFEST, CheckpointError, parse_manifest
from cpt_core.checkpoint.weights import exported
from cpt_core.storage import Storage, StorageError

logger = logging.getLogger(__name__)


def page(database: Database, project: str, job_id: str, *, cursor: str | None, limit: int) -> list[CheckpointRow]:
    """One checkpoint more than `limit` if there are more.

    Raises:
        ApiError: there is no such job, or the cursor is none of this list.
    """
    with database.read() as session:
        job = jobs.find(session, project, job_id)
        gone = "is no cursor of this list, or its checkpoint is gone: begin with the first page"
        before = row_at(cursor, lambda key: repository.get(session, job, key), gone)
        return repository.page(session, job, before=before, limit=limit + 1)


def get(database: Database, project: str, job_id: str, checkpoint_id: str) -> CheckpointRow:
    """One checkpoint.

    Raises:
        ApiError: there is no such job, or it has no such checkpoint (any more).
    """
    with database.read() as session:
        row = repository.get(session, jobs.find(session, project, job_id), checkpoint_id)
    if row is None:
        detail = f"{job_id} has no checkpoint {checkpoint_id}, or a newer one has replaced it: list its checkpoints"
        raise ApiError(404, "checkpoint_not_found", detail)
    return row


def files(storage: Storage, row: CheckpointRow) -> list[CheckpointFile]:
    """The files of a checkpoint, by its manifest, which is verified.

    Raises:
        ApiError: the storage does not have it, or it is damaged.
    """
    try:
        content = storage.read(f"{row.path}/{MANIFEST}")
        if hashlib.sha256(content).hexdigest() != row.sha256:
            raise CheckpointError(f"{row.path}/{MANIFEST} is not the one that was registered")
        manifest = parse_manifest(row.path, content)
    except StorageError as error:
        raise refused(error) from error
    except CheckpointError as error:
        logger.warning("%s", error)
        raise damaged(row) from error
    return [
        *(CheckpointFile(name=name, size=file.size, sha256=file.sha256) for name, file in manifest.files.items()),
        CheckpointFile(name=MANIFEST, size=len(content), sha256=row.sha256),
    ]


def file(storage: Storage, row: CheckpointRow, name: str) -> StoredFile:
    """One file of a checkpoint, by its name in the manifest.

    Raises:
        ApiError: the checkpoint has no such file, or the storage does not have it, or it is damaged.
    """
    found = {entry.name: entry for entry in files(storage, row)}
    if name not in found:
        raise ApiError(404, "file_not_found", f"{row.id} has no file {name}; it has {', '.join(found)}")
    return _stored(row, found[name], name)


def weights(storage: Storage, row: CheckpointRow) -> StoredFile:
    """The safetensors file of the model that was evaluated: of the averaged weights, where all of them are there.

    Raises:
        ApiError: the storage does not have it, or it is damaged.
    """
    found = {entry.name: entry for entry in files(storage, row)}
    try:
        name = exported(storage, row.path, found)
    except StorageError as error:
        raise refused(error) from error
    except CheckpointError as error:
        logger.warning("%s", error)
        raise damaged(row) from error
    return _stored(row, found[name], "weights.safetensors")


def damaged(row: CheckpointRow) -> ApiError:
    """The answer where the storage has something else than what was registered."""
    return ApiError(409, "checkpoint_damaged", f"{row.id} is damaged in the storage: use another checkpoint")


def _stored(row: CheckpointRow, entry: CheckpointFile, name: str) -> StoredFile:
    return StoredFile(f"{row.path}/{entry.name}", entry.sha256, entry.size, f"{row.id}-step-{row.step}-{name}")
