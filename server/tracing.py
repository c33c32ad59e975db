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

from domain.posting import PostOffice
from graph import execution
from graph.context import Context
from graph.documents import Documents
from server.settings import Settings

EXPORT_TIMEOUT = 5.0  # seconds
FAREWELL_TIMEOUT = 5.0  # seconds
CARRIED = (b"traceparent", b"tracestate")
FAULTS = {"INTERNAL_SERVER_ERROR", "TIMEOUT", "SERVICE_UNAVAILABLE"}


class Tracing:
    """Of the traces that begin here or elsewhere this part is kept, the same of each by its id, whatever callers wish."""

    def __init__(self, settings: Settings) -> None:
        some = TraceIdRatioBased(settings.otel_traces_sampler_arg)
        told = {"service.name": settings.otel_service_name, "service.version": version("bookstore")}
        self._provider = TracerProvider(
            sampler=ParentBased(some, remote_parent_sampled=some),
            resource=Resource.create(told),
            shutdown_on_exit=False,
        )
        address = f"{str(settings.otel_exporter_otlp_endpoint).rstrip('/')}/v1/traces"
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(address, timeout=EXPORT_TIMEOUT)))
        self._tracer = self._provider.get_tracer("bookstore")
        self._propagator = TraceContextTextMapPropagator()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """What is left at the end is sent, unless that takes too long."""
        try:
            yield
        finally:
            farewell = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
            farewell.start()
            await asyncio.to_thread(farewell.join, FAREWELL_TIMEOUT)

    def flush(self) -> None:
        """Sends what has not been sent, and waits for it."""
        self._provider.force_flush()

    @contextmanager
    def span(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, parent: Any = None, **told: str
    ) -> Iterator[trace.Span]:
        """Of what is raised the class is told and nothing else: messages have addresses and rows in them."""
        with self._tracer.start_as_current_span(
            name, parent, kind, told, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def ids(self) -> dict[str, str]:
        """Of the span that is under way, for the log."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}

    # ── HTTP ──────────────────────────────────────────────────────────────────────────────

    def around(self, app: ASGIApp) -> ASGIApp:
        """The span of a request, below that of whoever asks, if they tell of one."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            carried = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in CARRIED}
            told = {"http.request.method": scope["method"], "url.path": scope["path"]}
            with self.span(scope["method"], SpanKind.SERVER, self._propagator.extract(carried), **told) as span:

                async def noted(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                        if message["status"] >= 500:
                            span.set_status(Status(StatusCode.ERROR))
                    await send(message)

                await app(scope, receive, noted)

        return traced

    # ── GraphQL ───────────────────────────────────────────────────────────────────────────

    async def answer(self, documents: Documents, context: Context, request: execution.Request) -> execution.Answer:
        """The span of an operation: from the text to the answer, without what was asked with it."""
        if not _is_traced():
            return await execution.answer(documents, context, request)
        with self.span("GraphQL") as span:
            answer = await execution.answer(documents, context, request)
            if answer.root:
                span.update_name(f"GraphQL {answer.root}")
            if answer.operation:
                span.set_attribute("graphql.operation.name", answer.operation)
            if answer.errors:
                codes = sorted(answer.codes)
                span.set_attribute("graphql.codes", codes)
                if not FAULTS.isdisjoint(codes):
                    span.set_status(Status(StatusCode.ERROR))
            return answer

    async def waiting(self, name: str, job: Coroutine[Any, Any, None]) -> None:
        """The span of a field that is waited for, with all that is below it."""
        if not _is_traced():
            await job
            return
        with self.span(name):
            await job

    # ── Elsewhere ─────────────────────────────────────────────────────────────────────────

    def statement(self, logged: LoggedQuery) -> None:
        """The span of a statement of a request that is traced: its text, which has no values."""
        if not _is_traced():  # not whether the span records: it may be over by now
            return
        now = time.time_ns()
        told = {"db.system.name": "postgresql", "db.query.text": logged.query}
        name = logged.query.split(None, 1)[0] if logged.query.strip() else "SQL"
        begun = now - int(logged.elapsed * 1e9)
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=told, start_time=begun)
        if logged.exception is not None:
            span.set_status(Status(StatusCode.ERROR, type(logged.exception).__name__))
        span.end(now)

    def post_office(self, office: PostOffice) -> PostOffice:
        return _Traced(office, self)


def _is_traced() -> bool:
    """Whether the request under way is among those that are kept."""
    return trace.get_current_span().get_span_context().trace_flags.sampled


class _Traced:
    """A post office whose letters have a span each, which does not tell for whom they are."""

    def __init__(self, office: PostOffice, tracing: Tracing) -> None:
        self._office, self._tracing = office, tracing

    def __str__(self) -> str:
        return str(self._office)

    async def send(self, message: EmailMessage) -> None:
        told = {"server": str(self._office), "letter": str(message["Message-ID"])}
        with self._tracing.span("send letter", SpanKind.CLIENT, **told):
            await self._office.send(message)
