"""Fallbacks to graphql-core are counted."""

from collections import Counter

import pytest

from graph.executor import Executor, Unsupported
from tests.support.graphql.chaos_schema import ChaosContext, schema
from tests.support.graphql.comparison import compile_document


def test_introspection_falls_back() -> None:
    executor = Executor(schema)
    with pytest.raises(Unsupported):
        compile_document(executor, "{ thing { name } __schema { types { name } } }")
    assert executor.fallbacks == Counter({"introspection": 1})


async def test_null_condition_falls_back() -> None:
    executor = Executor(schema)
    plan = compile_document(executor, "query ($condition: Boolean = true) { thing { name @include(if: $condition) } }")
    assert (await plan.execute(ChaosContext(), {"condition": False})).data == {"thing": {}}
    assert executor.fallbacks == Counter()
    with pytest.raises(Unsupported):
        await plan.execute(ChaosContext(), {"condition": None})
    assert executor.fallbacks == Counter({"null condition": 1})
