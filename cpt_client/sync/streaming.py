# Made from cpt_client/aio/streaming.py by tools/sync_client.py: change it there, then `make generated`.
"""Following a job over server-sent events, across lost connections, without a gap and without a repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import httpx_sse

from cpt_client.errors import NOT_A_SERVER, UNREACHABLE, CptError, from_response
from cpt_client.retry import delays, may_pass
from cpt_client.sync.waiting import sleep

SILENCE = 60.0
"""Seconds without a byte, keep-alives included, after which a connection counts as lost."""

STABLE = 1.0
"""Seconds after which a connection counts as one even if it brought nothing."""


def stream(
    http: httpx.Client,
    path: str,
    params: Mapping[str, Any],
    *,
    after: int | None,
    patience: float,
    on_disconnect: Callable[[CptError], None] | None,
) -> Iterator[httpx_sse.ServerSentEvent]:
    """Messages of the stream at `path` behind the id `after`, until its end; see `Client.stream`."""
    last = after
    waits = delays(0.2, 5.0)
    lost_since = time.monotonic()
    while True:
        opened, received = time.monotonic(), False
        try:
            for message in _messages(http, path, params, last):
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
        sleep(next(waits))


def _position(message: httpx_sse.ServerSentEvent) -> int:
    try:
        return int(message.id)
    except ValueError:
        raise CptError(NOT_A_SERVER, f"an event without a position: {message.id!r}") from None


def _messages(
    http: httpx.Client, path: str, params: Mapping[str, Any], last: int | None
) -> Iterator[httpx_sse.ServerSentEvent]:
    """The messages of one connection, which begins behind the event `last`.

    Raises:
        CptError: the server refuses.
        httpx.TransportError: there is no connection, or it is lost.
    """
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    timeout = httpx.Timeout(SILENCE, connect=5.0)
    with httpx_sse.connect_sse(http, "GET", path, params=dict(params), headers=headers, timeout=timeout) as source:
        if source.response.status_code >= 400:
            source.response.read()
            raise from_response(source.response)
        try:
            for message in source.iter_sse():
                if message.data:  # the decoder answers the empty line behind a keep-alive comment with one without
                    yield message
        except httpx_sse.SSEError as error:
            raise CptError(NOT_A_SERVER, f"no event stream at {source.response.url}: {error}") from error
