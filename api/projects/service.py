"""What operators can do with projects. Each function is one transaction."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError

from api.db import Database
from api.problems import ApiError, FieldProblem
from api.projects import repository
from api.projects.models import Project
from api.projects.schemas import NewProject, ProjectPatch
from cpt_core.events import now


def create(database: Database, wanted: NewProject) -> Project:
    """Make a project.

    Raises:
        ApiError: there is one of this id.
    """
    project = Project(id=wanted.id, name=wanted.name, created_at=now(), **wanted.limits.model_dump())
    try:
        with database.write() as session:
            session.add(project)
    except IntegrityError as error:
        message = f"there is a project {wanted.id}: choose another id, or change that one with PATCH"
        fault = FieldProblem(pointer="/id", code="project_exists", message=message)
        raise ApiError(409, "project_exists", message, errors=[fault]) from error
    return project


def get(database: Database, project_id: str) -> Project:
    """One project.

    Raises:
        ApiError: there is no such project.
    """
    with database.read() as session:
        return _found(repository.get(session, project_id), project_id)


def page(database: Database, *, after: str | None, limit: int) -> list[Project]:
    """One project more than `limit` if there are more."""
    with database.read() as session:
        return repository.page(session, after=after, limit=limit + 1)


def change(database: Database, project_id: str, patch: ProjectPatch) -> Project:
    """Change the fields that were given.

    Raises:
        ApiError: there is no such project.
    """
    with database.write() as session:
        project = _found(repository.get(session, project_id, lock=True), project_id)
        project.name = patch.name or project.name
        for name, value in patch.limits.model_dump(exclude_unset=True).items():
            setattr(project, name, value)
        return project


def _found(project: Project | None, project_id: str) -> Project:
    if project is None:
        raise not_found(project_id)
    return project


def not_found(project_id: str) -> ApiError:
    """No such project."""
    return ApiError(404, "project_not_found", f"there is no project {project_id}")
