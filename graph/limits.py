"""What a document may look like: one pass before validation, which itself is slow for documents made to be so.

Fragments are measured once and counted wherever they are spread, so the pass is as short as the document is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
)

LONGEST_DOCUMENT = 10_000  # characters
MOST_TOKENS = 1_000
MOST_OPERATIONS = 5
MOST_FRAGMENTS = 30
MOST_ALIASES = 30
MOST_DIRECTIVES = 3
"""At one place."""
DEEPEST = 12
MOST_FIELDS = 500
MOST_ROOT_FIELDS = 20
MOST_ROOT_MUTATIONS = 5
MOST_MERGES = 5_000
"""Pairs of fields with one response name and one parent, which validation compares with each other."""
INTROSPECTION = ("__schema", "__type")


class TooComplex(Exception):
    """The document asks for too much at once."""


class FragmentCycle(Exception):
    """A fragment spreads itself, so the document has no end."""


@dataclass(frozen=True, slots=True)
class _Extent:
    """How far a selection set reaches, with every fragment in its place."""

    depth: int = 0
    fields: int = 0

    def beside(self, other: "_Extent") -> "_Extent":
        return _Extent(max(self.depth, other.depth), self.fields + other.fields)


def check_limits(document: DocumentNode, alone: frozenset[str] = frozenset()) -> None:
    """Raises `TooComplex`. Mutations named in `alone` may have none beside them."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    _at_most(MOST_OPERATIONS, len(operations), "operations")
    _at_most(MOST_FRAGMENTS, len(document.definitions) - len(operations), "fragments")
    extents = _Extents(fragments)
    for fragment in fragments.values():
        _check_extent(extents.of(fragment))
    whole = _Extent()
    for operation in operations:
        whole = whole.beside(extents.of(operation))
        _check_extent(whole)
        _check_roots(operation, list(expanded([operation.selection_set], fragments)), alone)
    for definition in (*operations, *fragments.values()):
        _check_merges(definition.selection_set, fragments)


def _at_most(limit: int, count: int, what: str) -> None:
    if count > limit:
        raise TooComplex(f"The document has more than {limit:,} {what}.")


def _check_extent(extent: _Extent) -> None:
    if extent.depth > DEEPEST:
        raise TooComplex(f"The document is more than {DEEPEST} fields deep.")
    if extent.fields > MOST_FIELDS:
        raise TooComplex(
            f"The document has more than {MOST_FIELDS} fields, counting those of a fragment at each spread."
        )


def _check_roots(operation: OperationDefinitionNode, roots: list[FieldNode], alone: frozenset[str]) -> None:
    _at_most(MOST_ROOT_FIELDS, len(roots), "fields at the root")
    if operation.operation is OperationType.MUTATION:
        _at_most(MOST_ROOT_MUTATIONS, len(roots), "mutations")
        names = {field.name.value for field in roots}
        if len(roots) > 1 and (solitary := sorted(names & alone)):
            raise TooComplex(f"`{solitary[0]}` must be the only mutation of its operation.")


class _Extents:
    """Measures definitions, and counts what is counted as it is written."""

    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, _Extent | None] = {}
        self._aliases = 0

    def of(self, definition: OperationDefinitionNode | FragmentDefinitionNode) -> _Extent:
        _check_directives(definition.directives)
        if isinstance(definition, OperationDefinitionNode):
            return self._of_selections(definition.selection_set)
        name = definition.name.value
        if name not in self._known:
            self._known[name] = None
            extent = self._of_selections(definition.selection_set)
            is_introspection = definition.type_condition.name.value.startswith("__")
            self._known[name] = _Extent(0, extent.fields) if is_introspection else extent
        known = self._known[name]
        if known is None:
            raise FragmentCycle(f"The fragment {name!r} spreads itself.")
        return known

    def _of_selections(self, selection_set: SelectionSetNode | None) -> _Extent:
        extent = _Extent()
        for selection in selection_set.selections if selection_set else ():
            _check_directives(selection.directives)
            extent = extent.beside(self._of_selection(selection))
        return extent

    def _of_selection(self, selection: SelectionNode) -> _Extent:
        if isinstance(selection, FragmentSpreadNode):
            fragment = self._fragments.get(selection.name.value)
            return self.of(fragment) if fragment else _Extent()
        assert isinstance(selection, FieldNode | InlineFragmentNode)
        below = self._of_selections(selection.selection_set)
        if isinstance(selection, InlineFragmentNode):
            return below
        if selection.alias:
            self._aliases += 1
            _at_most(MOST_ALIASES, self._aliases, "aliases")
        depth = 0 if selection.name.value in INTROSPECTION else below.depth
        return _Extent(depth + 1, below.fields + 1)


def _check_directives(directives: Iterable[DirectiveNode] | None) -> None:
    _at_most(MOST_DIRECTIVES, len(tuple(directives or ())), "directives at one place")


# From here on nothing has more than MOST_FIELDS, so fragments can be written out.


def expanded(
    selection_sets: Iterable[SelectionSetNode], fragments: dict[str, FragmentDefinitionNode]
) -> Iterator[FieldNode]:
    """The fields of a selection, those of its fragments among them."""
    for selection_set in selection_sets:
        for selection in selection_set.selections:
            if isinstance(selection, FieldNode):
                yield selection
            elif isinstance(selection, InlineFragmentNode):
                yield from expanded([selection.selection_set], fragments)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value in fragments:
                yield from expanded([fragments[selection.name.value].selection_set], fragments)


def _check_merges(selection_set: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode]) -> None:
    pairs = 0
    levels = [[selection_set]]
    while levels:
        fields: dict[str, list[FieldNode]] = {}
        for field in expanded(levels.pop(), fragments):
            fields.setdefault(field.alias.value if field.alias else field.name.value, []).append(field)
        for same in fields.values():
            pairs += len(same) * (len(same) - 1) // 2
            if below := [field.selection_set for field in same if field.selection_set]:
                levels.append(below)
        if pairs > MOST_MERGES:
            raise TooComplex("The document asks for the same fields too often. Name each once in a selection.")
