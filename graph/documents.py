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

from graph.cost import DEAREST_FOR_ADMINISTRATORS, prices_of
from graph.engine import Engine, Watch
from graph.limits import LONGEST_DOCUMENT, MOST_TOKENS, FragmentCycle, TooComplex, check_limits
from graph.operations import Operation, name_of
from graph.schema import schema

KEPT_CHARACTERS = 500_000
"""Of documents: one takes about forty times its length in memory."""
MOST_ERRORS = 20
"""Of validation: after so many it stops."""
ONLY_TRUSTED = (
    "This server takes the documents on its list alone, and this one is not on it: "
    "have `bookstore schema documents` add it, and send its id as `documentId`."
)


class Refused(Exception):
    """The document was not executed."""

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__(errors)
        self.errors = errors


def coded(code: str, message: str, error: GraphQLError | None = None) -> GraphQLError:
    return GraphQLError(message, nodes=error.nodes if error else None, extensions={"code": code})


@dataclass(frozen=True, slots=True)
class Checked:
    """A document that fits the schema and the limits, with its operations by their names."""

    document: DocumentNode
    operations: dict[str | None, Operation]

    def operation(self, name: str | None) -> Operation | None:
        """The one of this name; without a name the only one. `None` where there is no such."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        return self.operations.get(name)


@dataclass(slots=True)
class Executed:
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
        self, *, introspection: bool, compiled: bool = True, trusted_only: bool = False, watch: Watch | None = None
    ) -> None:
        self.introspection = introspection
        self.trusted_only = trusted_only
        self.engine = Engine(schema, hide_suggestions=not introspection, watch=watch) if compiled else None
        self.executed = Executed()
        self._kept: OrderedDict[str, Checked] = OrderedDict()
        self._characters = 0
        self._trusted: dict[str, Checked] = {}
        self._trusted_texts: dict[str, Checked] = {}
        mutations = schema._schema.mutation_type
        assert mutations is not None
        self._alone = frozenset(
            name
            for name, mutation in mutations.fields.items()
            if mutation.extensions["strawberry-definition"].metadata.get("alone")
        )

    def trust(self, text: str, id_: str | None = None) -> Checked:
        """Keeps a document for good, to be asked for by the SHA-256 of its text and by another id, where it has one.

        Introspection is not for trusting. Raises `Refused`.
        """
        checked = self._trusted_texts.get(text) or self._check(text, introspection=False, hide_suggestions=False)
        if any(it.price.for_(None) > DEAREST_FOR_ADMINISTRATORS for it in checked.operations.values()):
            raise Refused(coded("QUERY_TOO_COMPLEX", f"It costs more than {DEAREST_FOR_ADMINISTRATORS:,}."))
        self._trusted_texts[text] = checked
        self._trusted |= dict.fromkeys({sha256(text), id_ or sha256(text)}, checked)
        return checked

    def trusted(self, id_: str) -> Checked:
        """Raises `Refused` for an id that is not on the list."""
        checked = self._trusted.get(id_)
        if checked is None:
            other = "." if self.trusted_only else ", so send the document itself as `query`."
            raise Refused(coded("PERSISTED_QUERY_NOT_FOUND", f"No trusted document has this id{other}"))
        return checked

    @property
    def trusted_names(self) -> frozenset[str]:
        """Of the operations of trusted documents."""
        return frozenset(name for it in self._trusted_texts.values() for name in it.operations if name)

    def get(self, text: str) -> Checked:
        """Raises `Refused`."""
        if text in self._trusted_texts:
            return self._trusted_texts[text]
        if self.trusted_only:
            raise Refused(coded("PERSISTED_QUERY_NOT_FOUND", ONLY_TRUSTED))
        checked = self._kept.get(text)
        if checked is None:
            checked = self._kept[text] = self._check(
                text, introspection=self.introspection, hide_suggestions=not self.introspection
            )
            self._characters += len(text)
            while self._characters > KEPT_CHARACTERS:
                self._characters -= len(self._kept.popitem(last=False)[0])
        else:
            self._kept.move_to_end(text)
        return checked

    def _check(self, text: str, *, introspection: bool, hide_suggestions: bool) -> Checked:
        document = _parsed(text)
        try:
            check_limits(document, self._alone)
        except TooComplex as error:
            raise Refused(coded("QUERY_TOO_COMPLEX", str(error))) from error
        except FragmentCycle as error:
            raise Refused(coded("GRAPHQL_VALIDATION_FAILED", str(error))) from error
        errors = validate(
            schema._schema,
            document,
            specified_rules if introspection else (*specified_rules, NoSchemaIntrospectionCustomRule),
            max_errors=MOST_ERRORS,
            hide_suggestions=hide_suggestions,
            allow_empty_selection_sets=False,
        )
        if errors:
            raise Refused(*(coded("GRAPHQL_VALIDATION_FAILED", error.message, error) for error in errors))
        prices = prices_of(document, schema._schema)
        nodes = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
        operations = [Operation(document, node, prices[name_of(node)], self.engine) for node in nodes]
        return Checked(document, {it.name: it for it in operations})


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _parsed(text: str) -> DocumentNode:
    if len(text) > LONGEST_DOCUMENT:
        raise Refused(coded("QUERY_TOO_COMPLEX", f"The document has more than {LONGEST_DOCUMENT:,} characters."))
    try:
        return parse(text, max_tokens=MOST_TOKENS, allow_empty_selection_sets=False)
    except GraphQLError as error:
        if "nested too deeply" in error.message:
            raise Refused(coded("QUERY_TOO_COMPLEX", "The document is nested too deeply.")) from error
        if "Parsing aborted" in error.message:
            raise Refused(coded("QUERY_TOO_COMPLEX", f"The document has more than {MOST_TOKENS:,} tokens.")) from error
        raise Refused(error) from error
    except RecursionError as error:
        raise Refused(coded("QUERY_TOO_COMPLEX", "The document is nested too deeply.")) from error
