"""Set cache headers on public responses, and answer conditional requests with 304."""

import asyncio
import hashlib
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import RateLimited
from graph.context import Context
from graph.execution.execute import GraphQLResponse
from persistence.catalog_version import get_catalog_version
from persistence.postgres.errors import Unavailable

PRIVATE = "private, no-store"
VARY = "accept, authorization"
MAX_CACHED_ETAGS = 10_000
VERSION_TIMEOUT = 0.5  # seconds; without a version the ETag is not remembered


@dataclass(frozen=True, slots=True)
class CachedEtag:
    """The cache headers of a response that is at least as new as catalog version `version`."""

    etag: str
    cache_control: str
    version: Hashable


@dataclass(frozen=True, slots=True)
class HttpCache:
    """Remembers the ETags of public responses, never their bodies.

    Caches may store a response for `max_age` seconds, by default for the lifetime that its fields declare. `vary` names
    the request headers that a response depends on.
    """

    max_age: int | None = None
    vary: str = VARY
    _etags: OrderedDict[bytes, CachedEtag] = field(default_factory=OrderedDict)

    async def not_modified(self, request: Request, context: Context, media_type: str) -> Response | None:
        """Return a 304 at a cost of 1 if the client has the response and the catalog is unchanged, without resolving.

        Otherwise return `None`, with the catalog version in the context, at most a second old. With replicas there is
        no version, because a replica may lag behind it.
        """
        if not _may_be_public(request, context) or context.shop.database.has_replicas:
            return None
        context.catalog_version = await _get_catalog_version(context)
        cached = self._etags.get(_cache_key(request, media_type))
        if cached is None or cached.version != context.catalog_version or not _matches_etag(request, cached.etag):
            return None
        limiter, caller = context.shop.rate_limiter, context.rate_limit_key
        try:
            limiter.check(caller)
            await limiter.charge(caller, 1)
        except RateLimited:  # execution reports it
            return None
        return self._build_not_modified(cached)

    def with_cache_headers(
        self, request: Request, context: Context, media_type: str, result: GraphQLResponse, response: Response
    ) -> Response:
        """Return the response with cache headers, or a 304 if the client has it."""
        if not _is_public(request, context, result, response):
            return response
        max_age = result.max_age if self.max_age is None else self.max_age
        etag = _compute_etag(media_type, bytes(response.body))
        cached = CachedEtag(etag, f"public, max-age=0, s-maxage={max_age}, must-revalidate", context.catalog_version)
        if context.catalog_version is not None:
            self._store(_cache_key(request, media_type), cached)
        if _matches_etag(request, etag):
            return self._build_not_modified(cached)
        self._set_headers(response.headers, cached)
        return response

    def _store(self, key: bytes, cached: CachedEtag) -> None:
        self._etags[key] = cached
        self._etags.move_to_end(key)
        if len(self._etags) > MAX_CACHED_ETAGS:
            self._etags.popitem(last=False)

    def _build_not_modified(self, cached: CachedEtag) -> Response:
        response = Response(status_code=304)
        self._set_headers(response.headers, cached)
        return response

    def _set_headers(self, headers: MutableHeaders, cached: CachedEtag) -> None:
        headers["etag"] = cached.etag
        headers["cache-control"] = cached.cache_control
        headers["vary"] = self.vary


def _may_be_public(request: Request, context: Context) -> bool:
    return request.method == "GET" and context.access_token is None


def _is_public(request: Request, context: Context, result: GraphQLResponse, response: Response) -> bool:
    sets_cookie = context.cookie is not None and context.cookie.is_changed
    is_cacheable = result.max_age is not None and response.status_code == 200
    return _may_be_public(request, context) and is_cacheable and not sets_cookie


async def _get_catalog_version(context: Context) -> Hashable:
    """Return the catalog version, or `None` if PostgreSQL does not respond in time."""
    try:
        async with asyncio.timeout(VERSION_TIMEOUT):
            return await context.shop.count_cache.get(
                "catalog version", lambda: get_catalog_version(context.read_session)
            )
    except (TimeoutError, Unavailable):
        return None


def _cache_key(request: Request, media_type: str) -> bytes:
    """Hash what a public response depends on besides the catalog and the settings."""
    query_string: bytes = request.scope["query_string"]
    return hashlib.sha256(media_type.encode() + b" " + query_string).digest()


def _compute_etag(media_type: str, body: bytes) -> str:
    digest = hashlib.sha256(media_type.encode() + b" " + body).digest()
    return f'"{urlsafe_b64encode(digest[:18]).decode()}"'


def _matches_etag(request: Request, etag: str) -> bool:
    """Compare If-None-Match weakly with the ETag; `*` matches any (RFC 9110, section 13.1.2)."""
    if_none_match = ",".join(request.headers.getlist("if-none-match"))
    return if_none_match.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
