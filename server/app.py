"""The ASGI application: the endpoint, the playground's files, /health and /ready."""

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

from domain.passwords import Passwords
from domain.payments import MockPayments, Payments
from domain.rate_limiting import RateLimiter
from domain.secret_keys import SecretKeys
from domain.shop import Shop
from domain.sweeping import sweep_for_ever
from domain.throttling import Throttles
from domain.tokens import Tokens, derived_key
from graph import execution
from persistence.database import Database
from persistence.faults import Unavailable
from persistence.leased_rate_limits import Leased
from persistence.rate_limits import InMemory, InPostgreSQL, RateLimits
from persistence.reading import STATEMENT_ERRORS
from server import graphiql, providers
from server.caching import VARY, Caching
from server.envelope import Envelope, fault
from server.health import Readiness, health
from server.http import ENDPOINT, GraphQLEndpoint
from server.logs import configure_logs, request_line
from server.oauth import OAuth
from server.settings import Settings
from server.trusted import documents_of
from server.watching import metrics_of, telling, tracing_of

if TYPE_CHECKING:
    from server.tracing import Tracing

log = structlog.get_logger()


def create_app(settings: Settings | None = None, payments: Payments | None = None) -> Starlette:
    """The shop as settings have it; `payments` takes the place of the mock provider."""
    settings = settings or Settings()
    tracing = tracing_of(settings)
    configure_logs(settings.log_level, as_json=settings.json_logs, ids=tracing.ids if tracing else None)
    shop = open_shop(settings, payments, tracing)
    prefix = urlsplit(shop.policy.public_url).path  # what a proxy has put before our addresses
    cookie_path = prefix + ENDPOINT if settings.refresh_tokens_in_cookie else None
    sign_in = OAuth(shop, providers.configured(settings, shop.policy), cookie_path)
    readiness = Readiness(shop, settings.drain_seconds)
    caching = Caching(settings.cache_seconds, f"{VARY}, origin" if settings.cors_origins else VARY)
    documents = documents_of(settings, tracing.waiting if tracing else None)
    metrics = metrics_of(settings, shop, documents, ENDPOINT)
    answer = tracing.answer if tracing else execution.answer
    endpoint = GraphQLEndpoint(shop, documents, settings.playground, cookie_path, caching, answer)
    routes: list[BaseRoute] = [
        Route(ENDPOINT, endpoint, methods=ALL_METHODS),
        Route("/", _home),
        Route("/health", health, methods=["GET", "HEAD"]),
        Route("/ready", readiness.__call__, methods=["GET", "HEAD"]),
        sign_in.mounted([derived_key(it, "sign-in-cookie") for it in settings.secret_key], f"{prefix}/auth"),
    ]
    if settings.playground:
        routes.append(Mount("/graphiql", StaticFiles(directory=graphiql.STATIC)))
    middleware = [
        *([Middleware(tracing.around)] if tracing else []),
        *_behind(settings.trusted_proxies),
        Middleware(
            Envelope,
            https=shop.policy.public_url.startswith("https://"),
            write=request_line(settings.log_level, as_json=settings.json_logs, ids=tracing.ids if tracing else None),
            observe=metrics.observe if metrics else None,
        ),
        *_cross_origin(settings.cors_origins),
        Middleware(Straight, path=ENDPOINT, to=endpoint),
    ]
    app = Starlette(routes=routes, exception_handlers={Exception: fault}, lifespan=_lifespan)
    # In the place of what Starlette would assemble at the first request, so that `Straight` goes past its handlers of errors, too.
    app.middleware_stack = _within(middleware, app.build_middleware_stack())
    app.state.shop = shop
    app.state.readiness = readiness
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.tracing = tracing
    return app


def _within(middleware: list[Middleware], app: ASGIApp) -> ASGIApp:
    for cls, args, told in reversed(middleware):
        app = cls(app, *args, **told)
    return app


class Straight:
    """Takes what is asked at a path to its application, past the routes, each of which would be looked at."""

    def __init__(self, app: ASGIApp, *, path: str, to: ASGIApp) -> None:
        self._app, self._path, self._to = app, path, to

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        straight = scope["type"] == "http" and scope["path"] == self._path and not scope.get("root_path")
        await (self._to if straight else self._app)(scope, receive, send)


def _behind(proxies: list[str]) -> list[Middleware]:
    """Callers have the addresses that these proxies tell."""
    return [Middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)] if proxies else []


def _cross_origin(origins: list[str]) -> list[Middleware]:
    """Scripts of these origins may ask and read the answers; without any, browsers keep scripts from elsewhere out."""
    if not origins:
        return []
    allowed = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
        allow_credentials=True,  # the refresh token's cookie
        expose_headers=["retry-after", "x-request-id"],
        max_age=600,
    )
    return [allowed]


ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def open_shop(settings: Settings, payments: Payments | None = None, tracing: "Tracing | None" = None) -> Shop:
    if settings.database_url is None:
        raise RuntimeError("DATABASE_URL is not set: `bookstore serve` sets it for the embedded database.")
    if not settings.secret_key:
        raise RuntimeError("SECRET_KEY is not set: `bookstore serve` makes one in development.")
    database = Database(
        settings.database_url,
        settings.pool,
        read_url=settings.database_read_url,
        direct_url=settings.database_direct_url,
        prepared=settings.prepared_statements,
        listener=tracing.statement if tracing else None,
    )
    tokens = Tokens(settings.secret_key, settings.issuer)
    return Shop(
        database=database,
        payments=payments or MockPayments(database),
        passwords=Passwords(),
        tokens=tokens,
        throttles=Throttles(database, derived_key(settings.secret_key[0], "throttles")),
        rate_limiter=RateLimiter(
            _rate_limits(settings.rate_limit_storage or "memory", database),
            settings.rate,
            derived_key(settings.secret_key[0], "rate-limits"),
        ),
        secret_keys=SecretKeys(tokens.key_ids),
        policy=settings.policy,
        tills=asyncio.Semaphore(max(1, settings.pool.most // 2)),
    )


def _rate_limits(storage: str, database: Database) -> RateLimits:
    if storage == "memory":
        return InMemory()
    if storage == "postgresql":
        return Leased(InPostgreSQL(database))
    from persistence.redis_rate_limits import InRedis  # loaded only where it is used

    return Leased(InRedis(storage))


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    shop: Shop = app.state.shop
    settings: Settings = app.state.settings
    readiness: Readiness = app.state.readiness
    tracing: Tracing | None = app.state.tracing
    at_work = posting(shop, settings, tracing) if settings.worker else contextlib.nullcontext()
    sending = tracing.sending() if tracing else contextlib.nullcontext()
    with readiness.watching_signals():
        async with sending, shop.database, telling(settings, app.state.metrics), at_work:
            with contextlib.suppress(Unavailable, *STATEMENT_ERRORS):  # which /ready tells
                await shop.secret_keys.look_when_due(shop.database)
            sweeper = asyncio.create_task(sweep_for_ever(shop, settings.sweep_every_seconds))
            try:
                yield
            finally:
                if shop.under_way:
                    await asyncio.wait(shop.under_way, timeout=max(0, readiness.time_left()))
                sweeper.cancel()
                await asyncio.gather(sweeper, return_exceptions=True)
                shop.passwords.close()
                await shop.rate_limiter.limits.close()


@contextlib.asynccontextmanager
async def posting(shop: Shop, settings: Settings, tracing: "Tracing | None" = None) -> AsyncIterator[None]:
    """A poster at work. It stops when letters that are on their way have got there or are given back."""
    from server.post.desk import desk_of  # templates and mail take time to load, which many commands do without
    from server.post.poster import Poster

    poster = Poster(shop, desk_of(settings, tracing.post_office if tracing else None))
    at_work = asyncio.create_task(poster.run())
    try:
        yield
    finally:
        poster.stop()
        await asyncio.gather(at_work, return_exceptions=True)


async def _home(_: Request) -> Response:
    return RedirectResponse(ENDPOINT)
