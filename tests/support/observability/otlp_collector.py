"""An OTLP collector for tests and benchmarks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it was exported; ids are hexadecimal."""

    name: str
    id: str
    parent_id: str
    trace_id: str
    attributes: dict[str, Any]
    is_error: bool


@dataclass(slots=True)
class OtlpCollector:
    """The collector's URL and the spans that it has received; it stores spans only while it is recording."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    is_recording: bool = True

    def receive(self, body: bytes) -> None:
        """Record the spans of an export request."""
        if not self.is_recording:
            return
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(map(_parse_span, scope.spans))

    def find_spans(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def find_children(self, parent: Span) -> list[Span]:
        return [span for span in self.spans if span.parent_id == parent.id]


@contextmanager
def run_otlp_collector(*, is_recording: bool = True) -> Iterator[OtlpCollector]:
    """Run a collector in a thread until the block ends."""
    collector = OtlpCollector(is_recording=is_recording)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                collector.receive(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()


def _parse_span(span: Any) -> Span:
    attributes = {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}
    ids = (span.span_id.hex(), span.parent_span_id.hex(), span.trace_id.hex())
    return Span(span.name, *ids, attributes, is_error=span.status.code == span.status.STATUS_CODE_ERROR)
