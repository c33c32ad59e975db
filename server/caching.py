"""HTTP for caches: how long they may keep a visitor's answer, and whether it is still the same."""

import asyncio
import hashlib
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import TooOften
from graph.context import Context
from graph.execution import Answer
from persistence.faults import Unavailable
from persistence.versions import catalog_version

PRIVATE = "private, no-store"
VARY = "accept, authorization"
MOST_REMEMBERED = 10_000
PATIENCE = 0.5  # seconds, for a version; an answer without one is only not remembered


@dataclass(frozen=True, slots=True)
class Answered:
    """What is remembered of an answer. `version` is that of the catalogue which it is at least as new as."""

    etag: str
    cache_control: str
    version: Hashable


@dataclass(frozen=True, slots=True)
class Caching:
    """Of public answers it remembers what they were called, never what they said.

    Caches may keep them for `seconds`, or for as long as their fields declare; `vary` names what answers depend on.
    """

    seconds: int | None = None
    vary: str = VARY
    _answered: OrderedDict[bytes, Answered] = field(default_factory=OrderedDict)

    async def unchanged(self, request: Request, context: Context, media_type: str) -> Response | None:
        """304, for a price of 1, where the client has the answer and the catalogue is what it was; nothing is resolved.

        Otherwise the context has the version to answer from. That may be a second old, like all counts. There is none where
        visitors read from standbys: what these have may be older than what the primary would call it.
        """
        if not _may_be_public(request, context) or context.shop.database.has_standbys:
            return None
        context.version = await _recent_version(context)
        known = self._answered.get(_key(request, media_type))
        if known is None or known.version != context.version or not _has(request, known.etag):
            return None
        limiter, caller = context.shop.rate_limiter, context.caller
        try:
            limiter.check(caller)
            await limiter.spend(caller, 1)
        except TooOften:  # as it will be told
            return None
        return self._not_modified(known)

    def marked(
        self, request: Request, context: Context, media_type: str, answer: Answer, response: Response
    ) -> Response:
        """The answer as caches should see it, or 304 where the client has it."""
        if not _is_public(request, context, answer, response):
            return response
        seconds = answer.fresh_for if self.seconds is None else self.seconds
        etag = _etag(media_type, bytes(response.body))
        answered = Answered(etag, f"public, max-age=0, s-maxage={seconds}, must-revalidate", context.version)
        if context.version is not None:
            self._remember(_key(request, media_type), answered)
        if _has(request, etag):
            return self._not_modified(answered)
        self._mark(response.headers, answered)
        return response

    def _remember(self, key: bytes, answered: Answered) -> None:
        self._answered[key] = answered
        self._answered.move_to_end(key)
        if len(self._answered) > MOST_REMEMBERED:
            self._answered.popitem(last=False)

    def _not_modified(self, answered: Answered) -> Response:
        response = Response(status_code=304)
        self._mark(response.headers, answered)
        return response

    def _mark(self, headers: MutableHeaders, answered: Answered) -> None:
        headers["etag"] = answered.etag
        headers["cache-control"] = answered.cache_control
        headers["vary"] = self.vary


def _may_be_public(request: Request, context: Context) -> bool:
    return request.method == "GET" and context.access_token is None


def _is_public(request: Request, context: Context, answer: Answer, response: Response) -> bool:
    keeps_cookie = context.cookie is not None and context.cookie.changed
    may_be_kept = answer.fresh_for is not None and response.status_code == 200
    return _may_be_public(request, context) and may_be_kept and not keeps_cookie


async def _recent_version(context: Context) -> Hashable:
    """`None` where PostgreSQL does not tell soon."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await context.shop.counts.get("the catalogue's version", lambda: catalog_version(context.reading))
    except (TimeoutError, Unavailable):
        return None


def _key(request: Request, media_type: str) -> bytes:
    """All that an answer to a visitor depends on besides the catalogue and the settings."""
    asked: bytes = request.scope["query_string"]
    return hashlib.sha256(media_type.encode() + b" " + asked).digest()


def _etag(media_type: str, body: bytes) -> str:
    digest = hashlib.sha256(media_type.encode() + b" " + body).digest()
    return f'"{urlsafe_b64encode(digest[:18]).decode()}"'


def _has(request: Request, etag: str) -> bool:
    """RFC 9110, section 13.1.2: any of several, in the weak comparison; `*` is whatever there is."""
    told = ",".join(request.headers.getlist("if-none-match"))
    return told.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in told.split(",")}
