"""HTTP for the metrics of a job."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from api.deps import Reader, ServicesDep
from api.jobs.schemas import JobId, Page
from api.jobs.views import log_page
from api.log.endpoints import AfterParam
from api.metrics import service, views
from api.metrics.schemas import MetricView, SampledMetrics
from api.negotiation import negotiate
from api.problems import documented
from cpt_core.events import MAX_STEP

router = APIRouter(prefix="/v1", tags=["metrics"])

JSON, CSV, NDJSON = "application/json", "text/csv", "application/x-ndjson"
PAGE = 1000

EXPORTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page of steps; with `max_points` sampled series; as CSV or NDJSON all that was asked for",
        "content": {CSV: {"schema": {"type": "string"}}, NDJSON: {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/jobs/{job_id}/metrics",
    response_model=Page[MetricView] | SampledMetrics,
    response_model_exclude_unset=True,
    responses={**EXPORTS, **documented(404, 406, 422)},
)
def list_metrics(
    job_id: JobId,
    services: ServicesDep,
    caller: Reader,
    keys: Annotated[
        list[str] | None, Query(description="Metrics to read, repeated or with commas between them; all by default.")
    ] = None,
    from_step: Annotated[int, Query(ge=0, le=MAX_STEP, description="First step.")] = 0,
    to_step: Annotated[int | None, Query(ge=0, le=MAX_STEP, description="Last step; by default the latest.")] = None,
    max_points: Annotated[
        int | None,
        Query(ge=4, le=10_000, description="Thin out to so many points of each key; not with `after` or `limit`."),
    ] = None,
    after: AfterParam = 0,
    limit: Annotated[
        int | None,
        Query(ge=1, le=5000, description="Steps at most; by default 1000 as JSON, all of them as CSV or NDJSON."),
    ] = None,
    accept: Annotated[str | None, Header(description=f"{JSON}, {CSV} or {NDJSON}.")] = None,
) -> Page[MetricView] | SampledMetrics | Response:
    """Metrics of each step, once: what a resumed attempt ran again is shown as that attempt ran it.

    A page of steps; with `max_points` instead a series of `[step, value]` for each key, in which the smallest and
    largest value of each stretch of steps survive. CSV and NDJSON are streamed whole.
    """
    form = negotiate(accept, (JSON, CSV, NDJSON))
    chosen = service.selection(keys, from_step, to_step)
    database, project = services.database, caller.project
    if max_points is not None:
        sampled = service.sample(database, project, job_id, chosen, max_points)
        if form == JSON:
            return sampled
        points = views.csv_points if form == CSV else views.ndjson_points
        return StreamingResponse(points(sampled), media_type=form)
    if form == JSON:
        rows = service.page(database, project, job_id, chosen, after=after, limit=limit or PAGE)
        return log_page(rows, limit or PAGE, lambda row: views.metric_view(row, chosen.keys))
    lines = views.csv_rows if form == CSV else views.ndjson_rows
    steps = service.export(database, project, job_id, chosen, after=after, limit=limit)
    return StreamingResponse(lines(steps, chosen.keys), media_type=form)
