"""Who may talk to a server that asks for no keys: programs of this machine, and no web page.

A page of any site that a user of this machine has open can send requests to a loopback address. It cannot read answers
of another origin, but its POST would do its work; and by DNS rebinding it can make its own name mean this address, so
that it has the same origin. The first shows in Sec-Fetch-Site and Origin, the second in Host. Where keys are asked for
none of this is needed: a browser never sends one by itself.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import ApiError

_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class LocalOnly:
    """ASGI middleware: 400 for another name than this machine's, 403 for a change that another site asks for."""

    def __init__(self, app: ASGIApp, *, host: str, origins: list[str]) -> None:
        """Guard `app`, which listens on `host`; pages of `origins` may do what programs may."""
        self.app = app
        self._names = _NAMES | {host}
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or (error := self._refusal(scope["method"], Headers(scope=scope))) is None:
            await self.app(scope, receive, send)
            return
        await error.response()(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> ApiError | None:
        host = headers.get("host", "")
        if _name(f"//{host}") not in self._names:
            return ApiError(
                400, "host_not_allowed", "this server asks for no keys, so it answers to names of this machine alone"
            )
        origin = headers.get("origin")
        if method in _SAFE_METHODS or origin in self._origins:
            return None
        site = headers.get("sec-fetch-site")
        same = site in ("same-origin", "none") if site else origin is None or urlsplit(origin).netloc == host
        if same:
            return None
        return ApiError(
            403,
            "cross_site",
            "this server asks for no keys, so it takes no changes from other sites' pages (see CPT_CORS_ORIGINS)",
        )


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
