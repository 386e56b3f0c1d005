"""All SQL of comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.jobs.models import Attempt, Job


def jobs(session: Session, project: str, ids: Sequence[str]) -> list[Job]:
    """Those of these jobs that are the project's, in no order."""
    return list(session.scalars(select(Job).where(Job.project == project, Job.id.in_(ids))))


def with_attempts(session: Session, jobs: Sequence[Job]) -> list[tuple[Job, list[Attempt]]]:
    """Each job with all its attempts."""
    attempts: dict[int, list[Attempt]] = {job.pk: [] for job in jobs}
    for row in session.scalars(select(Attempt).where(Attempt.job.in_(list(attempts)))):
        attempts[row.job].append(row)
    return [(job, attempts[job.pk]) for job in jobs]
