"""A request's body on its way to a file that has no name, so that nothing of it stays behind whatever happens."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from anyio import to_thread
from fastapi import Request
from starlette.requests import ClientDisconnect

from api.problems import ApiError, FieldProblem

ARCHIVES = {
    "application/zip": "zip",
    "application/x-tar": "tar",
    "application/gzip": "gzipped tar",
    "application/x-gzip": "gzipped tar",
    "application/octet-stream": "any of them",
}
"""Media types of the archives that are taken."""

_PIECE = 1024 * 1024


def check_headers(request: Request, max_bytes: int) -> None:
    """What can be refused before a byte is read.

    Raises:
        ApiError: the body is said to be no archive, or to be too large.
    """
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if kind not in ARCHIVES:
        message = f"send the archive itself, as one of {', '.join(ARCHIVES)}"
        fault = FieldProblem(parameter="Content-Type", code="unsupported_media_type", message=message)
        raise ApiError(415, "unsupported_media_type", message, errors=[fault])
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise _too_large(max_bytes)


async def receive(request: Request, sink: BinaryIO, max_bytes: int) -> tuple[str, int]:
    """Write the body to `sink`. Returns its SHA-256 and its size.

    Raises:
        ApiError: it is too large, or the client is gone before its end.
    """
    digest, size, held = hashlib.sha256(), 0, bytearray()

    def flush() -> None:
        digest.update(held)
        sink.write(held)
        held.clear()

    try:
        async for piece in request.stream():
            size += len(piece)
            if size > max_bytes:
                raise _too_large(max_bytes)
            held += piece
            if len(held) >= _PIECE:
                await to_thread.run_sync(flush)
    except ClientDisconnect as error:
        raise ApiError(400, "upload_interrupted", "the upload ended before its end: send it again") from error
    await to_thread.run_sync(flush)
    return digest.hexdigest(), size


def _too_large(max_bytes: int) -> ApiError:
    message = f"the archive is larger than {max_bytes} bytes: put such data below the server's data root"
    fault = FieldProblem(pointer="", code="body_too_large", message=message)
    # The rest of the body is not read, so the connection is of no more use.
    return ApiError(413, "body_too_large", message, errors=[fault], headers={"Connection": "close"})
