"""HTTP for the log of a job, and the live streams of a job and of a project."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import Response

from api.deps import Reader, ServicesDep
from api.jobs import service as jobs
from api.jobs.schemas import JobId, LogEntry, Page
from api.jobs.views import log_page
from api.log import service, views
from api.log.feed import Batch, message
from api.log.stream import EventStream, messages
from api.problems import FieldProblem, documented, invalid

router = APIRouter(prefix="/v1", tags=["log"])

MAX_POSITION = 2**53

AfterParam = Annotated[int, Query(ge=0, le=MAX_POSITION, description="Entries after this position; 0: from the start.")]
LastEventId = Annotated[
    str | None, Header(description="Id of the last event seen, to go on behind it; sent by a client that reconnects.")
]

STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


@router.get("/jobs/{job_id}/events", responses=documented(404, 422))
def list_events(
    job_id: JobId,
    services: ServicesDep,
    caller: Reader,
    after: AfterParam = 0,
    limit: Annotated[int, Query(ge=1, le=5000, description="Entries at most.")] = 100,
) -> Page[LogEntry]:
    """The job's log but for the steps: changes of state, evaluations, checkpoints, messages."""
    rows = service.events(services.database, caller.project, job_id, after=after, limit=limit)
    return log_page(rows, limit, views.log_entry)


def last_event_id(last_event_id: LastEventId = None) -> int | None:
    """The position in Last-Event-ID.

    Raises:
        ApiError: it is no position.
    """
    if not last_event_id:
        return None
    # Digits are counted first: int() refuses to read thousands of them.
    plausible = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= len(str(MAX_POSITION))
    if not plausible or int(last_event_id) > MAX_POSITION:
        text = "must be the id of an event of this stream"
        raise invalid(FieldProblem(parameter="Last-Event-ID", code="invalid_cursor", message=text))
    return int(last_event_id)


LastEventIdDep = Annotated[int | None, Depends(last_event_id)]


def stream_types(
    types: Annotated[
        list[str] | None, Query(description="Types of events to send, repeated or with commas; all by default.")
    ] = None,
) -> frozenset[str] | None:
    """The types of events that are asked for.

    Raises:
        ApiError: there is no such type.
    """
    return service.types(types)


def existing_job(job_id: JobId, services: ServicesDep, caller: Reader) -> str:
    """The id of a job of the caller's; here, so that a bad request is refused before the stream starts.

    Raises:
        ApiError: there is no such job.
    """
    jobs.get(services.database, caller.project, job_id)
    return job_id


@router.get("/jobs/{job_id}/stream", response_class=Response, responses={**STREAM, **documented(404, 422)})
async def stream_job(
    job_id: Annotated[str, Depends(existing_job)],
    services: ServicesDep,
    caller: Reader,
    last: LastEventIdDep,
    types: Annotated[frozenset[str] | None, Depends(stream_types)],
    after: AfterParam = 0,
) -> EventStream:
    """The job's log as server-sent events, from the start or after a position, live until the job has ended.

    `id:` is the position, so a client that reconnects with Last-Event-ID misses and repeats nothing. The last event is
    `end`, without an id; a stream that closes without it goes on with the next connection. A comment every 15 seconds
    keeps a silent connection open. Who reads nothing for 30 seconds is disconnected, and so is, within 20
    seconds, whose key was revoked or has expired.
    """
    read = partial(service.entries, services.database, caller.project, job_id)
    follow = partial(services.hub.follow_job, job_id, read=_behind(read))
    start = after if last is None else last
    live = messages(services.hub, follow, _behind(partial(read, types=types)), start, types)
    return EventStream(live, services.hub, services.holders.hold(caller.key))


@router.get("/stream", response_class=Response, responses={**STREAM, **documented(422)})
async def stream_project(
    services: ServicesDep,
    caller: Reader,
    last: LastEventIdDep,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_POSITION, description="Changes after this id; by default those from now on.")
    ] = None,
) -> EventStream:
    """Every change of the project's jobs as server-sent events: `job`, with the whole job as it is then.

    The first event is `ready`. To keep a table of jobs, open the stream, wait for `ready`, then read `GET /v1/jobs`:
    whatever changes from then on comes as an event. Changes of a job in quick succession fall together; none is the
    last without having been sent. After a reconnect with Last-Event-ID a job may come again, and none is missed.
    """
    read = partial(service.changes, services.database, caller.project)
    start = after if last is None else last
    if start is None:
        start = await to_thread.run_sync(service.now, services.database)
    live = messages(
        services.hub,
        partial(services.hub.follow_project, caller.project, read=_behind(read)),
        _behind(read),
        start,
    )
    return EventStream(_ready(start, live), services.hub, services.holders.hold(caller.key))


def _behind(read: Callable[..., Batch]) -> Callable[[int], Batch]:
    return lambda after: read(after=after)


async def _ready(start: int, live: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield message("ready", "{}", start)
    async for data in live:
        yield data
