"""A request from text to answer: parse, validate, execute, and errors as clients see them."""

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
    """What a client sends: a document, or the id of a trusted one.

    `read_only` refuses mutations, for GET; `tell_cost` has the answer say what it cost.
    """

    query: str | None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    read_only: bool = False
    include_cost: bool = False
    document_id: str | None = None


@dataclass(slots=True)
class GraphQLResponse:
    """`executed` is false where the document was refused before anything ran.

    `root` is the field at the root, where there is but one. `fresh_for` are the seconds for which caches may keep it if it
    is a visitor's. Only what was asked `read_only` and has no errors has them.
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
        return {error["extensions"]["code"] for error in self.errors}

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"errors": self.errors} if self.errors else {}
        if self.is_executed:
            body["data"] = self.data
        return body | {"extensions": self.extensions} if self.extensions else body


async def execute_request(documents: Documents, context: Context, request: GraphQLRequest) -> GraphQLResponse:
    """Never raises over what was asked."""
    try:
        operation, cost, limit = await _charge(documents, context, request)
    except DocumentRejected as rejection:
        return GraphQLResponse(
            None, [format_error(error, context.request_id) for error in rejection.errors], is_executed=False
        )
    extensions = {"cost": {"requested": cost, "limit": limit}} if request.include_cost else {}
    operation_name = operation.name
    context.read_from_replica = operation.is_query and context.access_token is None
    deadline = Deadline(context.wait_disconnected if operation.is_query else None)
    try:
        async with deadline:
            data, graphql_errors = await _execute(documents, context, operation, request)
    except TimeoutError:
        context.cancel()
        log.warning("client gone" if deadline.is_disconnected else "timeout", operation=operation_name)
        timeout_error = error_with_code(
            "TIMEOUT", f"The answer took longer than {EXECUTION_TIMEOUT} seconds. Ask for less, or try again."
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
    """What is to be executed, what that costs and what it may cost; paid for."""
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
    """How much one document of this caller's may cost."""
    limit = MAX_ADMIN_COST if await context.is_admin() else MAX_COST
    if cost > limit:
        message = (
            f"The document costs {cost:,} and may cost {limit:,}. Ask for shorter lists, or for less of each item."
        )
        raise DocumentRejected(error_with_code("QUERY_TOO_COMPLEX", message))
    return limit


async def _execute(
    documents: Documents, context: Context, operation: Operation, request: GraphQLRequest
) -> tuple[dict[str, Any] | None, list[GraphQLError]]:
    counters, was_planned = documents.counters, operation.is_planned
    if operation.plan is not None:
        with contextlib.suppress(Unsupported):
            outcome = await operation.plan.execute(context, request.variables)
            counters.planned += was_planned
            counters.compiled += not was_planned
            return outcome.data, outcome.errors
    counters.interpreted += 1
    result = execute(
        schema._schema,
        operation.document,
        context_value=context,
        variable_values=request.variables,
        operation_name=request.operation_name,
        hide_suggestions=not documents.introspection,
    )
    result = await result if isinstance(result, Awaitable) else result
    return result.data, result.errors or []


def _get_operation(documents: Documents, request: GraphQLRequest) -> Operation:
    document = (
        documents.find_trusted(request.document_id or "") if request.query is None else documents.get(request.query)
    )
    operation = document.get_operation(request.operation_name)
    if operation is None:
        reason = (
            f"no operation {request.operation_name!r}" if request.operation_name else "several operations: name one"
        )
        raise DocumentRejected(error_with_code("BAD_USER_INPUT", f"The document has {reason}."))
    if request.read_only and not operation.is_query:
        raise DocumentRejected(error_with_code("BAD_REQUEST", "Send mutations by POST."))
    return operation
