"""All SQL of the datasets aggregate."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.datasets.models import DatasetRow, JobDataset
from api.jobs.models import Job
from cpt_core.lifecycle import FINAL


def by_name(session: Session, project: str, name: str, *, lock: bool = False) -> DatasetRow | None:
    """The project's dataset of this name, locked against its deletion or use if asked."""
    query = select(DatasetRow).where(DatasetRow.project == project, DatasetRow.name == name)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def to_use(session: Session, project: str, name: str) -> DatasetRow | None:
    """The project's dataset of this name, which stays until this transaction ends."""
    query = select(DatasetRow).where(DatasetRow.project == project, DatasetRow.name == name)
    return session.scalars(query.with_for_update(read=True)).one_or_none()


def by_id(session: Session, project: str, dataset_id: str) -> DatasetRow | None:
    """The project's dataset with this identifier."""
    query = select(DatasetRow).where(DatasetRow.project == project, DatasetRow.id == dataset_id)
    return session.scalars(query).one_or_none()


def page(session: Session, project: str, *, before: DatasetRow | None, limit: int) -> list[DatasetRow]:
    """Up to `limit` datasets, newest first, older than `before`."""
    query = select(DatasetRow).where(DatasetRow.project == project).order_by(DatasetRow.pk.desc()).limit(limit)
    if before is not None:
        query = query.where(DatasetRow.pk < before.pk)
    return list(session.scalars(query))


def stored_bytes(session: Session, project: str) -> int:
    """Bytes of the project's archives together."""
    query = select(func.coalesce(func.sum(DatasetRow.size), 0)).where(DatasetRow.project == project)
    return session.scalars(query).one()


def of_job(session: Session, job: Job) -> DatasetRow | None:
    """The dataset that a job was accepted with; None: it names none, or it was deleted after the job had ended."""
    query = select(DatasetRow).join(JobDataset, JobDataset.dataset == DatasetRow.pk).where(JobDataset.job == job.pk)
    return session.scalars(query).one_or_none()


def users(session: Session, dataset: DatasetRow, *, limit: int) -> list[str]:
    """Ids of jobs that have not ended and train on the dataset."""
    query = (
        select(Job.id)
        .join(JobDataset, JobDataset.job == Job.pk)
        .where(JobDataset.dataset == dataset.pk, Job.state.not_in([str(state) for state in FINAL]))
        .order_by(Job.pk)
        .limit(limit)
    )
    return list(session.scalars(query))
