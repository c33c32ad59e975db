"""Parse GraphQL requests from HTTP, and validate their form."""

import asyncio
from functools import lru_cache
from typing import Any

import orjson
from starlette.requests import Request

from graph.execution import execute
from graph.execution.documents import sha256
from server.http.negotiation import JSON
from server.http.trusted_documents import HASH_PREFIX

MAX_BODY_SIZE = 100_000  # bytes
BODY_TIMEOUT = 10  # seconds
GET_PARAMETERS = ("query", "documentId", "variables", "extensions", "operationName")
"""The query parameters of GET, and the keys of a POST body."""

Headers = dict[bytes, bytes]
"""Headers as in ASGI; of several with the same name the first."""


class BadRequest(Exception):
    """The HTTP request is not a valid GraphQL request; carries the status and the headers of the response."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


async def parse_request(request: Request, headers: Headers) -> execute.GraphQLRequest:
    """Return the GraphQL request in an HTTP request.

    Raises:
        BadRequest: the method, a header or the body is not valid.
    """
    if request.method == "POST":
        if not _is_json(headers.get(b"content-type", b"")):
            raise BadRequest(415, "Send application/json in UTF-8.")
        if b"content-encoding" in headers and headers[b"content-encoding"].strip().lower() != b"identity":
            raise BadRequest(415, "Send the body uncompressed.")
        return _validate_request(_parse_json(await _read_body(request, headers.get(b"content-length", b""))))
    if request.method != "GET":
        raise BadRequest(405, "Send a query by GET or POST.", {"allow": "GET, POST"})
    parameters = request.query_params
    payload: Any = {
        name: _parse_json(parameters[name].encode("utf-8", "surrogatepass"))
        if name in ("variables", "extensions")
        else parameters[name]
        for name in GET_PARAMETERS
        if name in parameters
    }
    return _validate_request(payload, read_only=True)


@lru_cache(maxsize=100)
def _is_json(content_type: bytes) -> bool:
    media_type, _, parameters = content_type.decode("latin-1").lower().partition(";")
    return media_type.strip() == JSON and ("charset" not in parameters or "utf-8" in parameters)


async def _read_body(request: Request, content_length: bytes) -> bytes:
    if content_length.isdigit() and (
        len(content_length) > 9 or int(content_length) > MAX_BODY_SIZE
    ):  # a body without a length is counted while it is read
        raise _body_too_large()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await _receive_body(request)
    except TimeoutError as error:
        message = f"The body did not arrive within {BODY_TIMEOUT} seconds."
        raise BadRequest(408, message, {"connection": "close"}) from error


async def _receive_body(request: Request) -> bytes:
    chunks, size = [], 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise BadRequest(400, "The body is incomplete.")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > MAX_BODY_SIZE:
            raise _body_too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _body_too_large() -> BadRequest:
    return BadRequest(413, f"The body is larger than {MAX_BODY_SIZE:,} bytes.")


def _parse_json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise BadRequest(400, "The request is not valid JSON.") from error


def _validate_request(payload: Any, *, read_only: bool = False) -> execute.GraphQLRequest:
    if not isinstance(payload, dict):
        raise BadRequest(400, "Send one JSON object.")
    query, variables, operation_name = payload.get("query"), payload.get("variables"), payload.get("operationName")
    extensions = payload.get("extensions")
    if not isinstance(extensions, dict | None):
        raise BadRequest(400, "`extensions` must be an object.")
    document_id = _resolve_document_id(payload.get("documentId"), (extensions or {}).get("persistedQuery"))
    if (query is not None or document_id is None) and (not isinstance(query, str) or not query):
        raise BadRequest(400, "`query` must be a document.")
    if query is not None and document_id is not None and document_id != sha256(query):
        raise BadRequest(400, "`query` does not match the document id sent with it.")
    if not isinstance(variables, dict | None):
        raise BadRequest(400, "`variables` must be an object.")
    if not isinstance(operation_name, str | None):
        raise BadRequest(400, "`operationName` must be a string.")
    include_cost = extensions is not None and extensions.get("cost") is True
    return execute.GraphQLRequest(query, variables, operation_name or None, read_only, include_cost, document_id)


def _resolve_document_id(id_: Any, persisted_query: Any) -> str | None:
    """Return the document's id from `documentId`, or from Apollo's `extensions.persistedQuery`."""
    if not isinstance(id_, str | None) or id_ == "":
        raise BadRequest(400, "`documentId` must be the id of a document.")
    document_id = None if id_ is None else id_.removeprefix(HASH_PREFIX)
    if persisted_query is None:
        return document_id
    hash_ = (
        persisted_query.get("sha256Hash")
        if isinstance(persisted_query, dict) and persisted_query.get("version") == 1
        else None
    )
    if not isinstance(hash_, str) or not hash_:
        raise BadRequest(400, "`extensions.persistedQuery` must have `version` 1 and a `sha256Hash`.")
    if document_id not in (None, hash_):
        raise BadRequest(400, "`documentId` and `extensions.persistedQuery` name different documents.")
    return hash_
