"""A request from text to answer: parse, validate, execute, and errors as clients see them."""

import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import structlog
from graphql import GraphQLError, execute

from domain.errors import TooOften
from domain.rate_limiting import REFUSED
from graph.context import Context
from graph.cost import DEAREST, DEAREST_FOR_ADMINISTRATORS
from graph.documents import Documents, Refused, coded
from graph.engine import NotSpoken
from graph.faults import formatted
from graph.operations import Operation
from graph.patience import TIMEOUT, Patience
from graph.schema import schema

log = structlog.get_logger()


@dataclass(slots=True)
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


@dataclass(slots=True)
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
        operation, cost, limit = await _admitted(documents, context, request)
    except Refused as refused:
        return Answer(None, [formatted(error, context.request_id) for error in refused.errors], executed=False)
    told = {"cost": {"requested": cost, "limit": limit}} if request.tell_cost else {}
    name = operation.name
    context.browses = operation.is_query and context.access_token is None
    patience = Patience(context.departure if operation.is_query else None)
    try:
        async with patience:
            data, told_errors = await _execute(documents, context, operation, request)
    except TimeoutError:
        context.cancel()
        log.warning("client gone" if patience.is_abandoned else "timeout", operation=name)
        late = coded("TIMEOUT", f"The answer took longer than {TIMEOUT} seconds. Ask for less, or try again.")
        return Answer(None, [formatted(late, context.request_id)], operation=name, extensions=told)
    if not told_errors:
        fresh_for = operation.fresh_for if request.read_only else None
        return Answer(data, [], data is not None, operation=name, extensions=told, fresh_for=fresh_for)
    errors = [formatted(error, context.request_id) for error in told_errors]
    executed = data is not None or any("path" in error for error in errors)
    return Answer(data, errors, executed, operation=name, extensions=told)


async def _admitted(documents: Documents, context: Context, request: Request) -> tuple[Operation, int, int]:
    """What is to be executed, what that costs and what it may cost; paid for."""
    limiter, caller = context.shop.rate_limiter, context.caller
    try:
        limiter.check(caller)
        try:
            operation = _operation(documents, request)
            cost, limit = operation.price.for_(request.variables), DEAREST
            if cost > limit:
                limit = await _higher_limit(context, cost)
        except Refused:
            await limiter.spend(caller, REFUSED)
            raise
        await limiter.spend(caller, cost)
    except TooOften as error:
        raise Refused(GraphQLError("", original_error=error)) from error
    return operation, cost, limit


async def _higher_limit(context: Context, cost: int) -> int:
    """How much one document of this caller's may cost."""
    limit = DEAREST_FOR_ADMINISTRATORS if await context.is_administrator() else DEAREST
    if cost > limit:
        message = (
            f"The document costs {cost:,} and may cost {limit:,}. Ask for shorter lists, or for less of each item."
        )
        raise Refused(coded("QUERY_TOO_COMPLEX", message))
    return limit


async def _execute(
    documents: Documents, context: Context, operation: Operation, request: Request
) -> tuple[dict[str, Any] | None, list[GraphQLError]]:
    if operation.plan is not None:
        with contextlib.suppress(NotSpoken):
            outcome = await operation.plan.run(context, request.variables)
            return outcome.data, outcome.errors
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


def _operation(documents: Documents, request: Request) -> Operation:
    checked = documents.trusted(request.document_id or "") if request.query is None else documents.get(request.query)
    operation = checked.operation(request.operation_name)
    if operation is None:
        asked = f"no operation {request.operation_name!r}" if request.operation_name else "several operations: name one"
        raise Refused(coded("BAD_USER_INPUT", f"The document has {asked}."))
    if request.read_only and not operation.is_query:
        raise Refused(coded("BAD_REQUEST", "Send mutations by POST."))
    return operation
