"""Following a job over server-sent events, across lost connections, without a gap and without a repeat."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import httpx_sse

from cpt_client.aio.waiting import sleep
from cpt_client.errors import NOT_A_SERVER, UNREACHABLE, CptError, from_response
from cpt_client.retry import delays, may_pass

SILENCE = 60.0
"""Seconds without a byte, keep-alives included, after which a connection counts as lost."""

STABLE = 1.0
"""Seconds after which a connection counts as one even if it brought nothing."""


async def stream(
    http: httpx.AsyncClient,
    path: str,
    params: Mapping[str, Any],
    *,
    after: int | None,
    patience: float,
    on_disconnect: Callable[[CptError], None] | None,
) -> AsyncIterator[httpx_sse.ServerSentEvent]:
    """Messages of the stream at `path` behind the id `after`, until its end; see `AsyncClient.stream`."""
    last = after
    waits = delays(0.2, 5.0)
    lost_since = time.monotonic()
    while True:
        opened, received = time.monotonic(), False
        try:
            async for message in _messages(http, path, params, last):
                received = True
                if message.event == "end":
                    return
                position = _position(message)
                # A job that changed comes again after a reconnect, and with a lower position from a restored database.
                if last is None or position > last or message.event == "job":
                    last = position
                    yield message
            failure = CptError(UNREACHABLE, "the server closed the stream before the job's end")
        except (httpx.TransportError, CptError) as error:
            failure = may_pass(http, error)
        if received or time.monotonic() - opened > STABLE:
            waits, lost_since = delays(0.2, 5.0), time.monotonic()
        elif time.monotonic() - lost_since > patience:
            raise failure
        if on_disconnect is not None:
            on_disconnect(failure)
        await sleep(next(waits))


def _position(message: httpx_sse.ServerSentEvent) -> int:
    try:
        return int(message.id)
    except ValueError:
        raise CptError(NOT_A_SERVER, f"an event without a position: {message.id!r}") from None


async def _messages(
    http: httpx.AsyncClient, path: str, params: Mapping[str, Any], last: int | None
) -> AsyncIterator[httpx_sse.ServerSentEvent]:
    """The messages of one connection, which begins behind the event `last`.

    Raises:
        CptError: the server refuses.
        httpx.TransportError: there is no connection, or it is lost.
    """
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    timeout = httpx.Timeout(SILENCE, connect=5.0)
    async with httpx_sse.aconnect_sse(
        http, "GET", path, params=dict(params), headers=headers, timeout=timeout
    ) as source:
        if source.response.status_code >= 400:
            await source.response.aread()
            raise from_response(source.response)
        try:
            async for message in source.aiter_sse():
                if message.data:  # the decoder answers the empty line behind a keep-alive comment with one without
                    yield message
        except httpx_sse.SSEError as error:
            raise CptError(NOT_A_SERVER, f"no event stream at {source.response.url}: {error}") from error
