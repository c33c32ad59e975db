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

MAX_DOCUMENT_LENGTH = 10_000  # characters
MAX_TOKENS = 1_000
MAX_OPERATIONS = 5
MAX_FRAGMENTS = 30
MAX_ALIASES = 30
MAX_DIRECTIVES = 3
"""At one place."""
MAX_DEPTH = 12
MAX_FIELDS = 500
MAX_ROOT_FIELDS = 20
MAX_ROOT_MUTATIONS = 5
MAX_OVERLAPPING_PAIRS = 5_000
"""Pairs of fields with one response name and one parent, which validation compares with each other."""
INTROSPECTION_FIELDS = ("__schema", "__type")


class TooComplex(Exception):
    """The document asks for too much at once."""


class FragmentCycle(Exception):
    """A fragment spreads itself, so the document has no end."""


@dataclass(frozen=True, slots=True)
class _SelectionSize:
    """How far a selection set reaches, with every fragment in its place."""

    depth: int = 0
    field_count: int = 0

    def merge(self, other: "_SelectionSize") -> "_SelectionSize":
        return _SelectionSize(max(self.depth, other.depth), self.field_count + other.field_count)


def check_limits(document: DocumentNode, exclusive: frozenset[str] = frozenset()) -> None:
    """Raises `TooComplex`. Mutations named in `alone` may have none beside them."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    _check_count(MAX_OPERATIONS, len(operations), "operations")
    _check_count(MAX_FRAGMENTS, len(document.definitions) - len(operations), "fragments")
    measurer = _SelectionMeasurer(fragments)
    for fragment in fragments.values():
        _check_size(measurer.measure(fragment))
    total = _SelectionSize()
    for operation in operations:
        total = total.merge(measurer.measure(operation))
        _check_size(total)
        _check_root_fields(operation, list(flatten_fields([operation.selection_set], fragments)), exclusive)
    for definition in (*operations, *fragments.values()):
        _check_overlapping_fields(definition.selection_set, fragments)


def _check_count(limit: int, count: int, noun: str) -> None:
    if count > limit:
        raise TooComplex(f"The document has more than {limit:,} {noun}.")


def _check_size(size: _SelectionSize) -> None:
    if size.depth > MAX_DEPTH:
        raise TooComplex(f"The document is more than {MAX_DEPTH} fields deep.")
    if size.field_count > MAX_FIELDS:
        raise TooComplex(
            f"The document has more than {MAX_FIELDS} fields, counting those of a fragment at each spread."
        )


def _check_root_fields(
    operation: OperationDefinitionNode, root_fields: list[FieldNode], exclusive: frozenset[str]
) -> None:
    _check_count(MAX_ROOT_FIELDS, len(root_fields), "fields at the root")
    if operation.operation is OperationType.MUTATION:
        _check_count(MAX_ROOT_MUTATIONS, len(root_fields), "mutations")
        names = {field.name.value for field in root_fields}
        if len(root_fields) > 1 and (exclusive_names := sorted(names & exclusive)):
            raise TooComplex(f"`{exclusive_names[0]}` must be the only mutation of its operation.")


class _SelectionMeasurer:
    """Measures definitions, and counts what is counted as it is written."""

    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._fragment_sizes: dict[str, _SelectionSize | None] = {}
        self._alias_count = 0

    def measure(self, definition: OperationDefinitionNode | FragmentDefinitionNode) -> _SelectionSize:
        _check_directives(definition.directives)
        if isinstance(definition, OperationDefinitionNode):
            return self._measure_selection_set(definition.selection_set)
        name = definition.name.value
        if name not in self._fragment_sizes:
            self._fragment_sizes[name] = None
            size = self._measure_selection_set(definition.selection_set)
            is_introspection = definition.type_condition.name.value.startswith("__")
            self._fragment_sizes[name] = _SelectionSize(0, size.field_count) if is_introspection else size
        known_size = self._fragment_sizes[name]
        if known_size is None:
            raise FragmentCycle(f"The fragment {name!r} spreads itself.")
        return known_size

    def _measure_selection_set(self, selection_set: SelectionSetNode | None) -> _SelectionSize:
        size = _SelectionSize()
        for selection in selection_set.selections if selection_set else ():
            _check_directives(selection.directives)
            size = size.merge(self._measure_selection(selection))
        return size

    def _measure_selection(self, selection: SelectionNode) -> _SelectionSize:
        if isinstance(selection, FragmentSpreadNode):
            fragment = self._fragments.get(selection.name.value)
            return self.measure(fragment) if fragment else _SelectionSize()
        assert isinstance(selection, FieldNode | InlineFragmentNode)
        nested = self._measure_selection_set(selection.selection_set)
        if isinstance(selection, InlineFragmentNode):
            return nested
        if selection.alias:
            self._alias_count += 1
            _check_count(MAX_ALIASES, self._alias_count, "aliases")
        depth = 0 if selection.name.value in INTROSPECTION_FIELDS else nested.depth
        return _SelectionSize(depth + 1, nested.field_count + 1)


def _check_directives(directives: Iterable[DirectiveNode] | None) -> None:
    _check_count(MAX_DIRECTIVES, len(tuple(directives or ())), "directives at one place")


# From here on nothing has more than MOST_FIELDS, so fragments can be written out.


def flatten_fields(
    selection_sets: Iterable[SelectionSetNode], fragments: dict[str, FragmentDefinitionNode]
) -> Iterator[FieldNode]:
    """The fields of a selection, those of its fragments among them."""
    for selection_set in selection_sets:
        for selection in selection_set.selections:
            if isinstance(selection, FieldNode):
                yield selection
            elif isinstance(selection, InlineFragmentNode):
                yield from flatten_fields([selection.selection_set], fragments)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value in fragments:
                yield from flatten_fields([fragments[selection.name.value].selection_set], fragments)


def _check_overlapping_fields(selection_set: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode]) -> None:
    pairs = 0
    levels = [[selection_set]]
    while levels:
        fields: dict[str, list[FieldNode]] = {}
        for field in flatten_fields(levels.pop(), fragments):
            fields.setdefault(field.alias.value if field.alias else field.name.value, []).append(field)
        for overlapping in fields.values():
            pairs += len(overlapping) * (len(overlapping) - 1) // 2
            if nested := [field.selection_set for field in overlapping if field.selection_set]:
                levels.append(nested)
        if pairs > MAX_OVERLAPPING_PAIRS:
            raise TooComplex("The document asks for the same fields too often. Name each once in a selection.")
