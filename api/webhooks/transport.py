"""One POST to a webhook: to a checked address alone, bounded in time, without following redirects."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import certifi
import httpcore

from api.webhooks.targets import TargetError, Targets

SECONDS = 10.0
"""Longest time from looking the name up to the status of the answer."""


class PostError(Exception):
    """There was no answer; the message says why."""


def post(
    url: str,
    headers: Mapping[bytes | str, bytes | str],
    body: bytes,
    targets: Targets,
    tls: ssl.SSLContext | None = None,
) -> int:
    """Send `body` and return the answer's HTTP status; the rest of the answer is not read.

    Raises:
        PostError: the target is refused, cannot be reached, or does not answer in time.
    """
    backend = _CheckedBackend(targets, plain=url.startswith("http:"), deadline=time.monotonic() + SECONDS)
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), SECONDS)
    try:
        with (
            httpcore.ConnectionPool(network_backend=backend, ssl_context=tls or _tls()) as pool,
            pool.stream("POST", url, headers=headers, content=body, extensions={"timeout": timeout}) as response,
        ):
            return int(response.status)
    except TargetError as error:
        raise PostError(str(error)) from error
    except httpcore.TimeoutException as error:
        raise PostError(f"no answer within {SECONDS:.0f} s") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise PostError(f"no connection, or no HTTP: {error}"[:300]) from error


@cache
def _tls() -> ssl.SSLContext:
    """Trusts this machine's authorities (OpenSSL's, SSL_CERT_FILE) and certifi's."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects to an address that `Targets` has checked; the name stays in TLS and in the Host header."""

    def __init__(self, targets: Targets, *, plain: bool, deadline: float) -> None:
        self._targets, self._plain, self._deadline = targets, plain, deadline
        self._tcp = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline is all that counts
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first of the host's addresses that takes one."""
        *others, last = self._targets.addresses(host, port, plain=self._plain)
        for address in others:
            try:
                return self._connect(str(address), port, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(str(last), port, local_address, socket_options)

    def _connect(
        self, address: str, port: int, local_address: str | None, socket_options: Iterable[Any] | None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _BoundedStream(self._tcp.connect_tcp(address, port, left, local_address, socket_options), self._deadline)


class _BoundedStream(httpcore.NetworkStream):
    """A stream that ends at a deadline, however slowly bytes drip."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()


def _left(deadline: float, too_late: type[httpcore.TimeoutException]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise too_late("the time is over")
    return left
