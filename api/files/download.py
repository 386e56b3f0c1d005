"""Sends a file of the storage: with ETag and ranges from here, or as a redirect to the store's own signed URL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from api.problems import MEDIA_TYPE, ApiError, FieldProblem, Problem
from cpt_core.storage import FileMissingError, Storage, StorageError
from cpt_core.storage.base import chunks

SIGNED_SECONDS = 15 * 60
"""How long a signed URL serves."""

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)

BINARY = "application/octet-stream"

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            "ETag": {"description": "SHA-256 of the file, quoted.", "schema": {"type": "string"}},
            "Accept-Ranges": {"description": "`bytes`.", "schema": {"type": "string"}},
        },
    },
    206: {"description": "The part of the file that `Range` asked for.", "content": {BINARY: {}}},
    304: {"description": "`If-None-Match` has the file's ETag."},
    307: {"description": "The file is at the URL in `Location`, signed by the object store, for a quarter of an hour."},
    416: {"model": Problem, "description": "No such range.", "content": {MEDIA_TYPE: {}}},
}
"""What an endpoint that sends a file may answer, beside its errors."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that a row refers to."""

    path: str
    """Relative to the storage root; never a client's word."""
    sha256: str
    """Digest, the ETag."""
    size: int
    """Bytes."""
    filename: str
    """What to call it where it is saved."""
    media_type: str = BINARY
    """Its kind."""


def send(request: Request, storage: Storage, file: StoredFile, mode: Literal["redirect", "proxy"]) -> Response:
    """The answer to a GET or HEAD for a file.

    Raises:
        ApiError: the range is not in the file, or the storage does not have it or does not answer.
    """
    etag = f'"{file.sha256}"'
    common = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if _names(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=common)
    try:
        signed = storage.sign(file.path, seconds=SIGNED_SECONDS, filename=file.filename) if mode == "redirect" else None
        if signed is not None:
            return RedirectResponse(signed, 307, {"Cache-Control": "no-store", "ETag": etag})
        if (size := storage.size(file.path)) != file.size:
            raise StorageError(f"{file.path} has {size} bytes instead of {file.size}")
    except StorageError as error:
        raise refused(error) from error
    start, stop = _range(request, etag, file.size)
    headers = common | {
        "Accept-Ranges": "bytes",
        "Content-Length": str(stop - start),
        "Content-Disposition": f'attachment; filename="{file.filename}"',
        "X-Content-Type-Options": "nosniff",
    }
    partial = stop - start < file.size
    if partial:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    body: Iterator[bytes] = iter(()) if request.method == "HEAD" else chunks(storage, file.path, start, stop)
    return StreamingResponse(body, 206 if partial else 200, headers, media_type=file.media_type)


def refused(error: StorageError) -> ApiError:
    """The answer to a failure of the storage."""
    if isinstance(error, FileMissingError):
        detail = "the file is not in this server's storage any more, or the workers have another (CPT_STORAGE_URL)"
        return ApiError(404, "file_missing", detail)
    detail = "the storage cannot be read or written; try again, or have the operator look at the server's log"
    return ApiError(503, "storage_unavailable", detail, headers={"Retry-After": "5"})


def _names(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match names the ETag."""
    tags = [tag.strip().removeprefix("W/") for tag in (header or "").split(",")]
    return etag in tags or "*" in tags


def _range(request: Request, etag: str, size: int) -> tuple[int, int]:
    """First byte, and the byte after the last, that are asked for. Several ranges at once are answered with all."""
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if match is None or request.headers.get("if-range", etag) != etag:
        return 0, size
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):  # no range by its syntax, so it is not there
            return 0, size
    elif last:
        start, stop = max(0, size - int(last)), size
    else:
        return 0, size
    if start >= stop:
        message = f"the file has {size} bytes: ask for a range within it"
        fault = FieldProblem(parameter="Range", code="range_not_satisfiable", message=message)
        headers = {"Content-Range": f"bytes */{size}"}
        raise ApiError(416, "range_not_satisfiable", message, errors=[fault], headers=headers)
    return start, stop
