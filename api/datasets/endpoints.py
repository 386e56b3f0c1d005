"""HTTP for clients: uploaded datasets."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response

from api.datasets import service
from api.datasets.models import DatasetRow
from api.datasets.receiving import ARCHIVES, check_headers, receive
from api.datasets.schemas import DatasetId, DatasetItem
from api.deps import Reader, ServicesDep, Submitter
from api.jobs.schemas import Page
from api.pages import page_of
from api.problems import documented
from cpt_core.spec import Name

router = APIRouter(prefix="/v1", tags=["datasets"])

_BODY = {"schema": {"type": "string", "format": "binary"}}


@router.post(
    "/datasets",
    status_code=201,
    responses={
        200: {"model": DatasetItem, "description": "The project has the same archive under this name already."},
        **documented(400, 409, 413, 415, 422),
    },
    openapi_extra={
        "requestBody": {
            "description": "A zip, tar or gzipped tar archive of the dataset's files.",
            "required": True,
            "content": dict.fromkeys(ARCHIVES, _BODY),
        }
    },
)
async def create_dataset(
    request: Request,
    response: Response,
    name: Annotated[Name, Query(description="What specs shall call it: `dataset.upload`.")],
    services: ServicesDep,
    caller: Submitter,
) -> DatasetItem:
    """Upload a dataset: the archive is the body. It is checked in full before it is kept, and never changes.

    Refused are links, devices, names that lead out of the archive or come twice, archive bombs, and damage.
    """
    max_bytes = services.settings.max_dataset_bytes
    room = await to_thread.run_sync(service.room, services.database, caller.project, max_bytes)
    check_headers(request, room)
    with tempfile.TemporaryFile() as archive:
        sha256, size = await receive(request, archive, room)
        create = partial(service.create, sha256=sha256, size=size, max_bytes=max_bytes)
        row, created = await to_thread.run_sync(
            create, services.database, services.storage, caller.project, name, archive
        )
    if not created:
        response.status_code = 200
    response.headers["Location"] = f"/v1/datasets/{row.name}"
    return _view(row)


@router.get("/datasets", responses=documented(422))
def list_datasets(
    services: ServicesDep,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=1000, description="Datasets at most.")] = 100,
    cursor: Annotated[DatasetId | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Page[DatasetItem]:
    """The project's uploaded datasets, newest first."""
    rows = service.page(services.database, caller.project, cursor=cursor, limit=limit)
    return page_of(rows, limit, _view)


DatasetName = Annotated[Name, Path(description="The dataset's name.")]


@router.get("/datasets/{name}", responses=documented(404, 422))
def get_dataset(name: DatasetName, services: ServicesDep, caller: Reader) -> DatasetItem:
    """One uploaded dataset."""
    return _view(service.get(services.database, caller.project, name))


@router.delete("/datasets/{name}", status_code=204, responses=documented(404, 409, 422))
def delete_dataset(name: DatasetName, services: ServicesDep, caller: Submitter) -> None:
    """Delete an uploaded dataset. While a job that has not ended refers to it, this is refused."""
    service.delete(services.database, caller.project, name)


def _view(row: DatasetRow) -> DatasetItem:
    return DatasetItem(**{name: getattr(row, name) for name in DatasetItem.model_fields.keys() - {"object"}})
