"""An operation of a document, ready to run."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
)
from graphql.execution.values import VariableValues
from strawberry import Schema

from graph.executor.completion import Jobs, Tracer
from graph.executor.execution_state import ExecutionState
from graph.executor.null_propagation import RootPosition
from graph.executor.selection_set import SelectionSet, SelectionSetBuilder, gather_jobs
from graph.executor.variables import VariableCoercer

MAX_VARIANTS = 16
"""Of a plan, one for each set of conditions in `@skip` and `@include` that was met."""
NULL_CONDITION = "a condition that is null"
INTROSPECTION_FIELDS = ("__schema", "__type")


class Unsupported(Exception):
    """What the engine leaves to graphql-core; `args` tell what that is."""


@dataclass(slots=True)
class ExecutionResult:
    """`executed` is false where nothing ran because of the variables."""

    data: dict[str, Any] | None
    errors: list[GraphQLError]
    is_executed: bool = True


class Plan:
    """Raises `NotSpoken` for what is left to graphql-core, and counts it where that is seen no sooner than in a request."""

    def __init__(
        self,
        schema: Schema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDefinitionNode],
        *,
        hide_suggestions: bool,
        fallbacks: Counter[str],
        tracer: Tracer | None = None,
    ) -> None:
        self.schema, self.hide_suggestions = schema, hide_suggestions
        self._fallbacks = fallbacks
        self.tracer = tracer
        self.graphql_schema = schema._schema
        self.operation, self.fragments = operation, fragments
        definitions = operation.variable_definitions or ()
        self._variable_coercer = VariableCoercer(self.graphql_schema, definitions, hide_suggestions=hide_suggestions)
        self._condition_variables = self._find_condition_variables()
        self._variants: dict[tuple[Any, ...], list[SelectionSet]] = {}

    async def execute(self, context: Any, variables: dict[str, Any] | None) -> ExecutionResult:
        """Raises `NotSpoken` before anything has run; else only what no field raised: cancellation, and mistakes of ours."""
        coerced = self._variable_coercer.coerce(variables or {})
        if isinstance(coerced, list):
            return ExecutionResult(None, coerced, is_executed=False)
        state = ExecutionState(self, context, coerced)
        data: dict[str, Any] = {}
        for selection_set in self._get_variant(coerced):  # one, or each mutation after the one before
            jobs: Jobs = []
            [result_map] = selection_set.complete([None], RootPosition(), state, jobs)
            await gather_jobs(jobs)
            data |= result_map
            if state.errors.is_data_null:
                break
        return ExecutionResult(*state.errors.propagate_nulls(data))

    def _get_variant(self, variables: VariableValues) -> list[SelectionSet]:
        conditions = tuple(variables.coerced.get(name) for name in self._condition_variables)
        if None in conditions:
            self._fallbacks[NULL_CONDITION] += 1
            raise Unsupported(NULL_CONDITION)
        variant = self._variants.get(conditions)
        if variant is None:
            if len(self._variants) >= MAX_VARIANTS:
                self._variants.clear()
            variant = self._variants[conditions] = self._build_selection_sets(variables)
        return variant

    def _build_selection_sets(self, variables: VariableValues) -> list[SelectionSet]:
        root_type = self.graphql_schema.get_root_type(self.operation.operation)
        assert root_type is not None
        condition_values = {
            name: variables.coerced[name] for name in self._condition_variables if name in variables.coerced
        }
        root = SelectionSetBuilder(self, VariableValues({}, condition_values)).build_root(root_type)
        if self.operation.operation is OperationType.MUTATION:
            return [SelectionSet([field], resolve_once=True) for field in root.fields]
        return [root]

    def _find_condition_variables(self) -> list[str]:
        """The variables that decide what is asked for. Raises `NotSpoken`."""
        variable_names: dict[str, None] = {}
        selection_sets = [self.operation.selection_set, *(it.selection_set for it in self.fragments.values())]
        for node in itertools.chain.from_iterable(map(_iterate_selections, selection_sets)):
            if isinstance(node, FieldNode) and node.name.value in INTROSPECTION_FIELDS:
                raise Unsupported("introspection")
            for directive in node.directives or ():
                for argument in directive.arguments or ():
                    if isinstance(argument.value, VariableNode):
                        variable_names[argument.value.name.value] = None
        return list(variable_names)


def _iterate_selections(selection_set: SelectionSetNode) -> Iterator[Any]:
    for selection in selection_set.selections:
        yield selection
        if isinstance(selection, FieldNode | InlineFragmentNode) and selection.selection_set:
            yield from _iterate_selections(selection.selection_set)
