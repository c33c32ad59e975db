"""A request from text to answer: parse, validate, execute, and errors as clients see them."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import structlog
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    execute,
    get_operation_ast,
    parse,
    validate,
)

from graph.context import Context
from graph.faults import formatted
from graph.schema import schema

log = structlog.get_logger()

LONGEST_DOCUMENT = 10_000  # characters
MOST_TOKENS = 1_000
TIMEOUT = 10  # seconds
KEPT_DOCUMENTS = 500


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends. `read_only` refuses mutations, for GET."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """`executed` is false where the document was refused before anything ran."""

    data: dict[str, Any] | None
    errors: list[dict[str, Any]]
    executed: bool = True
    operation: str | None = None

    @property
    def codes(self) -> set[str]:
        return {error["extensions"]["code"] for error in self.errors}

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"errors": self.errors} if self.errors else {}
        return body | {"data": self.data} if self.executed else body


class Refused(Exception):
    """The document was not executed."""

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__(errors)
        self.errors = errors


async def answer(context: Context, request: Request) -> Answer:
    """Never raises over what was asked."""
    try:
        document = _documents.get(request.query)
        operation = _operation(document, request)
    except Refused as refused:
        return Answer(None, [formatted(error, context.request_id) for error in refused.errors], executed=False)
    name = operation.name.value if operation.name else None
    try:
        async with asyncio.timeout(TIMEOUT):
            result = await _execute(context, document, request)
    except TimeoutError:
        log.warning("timeout", operation=name)
        late = _coded("TIMEOUT", f"The answer took longer than {TIMEOUT} seconds. Ask for less, or try again.")
        return Answer(None, [formatted(late, context.request_id)], operation=name)
    errors = [formatted(error, context.request_id) for error in result.errors or ()]
    executed = result.data is not None or any("path" in error for error in errors)
    return Answer(result.data, errors, executed, operation=name)


async def _execute(context: Context, document: DocumentNode, request: Request) -> ExecutionResult:
    result = execute(
        schema._schema,
        document,
        context_value=context,
        variable_values=request.variables,
        operation_name=request.operation_name,
    )
    return await result if isinstance(result, Awaitable) else result


def _operation(document: DocumentNode, request: Request) -> OperationDefinitionNode:
    operation = get_operation_ast(document, request.operation_name)
    if operation is None:
        asked = f"no operation {request.operation_name!r}" if request.operation_name else "several operations: name one"
        raise Refused(_coded("BAD_USER_INPUT", f"The document has {asked}."))
    if request.read_only and operation.operation is not OperationType.QUERY:
        raise Refused(_coded("BAD_REQUEST", "Send mutations by POST."))
    return operation


class Documents:
    """Documents that have been parsed and found to fit the schema; the least recently used is forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, DocumentNode] = OrderedDict()

    def get(self, text: str) -> DocumentNode:
        document = self._kept.get(text)
        if document is None:
            document = self._kept[text] = _parsed_and_valid(text)
            if len(self._kept) > KEPT_DOCUMENTS:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(text)
        return document


def _parsed_and_valid(text: str) -> DocumentNode:
    if len(text) > LONGEST_DOCUMENT:
        raise Refused(_coded("QUERY_TOO_COMPLEX", f"The document has more than {LONGEST_DOCUMENT:,} characters."))
    try:
        document = parse(text, max_tokens=MOST_TOKENS)
        errors = validate(schema._schema, document)
    except GraphQLError as error:
        if ("tokens" in error.message and "exceeded" in error.message.lower()) or "more than" in error.message:
            raise Refused(_coded("QUERY_TOO_COMPLEX", f"The document has more than {MOST_TOKENS:,} tokens.")) from error
        if "nested too deeply" in error.message:
            raise Refused(_coded("QUERY_TOO_COMPLEX", "The document is nested too deeply.")) from error
        raise Refused(error) from error
    except RecursionError as error:
        raise Refused(_coded("QUERY_TOO_COMPLEX", "The document is nested too deeply.")) from error
    if errors:
        raise Refused(*(_coded("GRAPHQL_VALIDATION_FAILED", error.message, error) for error in errors))
    return document


def _coded(code: str, message: str, error: GraphQLError | None = None) -> GraphQLError:
    return GraphQLError(message, nodes=error.nodes if error else None, extensions={"code": code})


_documents = Documents()
