"""Trace requests, operations, fields, SQL statements and emails, and send the spans over OTLP."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from email.message import EmailMessage
from importlib.metadata import version
from typing import Any

from asyncpg.connection import LoggedQuery
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.email.delivery import EmailBackend
from graph.context import Context
from graph.execution import execute as execution
from graph.execution.documents import Documents
from server.settings import Settings

EXPORT_TIMEOUT = 5.0  # seconds
SHUTDOWN_TIMEOUT = 5.0  # seconds
PROPAGATED_HEADERS = (b"traceparent", b"tracestate")
SERVER_ERROR_CODES = {"INTERNAL_SERVER_ERROR", "TIMEOUT", "SERVICE_UNAVAILABLE"}


class Tracing:
    """Creates and exports spans. The configured fraction of traces is sampled by trace id, whatever callers request."""

    def __init__(self, settings: Settings) -> None:
        sampler = TraceIdRatioBased(settings.otel_traces_sampler_arg)
        resource_attributes = {"service.name": settings.otel_service_name, "service.version": version("bookstore")}
        self._provider = TracerProvider(
            sampler=ParentBased(sampler, remote_parent_sampled=sampler),
            resource=Resource.create(resource_attributes),
            shutdown_on_exit=False,
        )
        url = f"{str(settings.otel_exporter_otlp_endpoint).rstrip('/')}/v1/traces"
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url, timeout=EXPORT_TIMEOUT)))
        self._tracer = self._provider.get_tracer("bookstore")
        self._propagator = TraceContextTextMapPropagator()

    @asynccontextmanager
    async def run_exporter(self) -> AsyncIterator[None]:
        """Export spans during the block; at its end send the rest, for at most `SHUTDOWN_TIMEOUT` seconds."""
        try:
            yield
        finally:
            shutdown = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
            shutdown.start()
            await asyncio.to_thread(shutdown.join, SHUTDOWN_TIMEOUT)

    def flush(self) -> None:
        """Send all finished spans, and wait for that."""
        self._provider.force_flush()

    @contextmanager
    def span(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, parent: Any = None, **attributes: str
    ) -> Iterator[trace.Span]:
        """Record the block as a span. Of an exception only the class is recorded: its message can have personal data."""
        with self._tracer.start_as_current_span(
            name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def get_trace_ids(self) -> dict[str, str]:
        """Return the ids of the current span, for the log."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}

    # ── HTTP ──────────────────────────────────────────────────────────────────────────────

    def wrap_app(self, app: ASGIApp) -> ASGIApp:
        """Record each request as a span, below the caller's span if the request names one."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            carrier = {
                name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in PROPAGATED_HEADERS
            }
            attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
            with self.span(scope["method"], SpanKind.SERVER, self._propagator.extract(carrier), **attributes) as span:

                async def send_recording_status(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                        if message["status"] >= 500:
                            span.set_status(Status(StatusCode.ERROR))
                    await send(message)

                await app(scope, receive, send_recording_status)

        return traced

    # ── GraphQL ───────────────────────────────────────────────────────────────────────────

    async def execute(
        self, documents: Documents, context: Context, request: execution.GraphQLRequest
    ) -> execution.GraphQLResponse:
        """Record an operation as a span, without its document and variables."""
        if not _is_sampled():
            return await execution.execute_request(documents, context, request)
        with self.span("GraphQL") as span:
            result = await execution.execute_request(documents, context, request)
            if result.root_field:
                span.update_name(f"GraphQL {result.root_field}")
            if result.operation_name:
                span.set_attribute("graphql.operation.name", result.operation_name)
            if result.errors:
                codes = sorted(result.error_codes)
                span.set_attribute("graphql.codes", codes)
                if not SERVER_ERROR_CODES.isdisjoint(codes):
                    span.set_status(Status(StatusCode.ERROR))
            return result

    async def trace_field(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        """Record an asynchronous field as a span, with its selection."""
        if not _is_sampled():
            await job
            return
        with self.span(name):
            await job

    # ── SQL and email ─────────────────────────────────────────────────────────────────────

    def record_statement(self, query: LoggedQuery) -> None:
        """Record a statement of a sampled request as a span: its text, without parameters."""
        if not _is_sampled():  # unlike `is_recording`, also true after the span has ended
            return
        now = time.time_ns()
        attributes = {"db.system.name": "postgresql", "db.query.text": query.query}
        name = query.query.split(None, 1)[0] if query.query.strip() else "SQL"
        started_at = now - int(query.elapsed * 1e9)
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes, start_time=started_at)
        if query.exception is not None:
            span.set_status(Status(StatusCode.ERROR, type(query.exception).__name__))
        span.end(now)

    def wrap_backend(self, backend: EmailBackend) -> EmailBackend:
        """Return a backend that records each email as a span, without its recipient."""
        return _TracedBackend(backend, self)


def _is_sampled() -> bool:
    """Return whether the current request is sampled."""
    return trace.get_current_span().get_span_context().trace_flags.sampled


class _TracedBackend:
    """Records a span around each email."""

    def __init__(self, backend: EmailBackend, tracing: Tracing) -> None:
        self._backend, self._tracing = backend, tracing

    def __str__(self) -> str:
        return str(self._backend)

    async def send(self, message: EmailMessage) -> None:
        attributes = {"server": str(self._backend), "message_id": str(message["Message-ID"])}
        with self._tracing.span("send email", SpanKind.CLIENT, **attributes):
            await self._backend.send(message)
