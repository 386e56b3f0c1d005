"""Server-sent events to one listener: from the database until it is near the head of the log, then from the feed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager

from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.hub import Hub
from api.log.feed import KEEP_ALIVE_SECONDS, Batch, Feed
from api.problems import ApiError

logger = logging.getLogger(__name__)

KEEP_ALIVE = b": keep-alive\n\n"
SLOW_SECONDS = 30.0
"""A listener that takes nothing for so long is dropped; it goes on from its last id when it comes again."""


async def messages(
    hub: Hub,
    follow: Callable[[int], AbstractContextManager[Feed]],
    read: Callable[[int], Batch],
    position: int,
    kinds: frozenset[str] | None = None,
) -> AsyncIterator[bytes]:
    """Messages behind a position, without a gap or a repeat, until the log ends.

    Args:
        hub: whose limit on readers of the database is kept.
        follow: joins the feed, which begins at the given position if nobody follows it yet.
        read: reads the database behind a position, only `kinds` of entries.
        position: where to begin.
        kinds: which entries; null: all.
    """
    while True:
        batch = await to_thread.run_sync(read, position, limiter=hub.backfills)
        position = batch.head
        if batch.entries:
            yield b"".join(entry.data for entry in batch.entries)
        if batch.end is not None:
            yield _end(batch.end)
            return
        if batch.more:
            continue
        with follow(position) as feed:
            sent = time.monotonic()
            while True:
                await feed.grown(position)
                if position < feed.tail:  # it was so slow that the feed has forgotten what comes next
                    break
                data = KEEP_ALIVE
                if feed.head > position:
                    data, position = feed.after(position, kinds), feed.head
                elif feed.end is not None:
                    yield _end(feed.end)
                    return
                elif feed.failed is not None:
                    return
                if data or time.monotonic() - sent > KEEP_ALIVE_SECONDS:  # it has grown, but not by these kinds
                    yield data or KEEP_ALIVE
                    sent = time.monotonic()


def _end(state: str) -> bytes:
    return f"event: end\ndata: {json.dumps({'state': state})}\n\n".encode()


class EventStream(Response):
    """An answer of server-sent events.

    It ends with the messages, the connection, the process, the listener's key, or a listener that is too slow.
    """

    media_type = "text/event-stream"

    def __init__(
        self, messages: AsyncIterator[bytes], hub: Hub, holding: AbstractContextManager[asyncio.Event]
    ) -> None:
        """`holding` has an event that is set when the listener may not read any more."""
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._messages, self._hub, self._holding = messages, hub, holding

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one listener."""
        with self._holding as refused:
            is_there = await self._serve(receive, send, refused)
        if is_there:  # the end of the stream is news to it
            with contextlib.suppress(TimeoutError):
                await _put(send, b"", more=False)

    async def _serve(self, receive: Receive, send: Send, refused: asyncio.Event) -> bool:
        """Until there is a reason to end. Returns whether the listener is still there."""
        self._hub.listeners += 1
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_disconnected(receive))
        refusing = asyncio.create_task(refused.wait())
        try:
            reasons = (sending, leaving, refusing, self._hub.closing)
            await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.listeners -= 1
            for task in (sending, leaving, refusing):
                task.cancel()
            _, left, _ = await asyncio.gather(sending, leaving, refusing, return_exceptions=True)
        return isinstance(left, asyncio.CancelledError)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for data in self._messages:
                await _put(send, data, more=True)
        except TimeoutError:
            logger.info("a stream was dropped: nothing was read from it for %g s", SLOW_SECONDS)
        except (ApiError, SQLAlchemyError) as error:
            logger.warning("a stream was ended: %s", error)
        except Exception:
            logger.exception("a stream failed")


async def _put(send: Send, data: bytes, *, more: bool) -> None:
    async with asyncio.timeout(SLOW_SECONDS):
        await send({"type": "http.response.body", "body": data, "more_body": more})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
