"""Following a job over server-sent events, across lost connections, without a gap and without a repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import httpx_sse

from cpt_client.errors import NOT_A_SERVER, UNREACHABLE, CptError, from_response
from cpt_client.models import Event, parse
from cpt_client.retry import delays, may_pass

SILENCE = 60.0
"""Seconds without a byte, keep-alives included, after which a connection counts as lost."""

STABLE = 1.0
"""Seconds after which a connection counts as one even if it brought nothing."""


def stream(
    http: httpx.Client,
    path: str,
    *,
    after: int | None,
    patience: float,
    on_disconnect: Callable[[CptError], None] | None,
) -> Iterator[Event]:
    """Events of the stream at `path` from `after` on until its end; see `Client.stream`."""
    last = after
    waits = delays(0.2, 5.0)
    lost_since = time.monotonic()
    while True:
        opened, received = time.monotonic(), False
        try:
            for message in _messages(http, path, last):
                received = True
                if message.event == "end":
                    return
                event = parse(Event, message.data)
                if last is None or event.id > last:
                    last = event.id
                    yield event
            failure = CptError(UNREACHABLE, "the server closed the stream before the job's end")
        except (httpx.TransportError, CptError) as error:
            failure = may_pass(http, error)
        if received or time.monotonic() - opened > STABLE:
            waits, lost_since = delays(0.2, 5.0), time.monotonic()
        elif time.monotonic() - lost_since > patience:
            raise failure
        if on_disconnect is not None:
            on_disconnect(failure)
        time.sleep(next(waits))


def _messages(http: httpx.Client, path: str, last: int | None) -> Iterator[httpx_sse.ServerSentEvent]:
    """The messages of one connection, which begins behind the event `last`.

    Raises:
        CptError: the server refuses.
        httpx.TransportError: there is no connection, or it is lost.
    """
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    timeout = httpx.Timeout(SILENCE, connect=5.0)
    with httpx_sse.connect_sse(http, "GET", path, headers=headers, timeout=timeout) as source:
        if source.response.status_code >= 400:
            source.response.read()
            raise from_response(source.response)
        try:
            # The decoder answers the empty line behind a keep-alive comment with a message without data.
            yield from (message for message in source.iter_sse() if message.data)
        except httpx_sse.SSEError as error:
            raise CptError(NOT_A_SERVER, f"no event stream at {source.response.url}: {error}") from error
