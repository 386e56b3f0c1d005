"""All SQL of the projects aggregate."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.jobs.models import Job
from api.projects.models import Project
from api.projects.schemas import ProjectLimits
from cpt_core.lifecycle import FINAL

DEFAULT = "default"
"""The project that every database has."""


def get(session: Session, project_id: str, *, lock: bool = False) -> Project | None:
    """The project, locked against other writers if asked."""
    # With the lock: as it is now, not as this transaction may have seen it before.
    return session.get(Project, project_id, with_for_update=lock or None, populate_existing=lock)


def page(session: Session, *, after: str | None, limit: int) -> list[Project]:
    """Up to `limit` projects by id, those behind `after`."""
    query = select(Project).order_by(Project.id).limit(limit)
    return list(session.scalars(query.where(Project.id > after) if after is not None else query))


def limits(project: Project) -> ProjectLimits:
    """The limits in a project's row."""
    return ProjectLimits(**{name: getattr(project, name) for name in ProjectLimits.model_fields})


def limits_of(session: Session, project_id: str, *, lock: bool = False) -> ProjectLimits:
    """The limits of a project, those of other transactions that ask with `lock` waiting for the end of this one."""
    found = get(session, project_id, lock=lock)
    return limits(found) if found else ProjectLimits()


def open_jobs(session: Session, project_id: str) -> int:
    """Jobs of the project that have not ended."""
    query = select(func.count()).where(Job.project == project_id, Job.state.not_in([str(state) for state in FINAL]))
    return session.scalars(query).one()
