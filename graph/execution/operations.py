"""Operations of documents that fit the schema and the limits."""

from functools import cached_property

from graphql import DocumentNode, FragmentDefinitionNode, OperationDefinitionNode, OperationType

from graph.execution.cache_control import compute_max_age
from graph.execution.cost import OperationCost
from graph.execution.limits import flatten_fields
from graph.executor import Executor, Plan, Unsupported
from graph.schema import schema


class Operation:
    """What is known of an operation: what it costs, and the rest as soon as it is asked for."""

    def __init__(
        self, document: DocumentNode, node: OperationDefinitionNode, cost: OperationCost, executor: Executor | None
    ) -> None:
        self.document, self.node, self.cost = document, node, cost
        self.name = get_operation_name(node)
        self.root_field = _find_root_field(document, node)
        """The field at the root; `None` where there are several."""
        self.is_query = node.operation is OperationType.QUERY
        self._executor = executor

    @property
    def is_planned(self) -> bool:
        """Whether it is known already who executes it, and how."""
        return "plan" in self.__dict__

    @cached_property
    def plan(self) -> Plan | None:
        """`None` where graphql-core has to execute it."""
        if self._executor is None:
            return None
        try:
            return self._executor.compile(self.document, self.node)
        except Unsupported:
            return None

    @cached_property
    def max_age(self) -> int | None:
        """The seconds for which caches may keep a visitor's answer; `None`: not at all."""
        return compute_max_age(self.document, self.node, schema._schema)


def _find_root_field(document: DocumentNode, node: OperationDefinitionNode) -> str | None:
    fragments = {it.name.value: it for it in document.definitions if isinstance(it, FragmentDefinitionNode)}
    root_fields = {field.name.value for field in flatten_fields([node.selection_set], fragments)} - {"__typename"}
    return root_fields.pop() if len(root_fields) == 1 else None


def get_operation_name(node: OperationDefinitionNode) -> str | None:
    return node.name.value if node.name else None
