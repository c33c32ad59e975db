"""Describes one operation of a validated document: name, cost, plan and maximum age."""

from functools import cached_property

from graphql import DocumentNode, FragmentDefinitionNode, OperationDefinitionNode, OperationType

from graph.execution.cache_control import compute_max_age
from graph.execution.cost import OperationCost
from graph.execution.limits import flatten_fields
from graph.executor import Executor, Plan, Unsupported
from graph.schema import schema


class Operation:
    """An operation of a validated document. Its plan and maximum age are computed on first use."""

    def __init__(
        self, document: DocumentNode, node: OperationDefinitionNode, cost: OperationCost, executor: Executor | None
    ) -> None:
        self.document, self.node, self.cost = document, node, cost
        self.name = get_operation_name(node)
        self.root_field = _find_root_field(document, node)
        """The name of its root field, or `None` if there are several."""
        self.is_query = node.operation is OperationType.QUERY
        self._executor = executor

    @property
    def is_planned(self) -> bool:
        """Whether `plan` has been computed."""
        return "plan" in self.__dict__

    @cached_property
    def plan(self) -> Plan | None:
        """The compiled plan, or `None` if graphql-core has to execute the operation."""
        if self._executor is None:
            return None
        try:
            return self._executor.compile(self.document, self.node)
        except Unsupported:
            return None

    @cached_property
    def max_age(self) -> int | None:
        """The seconds for which caches may keep an anonymous response, or `None` if they must not."""
        return compute_max_age(self.document, self.node, schema._schema)


def _find_root_field(document: DocumentNode, node: OperationDefinitionNode) -> str | None:
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    root_fields = {field.name.value for field in flatten_fields([node.selection_set], fragments)} - {"__typename"}
    return root_fields.pop() if len(root_fields) == 1 else None


def get_operation_name(node: OperationDefinitionNode) -> str | None:
    """Return the name of an operation, or `None` if it is anonymous."""
    return node.name.value if node.name else None
