"""Where in an answer something failed, and what becomes null because of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphql import FieldNode, GraphQLError, located_error

ResponsePath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ResponsePosition:
    """A position in the answer. `order` is its place among its siblings, as they are written or listed."""

    parent: "ResponsePosition | None"
    key: str | int
    sibling_index: int
    is_nullable: bool

    @property
    def path(self) -> ResponsePath:
        return (*self.parent.path, self.key) if self.parent else (self.key,)

    @property
    def sibling_indexes(self) -> tuple[int, ...]:
        return (*self.parent.sibling_indexes, self.sibling_index) if self.parent else (self.sibling_index,)

    @property
    def nearest_nullable(self) -> "ResponsePosition | None":
        """The nearest position that may be null; `None` is the whole answer."""
        return self if self.is_nullable else self.parent.nearest_nullable if self.parent else None


class ResponsePositions(Protocol):
    """The positions of values that are completed together; worked out for those that fail, and no others."""

    def at(self, index: int) -> ResponsePosition | None: ...


class RootPosition:
    """Where the whole answer is."""

    def at(self, index: int) -> None:
        return None


@dataclass(slots=True)
class FieldPositions:
    """A field of each of some objects."""

    parent_positions: ResponsePositions
    key: str
    field_index: int
    is_nullable: bool

    def at(self, index: int) -> ResponsePosition:
        return ResponsePosition(self.parent_positions.at(index), self.key, self.field_index, self.is_nullable)


@dataclass(slots=True)
class ItemPositions:
    """The items of lists, one list after the other; `lengths` has `None` for what is no list."""

    list_positions: ResponsePositions
    lengths: Sequence[int | None]
    is_nullable: bool

    def at(self, index: int) -> ResponsePosition:
        for list_index, length in enumerate(self.lengths):
            if index < (length or 0):
                return ResponsePosition(self.list_positions.at(list_index), index, index, self.is_nullable)
            index -= length or 0
        raise IndexError(index)


@dataclass(slots=True)
class SubsetPositions:
    """Those of some of the values."""

    all_positions: ResponsePositions
    indexes: Sequence[int]

    def at(self, index: int) -> ResponsePosition | None:
        return self.all_positions.at(self.indexes[index])


@dataclass(frozen=True, slots=True)
class LocatedError:
    position: ResponsePosition | None
    tick: int
    error: GraphQLError


class CollectedErrors:
    """What has failed in a request. Whatever fails between two waits fails at one moment."""

    def __init__(self) -> None:
        self._errors: list[LocatedError] = []
        self._tick = 0

    def next_tick(self) -> None:
        self._tick += 1

    def add(self, positions: ResponsePositions, index: int, error: Exception, nodes: Sequence[FieldNode]) -> None:
        position = positions.at(index)
        graphql_error = located_error(error, list(nodes), list(position.path) if position else None)
        self._errors.append(LocatedError(position, self._tick, graphql_error))

    @property
    def is_data_null(self) -> bool:
        """Whether the whole answer is null."""
        if not self._errors:
            return False
        return any(located.position is None or located.position.nearest_nullable is None for located in self._errors)

    def propagate_nulls(self, data: dict[str, Any]) -> tuple[dict[str, Any] | None, list[GraphQLError]]:
        """Puts null where failures lead to; tells those errors that are not of something that had become null before."""
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
    """At one moment the order is that of the document and of lists."""
    return located.tick, located.position.sibling_indexes if located.position else ()


def _set_null(container: Any, path: ResponsePath) -> None:
    for key in path[:-1]:
        container = container[key]
        if container is None:
            return
    container[path[-1]] = None
