"""GraphQL over HTTP at one address: POST and GET of JSON, and the playground for browsers."""

import asyncio
import secrets
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
from graph.documents import Documents, sha256
from server import cookies, graphiql, negotiation
from server.caching import PRIVATE, VARY, Caching
from server.departures import noticing_departure
from server.negotiation import GRAPHQL_JSON, JSON
from server.trusted import HASHED

log = structlog.get_logger()

LARGEST_BODY = 100_000  # bytes
BODY_TIMEOUT = 10  # seconds
ENDPOINT = "/graphql"
PARAMETERS = ("query", "documentId", "variables", "extensions", "operationName")
"""Of GET; each may be in the body of a POST."""


class BadRequest(Exception):
    """The HTTP request is not one that this endpoint takes."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class GraphQLEndpoint:
    """`cookie_path` is there when refresh tokens travel in a cookie."""

    shop: Shop
    documents: Documents
    playground: bool
    cookie_path: str | None = None
    caching: Caching = field(default_factory=Caching)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        state = request.scope["state"]
        accepted = request.headers.get("accept", "")
        if (
            self.playground
            and request.method == "GET"
            and "text/html" in accepted
            and request.query_params.keys().isdisjoint(("query", "documentId", "extensions"))
        ):
            return _playground()
        try:
            media_type = negotiation.media_type(accepted)
            if media_type is None:
                raise BadRequest(406, f"Accept {GRAPHQL_JSON} or {JSON}.")
            asked = await _asked(request)
        except BadRequest as refusal:
            error = {"message": refusal.message, "extensions": {"code": "BAD_REQUEST"}}
            return _json({"errors": [error]}, refusal.status, JSON, refusal.headers)
        cookie = cookies.received(request) if self.cookie_path else None
        address = network_of(request.client.host if request.client else "")
        context = Context(
            self.shop, state["request_id"], _bearer(request), request.headers.get("user-agent"), cookie, address
        )
        if unchanged := await self.caching.unchanged(request, context, media_type):
            return unchanged
        with noticing_departure(request, context.abandon):
            answer = await execution.answer(self.documents, context, asked)
        state["operation"], state["codes"] = answer.operation, sorted(answer.codes)
        response = _json(answer.body, _status(answer, media_type), media_type, _retry(answer))
        if cookie is not None and self.cookie_path:
            cookies.put(response, cookie, self.cookie_path)
        return self.caching.marked(request, context, media_type, answer, response)


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


# ── What is asked ─────────────────────────────────────────────────────────────────────────


async def _asked(request: Request) -> execution.Request:
    if request.method == "GET":
        parameters = request.query_params
        told: Any = {
            name: _decoded(parameters[name].encode("utf-8", "surrogatepass"))
            if name in ("variables", "extensions")
            else parameters[name]
            for name in PARAMETERS
            if name in parameters
        }
        return _checked(told, read_only=True)
    if request.method != "POST":
        raise BadRequest(405, "Send a query by GET or POST.", {"allow": "GET, POST"})
    kind, _, parameters_ = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != JSON or ("charset" in parameters_.lower() and "utf-8" not in parameters_.lower()):
        raise BadRequest(415, "Send application/json in UTF-8.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise BadRequest(415, "Send the body as it is, not compressed.")
    return _checked(_decoded(await _body(request)))


async def _body(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 9 or int(declared) > LARGEST_BODY):  # the rest is counted below
        raise _too_large()
    chunks, size = [], 0
    more = True
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise BadRequest(400, "The body ended early.")
                chunk, more = message.get("body", b""), message.get("more_body", False)
                size += len(chunk)
                if size > LARGEST_BODY:
                    raise _too_large()
                chunks.append(chunk)
    except TimeoutError as error:
        told = f"The body took longer than {BODY_TIMEOUT} seconds."
        raise BadRequest(408, told, {"connection": "close"}) from error
    return b"".join(chunks)


def _too_large() -> BadRequest:
    return BadRequest(413, f"The body has more than {LARGEST_BODY:,} bytes.")


def _decoded(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise BadRequest(400, "This is no JSON.") from error


def _checked(told: Any, *, read_only: bool = False) -> execution.Request:
    if not isinstance(told, dict):
        raise BadRequest(400, "Send one JSON object.")
    query, variables, name = told.get("query"), told.get("variables"), told.get("operationName")
    extensions = told.get("extensions")
    if not isinstance(extensions, dict | None):
        raise BadRequest(400, "`extensions` must be an object.")
    document_id = _document_id(told.get("documentId"), (extensions or {}).get("persistedQuery"))
    if (query is not None or document_id is None) and (not isinstance(query, str) or not query):
        raise BadRequest(400, "`query` must be a document.")
    if query is not None and document_id is not None and document_id != sha256(query):
        raise BadRequest(400, "`query` is not the document whose id is sent with it.")
    if not isinstance(variables, dict | None):
        raise BadRequest(400, "`variables` must be an object.")
    if not isinstance(name, str | None):
        raise BadRequest(400, "`operationName` must be a string.")
    tell_cost = extensions is not None and extensions.get("cost") is True
    return execution.Request(query, variables, name or None, read_only, tell_cost, document_id)


def _document_id(id_: Any, persisted: Any) -> str | None:
    """As `documentId` or as Apollo's clients send it."""
    if not isinstance(id_, str | None) or id_ == "":
        raise BadRequest(400, "`documentId` must be the id of a document.")
    told = None if id_ is None else id_.removeprefix(HASHED)
    if persisted is None:
        return told
    hash_ = persisted.get("sha256Hash") if isinstance(persisted, dict) and persisted.get("version") == 1 else None
    if not isinstance(hash_, str) or not hash_:
        raise BadRequest(400, "`extensions.persistedQuery` must have the `version` 1 and a `sha256Hash`.")
    if told not in (None, hash_):
        raise BadRequest(400, "`documentId` and `extensions.persistedQuery` name two documents.")
    return hash_


def _bearer(request: Request) -> str | None:
    """Whatever is sent as `Authorization` is a token, if not a good one."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
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
    waits = [error["extensions"]["retryAfter"] for error in answer.errors if "retryAfter" in error["extensions"]]
    return {"retry-after": str(max(waits))} if waits and answer.data is None else {}


def _json(body: dict[str, Any], status: int, media_type: str, headers: dict[str, str]) -> Response:
    allow = {"allow": "POST"} if status == 405 and "allow" not in headers else {}
    try:
        text = orjson.dumps(body)
    except orjson.JSONEncodeError:  # the only thing that data of ours can be wrong in is its depth
        error = {"message": "The answer is nested too deeply.", "extensions": {"code": "QUERY_TOO_COMPLEX"}}
        text, status = orjson.dumps({"errors": [error]}), 200 if media_type == JSON else 400
    return Response(
        text,
        status,
        {"content-type": f"{media_type}; charset=utf-8", "cache-control": PRIVATE, "vary": VARY} | headers | allow,
    )
