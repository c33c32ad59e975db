"""The operations in GraphiQL's tabs and those of the benchmarks are compiled, every one, and answered as graphql-core does."""

import itertools
import json

import asyncpg
import pytest
from graphql import OperationDefinitionNode, OperationType

from benchmarks.workloads import WORKLOADS
from domain.shop import Shop
from graph.documents import Documents
from server import graphiql
from tests.graph.answers import agree
from tests.graph.executors import CORE, ENGINE, asked, open_for_questions

TABS = sorted((graphiql.STATIC.parent / "operations").glob("*.graphql"))
SHIPPED = {path.name: path.read_text("utf-8") for path in TABS} | {
    name: workload.document for name, workload in WORKLOADS.items()
}
VARIABLES = {
    path.name: json.loads(variables.read_text("utf-8"))
    for path in TABS
    if (variables := path.with_suffix(".json")).is_file()
}
TIMES = 3
"""The engine is careful the first time, and swift from the second on."""


def operations(text: str) -> list[OperationDefinitionNode]:
    return [it for it in CORE.get(text).document.definitions if isinstance(it, OperationDefinitionNode)]


@pytest.mark.parametrize("name", SHIPPED)
def test_all_of_it_is_compiled(name: str) -> None:
    documents = Documents(introspection=True)
    checked = documents.get(SHIPPED[name])
    assert [it.name for it in checked.operations.values() if it.plan is None] == []
    assert documents.engine is not None
    assert not documents.engine.left


async def test_queries_are_answered_alike(shop: Shop, postgres: asyncpg.Connection) -> None:
    asking = await open_for_questions(shop, postgres)
    known = {"first": 20, "words": "zeb", "search": "zeb", "slug": "zebra", "id": asking.samples["bookId"][0]}
    for name, text in SHIPPED.items():
        queries = [it for it in operations(text) if it.operation is OperationType.QUERY]
        variables = VARIABLES.get(name, {}) | known
        for query, token in itertools.product(queries, asking.tokens.values()):
            called = query.name.value if query.name else None
            expected = await asked(CORE, shop, token, text, variables, called)
            assert expected.executed, expected.errors
            for _ in range(TIMES):
                assert agree(await asked(ENGINE, shop, token, text, variables, called), expected), (name, called)
