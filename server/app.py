"""Assemble the ASGI application: the GraphQL endpoint, GraphiQL, OAuth, /health and /ready."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from domain.auth.login_throttle import Throttles
from domain.auth.passwords import Passwords
from domain.auth.secret_key_check import SecretKeyCheck
from domain.auth.tokens import Tokens, derive_key
from domain.payments import MockPaymentProvider, PaymentProvider
from domain.query_budget import RateLimiter
from domain.shop import Shop
from domain.sweeper import run_sweeper
from graph.execution import execute as execution
from persistence.limits.leased_rate_limits import LeasedStore
from persistence.limits.rate_limits import MemoryStore, PostgresStore, RateLimitStore
from persistence.postgres.database import Database
from persistence.postgres.errors import Unavailable
from persistence.postgres.read_session import STATEMENT_ERRORS
from server import oauth as providers
from server.http import graphiql
from server.http.cache import VARY, HttpCache
from server.http.endpoint import ENDPOINT, GraphQLEndpoint
from server.http.health import Readiness, health
from server.http.middleware import RequestMiddleware, internal_error
from server.http.trusted_documents import build_documents
from server.oauth.routes import OAuth
from server.observability.logs import configure_logs, create_request_logger
from server.observability.setup import create_metrics, create_tracing, expose_metrics
from server.settings import Settings

if TYPE_CHECKING:
    from server.observability.tracing import Tracing

log = structlog.get_logger()


def create_app(settings: Settings | None = None, payments: PaymentProvider | None = None) -> Starlette:
    """Return the application for the settings; `payments` replaces the mock payment provider."""
    settings = settings or Settings()
    tracing = create_tracing(settings)
    configure_logs(
        settings.log_level, as_json=settings.uses_json_logs, get_trace_ids=tracing.get_trace_ids if tracing else None
    )
    shop = build_shop(settings, payments, tracing)
    prefix = urlsplit(shop.policy.public_url).path  # of a proxy, before our own paths
    cookie_path = prefix + ENDPOINT if settings.uses_refresh_cookie else None
    oauth = OAuth(shop, providers.build_providers(settings, shop.policy), cookie_path)
    readiness = Readiness(shop, settings.drain_seconds)
    http_cache = HttpCache(settings.cache_seconds, f"{VARY}, origin" if settings.cors_origins else VARY)
    documents = build_documents(settings, tracing.trace_field if tracing else None)
    metrics = create_metrics(settings, shop, documents, ENDPOINT)
    execute = tracing.execute if tracing else execution.execute_request
    endpoint = GraphQLEndpoint(shop, documents, settings.serves_graphiql, cookie_path, http_cache, execute)
    routes: list[BaseRoute] = [
        Route(ENDPOINT, endpoint, methods=ALL_METHODS),
        Route("/", _redirect_to_endpoint),
        Route("/health", health, methods=["GET", "HEAD"]),
        Route("/ready", readiness.__call__, methods=["GET", "HEAD"]),
        oauth.build_mount([derive_key(it, "sign-in-cookie") for it in settings.secret_key], f"{prefix}/auth"),
    ]
    if settings.serves_graphiql:
        routes.append(Mount("/graphiql", StaticFiles(directory=graphiql.STATIC)))
    middleware = [
        *([Middleware(tracing.wrap_app)] if tracing else []),
        *_proxy_headers(settings.trusted_proxies),
        Middleware(
            RequestMiddleware,
            https=shop.policy.public_url.startswith("https://"),
            log_request=create_request_logger(
                settings.log_level,
                as_json=settings.uses_json_logs,
                get_trace_ids=tracing.get_trace_ids if tracing else None,
            ),
            observe=metrics.observe if metrics else None,
        ),
        *_cors(settings.cors_origins),
        Middleware(EndpointShortcut, path=ENDPOINT, endpoint=endpoint),
    ]
    app = Starlette(routes=routes, exception_handlers={Exception: internal_error}, lifespan=_lifespan)
    # Replaces the stack that Starlette builds at the first request, so that `EndpointShortcut` bypasses its error handlers.
    app.middleware_stack = _wrap_middleware(middleware, app.build_middleware_stack())
    app.state.shop = shop
    app.state.readiness = readiness
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.tracing = tracing
    return app


def _wrap_middleware(middleware: list[Middleware], app: ASGIApp) -> ASGIApp:
    for cls, args, kwargs in reversed(middleware):
        app = cls(app, *args, **kwargs)
    return app


class EndpointShortcut:
    """Sends the requests for one path to its application directly, without trying each route."""

    def __init__(self, app: ASGIApp, *, path: str, endpoint: ASGIApp) -> None:
        self._app, self._path, self._endpoint = app, path, endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        is_match = scope["type"] == "http" and scope["path"] == self._path and not scope.get("root_path")
        await (self._endpoint if is_match else self._app)(scope, receive, send)


def _proxy_headers(proxies: list[str]) -> list[Middleware]:
    return [Middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)] if proxies else []


def _cors(origins: list[str]) -> list[Middleware]:
    """Let scripts of these origins send requests and read responses."""
    if not origins:
        return []
    middleware = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
        allow_credentials=True,  # the refresh token's cookie
        expose_headers=["retry-after", "x-request-id"],
        max_age=600,
    )
    return [middleware]


ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def build_shop(settings: Settings, payments: PaymentProvider | None = None, tracing: "Tracing | None" = None) -> Shop:
    """Return the shop for the settings; its database is not connected yet.

    Raises:
        RuntimeError: DATABASE_URL or SECRET_KEY is missing, which `bookstore serve` creates in development.
    """
    if settings.database_url is None:
        raise RuntimeError("DATABASE_URL is not set: start the server with `bookstore serve`, which embeds a database.")
    if not settings.secret_key:
        raise RuntimeError(
            "SECRET_KEY is not set: start the server with `bookstore serve`, which creates one in development."
        )
    database = Database(
        settings.database_url,
        settings.pool,
        read_url=settings.database_read_url,
        direct_url=settings.database_direct_url,
        use_prepared_statements=settings.prepared_statements,
        query_logger=tracing.record_statement if tracing else None,
    )
    tokens = Tokens(settings.secret_key, settings.issuer)
    return Shop(
        database=database,
        payments=payments or MockPaymentProvider(database),
        passwords=Passwords(),
        tokens=tokens,
        throttles=Throttles(database, derive_key(settings.secret_key[0], "throttles")),
        rate_limiter=RateLimiter(
            _create_rate_limit_store(settings.rate_limit_storage or "memory", database),
            settings.rate_limit,
            derive_key(settings.secret_key[0], "rate-limits"),
        ),
        secret_key_check=SecretKeyCheck(tokens.key_ids),
        policy=settings.policy,
        checkout_slots=asyncio.Semaphore(max(1, settings.pool.max_size // 2)),
    )


def _create_rate_limit_store(storage: str, database: Database) -> RateLimitStore:
    return MemoryStore() if storage == "memory" else LeasedStore(PostgresStore(database))


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    shop: Shop = app.state.shop
    settings: Settings = app.state.settings
    readiness: Readiness = app.state.readiness
    tracing: Tracing | None = app.state.tracing
    worker = email_worker(shop, settings, tracing) if settings.worker else contextlib.nullcontext()
    exporter = tracing.run_exporter() if tracing else contextlib.nullcontext()
    with readiness.handle_signals():
        async with exporter, shop.database, expose_metrics(settings, app.state.metrics), worker:
            with contextlib.suppress(Unavailable, *STATEMENT_ERRORS):  # /ready reports it
                await shop.secret_key_check.check_if_due(shop.database)
            sweeper = asyncio.create_task(run_sweeper(shop, settings.sweep_every_seconds))
            try:
                yield
            finally:
                if shop.pending_payments:
                    await asyncio.wait(shop.pending_payments, timeout=max(0, readiness.seconds_left()))
                sweeper.cancel()
                await asyncio.gather(sweeper, return_exceptions=True)
                shop.passwords.close()
                await shop.rate_limiter.store.close()


@contextlib.asynccontextmanager
async def email_worker(shop: Shop, settings: Settings, tracing: "Tracing | None" = None) -> AsyncIterator[None]:
    """Run an email worker. At the end, emails in delivery are finished or released."""
    from server.mail.mailer import build_mailer  # slow to load, and few commands need it
    from server.mail.worker import EmailWorker

    worker = EmailWorker(shop, build_mailer(settings, tracing.wrap_backend if tracing else None))
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await asyncio.gather(task, return_exceptions=True)


async def _redirect_to_endpoint(_: Request) -> Response:
    return RedirectResponse(ENDPOINT)
