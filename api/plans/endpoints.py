"""HTTP for plans."""

from __future__ import annotations

from fastapi import APIRouter

from api.datasets import service as datasets
from api.deps import Reader, ServicesDep
from api.jobs.service import check
from api.plans import service
from api.plans.body import REQUEST_BODY, SubmittedDep
from api.plans.schemas import PlanView
from api.problems import documented

router = APIRouter(prefix="/v1", tags=["plans"])


@router.post("/plans", responses=documented(400, 413, 422), openapi_extra=REQUEST_BODY)
def plan_job(caller: Reader, services: ServicesDep, submitted: SubmittedDep) -> PlanView:
    """Check a spec, and tell what the training will do and cost, before it is submitted. Nothing is stored.

    The body is a job spec as JSON, or as YAML with `Content-Type: application/yaml`.
    """
    spec, document = submitted
    check(spec, services.settings.data_root)
    datasets.require(services.database, caller.project, spec)
    return service.plan(spec, document)
