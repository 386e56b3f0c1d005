"""HTTP for logs: clients read and follow them, workers append."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Body, Header, Path, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Message, Send

from api.deps import BearerDep, Caller, Reader, Services, ServicesDep
from api.hub import logs_key
from api.jobs.schemas import JobId
from api.log.stream import SLOW_SECONDS
from api.logs import service
from api.logs.lines import Line, Splitter
from api.logs.schemas import LogLine, Rank
from api.logs.service import Place
from api.problems import ApiError, documented
from cpt_core.protocol import MAX_LOG_CHUNK, LogReply

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["logs"])
agent_router = APIRouter(prefix="/v1/agent/jobs/{job_id}/attempts/{attempt}", tags=["agent"])

TEXT, NDJSON = "text/plain", "application/x-ndjson"
MAX_OFFSET = 2**53

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The lines.",
        "content": {
            TEXT: {"schema": {"type": "string"}},
            NDJSON: {"schema": LogLine.model_json_schema()},
        },
    }
}


@agent_router.put("/logs/{rank}", responses=documented(401, 404, 409, 413, 422))
def append_log(
    job_id: JobId,
    attempt: Annotated[int, Path(ge=1, le=1_000_000)],
    rank: Rank,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET, description="Place of the first byte in the rank's output.")],
    data: Annotated[bytes, Body(media_type="application/octet-stream")],
    token: BearerDep,
    services: ServicesDep,
) -> LogReply:
    """Store a piece of a rank's output, each byte once. Rank -1 is the launcher."""
    if len(data) > MAX_LOG_CHUNK:
        raise ApiError(413, "body_too_large", f"a piece has {MAX_LOG_CHUNK} bytes at most: send more of them")
    reply = service.append(
        services.database,
        job_id,
        attempt,
        token,
        rank=rank,
        offset=offset,
        data=data,
        max_bytes=services.settings.max_log_bytes,
    )
    services.printed(job_id)
    return reply


@router.get("/logs", response_class=Response, responses={**documented(404, 422), **_RESPONSES})
def get_logs(
    job_id: JobId,
    services: ServicesDep,
    caller: Reader,
    rank: Annotated[Rank, Query(description="Rank whose output it is; -1: the launcher, which starts the ranks.")] = 0,
    attempt: Annotated[
        int | None,
        Query(ge=1, le=1_000_000, description="Of this attempt; by default the last with output."),
    ] = None,
    tail: Annotated[int | None, Query(ge=0, le=1_000_000, description="Only so many lines before the end.")] = None,
    offset: Annotated[
        int, Query(ge=0, le=MAX_OFFSET, description="From this byte of the output on; not together with `tail`.")
    ] = 0,
    follow: Annotated[bool, Query(description="Go on, in later attempts too, until the job ends.")] = False,
    accept: Annotated[str, Header(description=f"`{TEXT}`, or `{NDJSON}` for a JSON object a line.")] = TEXT,
) -> Response:
    """What a rank printed, both streams in their order, while it runs and afterwards.

    Of outputs that are too long the beginning and the end are kept, and a line says how much is left out. While
    nothing is printed NDJSON has empty lines now and then, so that a lost connection is noticed. Following ends within
    20 seconds after the key was revoked or has expired. Who reads nothing for 30 seconds is disconnected.
    """
    place = service.begin(
        services.database,
        services.storage,
        caller.project,
        job_id,
        rank=rank,
        attempt=attempt,
        tail=tail,
        offset=offset,
    )
    reader = _Reader(services, caller, job_id, rank, place, follow=follow)
    if NDJSON in accept:
        return LogStream(reader.ndjson(), media_type=NDJSON)
    return LogStream(reader.text(), media_type=f"{TEXT}; charset=utf-8")


class LogStream(StreamingResponse):
    """Lines as they come. Who takes nothing of them for `SLOW_SECONDS` is dropped, and may go on from its offset."""

    async def stream_response(self, send: Send) -> None:
        """Send it all."""

        async def put(message: Message) -> None:
            async with asyncio.timeout(SLOW_SECONDS):
                await send(message)

        try:
            await super().stream_response(put)
        except TimeoutError:
            logger.info("a reader of a log was dropped: nothing was read from it for %g s", SLOW_SECONDS)


class _Reader:
    """One client that reads a log."""

    def __init__(
        self, services: Services, caller: Caller, job_id: str, rank: int, place: Place, *, follow: bool
    ) -> None:
        self._services, self._caller, self._job_id, self._rank = services, caller, job_id, rank
        self._place, self._follow = place, follow

    async def text(self) -> AsyncIterator[bytes]:
        async for _attempt, line in self._lines():
            if line is not None:
                yield line.text + b"\n"

    async def ndjson(self) -> AsyncIterator[bytes]:
        async for attempt, line in self._lines():
            if line is None:
                yield b"\n"
                continue
            found = LogLine(
                attempt=attempt,
                rank=self._rank,
                offset=line.start,
                next_offset=line.stop,
                line=line.text.decode("utf-8", "replace"),
            )
            yield found.model_dump_json().encode() + b"\n"

    async def _lines(self) -> AsyncIterator[tuple[int, Line | None]]:
        """Attempt and line; None where nothing was printed for a while."""
        place, splitter = self._place, Splitter(self._place.offset)
        holding = self._services.holders.hold(self._caller.key if self._follow else None)
        with self._services.hub.listener(logs_key(self._job_id)) as grown, holding as ended:
            while not ended.is_set():
                grown.clear()
                found = await to_thread.run_sync(self._read, place)
                for piece in found.pieces:
                    for line in splitter.feed(piece):
                        yield place.attempt, line
                    place = Place(place.attempt, piece.stop)
                if found.pieces:
                    continue
                following = found.following if self._follow and found.over else None
                ends = not self._follow or (found.over and found.final and following is None)
                if found.over or ends:
                    for line in splitter.rest():
                        yield place.attempt, line
                if ends:
                    return
                if following is not None:
                    place, splitter = Place(following, 0), Splitter(0)
                    continue
                yield place.attempt, None
                if not await self._services.hub.wait(grown):
                    return

    def _read(self, place: Place) -> service.Found:
        return service.read(
            self._services.database,
            self._services.storage,
            self._caller.project,
            self._job_id,
            rank=self._rank,
            place=place,
        )
