"""HTTP for operators: projects and their limits."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.deps import Operator, Reader, ServicesDep
from api.jobs.schemas import Page
from api.pages import page_of
from api.problems import documented
from api.projects import repository, service
from api.projects.models import Project
from api.projects.schemas import NewProject, ProjectId, ProjectPatch, ProjectView

router = APIRouter(prefix="/v1/projects", tags=["projects"])


@router.post("", status_code=201, responses=documented(400, 409, 413, 422))
def create_project(wanted: NewProject, services: ServicesDep, _caller: Operator, response: Response) -> ProjectView:
    """Make a project. Its keys are made with POST /v1/keys."""
    project = service.create(services.database, wanted)
    response.headers["Location"] = f"/v1/projects/{project.id}"
    return _view(project)


@router.get("", responses=documented(422))
def list_projects(
    services: ServicesDep,
    _caller: Operator,
    limit: Annotated[int, Query(ge=1, le=100, description="Projects at most.")] = 20,
    cursor: Annotated[ProjectId | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Page[ProjectView]:
    """Projects, by id."""
    found = service.page(services.database, after=cursor, limit=limit)
    return page_of(found, limit, _view)


@router.get("/{project_id}", responses=documented(404, 422))
def get_project(project_id: ProjectId, services: ServicesDep, caller: Reader) -> ProjectView:
    """A project and its limits: the caller's own, for an operator any."""
    if not caller.may_enter(project_id):
        raise service.not_found(project_id)
    return _view(service.get(services.database, project_id))


@router.patch("/{project_id}", responses=documented(400, 404, 413, 422))
def change_project(project_id: ProjectId, patch: ProjectPatch, services: ServicesDep, _caller: Operator) -> ProjectView:
    """Change a project's name or limits. A lower limit ends nothing that runs; it holds for what comes."""
    project = service.change(services.database, project_id, patch)
    services.keys.forget()
    return _view(project)


def _view(project: Project) -> ProjectView:
    return ProjectView(
        id=project.id, name=project.name, created_at=project.created_at, limits=repository.limits(project)
    )
