"""The dashboard's pages and files: one document for every page, whose scripts draw what its address asks for."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response

from api.problems import ApiError

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The Content-Security-Policy of the pages: nothing but our own files, nothing inline. `data:` and `blob:` pictures are
what charts are exported through."""

PAGES = ("/", "/new", "/compare", "/sweeps", "/sweeps/{sweep_id}", "/workers", "/jobs/{job_id}")
PLOTLY = "plotly.min.js"
COMPRESSED_FROM = 1024
"""Bytes from which a file is worth compressing."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    content: bytes
    compressed: bytes | None
    media_type: str
    etag: str


def asset(name: str) -> Asset | None:
    """A file of the dashboard, or Plotly's own script out of its package; null if there is none of this name."""
    return _read(name) if _source(name).is_file() else None


def _source(name: str) -> Traversable:
    if name == PLOTLY:
        return files("plotly").joinpath("package_data", PLOTLY)
    folder = files("api.dashboard").joinpath("static")
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\\" in part or "\x00" in part for part in parts):
        return folder  # which is no file
    return folder.joinpath(*parts)


@cache  # of files that there are: names that anybody may ask for are not kept
def _read(name: str) -> Asset:
    content = _source(name).read_bytes()
    return Asset(
        content,
        gzip.compress(content, 6) if len(content) >= COMPRESSED_FROM else None,
        "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "application/octet-stream",
        f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    )


def _send(request: Request, found: Asset) -> Response:
    """The file, or 304 to a browser that has it. It asks each time, so that an upgrade is seen at once."""
    headers = {"ETag": found.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if found.etag in request.headers.get("if-none-match", "").replace("W/", "").split(", "):
        return Response(status_code=304, headers=headers)
    content = found.content
    if found.compressed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content = found.compressed
        headers["Content-Encoding"] = "gzip"
    media_type = found.media_type
    if media_type.startswith("text/"):
        media_type += "; charset=utf-8"
    return Response(content, headers=headers, media_type=media_type)


def _document() -> Asset:
    found = asset("index.html")
    if found is None:
        raise RuntimeError("this installation lacks the dashboard's files: install it again with pip")
    return found


def show_page(request: Request) -> Response:
    """The document of every page."""
    answer = _send(request, _document())
    answer.headers["Content-Security-Policy"] = POLICY
    return answer


for _path in PAGES:
    router.add_api_route(_path, show_page, methods=["GET"], name="show_page")


@router.get("/dashboard/{name:path}")
def dashboard_file(name: str, request: Request) -> Response:
    """A file of the dashboard."""
    found = asset(name)
    if found is None:
        raise ApiError(404, "not_found", "the dashboard has no such file")
    return _send(request, found)
