"""Limits the size of a document, before validation: an attacker can write documents that are slow to validate.

Each fragment is measured once and counted at each spread, so the time is linear in the length of the document.
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
MAX_DIRECTIVES = 3  # at one location
MAX_DEPTH = 12
MAX_FIELDS = 500
MAX_ROOT_FIELDS = 20
MAX_ROOT_MUTATIONS = 5
MAX_OVERLAPPING_PAIRS = 5_000
"""Pairs of fields with the same response name and parent; validation compares each pair."""
INTROSPECTION_FIELDS = ("__schema", "__type")


class TooComplex(Exception):
    """The document exceeds a limit."""


class FragmentCycle(Exception):
    """A fragment spreads itself, directly or through other fragments."""


@dataclass(frozen=True, slots=True)
class _SelectionSize:
    """The size of a selection set with its fragments expanded."""

    depth: int = 0
    field_count: int = 0

    def merge(self, other: "_SelectionSize") -> "_SelectionSize":
        """Return the size of both selections side by side."""
        return _SelectionSize(max(self.depth, other.depth), self.field_count + other.field_count)


def check_limits(document: DocumentNode, exclusive: frozenset[str] = frozenset()) -> None:
    """Check the limits of a parsed document. A mutation in `exclusive` must be the only field of its operation.

    Raises:
        TooComplex: The document exceeds a limit.
        FragmentCycle: A fragment spreads itself.
    """
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
    _check_count(MAX_ROOT_FIELDS, len(root_fields), "root fields")
    if operation.operation is OperationType.MUTATION:
        _check_count(MAX_ROOT_MUTATIONS, len(root_fields), "mutations")
        names = {field.name.value for field in root_fields}
        if len(root_fields) > 1 and (exclusive_names := sorted(names & exclusive)):
            raise TooComplex(f"`{exclusive_names[0]}` must be the only mutation of its operation.")


class _SelectionMeasurer:
    """Measures definitions; counts aliases as they are written, not expanded."""

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
        fragment_size = self._fragment_sizes[name]
        if fragment_size is None:
            raise FragmentCycle(f"The fragment {name!r} spreads itself.")
        return fragment_size

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
    _check_count(MAX_DIRECTIVES, len(tuple(directives or ())), "directives at one location")


# The functions below expand fragments; MAX_FIELDS bounds the result.


def flatten_fields(
    selection_sets: Iterable[SelectionSetNode], fragments: dict[str, FragmentDefinitionNode]
) -> Iterator[FieldNode]:
    """Yield the fields of selection sets with their fragments expanded."""
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
            raise TooComplex(
                "The document selects the same fields too often. Select each field once per selection set."
            )
