"""HTTP for clients: queues and workers."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import Reader, ServicesDep
from api.fleet import service
from api.fleet.schemas import QueueView, WorkerView
from api.jobs.schemas import Page
from api.problems import documented

router = APIRouter(prefix="/v1", tags=["fleet"])


@router.get("/queues", responses=documented())
def list_queues(services: ServicesDep, caller: Reader) -> Page[QueueView]:
    """Queues, by name, all on one page: what waits in them, for how long, and for how many workers."""
    return Page(data=service.queues(services.database, caller.project), has_more=False, next_cursor=None)


@router.get("/workers", responses=documented())
def list_workers(services: ServicesDep, caller: Reader) -> Page[WorkerView]:
    """Workers, by name, all on one page: what they have, and what they do."""
    return Page(data=service.workers(services.database, caller.project), has_more=False, next_cursor=None)
