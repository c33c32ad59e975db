"""Serve GraphQL over HTTP: POST and GET for clients, GraphiQL for browsers."""

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
from graph.context import Context
from graph.execution import execute as execution
from graph.execution.documents import Documents
from server.http import cookies, graphiql, negotiation
from server.http.cache import PRIVATE, VARY, HttpCache
from server.http.negotiation import GRAPHQL_JSON, JSON
from server.http.request_parsing import BadRequest, Headers, parse_request

log = structlog.get_logger()

ENDPOINT = "/graphql"
Execute = Callable[[Documents, Context, execution.GraphQLRequest], Awaitable[execution.GraphQLResponse]]


@dataclass(frozen=True, slots=True)
class GraphQLEndpoint:
    """The ASGI application of the endpoint.

    `cookie_path` is set if refresh tokens are sent in a cookie; `execute` executes a request.
    """

    shop: Shop
    documents: Documents
    serves_graphiql: bool
    cookie_path: str | None = None
    http_cache: HttpCache = field(default_factory=HttpCache)
    execute: Execute = execution.execute_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        response = await self._respond(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        state: dict[str, Any] = request.scope["state"]
        headers: Headers = dict(reversed(request.scope["headers"]))
        accept = headers.get(b"accept", b"").decode("latin-1")
        if self.serves_graphiql and request.method == "GET" and "text/html" in accept and not _has_query(request):
            return _graphiql_page()
        try:
            media_type = negotiation.negotiate_media_type(accept)
            if media_type is None:
                raise BadRequest(406, f"Accept {GRAPHQL_JSON} or {JSON}.")
            graphql_request = await parse_request(request, headers)
        except BadRequest as bad_request:
            error = {"message": bad_request.message, "extensions": {"code": "BAD_REQUEST"}}
            return _json_response({"errors": [error]}, bad_request.status, JSON, bad_request.headers)
        context = self._build_context(request, headers)
        if graphql_request.read_only and (
            not_modified := await self.http_cache.not_modified(request, context, media_type)
        ):
            return not_modified
        result = await self.execute(self.documents, context, graphql_request)
        if result.operation_name:
            state["operation"] = result.operation_name
        if result.root_field:
            state["root"] = result.root_field
        if result.errors:
            state["codes"] = sorted(result.error_codes)
        response = _json_response(
            result.body, _select_status(result, media_type), media_type, _retry_after_headers(result)
        )
        if context.cookie is not None and self.cookie_path:
            cookies.set_refresh_cookie(response, context.cookie, self.cookie_path)
        return (
            self.http_cache.with_cache_headers(request, context, media_type, result, response)
            if graphql_request.read_only
            else response
        )

    def _build_context(self, request: Request, headers: Headers) -> Context:
        async def wait_disconnected() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        client, user_agent = request.scope.get("client"), headers.get(b"user-agent")
        return Context(
            self.shop,
            request.scope["state"]["request_id"],
            _parse_bearer_token(headers.get(b"authorization")),
            user_agent.decode("latin-1") if user_agent is not None else None,
            cookies.read_refresh_cookie(request) if self.cookie_path else None,
            get_client_network(client[0] if client else ""),
            wait_disconnected,
        )


@lru_cache(maxsize=10_000)
def get_client_network(address: str) -> str:
    """Return the network of a client: its IPv4 address, or its IPv6 /64, which usually belongs to one customer."""
    try:
        ip = ip_address(address)
    except ValueError:  # a socket without an address
        return address
    if isinstance(ip, IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ip_network((ip.packed, 64), strict=False))


def _graphiql_page() -> Response:
    nonce = secrets.token_urlsafe(16)
    headers = {
        "content-security-policy": graphiql.build_content_security_policy(nonce),
        "vary": VARY,
        "cache-control": PRIVATE,
    }
    return HTMLResponse(graphiql.render_page(ENDPOINT, nonce), headers=headers)


def _has_query(request: Request) -> bool:
    return not request.query_params.keys().isdisjoint(("query", "documentId", "extensions"))


def _parse_bearer_token(header: bytes | None) -> str | None:
    """Return the token of an Authorization header: empty for other schemes, which are then rejected as invalid."""
    if header is None:
        return None
    scheme, _, token = header.decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


# ── Responses ─────────────────────────────────────────────────────────────────────────────


def _select_status(result: execution.GraphQLResponse, media_type: str) -> int:
    if result.is_executed and result.data is not None:
        return 200
    codes = result.error_codes
    if "SERVICE_UNAVAILABLE" in codes:
        return 503
    if "RATE_LIMITED" in codes and not result.is_executed:
        return 429
    if "BAD_REQUEST" in codes:
        return 405
    if result.is_executed or media_type == JSON:
        return 200
    return 400


def _retry_after_headers(result: execution.GraphQLResponse) -> dict[str, str]:
    if result.data is not None:
        return {}
    delays = [error["extensions"]["retryAfter"] for error in result.errors if "retryAfter" in error["extensions"]]
    return {"retry-after": str(max(delays))} if delays else {}


def _json_response(body: dict[str, Any], status: int, media_type: str, headers: dict[str, str]) -> Response:
    if status == 405:
        headers = {"allow": "POST"} | headers
    try:
        content = orjson.dumps(body)
    except orjson.JSONEncodeError:  # depth is the only cause: all other values are serializable
        error = {"message": "The response is nested too deeply.", "extensions": {"code": "QUERY_TOO_COMPLEX"}}
        content, status = orjson.dumps({"errors": [error]}), 200 if media_type == JSON else 400
    response = _EncodedResponse(content, status, media_type)
    for name, value in headers.items():
        response.headers[name] = value
    return response


class _EncodedResponse(Response):
    """Starlette's response with headers encoded in advance."""

    def __init__(self, content: bytes, status: int, media_type: str) -> None:
        self.status_code, self.body, self.background = status, content, None
        self.raw_headers = [*_HEADERS_BY_MEDIA_TYPE[media_type], (b"content-length", str(len(content)).encode())]


_HEADERS_BY_MEDIA_TYPE = {
    media_type: [
        (b"content-type", f"{media_type}; charset=utf-8".encode()),
        (b"cache-control", PRIVATE.encode()),
        (b"vary", VARY.encode()),
    ]
    for media_type in (JSON, GRAPHQL_JSON)
}
