"""Traces, sent over OTLP: what a request did, and for how long. Loaded only where OTEL_EXPORTER_OTLP_ENDPOINT says where to."""

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
    """Of the traces that begin here or elsewhere this part is kept, the same of each by its id, whatever callers wish."""

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
        """What is left at the end is sent, unless that takes too long."""
        try:
            yield
        finally:
            shutdown = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
            shutdown.start()
            await asyncio.to_thread(shutdown.join, SHUTDOWN_TIMEOUT)

    def flush(self) -> None:
        """Sends what has not been sent, and waits for it."""
        self._provider.force_flush()

    @contextmanager
    def span(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, parent: Any = None, **attributes: str
    ) -> Iterator[trace.Span]:
        """Of what is raised the class is told and nothing else: messages have addresses and rows in them."""
        with self._tracer.start_as_current_span(
            name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def get_trace_ids(self) -> dict[str, str]:
        """Of the span that is under way, for the log."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}

    # ── HTTP ──────────────────────────────────────────────────────────────────────────────

    def wrap_app(self, app: ASGIApp) -> ASGIApp:
        """The span of a request, below that of whoever asks, if they tell of one."""

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
        """The span of an operation: from the text to the answer, without what was asked with it."""
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
        """The span of a field that is waited for, with all that is below it."""
        if not _is_sampled():
            await job
            return
        with self.span(name):
            await job

    # ── Elsewhere ─────────────────────────────────────────────────────────────────────────

    def record_statement(self, query: LoggedQuery) -> None:
        """The span of a statement of a request that is traced: its text, which has no values."""
        if not _is_sampled():  # not whether the span records: it may be over by now
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
        return _TracedBackend(backend, self)


def _is_sampled() -> bool:
    """Whether the request under way is among those that are kept."""
    return trace.get_current_span().get_span_context().trace_flags.sampled


class _TracedBackend:
    """A post office whose letters have a span each, which does not tell for whom they are."""

    def __init__(self, backend: EmailBackend, tracing: Tracing) -> None:
        self._backend, self._tracing = backend, tracing

    def __str__(self) -> str:
        return str(self._backend)

    async def send(self, message: EmailMessage) -> None:
        attributes = {"server": str(self._backend), "letter": str(message["Message-ID"])}
        with self._tracing.span("send letter", SpanKind.CLIENT, **attributes):
            await self._backend.send(message)
