"""Computes what an operation costs: a formula once per document, evaluated with the variables of each request.

A scalar is free, an object costs 1, a list costs its size times the cost of an item. The size of a list is its argument
`first`, `last` or `ids`, or else the `assumed_size` that its field declares.
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

from graph.execution.limits import INTROSPECTION_FIELDS
from graph.kit.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE

MAX_COST = 5_000
MAX_ADMIN_COST = 20_000
MUTATION_COST = 10
SEARCH_COST = 5
TOTAL_COUNT_COST = 5
DEFAULT_LIST_SIZE = 10
CACHE_SIZE = 100
"""Costs cached per operation, by the values of its size variables."""
SIZE_ARGUMENTS = ("first", "last", "ids")
"""Arguments that set the size of a list."""

Variables = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ListSize:
    """The size of a list: the first of `candidates` (literals or variable nodes) that is not null, or `default`."""

    candidates: tuple[Any, ...]
    default: int

    def evaluate(self, variables: Variables) -> int:
        """Return the number of items, between 0 and `MAX_PAGE_SIZE` unless it is the length of a list of IDs."""
        values = (
            variables.get(candidate.name.value) if isinstance(candidate, VariableNode) else candidate
            for candidate in self.candidates
        )
        value = next((value for value in values if value is not None), self.default)
        if isinstance(value, list):
            return len(value)
        if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
            return min(max(int(value), 0), MAX_PAGE_SIZE)
        return DEFAULT_PAGE_SIZE  # execution reports the invalid size, with its location


@dataclass(frozen=True, slots=True)
class Cost:
    """A constant plus, for each list, its size times the cost of an item."""

    constant: int = 0
    lists: "tuple[tuple[ListSize, Cost], ...]" = ()

    def __add__(self, other: "Cost | int") -> "Cost":
        if isinstance(other, int):
            return Cost(self.constant + other, self.lists)
        return Cost(self.constant + other.constant, self.lists + other.lists)

    def multiplied_by(self, size: ListSize) -> "Cost":
        """Return the cost of a list of this size, with this cost per item."""
        return Cost(0, ((size, self),))

    def evaluate(self, variables: Variables) -> int:
        """Return the cost for these variables."""
        return self.constant + sum(size.evaluate(variables) * item.evaluate(variables) for size, item in self.lists)

    @property
    def variable_names(self) -> set[str]:
        """The variables that the cost depends on."""
        names = {
            candidate.name.value
            for size, _ in self.lists
            for candidate in size.candidates
            if isinstance(candidate, VariableNode)
        }
        return names.union(*(item.variable_names for _, item in self.lists))


class OperationCost:
    """The cost of an operation. `defaults` are the default values of its variables."""

    __slots__ = ("_cache", "_cost", "_defaults")

    def __init__(self, cost: Cost, defaults: Variables) -> None:
        self._cost = cost
        self._defaults = dict.fromkeys(cost.variable_names) | {
            name: value for name, value in defaults.items() if name in cost.variable_names
        }
        self._cache: dict[tuple[Any, ...], int] = {}

    def evaluate(self, variables: Variables | None) -> int:
        """Return the cost for these variables."""
        variable_values = variables or {}
        sizes = {name: variable_values.get(name, default) for name, default in self._defaults.items()}
        values = tuple(sizes.values())
        if not all(
            value is None or type(value) is int for value in values
        ):  # do not cache other values that a client sends
            return self._cost.evaluate(sizes)
        cached_cost = self._cache.get(values)
        if cached_cost is None:
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            cached_cost = self._cache[values] = self._cost.evaluate(sizes)
        return cached_cost


def compute_operation_costs(document: DocumentNode, schema: GraphQLSchema) -> dict[str | None, OperationCost]:
    """Return the cost of each operation by its name. The document must be valid."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    analyzer = _CostAnalyzer(
        schema, {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    )
    return {
        operation.name.value if operation.name else None: OperationCost(
            analyzer.analyze(operation.selection_set, schema.get_root_type(operation.operation)).fixed,
            _get_variable_defaults(operation),
        )
        for operation in operations
    }


def _get_variable_defaults(operation: OperationDefinitionNode) -> Variables:
    return {
        definition.variable.name.value: value_from_ast_untyped(definition.default_value)
        for definition in operation.variable_definitions or ()
        if definition.default_value
    }


@dataclass(frozen=True, slots=True)
class _SelectionCost:
    """The cost of a selection set. In a connection, `per_item` is charged for each item of the page."""

    fixed: Cost = Cost()
    per_item: Cost = Cost()

    def __add__(self, other: "_SelectionCost") -> "_SelectionCost":
        return _SelectionCost(self.fixed + other.fixed, self.per_item + other.per_item)


class _CostAnalyzer:
    def __init__(self, schema: GraphQLSchema, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments
        self._fragment_costs: dict[str, _SelectionCost] = {}

    def analyze(self, selection_set: SelectionSetNode | None, parent: Any) -> _SelectionCost:
        total = _SelectionCost()
        for selection in selection_set.selections if selection_set else ():
            if isinstance(selection, FieldNode):
                total += self._analyze_field(selection, parent)
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                inner_type = self._schema.get_type(condition.name.value) if condition else parent
                total += self.analyze(selection.selection_set, inner_type)
            elif isinstance(selection, FragmentSpreadNode):
                total += self._analyze_fragment(selection.name.value)
        return total

    def _analyze_fragment(self, name: str) -> _SelectionCost:
        if name not in self._fragment_costs:
            fragment = self._fragments[name]
            parent = self._schema.get_type(fragment.type_condition.name.value)
            self._fragment_costs[name] = self.analyze(fragment.selection_set, parent)
        return self._fragment_costs[name]

    def _analyze_field(self, node: FieldNode, parent: Any) -> _SelectionCost:
        name = node.name.value
        if name in INTROSPECTION_FIELDS or name not in getattr(parent, "fields", ()):  # includes `__typename`
            return _SelectionCost()
        field = cast(GraphQLField, parent.fields[name])
        own_cost = _compute_surcharge(node, parent is self._schema.mutation_type)
        named_type = get_named_type(field.type)
        if is_leaf_type(named_type):
            return _SelectionCost(Cost(own_cost))
        nested = self.analyze(node.selection_set, named_type)
        size = _build_list_size(node, field)
        item_cost = nested.fixed + 1
        if nested.per_item != Cost():
            item_cost += nested.per_item.multiplied_by(size)
        if not is_list_type(get_nullable_type(field.type)):
            return _SelectionCost(item_cost + own_cost)
        return (
            _SelectionCost(per_item=item_cost)
            if _is_connection(parent)
            else _SelectionCost(item_cost.multiplied_by(size) + own_cost)
        )


def _compute_surcharge(node: FieldNode, is_mutation: bool) -> int:
    has_search = any(
        argument.name.value == "search" and not isinstance(argument.value, NullValueNode)
        for argument in node.arguments or ()
    )
    return MUTATION_COST * is_mutation + SEARCH_COST * has_search + TOTAL_COUNT_COST * (node.name.value == "totalCount")


def _is_connection(type_: GraphQLObjectType) -> bool:
    return "pageInfo" in type_.fields


def _build_list_size(node: FieldNode, field: GraphQLField) -> ListSize:
    arguments = {argument.name.value: argument.value for argument in node.arguments or ()}
    size_arguments = [name for name in SIZE_ARGUMENTS if name in field.args]
    defaults = [field.args[name].default_value for name in size_arguments]
    default_size = next(
        (value for value in defaults if value is not Undefined and value is not None), DEFAULT_PAGE_SIZE
    )
    if not size_arguments:
        default_size = field.extensions["strawberry-definition"].metadata.get("assumed_size", DEFAULT_LIST_SIZE)
    return ListSize(
        tuple(_resolve_literal(arguments[name]) for name in size_arguments if name in arguments), default_size
    )


def _resolve_literal(value: ValueNode) -> Any:
    return value if isinstance(value, VariableNode) else value_from_ast_untyped(value)
