"""Collects field errors with their response positions, and propagates nulls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphql import FieldNode, GraphQLError, located_error

ResponsePath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ResponsePosition:
    """A position in the response. `sibling_index` is its index in the selection set or list."""

    parent: "ResponsePosition | None"
    key: str | int
    sibling_index: int
    is_nullable: bool

    @property
    def path(self) -> ResponsePath:
        """The response path: response names and list indexes."""
        return (*self.parent.path, self.key) if self.parent else (self.key,)

    @property
    def sibling_indexes(self) -> tuple[int, ...]:
        """The sibling indexes from the root to this position; their order is the order of the response."""
        return (*self.parent.sibling_indexes, self.sibling_index) if self.parent else (self.sibling_index,)

    @property
    def nearest_nullable(self) -> "ResponsePosition | None":
        """This position or its nearest ancestor that may be null; `None` means `data` itself."""
        return self if self.is_nullable else self.parent.nearest_nullable if self.parent else None


class ResponsePositions(Protocol):
    """The positions of values that are completed together; computed only for values that fail."""

    def at(self, index: int) -> ResponsePosition | None:
        """Return the position of the value at this index; `None` means `data` itself."""


class RootPosition:
    """The position of `data`."""

    def at(self, index: int) -> None:
        """Return `None`: `data` has no position."""


@dataclass(slots=True)
class FieldPositions:
    """The positions of one field of many objects."""

    parent_positions: ResponsePositions
    key: str
    field_index: int
    is_nullable: bool

    def at(self, index: int) -> ResponsePosition:
        """Return the position of the field in the object at this index."""
        return ResponsePosition(self.parent_positions.at(index), self.key, self.field_index, self.is_nullable)


@dataclass(slots=True)
class ItemPositions:
    """The positions of the items of several lists, concatenated. In `lengths`, `None` stands for a value that is not a list."""

    list_positions: ResponsePositions
    lengths: Sequence[int | None]
    is_nullable: bool

    def at(self, index: int) -> ResponsePosition:
        """Return the position of the item at this index of all lists concatenated."""
        for list_index, length in enumerate(self.lengths):
            if index < (length or 0):
                return ResponsePosition(self.list_positions.at(list_index), index, index, self.is_nullable)
            index -= length or 0
        raise IndexError(index)


@dataclass(slots=True)
class SubsetPositions:
    """The positions of the values at `indexes` of a larger sequence."""

    all_positions: ResponsePositions
    indexes: Sequence[int]

    def at(self, index: int) -> ResponsePosition | None:
        """Return the position of the value at this index of the subset."""
        return self.all_positions.at(self.indexes[index])


@dataclass(frozen=True, slots=True)
class LocatedError:
    """A field error with its position and the tick at which it was raised."""

    position: ResponsePosition | None
    tick: int
    error: GraphQLError


class CollectedErrors:
    """The field errors of one execution.

    Errors raised between two suspensions share a tick: graphql-core would report them in document order.
    """

    def __init__(self) -> None:
        self._errors: list[LocatedError] = []
        self._tick = 0

    def next_tick(self) -> None:
        """Begin a new tick; call it after each suspension."""
        self._tick += 1

    def add(self, positions: ResponsePositions, index: int, error: Exception, nodes: Sequence[FieldNode]) -> None:
        """Record the error of the value at `index`."""
        position = positions.at(index)
        graphql_error = located_error(error, list(nodes), list(position.path) if position else None)
        self._errors.append(LocatedError(position, self._tick, graphql_error))

    @property
    def is_data_null(self) -> bool:
        """Whether null propagates up to `data`."""
        if not self._errors:
            return False
        return any(located.position is None or located.position.nearest_nullable is None for located in self._errors)

    def propagate_nulls(self, data: dict[str, Any]) -> tuple[dict[str, Any] | None, list[GraphQLError]]:
        """Set the nearest nullable position of each error to null.

        Returns the data and the errors, without those below a position that an earlier error has set to null.
        """
        if not self._errors:
            return data, []
        response: dict[str, Any] = {"data": data}
        reported_errors, nulled_paths = [], set[ResponsePath]()
        for located in sorted(self._errors, key=_get_sort_key):
            nullable_position = located.position.nearest_nullable if located.position else None
            path = ("data", *nullable_position.path) if nullable_position else ("data",)
            if any(path[:length] in nulled_paths for length in range(1, len(path) + 1)):
                continue
            nulled_paths.add(path)
            reported_errors.append(located.error)
            _set_null(response, path)
        return response["data"], reported_errors


def _get_sort_key(located: LocatedError) -> tuple[int, tuple[int, ...]]:
    """Sort by tick; within a tick in the order of the response."""
    return located.tick, located.position.sibling_indexes if located.position else ()


def _set_null(container: Any, path: ResponsePath) -> None:
    for key in path[:-1]:
        container = container[key]
        if container is None:
            return
    container[path[-1]] = None
