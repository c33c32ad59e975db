"""Where in an answer something failed, and what becomes null because of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphql import FieldNode, GraphQLError, located_error

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the answer. `order` is its place among its siblings, as they are written or listed."""

    holder: "Place | None"
    key: str | int
    order: int
    nullable: bool

    @property
    def path(self) -> Path:
        return (*self.holder.path, self.key) if self.holder else (self.key,)

    @property
    def orders(self) -> tuple[int, ...]:
        return (*self.holder.orders, self.order) if self.holder else (self.order,)

    @property
    def absorbing(self) -> "Place | None":
        """The nearest position that may be null; `None` is the whole answer."""
        return self if self.nullable else self.holder.absorbing if self.holder else None


class Places(Protocol):
    """The positions of values that are completed together; worked out for those that fail, and no others."""

    def at(self, index: int) -> Place | None: ...


class Root:
    """Where the whole answer is."""

    def at(self, index: int) -> None:
        return None


@dataclass(slots=True)
class FieldPlaces:
    """A field of each of some objects."""

    objects: Places
    key: str
    order: int
    nullable: bool

    def at(self, index: int) -> Place:
        return Place(self.objects.at(index), self.key, self.order, self.nullable)


@dataclass(slots=True)
class ItemPlaces:
    """The items of lists, one list after the other; `lengths` has `None` for what is no list."""

    lists: Places
    lengths: Sequence[int | None]
    nullable: bool

    def at(self, index: int) -> Place:
        for list_index, length in enumerate(self.lengths):
            if index < (length or 0):
                return Place(self.lists.at(list_index), index, index, self.nullable)
            index -= length or 0
        raise IndexError(index)


@dataclass(slots=True)
class SomePlaces:
    """Those of some of the values."""

    whole: Places
    indexes: Sequence[int]

    def at(self, index: int) -> Place | None:
        return self.whole.at(self.indexes[index])


@dataclass(frozen=True, slots=True)
class Failure:
    place: Place | None
    moment: int
    error: GraphQLError


class Failures:
    """What has failed in a request. Whatever fails between two waits fails at one moment."""

    def __init__(self) -> None:
        self._failures: list[Failure] = []
        self._moment = 0

    def a_moment_later(self) -> None:
        self._moment += 1

    def add(self, places: Places, index: int, error: Exception, nodes: Sequence[FieldNode]) -> None:
        place = places.at(index)
        located = located_error(error, list(nodes), list(place.path) if place else None)
        self._failures.append(Failure(place, self._moment, located))

    @property
    def leave_nothing(self) -> bool:
        """Whether the whole answer is null."""
        if not self._failures:
            return False
        return any(failure.place is None or failure.place.absorbing is None for failure in self._failures)

    def settle(self, data: dict[str, Any]) -> tuple[dict[str, Any] | None, list[GraphQLError]]:
        """Puts null where failures lead to; tells those errors that are not of something that had become null before."""
        if not self._failures:
            return data, []
        holder: dict[str, Any] = {"data": data}
        told, nulled = [], set[Path]()
        for failure in sorted(self._failures, key=_sooner):
            absorbing = failure.place.absorbing if failure.place else None
            path = ("data", *absorbing.path) if absorbing else ("data",)
            if any(path[:length] in nulled for length in range(1, len(path) + 1)):
                continue
            nulled.add(path)
            told.append(failure.error)
            _put_null(holder, path)
        return holder["data"], told


def _sooner(failure: Failure) -> tuple[int, tuple[int, ...]]:
    """At one moment the order is that of the document and of lists."""
    return failure.moment, failure.place.orders if failure.place else ()


def _put_null(holder: Any, path: Path) -> None:
    for key in path[:-1]:
        holder = holder[key]
        if holder is None:
            return
    holder[path[-1]] = None
