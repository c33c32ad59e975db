"""What the engine leaves to graphql-core, it counts."""

from collections import Counter

import pytest
from graphql import get_operation_ast, parse

from graph.engine import Engine, NotSpoken, Plan
from tests.graph.engine.world import World, schema


def _compiled(engine: Engine, text: str) -> Plan:
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation is not None
    return engine.compile(document, operation)


def test_introspection() -> None:
    engine = Engine(schema)
    with pytest.raises(NotSpoken):
        _compiled(engine, "{ thing { name } __schema { types { name } } }")
    assert engine.left == Counter({"introspection": 1})


async def test_a_condition_that_is_null() -> None:
    engine = Engine(schema)
    plan = _compiled(engine, "query ($it: Boolean = true) { thing { name @include(if: $it) } }")
    assert (await plan.run(World(), {"it": False})).data == {"thing": {}}
    assert engine.left == Counter()
    with pytest.raises(NotSpoken):
        await plan.run(World(), {"it": None})
    assert engine.left == Counter({"a condition that is null": 1})
