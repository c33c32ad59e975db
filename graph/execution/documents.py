"""Parses and validates documents, and caches them with their costs and plans."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    GraphQLError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    parse,
    specified_rules,
    validate,
)

from graph.execution.cost import MAX_ADMIN_COST, compute_operation_costs
from graph.execution.limits import MAX_DOCUMENT_LENGTH, MAX_TOKENS, FragmentCycle, TooComplex, check_limits
from graph.execution.operations import Operation, get_operation_name
from graph.executor import Executor, Tracer
from graph.schema import schema

MAX_CACHED_CHARACTERS = 500_000
"""Total length of cached documents; each takes about 40 times its length in memory."""
MAX_VALIDATION_ERRORS = 20
"""Validation stops after this many errors."""
UNTRUSTED_DOCUMENT_MESSAGE = (
    "This server accepts trusted documents only. "
    "Add the document with `bookstore schema documents` and send its ID as `documentId`."
)


class DocumentRejected(Exception):
    """The document was not executed; `errors` are the request errors."""

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__(errors)
        self.errors = errors


def error_with_code(code: str, message: str, error: GraphQLError | None = None) -> GraphQLError:
    """Return an error with `extensions.code`, at the locations of `error`."""
    return GraphQLError(message, nodes=error.nodes if error else None, extensions={"code": code})


@dataclass(frozen=True, slots=True)
class ValidatedDocument:
    """A document that satisfies the schema and the limits, with its operations by name."""

    document: DocumentNode
    operations: dict[str | None, Operation]

    def get_operation(self, name: str | None) -> Operation | None:
        """Return the operation with this name, or the only operation if `name` is `None`; `None` if there is none."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        return self.operations.get(name)


@dataclass(slots=True)
class ExecutionCounters:
    """Counts since the process started.

    Operations are `planned` if they had a plan, `compiled` if they were given one, and `interpreted` if graphql-core
    executed them. `cost` is the cost of all of them.
    """

    planned: int = 0
    compiled: int = 0
    interpreted: int = 0
    cost: int = 0


class Documents:
    """Validates documents and keeps an LRU cache of them.

    Without `introspection`, clients cannot query the schema, and errors contain no suggestions. Without `compiled`,
    graphql-core executes all documents. With `trusted_only`, documents that are not registered with `register_trusted` are
    rejected without being parsed. `tracer` wraps the executor's jobs.
    """

    def __init__(
        self, *, introspection: bool, compiled: bool = True, trusted_only: bool = False, tracer: Tracer | None = None
    ) -> None:
        self.introspection = introspection
        self.trusted_only = trusted_only
        self.executor = Executor(schema, hide_suggestions=not introspection, tracer=tracer) if compiled else None
        self.counters = ExecutionCounters()
        self._cache: OrderedDict[str, ValidatedDocument] = OrderedDict()
        self._cached_characters = 0
        self._trusted_by_id: dict[str, ValidatedDocument] = {}
        self._trusted_by_text: dict[str, ValidatedDocument] = {}
        mutations = schema._schema.mutation_type
        assert mutations is not None
        self._exclusive_mutations = frozenset(
            name
            for name, mutation in mutations.fields.items()
            if mutation.extensions["strawberry-definition"].metadata.get("exclusive")
        )

    def register_trusted(self, text: str, id_: str | None = None) -> ValidatedDocument:
        """Validate a trusted document and keep it; clients may send the SHA-256 of its text, or `id_`, instead of it.

        Raises:
            DocumentRejected: The document is not valid, costs too much, or contains introspection.
        """
        validated = self._trusted_by_text.get(text) or self._validate(text, introspection=False, hide_suggestions=False)
        if any(operation.cost.evaluate(None) > MAX_ADMIN_COST for operation in validated.operations.values()):
            raise DocumentRejected(error_with_code("QUERY_TOO_COMPLEX", f"It costs more than {MAX_ADMIN_COST:,}."))
        self._trusted_by_text[text] = validated
        self._trusted_by_id |= dict.fromkeys({sha256(text), id_ or sha256(text)}, validated)
        return validated

    def find_trusted(self, id_: str) -> ValidatedDocument:
        """Return the trusted document with this ID.

        Raises:
            DocumentRejected: No trusted document has this ID.
        """
        validated = self._trusted_by_id.get(id_)
        if validated is None:
            hint = "" if self.trusted_only else " Send the document itself as `query`."
            raise DocumentRejected(
                error_with_code("PERSISTED_QUERY_NOT_FOUND", f"No trusted document has this ID.{hint}")
            )
        return validated

    @property
    def trusted_operation_names(self) -> frozenset[str]:
        """The names of all operations of trusted documents."""
        return frozenset(name for document in self._trusted_by_text.values() for name in document.operations if name)

    def get(self, text: str) -> ValidatedDocument:
        """Return the validated document, from the cache if possible.

        Raises:
            DocumentRejected: The document is not valid, exceeds a limit, or is not trusted where it has to be.
        """
        if text in self._trusted_by_text:
            return self._trusted_by_text[text]
        if self.trusted_only:
            raise DocumentRejected(error_with_code("PERSISTED_QUERY_NOT_FOUND", UNTRUSTED_DOCUMENT_MESSAGE))
        validated = self._cache.get(text)
        if validated is None:
            validated = self._cache[text] = self._validate(
                text, introspection=self.introspection, hide_suggestions=not self.introspection
            )
            self._cached_characters += len(text)
            while self._cached_characters > MAX_CACHED_CHARACTERS:
                self._cached_characters -= len(self._cache.popitem(last=False)[0])
        else:
            self._cache.move_to_end(text)
        return validated

    def _validate(self, text: str, *, introspection: bool, hide_suggestions: bool) -> ValidatedDocument:
        document = _parse(text)
        try:
            check_limits(document, self._exclusive_mutations)
        except TooComplex as error:
            raise DocumentRejected(error_with_code("QUERY_TOO_COMPLEX", str(error))) from error
        except FragmentCycle as error:
            raise DocumentRejected(error_with_code("GRAPHQL_VALIDATION_FAILED", str(error))) from error
        errors = validate(
            schema._schema,
            document,
            specified_rules if introspection else (*specified_rules, NoSchemaIntrospectionCustomRule),
            max_errors=MAX_VALIDATION_ERRORS,
            hide_suggestions=hide_suggestions,
            allow_empty_selection_sets=False,
        )
        if errors:
            raise DocumentRejected(
                *(error_with_code("GRAPHQL_VALIDATION_FAILED", error.message, error) for error in errors)
            )
        costs = compute_operation_costs(document, schema._schema)
        nodes = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
        operations = [Operation(document, node, costs[get_operation_name(node)], self.executor) for node in nodes]
        return ValidatedDocument(document, {operation.name: operation for operation in operations})


def sha256(text: str) -> str:
    """Return the SHA-256 of a document's text in hexadecimal, which is its ID as a trusted document."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _parse(text: str) -> DocumentNode:
    if len(text) > MAX_DOCUMENT_LENGTH:
        raise DocumentRejected(
            error_with_code("QUERY_TOO_COMPLEX", f"The document has more than {MAX_DOCUMENT_LENGTH:,} characters.")
        )
    try:
        return parse(text, max_tokens=MAX_TOKENS, allow_empty_selection_sets=False)
    except GraphQLError as error:
        if "nested too deeply" in error.message:
            raise DocumentRejected(
                error_with_code("QUERY_TOO_COMPLEX", "The document is nested too deeply.")
            ) from error
        if "Parsing aborted" in error.message:
            raise DocumentRejected(
                error_with_code("QUERY_TOO_COMPLEX", f"The document has more than {MAX_TOKENS:,} tokens.")
            ) from error
        raise DocumentRejected(error) from error
    except RecursionError as error:
        raise DocumentRejected(error_with_code("QUERY_TOO_COMPLEX", "The document is nested too deeply.")) from error
