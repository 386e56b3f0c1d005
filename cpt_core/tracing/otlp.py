"""The part of `cpt_core.tracing` that loads OpenTelemetry. Loaded only where traces are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cpt_core import __version__
from cpt_core.tracing import HEADER, Attribute

STOP_SECONDS = 2.0
"""For what is left when a process ends; a collector that is away is tried for longer otherwise."""

_W3C = TraceContextTextMapPropagator()


class Otlp:
    """Sends the spans of this process in the background, also those of libraries that use OpenTelemetry.

    Where, with which headers, how many and how often: by the variables of OpenTelemetry.
    """

    def __init__(self, service: str) -> None:
        named = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: __version__})
        resource = named.merge(OTELResourceDetector().detect())  # what the environment says goes first
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("cpt-service", __version__)
        trace.set_tracer_provider(self._provider)

    def stop(self) -> None:
        """Send what is left, within `STOP_SECONDS`."""
        sending = Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(STOP_SECONDS)

    @contextmanager
    def span(
        self, name: str, *, kind: str, parent: str | None, since: int | None, attributes: Mapping[str, Attribute]
    ) -> Iterator[None]:
        """See `cpt_core.tracing.span`."""
        around = trace.get_current_span().get_span_context()
        context = get_current() if parent is None else _W3C.extract({HEADER: parent}, Context())
        if not trace.get_current_span(context).get_span_context().is_valid:
            yield
            return
        with self._tracer.start_as_current_span(
            name,
            context=context,
            kind=SpanKind[kind.upper()],
            start_time=since,
            attributes=_named(attributes),
            links=[Link(around)] if parent is not None and around.is_valid else [],
            record_exception=False,  # messages and stacks belong into logs
            set_status_on_exception=False,
        ):
            yield

    @contextmanager
    def leaf(self, name: str, attributes: Mapping[str, Attribute]) -> Iterator[None]:
        """See `cpt_core.tracing.leaf`."""
        if not trace.get_current_span().get_span_context().is_valid:
            yield
            return
        span = self._tracer.start_span(name, attributes=_named(attributes))
        try:
            yield
        finally:
            span.end()

    def note(self, error: str | None, attributes: Mapping[str, Attribute]) -> None:
        """See `cpt_core.tracing.note`."""
        around = trace.get_current_span()
        around.set_attributes(_named(attributes))
        if error is not None:
            around.set_status(StatusCode.ERROR, error)

    def traceparent(self) -> str | None:
        """See `cpt_core.tracing.traceparent`."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get(HEADER)


def _named(attributes: Mapping[str, Attribute]) -> dict[str, str | int | float | bool]:
    return {f"cpt.{name}": value for name, value in attributes.items() if value is not None}
