"""A document put through both executors, and what each of them answers."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import GraphQLError, execute, get_operation_ast, parse, validate

from graph.engine import Engine
from tests.graph.engine.world import World, schema

engine = Engine(schema)
Position = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """`errors` in no order: what waits at the same time fails in any."""

    data: str
    errors: list[str]
    log: list[str]

    def is_as_good_as(self, other: "Told") -> bool:
        """Where several things fail below one position, which becomes null as a whole, any of them may be told for it."""
        ours, theirs = self._by_position(), other._by_position()
        return (self.data, self.log, ours.keys()) == (other.data, other.log, theirs.keys()) and all(
            _agree(told, theirs[position], position) for position, told in ours.items()
        )

    def _by_position(self) -> dict[Position, list[dict[str, Any]]]:
        """Errors by the positions that they have made null."""
        data, found = orjson.loads(self.data), dict[Position, list[dict[str, Any]]]()
        for error in map(orjson.loads, self.errors):
            found.setdefault(_nulled(data, error.get("path", [])), []).append(error)
        return found


def _nulled(data: Any, path: list[str | int]) -> Position:
    for length, key in enumerate(path):
        if data is None:
            return tuple(path[:length])
        data = data[key]
    return tuple(path)


def _agree(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], position: Position) -> bool:
    if all(tuple(error.get("path", [])) == position for error in (*ours, *theirs)):
        return ours == theirs
    known = {tuple(error["path"]): error for error in theirs}
    return all(error == known.get(tuple(error["path"]), error) for error in ours)


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
