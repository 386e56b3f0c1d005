"""HTTP for workers. The messages are `cpt_core.protocol`'s."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.agent import service
from api.deps import AgentDep, BearerDep, ServicesDep
from api.fleet import service as fleet
from api.jobs.schemas import JobId
from api.problems import documented
from api.telemetry.traces import TRACE_HEADER, claimed
from cpt_core.logs import about
from cpt_core.protocol import AppendReply, AppendRequest, Assignment, ClaimRequest, NodeReply, NodeReport, WorkerReport

router = APIRouter(prefix="/v1/agent", tags=["agent"])


@router.post(
    "/claim",
    response_model=Assignment,
    dependencies=[AgentDep],
    responses={200: {"headers": TRACE_HEADER}, 204: {"description": "Nothing to do"}, **documented(401, 413, 422)},
)
def claim(request: ClaimRequest, services: ServicesDep, response: Response) -> Assignment | Response:
    """Take the next job that fits a free slot."""
    asked = time.time_ns()
    assignment = service.claim(services.database, request, services.settings.lease_seconds)
    if assignment is None:
        return Response(status_code=204)
    services.changed(assignment.job_id)
    if assignment.gang is not None:
        services.bells.ring(request.queue)  # for the next node; who takes it rings for the one after
    response.headers.update(claimed(services.database, request, assignment, asked))
    return assignment


@router.post("/workers", status_code=204, dependencies=[AgentDep], responses=documented(401, 413, 422))
def report(said: WorkerReport, services: ServicesDep) -> None:
    """Tell that a worker is there, every 10 seconds, or that it goes."""
    fleet.report(services.database, said)


@router.post("/jobs/{job_id}/attempts/{attempt}/records", responses=documented(401, 403, 404, 409, 413, 422))
def append(
    job_id: JobId,
    attempt: Annotated[int, Path(ge=1, le=1_000_000)],
    request: AppendRequest,
    token: BearerDep,
    services: ServicesDep,
) -> AppendReply:
    """Store records of an attempt, in order, each once. Without records: a heartbeat."""
    with about(job=job_id, attempt=attempt), services.telemetry.append_seconds.time():
        reply, grown = service.append(services.database, job_id, attempt, token, request)
    if grown and request.records and request.records[-1].type == "finished":
        services.ended(job_id)
    elif grown:
        services.changed(job_id)
    return reply


@router.post("/jobs/{job_id}/attempts/{attempt}/nodes", responses=documented(401, 403, 404, 409, 413, 422))
def report_node(
    job_id: JobId,
    attempt: Annotated[int, Path(ge=1, le=1_000_000)],
    said: NodeReport,
    token: BearerDep,
    services: ServicesDep,
) -> NodeReply:
    """Tell that a node other than the first is there, or that its processes have failed."""
    with about(job=job_id, attempt=attempt):
        return service.report(services.database, job_id, attempt, token, said)
