"""HTTP for admins: the audit log."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated

from fastapi import APIRouter, Query

from api.audit import service
from api.audit.models import AuditEntry
from api.audit.schemas import AuditView
from api.deps import Admin, ServicesDep
from api.jobs.schemas import Page
from api.pages import page_of
from api.problems import documented
from api.projects.schemas import ProjectId

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("", responses=documented(422))
def list_audit(
    services: ServicesDep,
    caller: Admin,
    limit: Annotated[int, Query(ge=1, le=1000, description="Entries at most.")] = 100,
    cursor: Annotated[int | None, Query(ge=1, le=2**53, description="`next_cursor` of the page before.")] = None,
    action: Annotated[str | None, Query(max_length=100, description="Only this operation.")] = None,
    target: Annotated[str | None, Query(max_length=100, description="Only changes of this object.")] = None,
    project: Annotated[ProjectId | None, Query(description="Only of this project; for operators.")] = None,
) -> Page[AuditView]:
    """Changes, newest first: those of the caller's project, for an operator those of all."""
    within = caller.choose(project) if project else None if caller.is_operator else caller.project
    found = service.page(services.database, within, cursor=cursor, action=action, target=target, limit=limit)
    return page_of(found, limit, _view, attrgetter("pk"))


def _view(entry: AuditEntry) -> AuditView:
    return AuditView(
        id=entry.pk,
        time=entry.time,
        project=entry.project,
        actor=entry.actor,
        key=entry.key,
        action=entry.action,
        target=entry.object,
        address=entry.address,
        request_id=entry.request_id,
    )
