"""HTTP for clients: checkpoints and their files."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.checkpoints import service
from api.checkpoints.models import CheckpointRow
from api.checkpoints.schemas import CheckpointDetail, CheckpointId, CheckpointItem, FileName
from api.deps import Reader, ServicesDep
from api.files.download import RESPONSES, send
from api.jobs.schemas import JobId, Page
from api.pages import page_of
from api.problems import documented

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["checkpoints"])


@router.get("/checkpoints", responses=documented(404, 422))
def list_checkpoints(
    job_id: JobId,
    services: ServicesDep,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=1000, description="Checkpoints at most.")] = 100,
    cursor: Annotated[CheckpointId | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Page[CheckpointItem]:
    """The job's checkpoints that are kept, newest first: the last ones, and that of the best evaluation."""
    rows = service.page(services.database, caller.project, job_id, cursor=cursor, limit=limit)
    return page_of(rows, limit, lambda row: CheckpointItem(**_fields(job_id, row)))


@router.get("/checkpoints/{checkpoint_id}", responses=documented(404, 409, 422))
def get_checkpoint(
    job_id: JobId, checkpoint_id: CheckpointId, services: ServicesDep, caller: Reader
) -> CheckpointDetail:
    """One checkpoint with its files."""
    row = service.get(services.database, caller.project, job_id, checkpoint_id)
    return CheckpointDetail(**_fields(job_id, row), files=service.files(services.storage, row))


@router.head("/checkpoints/{checkpoint_id}/files/{name}", include_in_schema=False, response_class=Response)
@router.get(
    "/checkpoints/{checkpoint_id}/files/{name}",
    response_class=Response,
    responses={**documented(404, 409, 422), **RESPONSES},
)
def download_checkpoint_file(
    job_id: JobId, checkpoint_id: CheckpointId, name: FileName, request: Request, services: ServicesDep, caller: Reader
) -> Response:
    """One file of a checkpoint. Parts of it with `Range` and `If-Range`, the ETag is its SHA-256."""
    row = service.get(services.database, caller.project, job_id, checkpoint_id)
    file = service.file(services.storage, row, name)
    return send(request, services.storage, file, services.settings.storage_downloads)


@router.head("/checkpoints/{checkpoint_id}/weights", include_in_schema=False, response_class=Response)
@router.get(
    "/checkpoints/{checkpoint_id}/weights",
    response_class=Response,
    responses={**documented(404, 409, 422), **RESPONSES},
)
def download_weights(
    job_id: JobId, checkpoint_id: CheckpointId, request: Request, services: ServicesDep, caller: Reader
) -> Response:
    """The model as one safetensors file: parameters and buffers, averaged where averages were evaluated."""
    row = service.get(services.database, caller.project, job_id, checkpoint_id)
    file = service.weights(services.storage, row)
    return send(request, services.storage, file, services.settings.storage_downloads)


def _fields(job_id: str, row: CheckpointRow) -> dict[str, object]:
    own = CheckpointItem.model_fields.keys() - {"object", "job_id"}
    return {name: getattr(row, name) for name in own} | {"job_id": job_id}
