"""Sends each query of the tests to the app, and executes it with graphql-core as well.

The test fails if the responses differ, or if the executor falls back to graphql-core; only introspection may fall back.
"""

import os
from functools import cache
from typing import Any

import httpx2
import orjson
from graphql import OperationType, get_operation_ast
from starlette.routing import Route

from graph.context import Context
from graph.execution.documents import DocumentRejected, Documents
from graph.execution.execute import GraphQLRequest, GraphQLResponse, execute_request
from server.http.endpoint import GraphQLEndpoint
from tests.support.graphql.fuzz_client import SERVER_ERROR_CODES
from tests.support.graphql.response_comparison import are_equivalent

MAX_ATTEMPTS = 3
"""Data may change between two executions, but not this often."""
ALLOWED_FALLBACKS = {"introspection"}

_compared_requests = set[int]()


class DifferentialTransport(httpx2.ASGITransport):
    """Compares each response with that of graphql-core."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        endpoint = _find_endpoint(self.app)
        if endpoint is not None and request.method == "POST" and response.status_code == 200:
            await self._compare_with_graphql_core(endpoint, request, await _read_response(response))
        return response

    async def _compare_with_graphql_core(
        self, endpoint: GraphQLEndpoint, request: httpx2.Request, actual: GraphQLResponse
    ) -> None:
        executor = endpoint.documents.executor
        assert executor is None or executor.fallbacks.keys() <= ALLOWED_FALLBACKS, executor.fallbacks
        graphql_request = GraphQLRequest(**_parse_graphql_request(request))
        if graphql_request.query is None or not _is_new(request) or not _is_query(endpoint.documents, graphql_request):
            return
        documents = _get_graphql_core_documents(endpoint.documents.introspection)
        for _ in range(MAX_ATTEMPTS):
            expected = await execute_request(
                documents, Context(endpoint.shop, "", _get_token(request)), graphql_request
            )
            if _are_equivalent(actual, expected):
                return
            actual = await _read_response(await super().handle_async_request(request))
        raise AssertionError(f"The executor and graphql-core differ for {graphql_request}: {actual} and {expected}.")


def _find_endpoint(app: Any) -> GraphQLEndpoint | None:
    for route in getattr(app, "routes", ()):
        if isinstance(route, Route) and isinstance(route.endpoint, GraphQLEndpoint):
            return route.endpoint
    return None


@cache
def _get_graphql_core_documents(introspection: bool) -> Documents:
    return Documents(introspection=introspection, compiled=False)


# ── HTTP ──────────────────────────────────────────────────────────────────────────────────


def _parse_graphql_request(request: httpx2.Request) -> dict[str, Any]:
    payload = orjson.loads(request.content)
    return {
        "query": payload.get("query"),
        "variables": payload.get("variables"),
        "operation_name": payload.get("operationName") or None,
    }


def _get_token(request: httpx2.Request) -> str | None:
    """Parse the access token as the server does."""
    header = request.headers.get("authorization")
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else header and ""


async def _read_response(response: httpx2.Response) -> GraphQLResponse:
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    body = orjson.loads(b"".join([part async for part in response.stream]))
    return GraphQLResponse(body.get("data"), body.get("errors", []), "data" in body)


# ── Comparison ────────────────────────────────────────────────────────────────────────────


def _is_new(request: httpx2.Request) -> bool:
    """Return whether this test has not sent the request yet; tests that count statements repeat requests."""
    key = hash((os.environ.get("PYTEST_CURRENT_TEST"), request.content, request.headers.get("authorization")))
    if key in _compared_requests:
        return False
    _compared_requests.add(key)
    return True


def _is_query(documents: Documents, graphql_request: GraphQLRequest) -> bool:
    try:
        operation = get_operation_ast(
            documents.get(graphql_request.query or "").document, graphql_request.operation_name
        )
    except DocumentRejected:
        return False
    return operation is not None and operation.operation is OperationType.QUERY


def _are_equivalent(actual: GraphQLResponse, expected: GraphQLResponse) -> bool:
    """Return whether the responses are equivalent. Internal errors and timeouts are temporary, so they are ignored."""
    return bool((actual.error_codes | expected.error_codes) & SERVER_ERROR_CODES) or are_equivalent(actual, expected)
