"""All SQL of the checkpoints aggregate."""

from __future__ import annotations

import logging
import secrets

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api.checkpoints.models import CheckpointRow
from api.files import repository as files
from api.jobs.models import Job
from cpt_core.events import BestCheckpoint, Checkpoint
from cpt_core.spec import JobSpec
from cpt_core.storage import checkpoint_folder, checkpoints_of

logger = logging.getLogger(__name__)


def register(session: Session, job: Job, record: Checkpoint | BestCheckpoint) -> None:
    """A checkpoint of the job's current attempt is complete in the storage: list it, and drop what it supersedes.

    An attempt keeps its last `keep_last`, and once it has as many, those of earlier attempts go. The trainer itself
    replaces the checkpoint of the best evaluation.
    """
    if not record.path.startswith(f"{checkpoints_of(job.id)}/") or ".." in record.path:
        logger.warning("%s: the checkpoint %r is in no folder of the job and is not listed", job.id, record.path)
        return
    kind = "best" if isinstance(record, BestCheckpoint) else "regular"
    replaced = CheckpointRow.path == record.path if kind == "regular" else CheckpointRow.kind == "best"
    session.execute(delete(CheckpointRow).where(CheckpointRow.job == job.pk, replaced))
    session.add(
        CheckpointRow(
            id=f"ckpt_{secrets.token_hex(12)}",
            job=job.pk,
            attempt=job.attempt,
            kind=kind,
            step=record.step,
            path=record.path,
            sha256=record.sha256,
            size=record.size,
            created_at=record.time,
        )
    )
    session.flush()
    if kind == "regular":
        _supersede(session, job, JobSpec.model_validate_json(job.spec).checkpoint.keep_last)


def _supersede(session: Session, job: Job, keep_last: int) -> None:
    query = select(CheckpointRow).where(CheckpointRow.job == job.pk, CheckpointRow.kind == "regular")
    rows = list(session.scalars(query.order_by(CheckpointRow.pk)))
    own = [row for row in rows if row.attempt == job.attempt]
    if len(own) < keep_last:
        return
    earlier = [row for row in rows if row.attempt != job.attempt]
    superseded = own[:-keep_last]
    for row in (*earlier, *superseded):
        session.delete(row)
    # Of earlier attempts the whole folders go: what was never registered is in them, too.
    first_time = len(own) == keep_last
    folders = [checkpoint_folder(job.id, attempt) for attempt in range(1, job.attempt)] if first_time else []
    files.doom(session, [*folders, *(row.path for row in superseded)])


def drop(session: Session, job: Job, path: str) -> Checkpoint | None:
    """Forget a checkpoint that is damaged. Returns the regular one before it, if it is still kept."""
    query = select(CheckpointRow).where(CheckpointRow.job == job.pk, CheckpointRow.kind == "regular")
    rows = list(session.scalars(query.order_by(CheckpointRow.pk)))
    at = next((number for number, row in enumerate(rows) if row.path == path), None)
    if at is None:
        return None
    session.delete(rows[at])
    if at == 0:
        return None
    row = rows[at - 1]
    return Checkpoint(step=row.step, path=row.path, sha256=row.sha256, size=row.size, time=row.created_at)


def page(session: Session, job: Job, *, before: CheckpointRow | None, limit: int) -> list[CheckpointRow]:
    """Up to `limit` checkpoints, newest first, older than `before`."""
    query = select(CheckpointRow).where(CheckpointRow.job == job.pk).order_by(CheckpointRow.pk.desc()).limit(limit)
    if before is not None:
        query = query.where(CheckpointRow.pk < before.pk)
    return list(session.scalars(query))


def get(session: Session, job: Job, checkpoint_id: str) -> CheckpointRow | None:
    """One checkpoint of a job."""
    query = select(CheckpointRow).where(CheckpointRow.job == job.pk, CheckpointRow.id == checkpoint_id)
    return session.scalars(query).one_or_none()
