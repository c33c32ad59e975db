"""Executes documents with graphql-core and with the compiled executor, and compares the results."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import GraphQLError, execute, get_operation_ast, parse, validate

from graph.executor import Executor, Plan

ResponsePath = tuple[str | int, ...]
TIMES = 3
"""Executions per plan: the first takes the slow path, later ones the fast path."""


@dataclass(frozen=True, slots=True)
class Execution:
    """Data and errors of one execution, and its context."""

    data: Any
    errors: Sequence[GraphQLError]
    context: Any


def compile_document(executor: Executor, text: str) -> Plan:
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation is not None
    return executor.compile(document, operation)


async def execute_with_both(
    executor: Executor, text: str, variables: dict[str, Any] | None, create_context: Callable[[], Any]
) -> tuple[Execution, list[Execution]]:
    """Execute a valid document once with graphql-core, and `TIMES` times with one plan."""
    graphql_schema, document = executor.schema._schema, parse(text)
    assert validate(graphql_schema, document) == []
    context = create_context()
    result = execute(graphql_schema, document, context_value=context, variable_values=variables)
    result = await result if isinstance(result, Awaitable) else result
    expected = Execution(result.data, result.errors or [], context)
    plan, executions = compile_document(executor, text), []
    for _ in range(TIMES):
        context = create_context()
        plan_result = await plan.execute(context, variables)
        executions.append(Execution(plan_result.data, plan_result.errors, context))
    return expected, executions


# ── Comparison ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ComparableResult:
    """A result as JSON. `errors` are sorted, because concurrent fields may fail in any order. `log` lists the side effects."""

    data: str
    errors: list[str]
    log: list[str]

    def is_equivalent_to(self, other: "ComparableResult") -> bool:
        """Return whether data and errors are equal.

        If several fields fail below a position that becomes null, each result may report any of them.
        """
        actual, expected = self._group_errors_by_nulled_path(), other._group_errors_by_nulled_path()
        return (self.data, self.log, actual.keys()) == (other.data, other.log, expected.keys()) and all(
            _are_equivalent(errors, expected[path], path) for path, errors in actual.items()
        )

    def _group_errors_by_nulled_path(self) -> dict[ResponsePath, list[dict[str, Any]]]:
        """Group the errors by the positions that became null because of them."""
        data, errors_by_path = orjson.loads(self.data), dict[ResponsePath, list[dict[str, Any]]]()
        for error in map(orjson.loads, self.errors):
            errors_by_path.setdefault(_find_nulled_path(data, error.get("path", [])), []).append(error)
        return errors_by_path


def _find_nulled_path(data: Any, path: list[str | int]) -> ResponsePath:
    for length, key in enumerate(path):
        if data is None:
            return tuple(path[:length])
        data = data[key]
    return tuple(path)


def _are_equivalent(actual: list[dict[str, Any]], expected: list[dict[str, Any]], nulled_path: ResponsePath) -> bool:
    if all(tuple(error.get("path", [])) == nulled_path for error in (*actual, *expected)):
        return actual == expected
    expected_errors = {tuple(error.get("path", [])): error for error in expected}
    return all(error == expected_errors.get(tuple(error.get("path", [])), error) for error in actual)
