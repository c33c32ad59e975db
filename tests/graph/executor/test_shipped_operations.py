"""All operations of GraphiQL's tabs and of the benchmarks are compiled, and both executors return equal responses."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from graphql import OperationDefinitionNode, OperationType

from domain.shop import Shop
from graph.execution.documents import Documents
from server.http import graphiql
from tests.support.graphql.both_executors import COMPILED, GRAPHQL_CORE, FuzzData, execute_document, prepare_fuzz_data
from tests.support.graphql.comparison import TIMES
from tests.support.graphql.response_comparison import are_equivalent
from tools.bench.workloads import WORKLOADS

TAB_OPERATIONS = sorted((graphiql.STATIC.parent / "operations").glob("*.graphql"))
SHIPPED_OPERATIONS = {path.name: path.read_text("utf-8") for path in TAB_OPERATIONS} | {
    name: workload.document for name, workload in WORKLOADS.items()
}
VARIABLES = {
    path.name: json.loads(variables.read_text("utf-8"))
    for path in TAB_OPERATIONS
    if (variables := path.with_suffix(".json")).is_file()
}

NEVER_PRELOADED = {"OrderConnection.nodes"}
"""Fields whose fast path always fails: no row of an order holds its customer."""


def iterate_queries(fuzz_data: FuzzData) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    """Yield the document, the variables and the operation name of each shipped query."""
    variables = {"first": 20, "words": "zeb", "search": "zeb", "slug": "zebra", "id": fuzz_data.samples["bookId"][0]}
    for name, text in SHIPPED_OPERATIONS.items():
        for node in GRAPHQL_CORE.get(text).document.definitions:
            if isinstance(node, OperationDefinitionNode) and node.operation is OperationType.QUERY:
                yield text, VARIABLES.get(name, {}) | variables, node.name.value if node.name else None


@pytest.mark.parametrize("name", SHIPPED_OPERATIONS)
def test_all_operations_are_compiled(name: str) -> None:
    documents = Documents(introspection=True)
    document = documents.get(SHIPPED_OPERATIONS[name])
    assert [operation.name for operation in document.operations.values() if operation.plan is None] == []
    assert documents.executor is not None
    assert not documents.executor.fallbacks


async def test_queries_have_equal_results(shop: Shop, postgres: asyncpg.Connection) -> None:
    fuzz_data = await prepare_fuzz_data(shop, postgres)
    for query, token in itertools.product(iterate_queries(fuzz_data), fuzz_data.tokens.values()):
        text, variables, name = query
        expected = await execute_document(GRAPHQL_CORE, shop, token, text, variables, name)
        assert expected.is_executed, expected.errors
        for _ in range(TIMES):
            response = await execute_document(COMPILED, shop, token, text, variables, name)
            assert are_equivalent(response, expected), query


async def test_queries_take_the_fast_path(shop: Shop, postgres: asyncpg.Connection, slow_fields: list[str]) -> None:
    fuzz_data = await prepare_fuzz_data(shop, postgres)
    for text, variables, name in iterate_queries(fuzz_data):
        documents = Documents(introspection=True)
        for _ in range(TIMES):
            slow_fields.clear()
            await execute_document(documents, shop, fuzz_data.tokens["administrator"], text, variables, name)
        assert set(slow_fields) <= NEVER_PRELOADED, (name, text)
