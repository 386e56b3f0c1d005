"""HTTP for clients: jobs, their logs and metrics, and the live stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.datasets import service as datasets
from api.deps import Reader, Services, ServicesDep, Submitter
from api.jobs import service, views
from api.jobs.models import Job
from api.jobs.schemas import JobId, JobView, LogEntry, MetricView, Page, Validation
from api.problems import FieldProblem, documented, invalid
from cpt_core.lifecycle import State
from cpt_core.spec import JobSpec

router = APIRouter(prefix="/v1", tags=["jobs"])

STREAM_PAGE = 500
MAX_POSITION = 2**53

AfterParam = Annotated[int, Query(ge=0, le=MAX_POSITION, description="Entries after this position; 0: from the start.")]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="Any string; repeating a request with it creates one job."),
]
LimitParam = Annotated[int, Query(ge=1, le=5000, description="Entries at most.")]


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
) -> Page[JobView]:
    """Jobs, newest first."""
    found = service.page(
        services.database,
        caller.project,
        cursor=cursor,
        states=state or [],
        queue=queue,
        archived=archived,
        limit=limit,
    )
    return Page(
        data=[views.job_view(job) for job in found[:limit]],
        has_more=len(found) > limit,
        next_cursor=found[limit - 1].id if len(found) > limit else None,
    )


@router.get("/jobs/{job_id}", responses=documented(404, 422))
def get_job(job_id: JobId, services: ServicesDep, caller: Reader) -> JobView:
    """One job: state, progress, latest bits, loss, cost and energy."""
    return views.job_view(service.get(services.database, caller.project, job_id))


@router.get("/jobs/{job_id}/events", responses=documented(404, 422))
def list_events(
    job_id: JobId, services: ServicesDep, caller: Reader, after: AfterParam = 0, limit: LimitParam = 100
) -> Page[LogEntry]:
    """The job's log but for the steps: changes of state, evaluations, checkpoints, messages."""
    rows = service.events(services.database, caller.project, job_id, after=after, limit=limit)
    return views.log_page(rows, limit, views.log_entry)


@router.get("/jobs/{job_id}/metrics", responses=documented(404, 422))
def list_metrics(
    job_id: JobId, services: ServicesDep, caller: Reader, after: AfterParam = 0, limit: LimitParam = 1000
) -> Page[MetricView]:
    """Metrics of each step, once: what a resumed attempt ran again is shown as that attempt ran it."""
    rows = service.metrics(services.database, caller.project, job_id, after=after, limit=limit)
    return views.log_page(rows, limit, views.metric_view)


def stream_start(
    job_id: JobId,
    services: ServicesDep,
    caller: Reader,
    after: AfterParam = 0,
    last_event_id: Annotated[
        str | None, Header(description="Position to go on after; sent by a client that reconnects.")
    ] = None,
) -> int:
    """Where a stream begins; here, so that a bad request is refused before the stream starts.

    Raises:
        ApiError: there is no such job, or Last-Event-ID is no position.
    """
    service.get(services.database, caller.project, job_id)
    if last_event_id is None or not last_event_id:
        return after
    # Digits are counted first: int() refuses to read thousands of them.
    plausible = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= len(str(MAX_POSITION))
    if not plausible or int(last_event_id) > MAX_POSITION:
        message = "must be the id of an event of this stream"
        raise invalid(FieldProblem(parameter="Last-Event-ID", code="invalid_cursor", message=message))
    return int(last_event_id)


@router.get("/jobs/{job_id}/stream", response_class=EventSourceResponse, responses=documented(404, 422))
async def stream_job(
    job_id: JobId, services: ServicesDep, caller: Reader, position: Annotated[int, Depends(stream_start)]
) -> AsyncIterator[ServerSentEvent]:
    """The job's log as server-sent events, from the start or after a position, live until the job has ended.

    `id:` is the position, so a client that reconnects with Last-Event-ID misses and repeats nothing. The last event is
    `end`, without an id.
    """
    with services.hub.listener(job_id) as grown:
        while True:
            grown.clear()
            rows, final = await to_thread.run_sync(
                lambda after: service.entries(
                    services.database, caller.project, job_id, after=after, limit=STREAM_PAGE
                ),
                position,
            )
            for row in rows:
                kind, data = views.entry_json(row)
                yield ServerSentEvent(event=kind, id=str(row.position), raw_data=data)
                position = row.position
            if final:
                yield ServerSentEvent(event="end", data={"state": final})
                return
            if not rows:
                await services.hub.wait(grown)
