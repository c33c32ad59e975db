"""A test fails when the executors' responses to its query differ, or when the query falls back to graphql-core."""

from typing import Any

import pytest
from gql.transport.exceptions import TransportConnectionFailed
from starlette.applications import Starlette

from graph.execution.execute import GraphQLResponse
from graph.executor.plan import NULL_CONDITION
from tests.support.graphql import differential_transport
from tests.support.http.client import ApiClient


async def _respond_differently(*_: Any) -> GraphQLResponse:
    return GraphQLResponse({"genres": ["another"]}, [])


async def test_differing_response_fails_the_test(
    app: Starlette, client: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(differential_transport, "execute_request", _respond_differently)
    with pytest.raises(TransportConnectionFailed, match="differ"):
        await client.execute("{ genres { name slug id } }")


async def test_fallback_to_graphql_core_fails_the_test(app: Starlette, client: ApiClient) -> None:
    endpoint = differential_transport._find_endpoint(app)
    assert endpoint is not None
    assert endpoint.documents.executor is not None
    with pytest.raises(TransportConnectionFailed, match=NULL_CONDITION):
        await client.execute(
            "query ($condition: Boolean = true) { genres @include(if: $condition) { name } }", condition=None
        )
    del endpoint.documents.executor.fallbacks[NULL_CONDITION]
