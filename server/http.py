"""GraphQL over HTTP at one address: POST and GET of JSON, and the playground for browsers."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from domain.shop import Shop
from graph import execution
from graph.context import Context
from graph.documents import Documents
from server import cookies, graphiql, negotiation
from server.caching import PRIVATE, VARY, Caching
from server.negotiation import GRAPHQL_JSON, JSON
from server.questions import BadRequest, Headers, asked

log = structlog.get_logger()

ENDPOINT = "/graphql"
Answering = Callable[[Documents, Context, execution.Request], Awaitable[execution.Answer]]


@dataclass(frozen=True, slots=True)
class GraphQLEndpoint:
    """`cookie_path` is there when refresh tokens travel in a cookie; `answer` gives answers."""

    shop: Shop
    documents: Documents
    playground: bool
    cookie_path: str | None = None
    caching: Caching = field(default_factory=Caching)
    answer: Answering = execution.answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        state: dict[str, Any] = request.scope["state"]
        headers: Headers = dict(reversed(request.scope["headers"]))
        accepted = headers.get(b"accept", b"").decode("latin-1")
        if self.playground and request.method == "GET" and "text/html" in accepted and not _has_question(request):
            return _playground()
        try:
            media_type = negotiation.media_type(accepted)
            if media_type is None:
                raise BadRequest(406, f"Accept {GRAPHQL_JSON} or {JSON}.")
            question = await asked(request, headers)
        except BadRequest as refusal:
            error = {"message": refusal.message, "extensions": {"code": "BAD_REQUEST"}}
            return _json({"errors": [error]}, refusal.status, JSON, refusal.headers)
        context = self._context(request, headers)
        if question.read_only and (unchanged := await self.caching.unchanged(request, context, media_type)):
            return unchanged
        answer = await self.answer(self.documents, context, question)
        if answer.operation:
            state["operation"] = answer.operation
        if answer.root:
            state["root"] = answer.root
        if answer.errors:
            state["codes"] = sorted(answer.codes)
        response = _json(answer.body, _status(answer, media_type), media_type, _retry(answer))
        if context.cookie is not None and self.cookie_path:
            cookies.put(response, context.cookie, self.cookie_path)
        return self.caching.marked(request, context, media_type, answer, response) if question.read_only else response

    def _context(self, request: Request, headers: Headers) -> Context:
        async def departure() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        client, user_agent = request.scope.get("client"), headers.get(b"user-agent")
        return Context(
            self.shop,
            request.scope["state"]["request_id"],
            _bearer(headers.get(b"authorization")),
            user_agent.decode("latin-1") if user_agent is not None else None,
            cookies.received(request) if self.cookie_path else None,
            network_of(client[0] if client else ""),
            departure,
        )


@lru_cache(maxsize=10_000)
def network_of(address: str) -> str:
    """Whose an address is: of IPv6, whoever has one has the 2⁶⁴ addresses beside it."""
    try:
        known = ip_address(address)
    except ValueError:  # a socket without an address
        return address
    if isinstance(known, IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or ip_network((known.packed, 64), strict=False))


def _playground() -> Response:
    nonce = secrets.token_urlsafe(16)
    headers = {
        "content-security-policy": graphiql.content_security_policy(nonce),
        "vary": VARY,
        "cache-control": PRIVATE,
    }
    return HTMLResponse(graphiql.page(ENDPOINT, nonce), headers=headers)


def _has_question(request: Request) -> bool:
    return not request.query_params.keys().isdisjoint(("query", "documentId", "extensions"))


def _bearer(header: bytes | None) -> str | None:
    """Whatever is sent as `Authorization` is a token, if not a good one."""
    if header is None:
        return None
    scheme, _, token = header.decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


# ── How it is answered ────────────────────────────────────────────────────────────────────


def _status(answer: execution.Answer, media_type: str) -> int:
    if answer.executed and answer.data is not None:
        return 200
    codes = answer.codes
    if "SERVICE_UNAVAILABLE" in codes:
        return 503
    if "RATE_LIMITED" in codes and not answer.executed:
        return 429
    if "BAD_REQUEST" in codes:
        return 405
    if answer.executed or media_type == JSON:
        return 200
    return 400


def _retry(answer: execution.Answer) -> dict[str, str]:
    if answer.data is not None:
        return {}
    waits = [error["extensions"]["retryAfter"] for error in answer.errors if "retryAfter" in error["extensions"]]
    return {"retry-after": str(max(waits))} if waits else {}


def _json(body: dict[str, Any], status: int, media_type: str, headers: dict[str, str]) -> Response:
    if status == 405:
        headers = {"allow": "POST"} | headers
    try:
        text = orjson.dumps(body)
    except orjson.JSONEncodeError:  # the only thing that data of ours can be wrong in is its depth
        error = {"message": "The answer is nested too deeply.", "extensions": {"code": "QUERY_TOO_COMPLEX"}}
        text, status = orjson.dumps({"errors": [error]}), 200 if media_type == JSON else 400
    response = _Text(text, status, media_type)
    for name, value in headers.items():
        response.headers[name] = value
    return response


class _Text(Response):
    """As Starlette's, with headers that have been encoded before."""

    def __init__(self, text: bytes, status: int, media_type: str) -> None:
        self.status_code, self.body, self.background = status, text, None
        self.raw_headers = [*_HEADS[media_type], (b"content-length", str(len(text)).encode())]


_HEADS = {
    media_type: [
        (b"content-type", f"{media_type}; charset=utf-8".encode()),
        (b"cache-control", PRIVATE.encode()),
        (b"vary", VARY.encode()),
    ]
    for media_type in (JSON, GRAPHQL_JSON)
}
