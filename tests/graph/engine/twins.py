"""A document put through both executors, and what each of them answers."""

from collections.abc import Awaitable
from typing import Any

import orjson
from graphql import GraphQLError, execute, get_operation_ast, parse, validate

from graph.engine import Engine
from tests.graph.engine.told import Told
from tests.graph.engine.world import World, schema

engine = Engine(schema)


def told(data: Any, errors: list[GraphQLError] | None, world: World) -> Told:
    formatted = [orjson.dumps(error.formatted, option=orjson.OPT_SORT_KEYS).decode() for error in errors or ()]
    return Told(orjson.dumps(data, default=repr).decode(), sorted(formatted), world.log)


async def interpreted(text: str, variables: dict[str, Any] | None, troubled: int) -> Told:
    world = World(troubled)
    result = execute(schema._schema, parse(text), context_value=world, variable_values=variables)
    result = await result if isinstance(result, Awaitable) else result
    return told(result.data, result.errors, world)


async def compiled(text: str, variables: dict[str, Any] | None, troubled: int, times: int = 3) -> list[Told]:
    """The first time is careful, and from the second on it is swift."""
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation is not None
    plan = engine.compile(document, operation)
    answers = []
    for _ in range(times):
        world = World(troubled)
        outcome = await plan.run(world, variables)
        answers.append(told(outcome.data, outcome.errors, world))
    return answers


async def check(text: str, variables: dict[str, Any] | None = None, troubled: int = 0) -> Told:
    """Both answer the same; what they do."""
    assert validate(schema._schema, parse(text)) == []
    expected = await interpreted(text, variables, troubled)
    for answer in await compiled(text, variables, troubled):
        assert answer.is_as_good_as(expected), text
    return expected
