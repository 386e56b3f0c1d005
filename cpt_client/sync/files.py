# Made from cpt_client/aio/files.py by tools/sync_client.py: change it there, then `make generated`.
"""Files over HTTP: downloads that go on after a lost connection and are verified, and logs that are followed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from cpt_client.errors import UNREACHABLE, CptError, from_response
from cpt_client.models import LogLine, parse
from cpt_client.retry import delays, may_pass
from cpt_client.sync.waiting import run, sleep

SILENCE = 60.0
"""Seconds without a byte after which a connection counts as lost."""

PIECE = 1024 * 1024
"""Bytes that are read of a file at once."""


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """The content of a file, to be sent."""
    while piece := run(file.read, PIECE):
        yield piece


def download(http: httpx.Client, path: str, target: Path, *, tries: int) -> str:
    """Write what is at `path` to the file `target`, and return its SHA-256. It appears there complete or not at all.

    Raises:
        CptError: the server refuses, or is away for too long, or the content is not what it should be.
        OSError: the file cannot be written.
    """
    partial = target.with_name(target.name + ".partial")
    waits, etag, failure = delays(0.2, 5.0), "", CptError(UNREACHABLE, "nothing was tried")
    try:
        partial.unlink(missing_ok=True)
        for _ in range(tries):
            try:
                etag = _continue(http, path, partial, etag)
            except (httpx.TransportError, CptError) as error:
                failure = may_pass(http, error)
            else:
                return run(_verified, partial, target, etag)
            sleep(next(waits))
    finally:
        partial.unlink(missing_ok=True)
    raise failure


def _continue(http: httpx.Client, path: str, partial: Path, etag: str) -> str:
    """Fetch what `partial` does not have yet. Returns the ETag."""
    begun = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={begun}-"} if begun else {}
    with http.stream("GET", path, headers=headers, follow_redirects=True, timeout=SILENCE) as response:
        first = response.history[0] if response.history else response
        etag = first.headers.get("etag", etag)
        if response.status_code == 416:  # all of it is here
            return etag
        if response.status_code >= 400:
            response.read()
            raise from_response(response)
        with partial.open("ab" if response.status_code == 206 else "wb") as file:
            for piece in response.iter_bytes():
                run(file.write, piece)
    return etag


def _verified(partial: Path, target: Path, etag: str) -> str:
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    expected = etag.strip('"')
    if len(expected) == 64 and digest != expected:
        raise CptError("download_damaged", f"{target.name} was damaged on its way, or in the storage: try again")
    partial.replace(target)
    return digest


def follow(http: httpx.Client, path: str, params: dict[str, Any], *, patience: float) -> Iterator[LogLine]:
    """The lines of a log as they come, until it ends; a lost connection is taken up again where it was."""
    waits, lost_since = delays(0.2, 5.0), time.monotonic()
    while True:
        try:
            for line in _lines(http, path, params):
                waits, lost_since = delays(0.2, 5.0), time.monotonic()
                yield line
                params = {name: params[name] for name in ("rank", "follow")}
                params |= {"attempt": line.attempt, "offset": line.next_offset}
        except (httpx.TransportError, CptError) as error:
            failure = may_pass(http, error)
        else:
            return
        if time.monotonic() - lost_since > patience:
            raise failure
        sleep(next(waits))


def _lines(http: httpx.Client, path: str, params: dict[str, Any]) -> Iterator[LogLine]:
    headers = {"Accept": "application/x-ndjson"}
    with http.stream(
        "GET", path, params=params, headers=headers, timeout=httpx.Timeout(SILENCE, connect=5)
    ) as response:
        if response.status_code >= 400:
            response.read()
            raise from_response(response)
        for line in response.iter_lines():
            if line:  # empty ones keep the connection alive
                yield parse(LogLine, line.encode())
