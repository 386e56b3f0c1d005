"""HTTP for clients: artifacts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.artifacts import service
from api.artifacts.schemas import ArtifactId, ArtifactItem
from api.deps import Reader, ServicesDep
from api.files.download import RESPONSES, send
from api.jobs.schemas import JobId, Page
from api.pages import page_of
from api.problems import documented

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["artifacts"])


@router.get("/artifacts", responses=documented(404, 422))
def list_artifacts(
    job_id: JobId,
    services: ServicesDep,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=1000, description="Artifacts at most.")] = 100,
    cursor: Annotated[ArtifactId | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Page[ArtifactItem]:
    """The job's files but for checkpoints, oldest first: the logs of attempts that are over."""
    rows = service.page(services.database, caller.project, job_id, cursor=cursor, limit=limit)
    own = ArtifactItem.model_fields.keys() - {"object", "job_id"}
    return page_of(rows, limit, lambda row: ArtifactItem(job_id=job_id, **{name: getattr(row, name) for name in own}))


@router.head("/artifacts/{artifact_id}/content", include_in_schema=False, response_class=Response)
@router.get(
    "/artifacts/{artifact_id}/content",
    response_class=Response,
    responses={**documented(404, 422), **RESPONSES},
)
def download_artifact(
    job_id: JobId, artifact_id: ArtifactId, request: Request, services: ServicesDep, caller: Reader
) -> Response:
    """An artifact's content. Parts of it with `Range` and `If-Range`, the ETag is its SHA-256."""
    file = service.file(services.database, caller.project, job_id, artifact_id)
    return send(request, services.storage, file, services.settings.storage_downloads)
