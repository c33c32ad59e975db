"""Documents: parsed, held against limits and schema, and kept with what they cost."""

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
"""Of documents: one takes about forty times its length in memory."""
MAX_VALIDATION_ERRORS = 20
"""Of validation: after so many it stops."""
UNTRUSTED_DOCUMENT_MESSAGE = (
    "This server takes the documents on its list alone, and this one is not on it: "
    "have `bookstore schema documents` add it, and send its id as `documentId`."
)


class DocumentRejected(Exception):
    """The document was not executed."""

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__(errors)
        self.errors = errors


def error_with_code(code: str, message: str, error: GraphQLError | None = None) -> GraphQLError:
    return GraphQLError(message, nodes=error.nodes if error else None, extensions={"code": code})


@dataclass(frozen=True, slots=True)
class ValidatedDocument:
    """A document that fits the schema and the limits, with its operations by their names."""

    document: DocumentNode
    operations: dict[str | None, Operation]

    def get_operation(self, name: str | None) -> Operation | None:
        """The one of this name; without a name the only one. `None` where there is no such."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        return self.operations.get(name)


@dataclass(slots=True)
class ExecutionCounters:
    """Since the process began: operations that had a plan, that were given one, or that graphql-core interpreted; and what all cost."""

    planned: int = 0
    compiled: int = 0
    interpreted: int = 0
    cost: int = 0


class Documents:
    """Documents that have been checked; the least recently used is forgotten first.

    Without `introspection` nobody learns the schema from it: not by asking for it, nor from suggestions in errors.
    Those that are not `compiled` are interpreted by graphql-core. With `trusted_only` any other than those that
    `trust` was told is refused unread. `watch` is put around what is waited for, where they are compiled.
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
        """Keeps a document for good, to be asked for by the SHA-256 of its text and by another id, where it has one.

        Introspection is not for trusting. Raises `Refused`.
        """
        validated = self._trusted_by_text.get(text) or self._validate(text, introspection=False, hide_suggestions=False)
        if any(it.cost.evaluate(None) > MAX_ADMIN_COST for it in validated.operations.values()):
            raise DocumentRejected(error_with_code("QUERY_TOO_COMPLEX", f"It costs more than {MAX_ADMIN_COST:,}."))
        self._trusted_by_text[text] = validated
        self._trusted_by_id |= dict.fromkeys({sha256(text), id_ or sha256(text)}, validated)
        return validated

    def find_trusted(self, id_: str) -> ValidatedDocument:
        """Raises `Refused` for an id that is not on the list."""
        validated = self._trusted_by_id.get(id_)
        if validated is None:
            hint = "." if self.trusted_only else ", so send the document itself as `query`."
            raise DocumentRejected(
                error_with_code("PERSISTED_QUERY_NOT_FOUND", f"No trusted document has this id{hint}")
            )
        return validated

    @property
    def trusted_operation_names(self) -> frozenset[str]:
        """Of the operations of trusted documents."""
        return frozenset(name for it in self._trusted_by_text.values() for name in it.operations if name)

    def get(self, text: str) -> ValidatedDocument:
        """Raises `Refused`."""
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
        prices = compute_operation_costs(document, schema._schema)
        nodes = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
        operations = [Operation(document, node, prices[get_operation_name(node)], self.executor) for node in nodes]
        return ValidatedDocument(document, {it.name: it for it in operations})


def sha256(text: str) -> str:
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
