"""The API's part in the traces of OpenTelemetry: which requests have spans, and how a claim goes on with a job's trace.

FastAPI makes the spans of requests itself. Off by default, see `cpt_core.tracing`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig

from api.db import Database
from api.telemetry import repository
from cpt_core import tracing
from cpt_core.protocol import Assignment, ClaimRequest

_CLAIM = "/v1/agent/claim"
_UNTRACED = ("/v1/agent/", "/healthz", "/readyz", "/metrics")
"""What comes by itself, all the time."""

TRACE_HEADER: dict[str, Any] = {
    tracing.HEADER: {
        "description": "The trace that the attempt goes on with (W3C Trace Context), if the submission left one.",
        "schema": {"type": "string"},
    }
}
"""Of the answer to a claim. Not a field of the assignment: workers of the version before refuse those they know not."""


def _is_untraced(scope: MutableMapping[str, Any]) -> bool:
    path: str = scope.get("path", "")
    if path == _CLAIM:  # a worker that was rung for
        return not any(name == tracing.HEADER.encode() for name, _ in scope["headers"])
    return path.startswith(_UNTRACED)


TELEMETRY = TelemetryConfig(
    metrics=False,  # /metrics has them
    logs=False,
    operation_spans=False,
    auto_configure=False,
    exclude=_is_untraced,
)
"""One span a request, where `cpt_core.tracing` is on."""


def claimed(database: Database, request: ClaimRequest, assignment: Assignment, asked: int) -> dict[str, str]:
    """Headers by which the attempt goes on with the trace of its job's submission; none if that left none.

    The claim is a span of that trace. It is linked with the request for it, which belongs to whatever doorbell was
    heard. `asked`: when it came, in nanoseconds.
    """
    if not tracing.is_on():
        return {}
    with database.read() as session:
        origin = repository.trace_of(session, assignment.job_id)
    if origin is None:
        return {}
    with tracing.span(
        "claim",
        parent=origin,
        since=asked,
        job=assignment.job_id,
        attempt=assignment.attempt,
        worker=request.worker,
        queue=request.queue,
    ):
        return tracing.headers()
