"""What every answer carries: the id of its request and the headers that tell browsers to keep out of it."""

from __future__ import annotations

import logging
import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import internal

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Unless the endpoint has set its own."""

_DOCS = frozenset({"/docs", "/redoc"})
_DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    "font-src https://fonts.gstatic.com; img-src 'self' data: https://fastapi.tiangolo.com https://cdn.redoc.ly; "
    "worker-src blob:; frame-ancestors 'none'"
)
"""The reference pages of FastAPI load their scripts from a public place."""


class Answers:
    """ASGI middleware, the outermost: request ids, headers, and the answer to a defect of ours.

    The id is the client's X-Request-Id if that is harmless, else a new one; `request.state.request_id` has it.
    `request.state.headers` may hold more headers, which an error's answer then carries too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else f"req_{secrets.token_hex(12)}"
        state = scope.setdefault("state", {})
        state["request_id"], state["headers"] = request_id, {}
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"] in _DOCS:
                    headers["Content-Security-Policy"] = _DOCS_POLICY
                headers["X-Request-Id"] = request_id
                headers.update(state["headers"])
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            logger.exception("request %s (%s %s) met a defect", request_id, scope["method"], scope["path"])
            if begun:
                raise
            await internal().response()(scope, receive, send_with_headers)
