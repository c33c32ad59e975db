"""Compiles an operation of a document into a plan, and executes the plan."""

import itertools
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
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

from graph.executor.completion import Jobs
from graph.executor.execution_state import ExecutionState
from graph.executor.null_propagation import RootPosition
from graph.executor.selection_set import SelectionSet, SelectionSetBuilder, gather_jobs
from graph.executor.variables import VariableCoercer

MAX_VARIANTS = 16
"""Compiled variants kept per plan: one for each combination of `@skip` and `@include` conditions."""
NULL_CONDITION = "null condition"
INTROSPECTION_FIELDS = ("__schema", "__type")

Tracer = Callable[[str, Coroutine[Any, Any, None]], Coroutine[Any, Any, None]]
"""Wraps a job in another coroutine, such as a tracing span; the string names the job's fields."""


class Unsupported(Exception):
    """The executor cannot execute the operation, so graphql-core has to. The message names the reason."""


@dataclass(slots=True)
class ExecutionResult:
    """Data and errors. `is_executed` is false if coercing the variables failed, so that no field was executed."""

    data: dict[str, Any] | None
    errors: list[GraphQLError]
    is_executed: bool = True


class Executor:
    """Compiles documents of one schema. `tracer` wraps each job that is awaited."""

    def __init__(self, schema: Schema, *, hide_suggestions: bool = False, tracer: Tracer | None = None) -> None:
        self.schema = schema
        self.hide_suggestions = hide_suggestions
        self.tracer = tracer
        self.fallbacks: Counter[str] = Counter()
        """What was left to graphql-core, by reason: documents when they are compiled, null conditions at each execution."""

    def compile(self, document: DocumentNode, operation: OperationDefinitionNode) -> "Plan":
        """Compile an operation of a valid document.

        Raises:
            Unsupported: The operation has to be executed by graphql-core. It is counted in `fallbacks`.
        """
        fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
        try:
            return Plan(self, operation, fragments)
        except Unsupported as error:
            self.fallbacks[str(error)] += 1
            raise


class Plan:
    """A compiled operation."""

    def __init__(
        self, executor: Executor, operation: OperationDefinitionNode, fragments: dict[str, FragmentDefinitionNode]
    ) -> None:
        self.schema, self.graphql_schema = executor.schema, executor.schema._schema
        self.hide_suggestions, self.tracer = executor.hide_suggestions, executor.tracer
        self.operation, self.fragments = operation, fragments
        self._fallbacks = executor.fallbacks
        definitions = operation.variable_definitions or ()
        self._variable_coercer = VariableCoercer(
            self.graphql_schema, definitions, hide_suggestions=self.hide_suggestions
        )
        self._condition_variables = self._find_condition_variables()
        self._variants: dict[tuple[Any, ...], list[SelectionSet]] = {}

    async def execute(self, context: Any, variables: dict[str, Any] | None) -> ExecutionResult:
        """Execute the operation. Field errors are part of the result.

        Raises:
            Unsupported: A `@skip` or `@include` condition is null. Nothing was executed. It is counted in `fallbacks`.
        """
        coerced = self._variable_coercer.coerce(variables or {})
        if isinstance(coerced, list):
            return ExecutionResult(None, coerced, is_executed=False)
        state = ExecutionState(self, context, coerced)
        data: dict[str, Any] = {}
        for selection_set in self._get_variant(coerced):
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
        """Build the selection sets that are executed serially: one per mutation, or that of the query."""
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
        """Find the variables in `@skip` and `@include`. Raises `Unsupported` for introspection."""
        variable_names: dict[str, None] = {}
        selection_sets = [
            self.operation.selection_set,
            *(fragment.selection_set for fragment in self.fragments.values()),
        ]
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
