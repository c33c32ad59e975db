"""Executes a GraphQL request: validates the document, charges its cost, runs the operation, and formats the errors."""

import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import structlog
from graphql import GraphQLError, execute

from domain.errors import RateLimited
from domain.query_budget import REJECTED_COST
from graph.context import Context
from graph.execution.cost import MAX_ADMIN_COST, MAX_COST
from graph.execution.deadline import EXECUTION_TIMEOUT, Deadline
from graph.execution.documents import DocumentRejected, Documents, error_with_code
from graph.execution.operations import Operation
from graph.executor import Unsupported
from graph.request_errors import format_error
from graph.schema import schema

log = structlog.get_logger()


@dataclass(slots=True)
class GraphQLRequest:
    """A client's request: a document (`query`), or the ID of a trusted one.

    `read_only` rejects mutations, for GET. `include_cost` adds the cost to the response's extensions.
    """

    query: str | None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    read_only: bool = False
    include_cost: bool = False
    document_id: str | None = None


@dataclass(slots=True)
class GraphQLResponse:
    """The response to a request.

    `is_executed` is false if the request failed before execution. `root_field` is set if the operation has one root field.
    `max_age` is the number of seconds for which caches may keep an anonymous response; only `read_only` responses without
    errors have it.
    """

    data: dict[str, Any] | None
    errors: list[dict[str, Any]]
    is_executed: bool = True
    operation_name: str | None = None
    root_field: str | None = None
    extensions: dict[str, Any] = field(default_factory=dict)
    max_age: int | None = None

    @property
    def error_codes(self) -> set[str]:
        """The `extensions.code` of all errors."""
        return {error["extensions"]["code"] for error in self.errors}

    @property
    def body(self) -> dict[str, Any]:
        """The response as a map to be serialized as JSON."""
        body: dict[str, Any] = {"errors": self.errors} if self.errors else {}
        if self.is_executed:
            body["data"] = self.data
        return body | {"extensions": self.extensions} if self.extensions else body


async def execute_request(documents: Documents, context: Context, request: GraphQLRequest) -> GraphQLResponse:
    """Execute a request. Request errors and field errors are part of the response."""
    try:
        operation, cost, limit = await _charge(documents, context, request)
    except DocumentRejected as rejection:
        return GraphQLResponse(
            None, [format_error(error, context.request_id) for error in rejection.errors], is_executed=False
        )
    extensions = {"cost": {"requested": cost, "limit": limit}} if request.include_cost else {}
    operation_name = operation.name
    context.is_query = operation.is_query
    deadline = Deadline(context.wait_disconnected if operation.is_query else None)
    try:
        async with deadline:
            data, graphql_errors = await _execute(documents, context, operation, request)
    except TimeoutError:
        context.cancel()
        log.warning(
            "client_disconnected" if deadline.is_disconnected else "execution_timeout", operation=operation_name
        )
        timeout_error = error_with_code(
            "TIMEOUT", f"The execution took longer than {EXECUTION_TIMEOUT} seconds. Select less, or try again."
        )
        return GraphQLResponse(
            None,
            [format_error(timeout_error, context.request_id)],
            True,
            operation_name,
            operation.root_field,
            extensions,
        )
    if not graphql_errors:
        max_age = operation.max_age if request.read_only else None
        return GraphQLResponse(data, [], data is not None, operation_name, operation.root_field, extensions, max_age)
    errors = [format_error(error, context.request_id) for error in graphql_errors]
    is_executed = data is not None or any("path" in error for error in errors)
    return GraphQLResponse(data, errors, is_executed, operation_name, operation.root_field, extensions)


async def _charge(documents: Documents, context: Context, request: GraphQLRequest) -> tuple[Operation, int, int]:
    """Charge the cost of the operation to the caller; return the operation, its cost and the cost limit.

    Raises:
        DocumentRejected: The document is not valid or costs too much, or the caller's query budget is used up.
    """
    limiter, rate_limit_key = context.shop.rate_limiter, context.rate_limit_key
    try:
        limiter.check(rate_limit_key)
        try:
            operation = _get_operation(documents, request)
            cost, limit = operation.cost.evaluate(request.variables), MAX_COST
            if cost > limit:
                limit = await _enforce_cost_limit(context, cost)
        except DocumentRejected:
            await limiter.charge(rate_limit_key, REJECTED_COST)
            raise
        await limiter.charge(rate_limit_key, cost)
        documents.counters.cost += cost
    except RateLimited as error:
        raise DocumentRejected(GraphQLError("", original_error=error)) from error
    return operation, cost, limit


async def _enforce_cost_limit(context: Context, cost: int) -> int:
    """Return the cost limit of the caller. Raises `DocumentRejected` if the cost exceeds it."""
    limit = MAX_ADMIN_COST if await context.is_admin() else MAX_COST
    if cost > limit:
        message = (
            f"The document costs {cost:,}, but the limit is {limit:,}. Request shorter lists or fewer objects per item."
        )
        raise DocumentRejected(error_with_code("QUERY_TOO_COMPLEX", message))
    return limit


async def _execute(
    documents: Documents, context: Context, operation: Operation, request: GraphQLRequest
) -> tuple[dict[str, Any] | None, list[GraphQLError]]:
    counters, was_planned = documents.counters, operation.is_planned
    if operation.plan is not None:
        with contextlib.suppress(Unsupported):
            result = await operation.plan.execute(context, request.variables)
            counters.planned += was_planned
            counters.compiled += not was_planned
            return result.data, result.errors
    counters.interpreted += 1
    interpreted = execute(
        schema._schema,
        operation.document,
        context_value=context,
        variable_values=request.variables,
        operation_name=request.operation_name,
        hide_suggestions=not documents.introspection,
    )
    interpreted = await interpreted if isinstance(interpreted, Awaitable) else interpreted
    return interpreted.data, interpreted.errors or []


def _get_operation(documents: Documents, request: GraphQLRequest) -> Operation:
    document = (
        documents.find_trusted(request.document_id or "") if request.query is None else documents.get(request.query)
    )
    operation = document.get_operation(request.operation_name)
    if operation is None:
        message = (
            f"The document has no operation {request.operation_name!r}."
            if request.operation_name
            else "The document has several operations. Send `operationName`."
        )
        raise DocumentRejected(error_with_code("BAD_USER_INPUT", message))
    if request.read_only and not operation.is_query:
        raise DocumentRejected(error_with_code("BAD_REQUEST", "Send mutations by POST."))
    return operation
