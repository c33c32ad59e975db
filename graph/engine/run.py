"""One request under way: its context, its variables, and what has failed in it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphql import GraphQLResolveInfo
from graphql.execution.values import VariableValues
from graphql.pyutils import is_awaitable

from graph.engine.failures import Failures

if TYPE_CHECKING:
    from graph.engine.plan import Plan
    from graph.engine.selections import Field


@dataclass(slots=True)
class Run:
    plan: "Plan"
    context: Any
    variables: VariableValues
    failures: Failures = field(default_factory=Failures)
    _infos: dict["Field", Any] = field(default_factory=dict)

    def info(self, of: "Field") -> Any:
        """As Strawberry's resolvers take it, with what is `asked` below. Its `path` has no places in lists: all parents share it."""
        known: Any = self._infos.get(of)
        if known is None:
            known = self._infos[of] = self.plan.schema.config.info_class(
                _raw_info=self.raw_info(of), _field=of.definition.extensions["strawberry-definition"]
            )
            known.asked = of.asked
        return known

    def raw_info(self, of: "Field") -> GraphQLResolveInfo[Any]:
        plan = self.plan
        return GraphQLResolveInfo(
            of.name,
            of.nodes,
            of.definition.type,
            of.parent_type,
            of.path,
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
