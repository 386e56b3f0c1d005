"""All SQL of the artifacts aggregate."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.artifacts.models import Artifact
from api.jobs.models import Job


def page(session: Session, job: Job, *, after: Artifact | None, limit: int) -> list[Artifact]:
    """Up to `limit` artifacts in the order of their making, those after `after`."""
    query = select(Artifact).where(Artifact.job == job.pk).order_by(Artifact.pk).limit(limit)
    if after is not None:
        query = query.where(Artifact.pk > after.pk)
    return list(session.scalars(query))


def get(session: Session, job: Job, artifact_id: str) -> Artifact | None:
    """One artifact of a job."""
    return session.scalars(select(Artifact).where(Artifact.job == job.pk, Artifact.id == artifact_id)).one_or_none()
