"""Computes how long caches may keep an anonymous response: the minimum `max_age` of its fields, if all declare one.

Fields that `@skip` or `@include` leave out count as well.
"""

from collections.abc import Iterator

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
)

TYPENAME = "__typename"


def compute_max_age(document: DocumentNode, operation: OperationDefinitionNode, schema: GraphQLSchema) -> int | None:
    """Return the maximum age in seconds, or `None` if no cache may keep the response. The document must be valid."""
    if operation.operation is not OperationType.QUERY:
        return None
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    max_ages = set(_MaxAgeCollector(schema, fragments).collect(operation.selection_set, schema.query_type))
    return None if None in max_ages else min((seconds for seconds in max_ages if seconds is not None), default=None)


class _MaxAgeCollector:
    def __init__(self, schema: GraphQLSchema, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments
        self._visited_fragments: set[str] = set()

    def collect(self, selection_set: SelectionSetNode | None, parent: GraphQLNamedType | None) -> Iterator[int | None]:
        for selection in selection_set.selections if selection_set else ():
            if isinstance(selection, FieldNode):
                yield from self._collect_field(selection, parent)
            elif isinstance(selection, InlineFragmentNode):
                yield from self.collect(selection.selection_set, self._get_condition_type(selection) or parent)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in self._visited_fragments:
                self._visited_fragments.add(selection.name.value)
                fragment = self._fragments[selection.name.value]
                yield from self.collect(fragment.selection_set, self._get_condition_type(fragment))

    def _collect_field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Iterator[int | None]:
        if node.name.value == TYPENAME:
            return
        field = parent.fields.get(node.name.value) if isinstance(parent, GraphQLObjectType) else None
        if field is None:  # a field of an interface, or introspection
            yield None
            return
        yield field.extensions["strawberry-definition"].metadata.get("max_age")
        yield from self.collect(node.selection_set, get_named_type(field.type))

    def _get_condition_type(self, node: InlineFragmentNode | FragmentDefinitionNode) -> GraphQLNamedType | None:
        return self._schema.get_type(node.type_condition.name.value) if node.type_condition else None
