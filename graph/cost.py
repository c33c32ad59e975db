"""What a document costs: worked out once for each document, then reckoned for the variables of a request.

A scalar is free, an object costs 1, a list its size times what one item costs. A list is as long as its `first`, `last`
or `ids` say, or as its field declares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    value_from_ast_untyped,
)

from graph.limits import INTROSPECTION
from graph.pagination import DEFAULT_SIZE, LARGEST

DEAREST = 5_000
DEAREST_FOR_ADMINISTRATORS = 20_000
MUTATION = 10
SEARCH = 5
COUNT = 5
USUAL_LENGTH = 10
MOST_KNOWN = 100
"""Prices of an operation, for sizes that it was asked with."""
SIZES = ("first", "last", "ids")
"""Arguments that say how long a list is."""

Variables = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """The first of `given` that is there; variables are told by their nodes."""

    given: tuple[Any, ...]
    otherwise: int

    def of(self, variables: Variables) -> int:
        values = (variables.get(it.name.value) if isinstance(it, VariableNode) else it for it in self.given)
        value = next((value for value in values if value is not None), self.otherwise)
        if isinstance(value, list):
            return len(value)
        if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
            return min(max(int(value), 0), LARGEST)
        return DEFAULT_SIZE  # what is no size is refused later, with its place


@dataclass(frozen=True, slots=True)
class Cost:
    constant: int = 0
    lists: "tuple[tuple[Size, Cost], ...]" = ()

    def __add__(self, other: "Cost | int") -> "Cost":
        if isinstance(other, int):
            return Cost(self.constant + other, self.lists)
        return Cost(self.constant + other.constant, self.lists + other.lists)

    def times(self, size: Size) -> "Cost":
        return Cost(0, ((size, self),))

    def of(self, variables: Variables) -> int:
        return self.constant + sum(size.of(variables) * item.of(variables) for size, item in self.lists)

    @property
    def depends_on(self) -> set[str]:
        """The names of variables."""
        own = {it.name.value for size, _ in self.lists for it in size.given if isinstance(it, VariableNode)}
        return own.union(*(item.depends_on for _, item in self.lists))


class Price:
    """What an operation costs. `defaults` are those of its variables."""

    __slots__ = ("_cost", "_defaults", "_known")

    def __init__(self, cost: Cost, defaults: Variables) -> None:
        self._cost = cost
        self._defaults = dict.fromkeys(cost.depends_on) | {
            name: value for name, value in defaults.items() if name in cost.depends_on
        }
        self._known: dict[tuple[Any, ...], int] = {}

    def for_(self, variables: Variables | None) -> int:
        told = variables or {}
        sizes = {name: told.get(name, default) for name, default in self._defaults.items()}
        values = tuple(sizes.values())
        if not all(value is None or type(value) is int for value in values):  # whatever it is, it would have to be kept
            return self._cost.of(sizes)
        known = self._known.get(values)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[values] = self._cost.of(sizes)
        return known


def prices_of(document: DocumentNode, schema: GraphQLSchema) -> dict[str | None, Price]:
    """By the names of the operations. The document must be valid."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    costs = _Costs(schema, {it.name.value: it for it in document.definitions if isinstance(it, FragmentDefinitionNode)})
    return {
        operation.name.value if operation.name else None: Price(
            costs.of(operation.selection_set, schema.get_root_type(operation.operation)).once, _defaults(operation)
        )
        for operation in operations
    }


def _defaults(operation: OperationDefinitionNode) -> Variables:
    return {
        definition.variable.name.value: value_from_ast_untyped(definition.default_value)
        for definition in operation.variable_definitions or ()
        if definition.default_value
    }


@dataclass(frozen=True, slots=True)
class _Selected:
    """What a selection costs; of a connection, what it costs once and for each item."""

    once: Cost = Cost()
    each: Cost = Cost()

    def __add__(self, other: "_Selected") -> "_Selected":
        return _Selected(self.once + other.once, self.each + other.each)


class _Costs:
    def __init__(self, schema: GraphQLSchema, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments
        self._known: dict[str, _Selected] = {}

    def of(self, selection_set: SelectionSetNode | None, parent: Any) -> _Selected:
        selected = _Selected()
        for selection in selection_set.selections if selection_set else ():
            if isinstance(selection, FieldNode):
                selected += self._of_field(selection, parent)
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                inner = self._schema.get_type(condition.name.value) if condition else parent
                selected += self.of(selection.selection_set, inner)
            elif isinstance(selection, FragmentSpreadNode):
                selected += self._of_fragment(selection.name.value)
        return selected

    def _of_fragment(self, name: str) -> _Selected:
        if name not in self._known:
            fragment = self._fragments[name]
            parent = self._schema.get_type(fragment.type_condition.name.value)
            self._known[name] = self.of(fragment.selection_set, parent)
        return self._known[name]

    def _of_field(self, node: FieldNode, parent: Any) -> _Selected:
        name = node.name.value
        if name in INTROSPECTION or name not in getattr(parent, "fields", ()):  # `__typename`, too
            return _Selected()
        declared = cast(GraphQLField, parent.fields[name])
        own = _extra(node, parent is self._schema.mutation_type)
        kind = get_named_type(declared.type)
        if is_leaf_type(kind):
            return _Selected(Cost(own))
        below = self.of(node.selection_set, kind)
        size = _size(node, declared)
        item = below.once + 1
        if below.each != Cost():
            item += below.each.times(size)
        if not is_list_type(get_nullable_type(declared.type)):
            return _Selected(item + own)
        return _Selected(each=item) if _is_connection(parent) else _Selected(item.times(size) + own)


def _extra(node: FieldNode, is_mutation: bool) -> int:
    searches = any(it.name.value == "search" and not isinstance(it.value, NullValueNode) for it in node.arguments or ())
    return MUTATION * is_mutation + SEARCH * searches + COUNT * (node.name.value == "totalCount")


def _is_connection(kind: GraphQLObjectType) -> bool:
    return "pageInfo" in kind.fields


def _size(node: FieldNode, declared: GraphQLField) -> Size:
    given = {argument.name.value: argument.value for argument in node.arguments or ()}
    sizes = [name for name in SIZES if name in declared.args]
    defaults = [declared.args[name].default_value for name in sizes]
    otherwise = next((value for value in defaults if value is not Undefined and value is not None), DEFAULT_SIZE)
    if not sizes:
        otherwise = declared.extensions["strawberry-definition"].metadata.get("length", USUAL_LENGTH)
    return Size(tuple(_told(given[name]) for name in sizes if name in given), otherwise)


def _told(value: ValueNode) -> Any:
    return value if isinstance(value, VariableNode) else value_from_ast_untyped(value)
