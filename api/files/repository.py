"""All SQL of the files to be deleted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.orm import Session

from api.files.models import FileDeletion
from api.jobs.models import DeletedJob, Job
from cpt_core.events import now


def doom(session: Session, paths: Iterable[str], after: timedelta = timedelta(0)) -> None:
    """Have files or folders of the storage deleted, once this transaction is committed and `after` has passed."""
    due = now() + after
    if rows := [{"path": path, "due_at": due} for path in paths]:
        session.execute(insert(FileDeletion), rows)


def spare(session: Session, path: str) -> None:
    """Have a file stay after all."""
    session.execute(delete(FileDeletion).where(FileDeletion.path == path))


def deleted_jobs(session: Session, *, limit: int) -> list[str]:
    """Deleted jobs whose files are still there, and from whose checkpoints no retry starts, the oldest first."""
    needed = exists().where(Job.checkpoint_of == DeletedJob.id)
    query = (
        select(DeletedJob.id)
        .where(DeletedJob.files_deleted_at.is_(None), ~needed)
        .order_by(DeletedJob.deleted_at, DeletedJob.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def forget(session: Session, job_id: str) -> None:
    """A deleted job's files are on the list of what is to be deleted."""
    session.execute(update(DeletedJob).where(DeletedJob.id == job_id).values(files_deleted_at=now()))


def due(session: Session, *, limit: int) -> list[FileDeletion]:
    """Deletions whose time has come, the oldest first."""
    query = select(FileDeletion).where(FileDeletion.due_at <= now()).order_by(FileDeletion.pk).limit(limit)
    return list(session.scalars(query))


def done(session: Session, deletion: FileDeletion) -> None:
    """Its file is gone."""
    session.execute(delete(FileDeletion).where(FileDeletion.pk == deletion.pk))


def postpone(session: Session, deletion: FileDeletion, delay: timedelta) -> None:
    """The storage refused: try again later."""
    row = session.get(FileDeletion, deletion.pk)
    if row is not None:
        row.due_at = now() + delay
