"""A request from text to answer: parse, validate, execute, and errors as clients see them."""

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import structlog
from graphql import (
    DocumentNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    execute,
    get_operation_ast,
)

from domain.errors import TooOften
from domain.rate_limiting import REFUSED
from graph.context import Context
from graph.cost import DEAREST, DEAREST_FOR_ADMINISTRATORS
from graph.documents import Checked, Documents, Refused, coded
from graph.engine import NotSpoken
from graph.faults import formatted
from graph.schema import schema

log = structlog.get_logger()

TIMEOUT = 10  # seconds


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends: a document, or the id of a trusted one.

    `read_only` refuses mutations, for GET; `tell_cost` has the answer say what it cost.
    """

    query: str | None
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    read_only: bool = False
    tell_cost: bool = False
    document_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """`executed` is false where the document was refused before anything ran.

    `fresh_for` are the seconds for which caches may keep it if it is a visitor's. Only what was asked `read_only` and has
    no errors has them.
    """

    data: dict[str, Any] | None
    errors: list[dict[str, Any]]
    executed: bool = True
    operation: str | None = None
    extensions: dict[str, Any] = field(default_factory=dict)
    fresh_for: int | None = None

    @property
    def codes(self) -> set[str]:
        return {error["extensions"]["code"] for error in self.errors}

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"errors": self.errors} if self.errors else {}
        if self.executed:
            body["data"] = self.data
        return body | {"extensions": self.extensions} if self.extensions else body


async def answer(documents: Documents, context: Context, request: Request) -> Answer:
    """Never raises over what was asked."""
    try:
        checked, operation, cost, limit = await _admitted(documents, context, request)
    except Refused as refused:
        return Answer(None, [formatted(error, context.request_id) for error in refused.errors], executed=False)
    told = {"cost": {"requested": cost, "limit": limit}} if request.tell_cost else {}
    name = operation.name.value if operation.name else None
    try:
        async with asyncio.timeout(TIMEOUT) as deadline:
            if operation.operation is OperationType.QUERY:
                context.query_deadline = deadline
            data, told_errors = await _execute(documents, context, checked, operation, request)
    except TimeoutError:
        context.cancel()
        log.warning("client gone" if context.is_abandoned else "timeout", operation=name)
        late = coded("TIMEOUT", f"The answer took longer than {TIMEOUT} seconds. Ask for less, or try again.")
        return Answer(None, [formatted(late, context.request_id)], operation=name, extensions=told)
    errors = [formatted(error, context.request_id) for error in told_errors]
    executed = data is not None or any("path" in error for error in errors)
    fresh_for = checked.fresh_for(operation) if request.read_only and not errors else None
    return Answer(data, errors, executed, operation=name, extensions=told, fresh_for=fresh_for)


async def _admitted(
    documents: Documents, context: Context, request: Request
) -> tuple[Checked, OperationDefinitionNode, int, int]:
    """The document, what is to be executed of it, what that costs and what it may cost; paid for."""
    limiter, caller = context.shop.rate_limiter, context.caller
    try:
        limiter.check(caller)
        try:
            checked = _document(documents, request)
            operation = _operation(checked.document, request)
            name = operation.name.value if operation.name else None
            cost, limit = await _affordable(context, checked.prices[name].for_(request.variables))
        except Refused:
            await limiter.spend(caller, REFUSED)
            raise
        await limiter.spend(caller, cost)
    except TooOften as error:
        raise Refused(GraphQLError("", original_error=error)) from error
    return checked, operation, cost, limit


async def _affordable(context: Context, cost: int) -> tuple[int, int]:
    """The cost, and how much one document of this caller's may cost."""
    limit = DEAREST
    if cost > limit and await context.is_administrator():
        limit = DEAREST_FOR_ADMINISTRATORS
    if cost > limit:
        message = (
            f"The document costs {cost:,} and may cost {limit:,}. Ask for shorter lists, or for less of each item."
        )
        raise Refused(coded("QUERY_TOO_COMPLEX", message))
    return cost, limit


async def _execute(
    documents: Documents, context: Context, checked: Checked, operation: OperationDefinitionNode, request: Request
) -> tuple[dict[str, Any] | None, list[GraphQLError]]:
    plan = checked.plan(operation)
    if plan is not None:
        with contextlib.suppress(NotSpoken):
            outcome = await plan.run(context, request.variables)
            return outcome.data, outcome.errors
    result = execute(
        schema._schema,
        checked.document,
        context_value=context,
        variable_values=request.variables,
        operation_name=request.operation_name,
        hide_suggestions=not documents.introspection,
    )
    result = await result if isinstance(result, Awaitable) else result
    return result.data, result.errors or []


def _document(documents: Documents, request: Request) -> Checked:
    if request.query is None:
        return documents.trusted(request.document_id or "")
    return documents.get(request.query)


def _operation(document: DocumentNode, request: Request) -> OperationDefinitionNode:
    operation = get_operation_ast(document, request.operation_name)
    if operation is None:
        asked = f"no operation {request.operation_name!r}" if request.operation_name else "several operations: name one"
        raise Refused(coded("BAD_USER_INPUT", f"The document has {asked}."))
    if request.read_only and operation.operation is not OperationType.QUERY:
        raise Refused(coded("BAD_REQUEST", "Send mutations by POST."))
    return operation
