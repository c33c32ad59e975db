"""A document put through both executors, and what each of them answers."""

from collections.abc import Awaitable
from typing import Any

import orjson
from graphql import GraphQLError, execute, get_operation_ast, parse, validate

from graph.executor import Executor
from tests.support.graphql.chaos_schema import ChaosContext, schema
from tests.support.graphql.comparison import ComparableResult

executor = Executor(schema)


def build_comparable(data: Any, errors: list[GraphQLError] | None, context: ChaosContext) -> ComparableResult:
    formatted_errors = [orjson.dumps(error.formatted, option=orjson.OPT_SORT_KEYS).decode() for error in errors or ()]
    return ComparableResult(orjson.dumps(data, default=repr).decode(), sorted(formatted_errors), context.log)


async def run_graphql_core(text: str, variables: dict[str, Any] | None, failures_per_thousand: int) -> ComparableResult:
    context = ChaosContext(failures_per_thousand)
    result = execute(schema._schema, parse(text), context_value=context, variable_values=variables)
    result = await result if isinstance(result, Awaitable) else result
    return build_comparable(result.data, result.errors, context)


async def run_executor(
    text: str, variables: dict[str, Any] | None, failures_per_thousand: int, times: int = 3
) -> list[ComparableResult]:
    """The first time is careful, and from the second on it is swift."""
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation is not None
    plan = executor.compile(document, operation)
    results = []
    for _ in range(times):
        context = ChaosContext(failures_per_thousand)
        result = await plan.execute(context, variables)
        results.append(build_comparable(result.data, result.errors, context))
    return results


async def assert_equivalent(
    text: str, variables: dict[str, Any] | None = None, failures_per_thousand: int = 0
) -> ComparableResult:
    """Both answer the same; what they do."""
    assert validate(schema._schema, parse(text)) == []
    expected = await run_graphql_core(text, variables, failures_per_thousand)
    for actual in await run_executor(text, variables, failures_per_thousand):
        assert actual.is_equivalent_to(expected), text
    return expected
