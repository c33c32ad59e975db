"""Holds the state of one execution: context, variables and errors."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphql import GraphQLResolveInfo
from graphql.execution.values import VariableValues
from graphql.pyutils import is_awaitable

from graph.executor.null_propagation import CollectedErrors

if TYPE_CHECKING:
    from graph.executor.plan import Plan
    from graph.executor.selection_set import Field


@dataclass(slots=True)
class ExecutionState:
    """One execution of a plan."""

    plan: "Plan"
    context: Any
    variables: VariableValues
    errors: CollectedErrors = field(default_factory=CollectedErrors)
    _infos: dict["Field", Any] = field(default_factory=dict)

    def get_info(self, compiled_field: "Field") -> Any:
        """Return Strawberry's `Info` of a field, with `lookahead` added.

        All parents share it, so its `path` has no list indexes.
        """
        info: Any = self._infos.get(compiled_field)
        if info is None:
            info = self._infos[compiled_field] = self.plan.schema.config.info_class(
                _raw_info=self.build_raw_info(compiled_field),
                _field=compiled_field.definition.extensions["strawberry-definition"],
            )
            info.lookahead = compiled_field.lookahead
        return info

    def build_raw_info(self, compiled_field: "Field") -> GraphQLResolveInfo[Any]:
        """Build graphql-core's `GraphQLResolveInfo` of a field."""
        plan = self.plan
        return GraphQLResolveInfo(
            compiled_field.name,
            compiled_field.nodes,
            compiled_field.definition.type,
            compiled_field.parent_type,
            compiled_field.path,
            plan.graphql_schema,
            plan.fragments,
            None,
            plan.operation,
            self.variables,
            self.context,
            is_awaitable,
            None,
            None,  # type: ignore[arg-type]  # helpers of graphql-core's own executor
        )
