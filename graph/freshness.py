"""How long caches may keep a visitor's answer: the least that is declared by a field it selects, if all declare it.

Fields that a condition leaves out count all the same.
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


def freshness_of(document: DocumentNode, operation: OperationDefinitionNode, schema: GraphQLSchema) -> int | None:
    """In seconds; `None` where no cache may keep it. The document must be valid."""
    if operation.operation is not OperationType.QUERY:
        return None
    fragments = {it.name.value: it for it in document.definitions if isinstance(it, FragmentDefinitionNode)}
    found = set(_Declared(schema, fragments).of(operation.selection_set, schema.query_type))
    return None if None in found else min((seconds for seconds in found if seconds is not None), default=None)


class _Declared:
    def __init__(self, schema: GraphQLSchema, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments
        self._seen: set[str] = set()

    def of(self, selection_set: SelectionSetNode | None, parent: GraphQLNamedType | None) -> Iterator[int | None]:
        for selection in selection_set.selections if selection_set else ():
            if isinstance(selection, FieldNode):
                yield from self._of_field(selection, parent)
            elif isinstance(selection, InlineFragmentNode):
                yield from self.of(selection.selection_set, self._type(selection) or parent)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in self._seen:
                self._seen.add(selection.name.value)
                fragment = self._fragments[selection.name.value]
                yield from self.of(fragment.selection_set, self._type(fragment))

    def _of_field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Iterator[int | None]:
        if node.name.value == TYPENAME:
            return
        declared = parent.fields.get(node.name.value) if isinstance(parent, GraphQLObjectType) else None
        if declared is None:  # of an interface, or introspection
            yield None
            return
        yield declared.extensions["strawberry-definition"].metadata.get("fresh_for")
        yield from self.of(node.selection_set, get_named_type(declared.type))

    def _type(self, node: InlineFragmentNode | FragmentDefinitionNode) -> GraphQLNamedType | None:
        return self._schema.get_type(node.type_condition.name.value) if node.type_condition else None
