"""What clients ask over HTTP: read, and its form checked."""

from functools import lru_cache
from typing import Any

import orjson
from starlette.requests import Request

from graph import execution
from graph.documents import sha256
from server.at_once import within
from server.negotiation import JSON
from server.trusted import HASHED

LARGEST_BODY = 100_000  # bytes
BODY_TIMEOUT = 10  # seconds
PARAMETERS = ("query", "documentId", "variables", "extensions", "operationName")
"""Of GET; each may be in the body of a POST."""

Headers = dict[bytes, bytes]
"""As ASGI has them; of several with one name the first."""


class BadRequest(Exception):
    """The HTTP request is not one that this endpoint takes."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


async def asked(request: Request, headers: Headers) -> execution.Request:
    """Raises `BadRequest`."""
    if request.method == "POST":
        if not _is_json(headers.get(b"content-type", b"")):
            raise BadRequest(415, "Send application/json in UTF-8.")
        if b"content-encoding" in headers and headers[b"content-encoding"].strip().lower() != b"identity":
            raise BadRequest(415, "Send the body as it is, not compressed.")
        return _checked(_decoded(await _body(request, headers.get(b"content-length", b""))))
    if request.method != "GET":
        raise BadRequest(405, "Send a query by GET or POST.", {"allow": "GET, POST"})
    parameters = request.query_params
    told: Any = {
        name: _decoded(parameters[name].encode("utf-8", "surrogatepass"))
        if name in ("variables", "extensions")
        else parameters[name]
        for name in PARAMETERS
        if name in parameters
    }
    return _checked(told, read_only=True)


@lru_cache(maxsize=100)
def _is_json(content_type: bytes) -> bool:
    kind, _, parameters = content_type.decode("latin-1").lower().partition(";")
    return kind.strip() == JSON and ("charset" not in parameters or "utf-8" in parameters)


async def _body(request: Request, declared: bytes) -> bytes:
    if declared.isdigit() and (len(declared) > 9 or int(declared) > LARGEST_BODY):  # the rest is counted below
        raise _too_large()
    try:
        return await within(BODY_TIMEOUT, _received(request))
    except TimeoutError as error:
        told = f"The body took longer than {BODY_TIMEOUT} seconds."
        raise BadRequest(408, told, {"connection": "close"}) from error


async def _received(request: Request) -> bytes:
    chunks, size = [], 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise BadRequest(400, "The body ended early.")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > LARGEST_BODY:
            raise _too_large()
        chunks.append(chunk)
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
