"""What a request body may be, checked before anything parses it: its size and the nesting of its JSON."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import ApiError, FieldProblem

_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


_BRACES = bytes.maketrans(b"[]", b"{}")
_REST = bytes(byte for byte in range(256) if byte not in b'[]{}"')


def json_depth(body: bytes | bytearray, limit: int) -> int:
    """Nesting of a JSON text, counted up to just above `limit`. Brackets inside strings do not count.

    A worker's report has a thousand objects, so what is common is counted without looking at each token: strings
    without brackets and escapes go, and then one level of innermost pairs after the other.
    """
    pairs = body.translate(_BRACES, _REST).replace(b'""', b"")
    if b"\\" in body or b'"' in pairs:
        return _scanned_depth(body, limit)
    depth = 0
    while pairs and depth <= limit:
        outer = pairs.replace(b"{}", b"")
        if len(outer) == len(pairs):  # unbalanced
            return _scanned_depth(body, limit)
        pairs, depth = outer, depth + 1
    return depth


def _scanned_depth(body: bytes | bytearray, limit: int) -> int:
    depth = deepest = 0
    for match in _NESTING.finditer(body):
        token = match.group()
        if token in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > limit:
                break
        elif token in (b"]", b"}"):
            depth -= 1
    return deepest


def _is_streamed(scope: Scope) -> bool:
    """Whether the endpoint takes the body as it comes, with a limit of its own: an upload is not held in memory."""
    return bool(scope["method"] == "POST" and scope["path"] == "/v1/datasets")


def _is_binary(scope: Scope) -> bool:
    """Whether the body says that it is no JSON; nothing parses it then."""
    return (b"content-type", b"application/octet-stream") in scope["headers"]


class BodyLimits:
    """ASGI middleware: 413 for a body that is too large, 400 for JSON nested too deeply.

    The body is read here, at most to its limit, and handed on whole.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, max_agent_bytes: int, max_depth: int) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.max_agent_bytes = max_agent_bytes
        self.max_depth = max_depth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH") or _is_streamed(scope):
            await self.app(scope, receive, send)
            return
        limit = self.max_agent_bytes if scope["path"].startswith("/v1/agent/") else self.max_bytes
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limit:
                await self._refuse(
                    413, "body_too_large", f"the body is larger than {limit} bytes", scope, receive, send
                )
                return
        if not _is_binary(scope) and json_depth(body, self.max_depth) > self.max_depth:
            detail = f"the body is nested deeper than {self.max_depth} levels"
            await self._refuse(400, "json_too_deep", detail, scope, receive, send)
            return
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self.app(scope, replay, send)

    async def _refuse(self, status: int, code: str, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
        error = ApiError(status, code, detail, errors=[FieldProblem(pointer="", code=code, message=detail)])
        response = error.response()
        response.headers["Connection"] = "close"  # the rest of the body is not read
        await response(scope, receive, send)
