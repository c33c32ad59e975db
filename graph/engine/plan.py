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

from graph.engine.failures import Root
from graph.engine.run import Run
from graph.engine.selections import Selection, Selections, all_done
from graph.engine.shapes import Jobs, Watch
from graph.engine.variables import Variables

MOST_VARIANTS = 16
"""Of a plan, one for each set of conditions in `@skip` and `@include` that was met."""
NULL_CONDITION = "a condition that is null"
INTROSPECTION = ("__schema", "__type")


class NotSpoken(Exception):
    """What the engine leaves to graphql-core; `args` tell what that is."""


@dataclass(slots=True)
class Outcome:
    """`executed` is false where nothing ran because of the variables."""

    data: dict[str, Any] | None
    errors: list[GraphQLError]
    executed: bool = True


class Plan:
    """Raises `NotSpoken` for what is left to graphql-core, and counts it where that is seen no sooner than in a request."""

    def __init__(
        self,
        schema: Schema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDefinitionNode],
        *,
        hide_suggestions: bool,
        left: Counter[str],
        watch: Watch | None = None,
    ) -> None:
        self.schema, self.hide_suggestions = schema, hide_suggestions
        self._left = left
        self.watch = watch
        self.graphql_schema = schema._schema
        self.operation, self.fragments = operation, fragments
        definitions = operation.variable_definitions or ()
        self._variables = Variables(self.graphql_schema, definitions, hide_suggestions=hide_suggestions)
        self._conditions = self._survey()
        self._variants: dict[tuple[Any, ...], list[Selection]] = {}

    async def run(self, context: Any, variables: dict[str, Any] | None) -> Outcome:
        """Raises `NotSpoken` before anything has run; else only what no field raised: cancellation, and mistakes of ours."""
        coerced = self._variables.coerced(variables or {})
        if isinstance(coerced, list):
            return Outcome(None, coerced, executed=False)
        run = Run(self, context, coerced)
        data: dict[str, Any] = {}
        for selection in self._variant(coerced):  # one, or each mutation after the one before
            jobs: Jobs = []
            [row] = selection.complete([None], Root(), run, jobs)
            await all_done(jobs)
            data |= row
            if run.failures.leave_nothing:
                break
        return Outcome(*run.failures.settle(data))

    def _variant(self, variables: VariableValues) -> list[Selection]:
        conditions = tuple(variables.coerced.get(name) for name in self._conditions)
        if None in conditions:
            self._left[NULL_CONDITION] += 1
            raise NotSpoken(NULL_CONDITION)
        known = self._variants.get(conditions)
        if known is None:
            if len(self._variants) >= MOST_VARIANTS:
                self._variants.clear()
            known = self._variants[conditions] = self._selections(variables)
        return known

    def _selections(self, variables: VariableValues) -> list[Selection]:
        root_type = self.graphql_schema.get_root_type(self.operation.operation)
        assert root_type is not None
        told = {name: variables.coerced[name] for name in self._conditions if name in variables.coerced}
        root = Selections(self, VariableValues({}, told)).root(root_type)
        if self.operation.operation is OperationType.MUTATION:
            return [Selection([field], once=True) for field in root.fields]
        return [root]

    def _survey(self) -> list[str]:
        """The variables that decide what is asked for. Raises `NotSpoken`."""
        conditions: dict[str, None] = {}
        selection_sets = [self.operation.selection_set, *(it.selection_set for it in self.fragments.values())]
        for node in itertools.chain.from_iterable(map(_within, selection_sets)):
            if isinstance(node, FieldNode) and node.name.value in INTROSPECTION:
                raise NotSpoken("introspection")
            for directive in node.directives or ():
                for argument in directive.arguments or ():
                    if isinstance(argument.value, VariableNode):
                        conditions[argument.value.name.value] = None
        return list(conditions)


def _within(selection_set: SelectionSetNode) -> Iterator[Any]:
    for selection in selection_set.selections:
        yield selection
        if isinstance(selection, FieldNode | InlineFragmentNode) and selection.selection_set:
            yield from _within(selection.selection_set)
