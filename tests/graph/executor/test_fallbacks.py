"""What the engine leaves to graphql-core, it counts."""

from collections import Counter

import pytest
from graphql import get_operation_ast, parse

from graph.executor import Executor, Plan, Unsupported
from tests.support.graphql.chaos_schema import ChaosContext, schema


def _compile(executor: Executor, text: str) -> Plan:
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation is not None
    return executor.compile(document, operation)


def test_introspection_falls_back() -> None:
    executor = Executor(schema)
    with pytest.raises(Unsupported):
        _compile(executor, "{ thing { name } __schema { types { name } } }")
    assert executor.fallbacks == Counter({"introspection": 1})


async def test_null_condition_falls_back() -> None:
    executor = Executor(schema)
    plan = _compile(executor, "query ($it: Boolean = true) { thing { name @include(if: $it) } }")
    assert (await plan.execute(ChaosContext(), {"it": False})).data == {"thing": {}}
    assert executor.fallbacks == Counter()
    with pytest.raises(Unsupported):
        await plan.execute(ChaosContext(), {"it": None})
    assert executor.fallbacks == Counter({"a condition that is null": 1})
