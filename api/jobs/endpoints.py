"""HTTP for clients: jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.datasets import service as datasets
from api.deps import Reader, Services, ServicesDep, Submitter
from api.jobs import service, views
from api.jobs.models import Job
from api.jobs.schemas import JobId, JobView, Page, SweepId, Validation
from api.pages import page_of
from api.problems import documented
from cpt_core.lifecycle import State
from cpt_core.spec import JobSpec

router = APIRouter(prefix="/v1", tags=["jobs"])

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="Any string; repeating a request with it creates one job."),
]


@router.post("/jobs", status_code=201, responses=documented(400, 409, 413, 422))
def create_job(
    spec: JobSpec,
    services: ServicesDep,
    caller: Submitter,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Submit a job. Once this answers 201 the job is stored: it will run, or the job will say why not."""
    service.check(spec, services.settings.data_root)
    job, created = service.create(services.database, caller.project, spec, idempotency_key)
    return created_job(services, response, job, created)


def created_job(services: Services, response: Response, job: Job, created: bool) -> JobView:
    """The answer to a request that creates a job, or did before."""
    if created:
        services.changed(job.id)
        services.bells.ring(job.queue)
    else:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return views.job_view(job)


@router.post("/jobs:validate", responses=documented(400, 413, 422))
def validate_job(spec: JobSpec, services: ServicesDep, caller: Reader) -> Validation:
    """Check a spec without submitting it."""
    service.check(spec, services.settings.data_root)
    datasets.require(services.database, caller.project, spec)
    return Validation(spec=spec)


@router.get("/jobs", responses=documented(422))
def list_jobs(
    services: ServicesDep,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs at most.")] = 20,
    cursor: Annotated[JobId | None, Query(description="`next_cursor` of the page before.")] = None,
    state: Annotated[list[State] | None, Query(description="Only jobs in these states.")] = None,
    queue: Annotated[str | None, Query(max_length=63, description="Only jobs of this queue.")] = None,
    archived: Annotated[bool, Query(description="The archived jobs, instead of the others.")] = False,
    sweep: Annotated[SweepId | None, Query(description="Only members of this sweep.")] = None,
) -> Page[JobView]:
    """Jobs, newest first."""
    found = service.page(
        services.database,
        caller.project,
        cursor=cursor,
        states=state or [],
        queue=queue,
        archived=archived,
        sweep=sweep,
        limit=limit,
    )
    return page_of(found, limit, views.job_view)


@router.get("/jobs/{job_id}", responses=documented(404, 422))
def get_job(job_id: JobId, services: ServicesDep, caller: Reader) -> JobView:
    """One job: state, progress, latest bits, loss, cost and energy."""
    return views.job_view(service.get(services.database, caller.project, job_id))
