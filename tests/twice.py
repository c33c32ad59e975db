"""Every query that the tests send to an app is asked twice: of the engine, as usual, and then of graphql-core.

An answer that differs fails the test that asked, and so does a document that the engine leaves to graphql-core; introspection may be.
"""

import os
from functools import cache
from typing import Any

import httpx2
import orjson
from graphql import OperationType, get_operation_ast
from starlette.routing import Route

from graph.context import Context
from graph.documents import Documents, Refused
from graph.execution import Answer, Request, answer
from server.http import GraphQLEndpoint
from tests.graph.answers import agree
from tests.stranger import FAULTS

TRIES = 3
"""What changes meanwhile may be seen in one answer and not in the other, but not so often."""
MAY_BE_LEFT = {"introspection"}

_asked = set[int]()


class Twice(httpx2.ASGITransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        endpoint = _endpoint(self.app)
        if endpoint is not None and request.method == "POST" and response.status_code == 200:
            await self._ask_again(endpoint, request, await _answer_in(response))
        return response

    async def _ask_again(self, endpoint: GraphQLEndpoint, request: httpx2.Request, ours: Answer) -> None:
        engine = endpoint.documents.engine
        assert engine is None or engine.left.keys() <= MAY_BE_LEFT, engine.left
        question = Request(**_told(request))
        if question.query is None or not _is_new(request) or not _is_query(endpoint.documents, question):
            return
        core = _interpreting(endpoint.documents.introspection)
        for _ in range(TRIES):
            theirs = await answer(core, Context(endpoint.shop, "", _token(request)), question)
            if _agree(ours, theirs):
                return
            ours = await _answer_in(await super().handle_async_request(request))
        raise AssertionError(f"The engine and graphql-core differ over {question}: {ours} and {theirs}.")


def _endpoint(app: Any) -> GraphQLEndpoint | None:
    for route in getattr(app, "routes", ()):
        if isinstance(route, Route) and isinstance(route.endpoint, GraphQLEndpoint):
            return route.endpoint
    return None


@cache
def _interpreting(introspection: bool) -> Documents:
    return Documents(introspection=introspection, compiled=False)


# ── Over HTTP ─────────────────────────────────────────────────────────────────────────────


def _told(request: httpx2.Request) -> dict[str, Any]:
    told = orjson.loads(request.content)
    return {
        "query": told.get("query"),
        "variables": told.get("variables"),
        "operation_name": told.get("operationName") or None,
    }


def _token(request: httpx2.Request) -> str | None:
    """As the server reads it."""
    told = request.headers.get("authorization")
    scheme, _, token = (told or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else told and ""


async def _answer_in(response: httpx2.Response) -> Answer:
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    body = orjson.loads(b"".join([part async for part in response.stream]))
    return Answer(body.get("data"), body.get("errors", []), "data" in body)


# ── What is compared ──────────────────────────────────────────────────────────────────────


def _is_new(request: httpx2.Request) -> bool:
    """To this test: statements are counted in what it asks again and again."""
    asked = hash((os.environ.get("PYTEST_CURRENT_TEST"), request.content, request.headers.get("authorization")))
    if asked in _asked:
        return False
    _asked.add(asked)
    return True


def _is_query(documents: Documents, question: Request) -> bool:
    try:
        operation = get_operation_ast(documents.get(question.query or "").document, question.operation_name)
    except Refused:
        return False
    return operation is not None and operation.operation is OperationType.QUERY


def _agree(ours: Answer, theirs: Answer) -> bool:
    """Faults are of the moment."""
    return bool((ours.codes | theirs.codes) & FAULTS) or agree(ours, theirs)
