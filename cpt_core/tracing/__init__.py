"""Traces that follow a request through API, broker, worker and training, sent as OpenTelemetry's OTLP over HTTP.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) says where to send them; then the extra `otel` is needed.
While off nothing of OpenTelemetry is loaded here, and everything in this module does nothing.

Spans made here only go on with what a request began: there is none without a parent, so the service's own housekeeping
leaves no traces.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cpt_core.tracing.otlp import Otlp

logger = logging.getLogger(__name__)

HEADER = "traceparent"
"""In which a message carries its trace on, in the form of W3C Trace Context."""

VARIABLE = "TRACEPARENT"
"""The same in the environment of a process."""

Kind = Literal["internal", "producer", "consumer"]
Attribute = str | int | float | bool | None

_otlp: Otlp | None = None


def wanted() -> bool:
    """Whether the environment says where traces go."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() != "otlp":
        return False
    return any(os.environ.get(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT", "").strip() for kind in ("", "TRACES_"))


def start(service: str) -> None:
    """Send this process's traces from now on, if they are wanted. `service`: its name, unless OTEL_… names it."""
    global _otlp  # one for the process, as OpenTelemetry's own
    if _otlp is None and wanted() and prepare():
        from cpt_core.tracing.otlp import Otlp

        _otlp = Otlp(service)


def prepare() -> bool:
    """Load what `start` needs, for processes that fork those which call it. False: it is not installed."""
    try:
        import cpt_core.tracing.otlp  # noqa: F401
    except ImportError as error:
        logger.warning("traces are wanted, but not sent: %s; pip install 'cpt-service[otel]'", error)
        return False
    return True


def stop() -> None:
    """Send what is left. Takes two seconds at most, also where nobody answers."""
    global _otlp
    if _otlp is not None:
        _otlp.stop()
        _otlp = None


def is_on() -> bool:
    """Whether traces are sent."""
    return _otlp is not None


@contextmanager
def span(
    name: str, *, kind: Kind = "internal", parent: str | None = None, since: int | None = None, **attributes: Attribute
) -> Iterator[None]:
    """What is done inside is a span of the trace.

    Args:
        name: says what is done, the same for all that do it.
        kind: how it stands to other processes.
        parent: the span that it belongs to, as `traceparent` names it; by default the one around. Without either there
            is no span.
        since: when it began, in nanoseconds of `time.time_ns`; by default now.
        attributes: what it was done to; they get the prefix `cpt.`.
    """
    if _otlp is None:
        yield
        return
    with _otlp.span(name, kind=kind, parent=parent, since=since, attributes=attributes):
        yield


@contextmanager
def leaf(name: str, **attributes: Attribute) -> Iterator[None]:
    """The same for what nothing goes on from: `traceparent` stays the span around it."""
    if _otlp is None:
        yield
        return
    with _otlp.leaf(name, attributes):
        yield


def note(*, error: str | None = None, **attributes: Attribute) -> None:
    """Say more of the span around, or that it failed."""
    if _otlp is not None:
        _otlp.note(error, attributes)


def traceparent() -> str | None:
    """The span around, for a process that goes on with it; None: there is none."""
    return None if _otlp is None else _otlp.traceparent()


def headers() -> dict[str, str]:
    """The same as headers of a message."""
    found = traceparent()
    return {} if found is None else {HEADER: found}


def environment() -> dict[str, str]:
    """The same as environment variables."""
    found = traceparent()
    return {} if found is None else {VARIABLE: found}


def trace_id() -> str | None:
    """Id of the trace around, for a log; None: there is none."""
    found = traceparent()
    return None if found is None else found.split("-")[1]
