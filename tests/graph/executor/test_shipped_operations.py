"""The operations in GraphiQL's tabs and those of the benchmarks are compiled, every one, and answered as graphql-core does."""

import itertools
import json

import asyncpg
import pytest
from graphql import OperationDefinitionNode, OperationType

from domain.shop import Shop
from graph.execution.documents import Documents
from server.http import graphiql
from tests.support.graphql.both_executors import COMPILED, GRAPHQL_CORE, execute_document, prepare_fuzz_data
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
TIMES = 3
"""The engine is careful the first time, and swift from the second on."""


def operations(text: str) -> list[OperationDefinitionNode]:
    return [it for it in GRAPHQL_CORE.get(text).document.definitions if isinstance(it, OperationDefinitionNode)]


@pytest.mark.parametrize("name", SHIPPED_OPERATIONS)
def test_all_operations_are_compiled(name: str) -> None:
    documents = Documents(introspection=True)
    checked = documents.get(SHIPPED_OPERATIONS[name])
    assert [it.name for it in checked.operations.values() if it.plan is None] == []
    assert documents.executor is not None
    assert not documents.executor.fallbacks


async def test_queries_have_equal_results(shop: Shop, postgres: asyncpg.Connection) -> None:
    asking = await prepare_fuzz_data(shop, postgres)
    known = {"first": 20, "words": "zeb", "search": "zeb", "slug": "zebra", "id": asking.samples["bookId"][0]}
    for name, text in SHIPPED_OPERATIONS.items():
        queries = [it for it in operations(text) if it.operation is OperationType.QUERY]
        variables = VARIABLES.get(name, {}) | known
        for query, token in itertools.product(queries, asking.tokens.values()):
            called = query.name.value if query.name else None
            expected = await execute_document(GRAPHQL_CORE, shop, token, text, variables, called)
            assert expected.is_executed, expected.errors
            for _ in range(TIMES):
                assert are_equivalent(
                    await execute_document(COMPILED, shop, token, text, variables, called), expected
                ), (name, called)
