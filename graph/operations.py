"""Operations of documents that fit the schema and the limits."""

from functools import cached_property

from graphql import DocumentNode, FragmentDefinitionNode, OperationDefinitionNode, OperationType

from graph.cost import Price
from graph.engine import Engine, NotSpoken, Plan
from graph.freshness import freshness_of
from graph.limits import expanded
from graph.schema import schema


class Operation:
    """What is known of an operation: what it costs, and the rest as soon as it is asked for."""

    def __init__(
        self, document: DocumentNode, node: OperationDefinitionNode, price: Price, engine: Engine | None
    ) -> None:
        self.document, self.node, self.price = document, node, price
        self.name = name_of(node)
        self.root = _root_of(document, node)
        """The field at the root; `None` where there are several."""
        self.is_query = node.operation is OperationType.QUERY
        self._engine = engine

    @property
    def is_planned(self) -> bool:
        """Whether it is known already who executes it, and how."""
        return "plan" in self.__dict__

    @cached_property
    def plan(self) -> Plan | None:
        """`None` where graphql-core has to execute it."""
        if self._engine is None:
            return None
        try:
            return self._engine.compile(self.document, self.node)
        except NotSpoken:
            return None

    @cached_property
    def fresh_for(self) -> int | None:
        """The seconds for which caches may keep a visitor's answer; `None`: not at all."""
        return freshness_of(self.document, self.node, schema._schema)


def _root_of(document: DocumentNode, node: OperationDefinitionNode) -> str | None:
    fragments = {it.name.value: it for it in document.definitions if isinstance(it, FragmentDefinitionNode)}
    roots = {field.name.value for field in expanded([node.selection_set], fragments)} - {"__typename"}
    return roots.pop() if len(roots) == 1 else None


def name_of(node: OperationDefinitionNode) -> str | None:
    return node.name.value if node.name else None
