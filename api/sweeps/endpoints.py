"""HTTP for sweeps."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.compare.table import CSV, CsvWanted, csv_response
from api.deps import Reader, ServicesDep, Submitter
from api.jobs.schemas import Page, SweepId
from api.pages import page_of
from api.problems import documented
from api.sweeps import service
from api.sweeps.schemas import SweepRequest, SweepResults, SweepView

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"])


@router.post("", status_code=201, responses=documented(400, 413, 422))
def create_sweep(
    request: SweepRequest,
    services: ServicesDep,
    caller: Submitter,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=255, description="Any string; repeating a request with it makes one sweep."),
    ] = None,
) -> SweepView:
    """Submit many jobs at once: all of them are stored, or none, if any is no valid spec."""
    settings = services.settings
    members = service.specs(request, limit=settings.max_sweep_members, data_root=settings.data_root)
    sweep, created = service.create(services.database, caller.project, request, members, idempotency_key)
    if created:
        services.changed(sweep.members[0])  # whoever listens to the project then reads of all of them
        for queue in {spec.resources.queue for spec in members}:
            services.bells.ring(queue)
    else:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/v1/sweeps/{sweep.id}"
    return sweep


@router.get("", responses=documented(422))
def list_sweeps(
    services: ServicesDep,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100, description="Sweeps at most.")] = 20,
    cursor: Annotated[SweepId | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Page[SweepView]:
    """Sweeps, newest first."""
    found = service.page(services.database, caller.project, cursor=cursor, limit=limit)
    return page_of(found, limit, lambda sweep: sweep)


@router.get("/{sweep_id}", responses=documented(404, 422))
def get_sweep(sweep_id: SweepId, services: ServicesDep, caller: Reader) -> SweepView:
    """One sweep: state, members by state, progress."""
    return service.get(services.database, caller.project, sweep_id)


@router.post("/{sweep_id}/cancel", responses=documented(404, 409, 422))
def cancel_sweep(sweep_id: SweepId, services: ServicesDep, caller: Submitter) -> SweepView:
    """End all members that have not ended: waiting ones at once, running ones within seconds. Idempotent."""
    sweep, asked = service.cancel(services.database, caller.project, sweep_id)
    for job_id in asked:
        services.ended(job_id)
    return sweep


@router.get("/{sweep_id}/results", response_model=SweepResults, responses={200: CSV, **documented(404, 406, 422)})
def get_sweep_results(
    sweep_id: SweepId, services: ServicesDep, caller: Reader, csv: CsvWanted
) -> SweepResults | Response:
    """What came of the members, the best first, and of those that differ in their seed alone mean and deviation.

    With `Accept: text/csv` as a table, a row for each member.
    """
    found = service.results(services.database, caller.project, sweep_id)
    return csv_response(found.fields, found.data) if csv else found
