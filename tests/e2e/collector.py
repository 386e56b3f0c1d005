"""A collector of traces: a real HTTP server that takes OTLP as any collector does, and keeps what it gets."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.stack import until

Span = dict[str, Any]


class Collector:
    """Spans as dictionaries: service, name, kind, ids in hexadecimal, linked span ids, attributes, times, error."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces"
                collector.spans += _spans(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Be away from now on."""
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, name: str, count: int, trace: str) -> None:
        """Return once a trace has so many spans of a name."""

        def come() -> bool:
            return len(named([span for span in self.spans if span["trace"] == trace], name)) >= count

        until(come, f"{count} spans {name!r}", 30)


def named(spans: list[Span], name: str) -> list[Span]:
    """The spans of a name, in the order of their beginning."""
    return sorted((span for span in spans if span["name"] == name), key=lambda span: span["start"])


def _spans(request: ExportTraceServiceRequest) -> list[Span]:
    return [
        {
            "service": _values(resource.resource.attributes)["service.name"],
            "name": span.name,
            "kind": span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
            "trace": span.trace_id.hex(),
            "id": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "links": [link.span_id.hex() for link in span.links],
            "attributes": _values(span.attributes),
            "start": span.start_time_unix_nano,
            "end": span.end_time_unix_nano,
            "error": span.status.code == span.status.STATUS_CODE_ERROR,
        }
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}
