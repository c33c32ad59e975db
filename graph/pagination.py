"""Connections and cursors, after the Relay specification."""

import asyncio
import binascii
import datetime as dt
import hashlib
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import orjson
import strawberry
from strawberry import UNSET

from domain.validation import is_clean
from graph.faults import BadUserInput
from graph.fields import MINUTE, column, field, shape
from graph.questions import loaded
from graph.scalars import parse_date, parse_datetime, parse_decimal
from persistence.keys import key_from
from persistence.pages import Page, Position, Slice

if TYPE_CHECKING:
    from graph.context import Context

T = TypeVar("T")

DEFAULT_SIZE = 20
LARGEST = 100
LARGEST_OFFSET = 10_000
CURSOR_LENGTH = 4_000
LARGEST_KEY = 2**31 - 1


def argument(description: str) -> Any:
    return strawberry.argument(description=description)


First = Annotated[
    int | None, argument("How many items to take, from the start. 20 when no size is given, 100 at most.")
]
After = Annotated[str | None, argument("Take items after this cursor.")]
Last = Annotated[int | None, argument("How many items to take, from the end.")]
Before = Annotated[str | None, argument("Take items before this cursor.")]
Offset = Annotated[
    int | None, argument("Skips this many items before `first`, for numbered pages. Not to be mixed with cursors.")
]


@dataclass(frozen=True, slots=True)
class ListKind:
    """A list in one order: what it is called, and what a position in it is told by."""

    name: str
    key_type: type

    @property
    def fingerprint(self) -> str:
        """Keeps the cursors of one list out of another."""
        return _fingerprint(self.name)

    def cursor(self, key: Any, id_: uuid.UUID) -> str:
        told = orjson.dumps([self.fingerprint, _told(key), id_.hex])
        return urlsafe_b64encode(told).rstrip(b"=").decode()

    def position(self, cursor: str) -> Position:
        """Raises `BadUserInput` for what is no cursor of this list."""
        try:
            if len(cursor) > CURSOR_LENGTH:
                raise ValueError
            told = orjson.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
            fingerprint, key, id_ = told
            if fingerprint != self.fingerprint:
                raise ValueError
            return Position(_understood(self.key_type, key), key_from(id_))
        except (ValueError, TypeError, AttributeError, binascii.Error, BadUserInput) as error:
            raise BadUserInput("This is no cursor of this list in this order.") from error


@lru_cache(maxsize=1000)
def _fingerprint(name: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(name.encode()).digest()[:6]).decode()


def _told(key: Any) -> Any:
    if isinstance(key, (dt.datetime, dt.date)):
        return key.isoformat()
    return format(key, "f") if isinstance(key, Decimal) else key  # without an exponent


def _understood(key_type: type, told: Any) -> Any:
    if key_type is dt.datetime:
        return parse_datetime(told)
    if key_type is dt.date:
        return parse_date(told)
    if key_type is Decimal:
        return parse_decimal(told)
    if key_type is int and type(told) is int and abs(told) > LARGEST_KEY:
        raise ValueError
    if type(told) is not key_type or (isinstance(told, str) and not is_clean(told, lines=True)):
        raise ValueError
    return told


def page_of(
    kind: ListKind,
    first: int | None = UNSET,
    after: str | None = UNSET,
    last: int | None = UNSET,
    before: str | None = UNSET,
    offset: int | None = UNSET,
) -> Page:
    """What the arguments ask for. Raises `BadUserInput` for what makes no sense."""
    first, after, last, before, offset = map(_given, (first, after, last, before, offset))
    for name, size in (("first", first), ("last", last)):
        if size is not None and not 0 <= size <= LARGEST:
            raise BadUserInput(f"`{name}` must be from 0 to {LARGEST}.")
    if first is not None and last is not None:
        raise BadUserInput("Give `first` or `last`, not both.")
    if offset is not None:
        if not 0 <= offset <= LARGEST_OFFSET:
            raise BadUserInput(f"`offset` must be from 0 to {LARGEST_OFFSET:,}. To go deeper, follow cursors.")
        if after or before or last is not None:
            raise BadUserInput("`offset` goes with `first` alone, not with cursors or `last`.")
    size = first if last is None else last
    return Page(
        size=DEFAULT_SIZE if size is None else size,
        backward=last is not None,
        after=None if after is None else kind.position(after),
        before=None if before is None else kind.position(before),
        offset=offset or 0,
    )


def _given(argument: Any) -> Any:
    return None if argument is UNSET else argument


@dataclass(slots=True)
class Edge(Generic[T]):
    cursor: str
    node: T


@dataclass(slots=True)
class Connection(Generic[T]):
    """A page that was taken from a list. The list is counted only when somebody asks.

    Where the count may be a second old, it is `counted_as` this.
    """

    kind: ListKind
    slice: Slice[T]
    count: Callable[[], Awaitable[int]]
    counted_as: Hashable = None
    wanted: Any = None

    @property
    def has_next_page(self) -> bool:
        return self.slice.has_next

    @property
    def has_previous_page(self) -> bool:
        return self.slice.has_previous

    @property
    def start_cursor(self) -> str | None:
        return self._cursor_at(0)

    @property
    def end_cursor(self) -> str | None:
        return self._cursor_at(-1)

    def _cursor_at(self, index: int) -> str | None:
        items = self.slice.items
        return self.kind.cursor(*items[index][:2]) if items else None


class Counting:
    """How many items whole lists have."""

    reads = frozenset({"count", "counted_as"})
    carried: str | None = None

    async def load(self, lists: Sequence[Connection[Any]], context: "Context") -> Sequence[Any]:
        return await asyncio.gather(*(self._count(it, context) for it in lists))

    def at_hand(self, lists: Sequence[Connection[Any]], context: "Context") -> Sequence[int] | None:
        counts = [context.known(it.counted_as) for it in lists]
        return None if None in counts else counts

    async def _count(self, it: Connection[Any], context: "Context") -> Any:
        try:
            return await (context.recent(it.counted_as, it.count) if it.counted_as else it.count())
        except Exception as error:
            return error


COUNT = Counting()


@shape(of=Connection, fresh_for=MINUTE)
class PageInfo:
    """Where a page stands in its list."""

    has_next_page: bool = column("Whether there is more after this page.")
    has_previous_page: bool = column("Whether there is more before this page.")
    start_cursor: str | None = column("The cursor of the first item, to pass as `before`.")
    end_cursor: str | None = column("The cursor of the last item, to pass as `after`.")


def connection_type(
    name: str, item_type: Any, items: str, prefix: str | None = None, fresh_for: int | None = None, **more: Any
) -> Any:
    """The connection of a type, and its edge, named by `prefix` or the type.

    `more` are fields that only this one has; they find what was `wanted`.
    """
    prefix = prefix or name

    class EdgeType:
        cursor: str = column(f"Where the {name.lower()} stands in the list.")
        node: Any = column(f"The {name.lower()} itself.", graphql_type=item_type)

    EdgeType.__name__ = f"{prefix}Edge"
    EdgeType.__doc__ = f"One of the {items} in a list."
    edge = shape(fresh_for=fresh_for)(EdgeType)

    class ConnectionType:
        @field(list[edge], fresh_for=fresh_for)  # type: ignore[valid-type]  # made at run time
        def edges(self: Connection[Any]) -> list[Edge[Any]]:
            """The items with their cursors."""
            return [Edge(self.kind.cursor(key, id_), row) for key, id_, row in self.slice.items]

        @field(list[item_type], fresh_for=fresh_for)
        def nodes(self: Connection[Any]) -> list[Any]:
            """The items alone."""
            return [row for _, _, row in self.slice.items]

        @field(PageInfo, fresh_for=fresh_for)
        def page_info(self: Connection[Any]) -> Connection[Any]:
            """Where the page stands."""
            return self

        @loaded(COUNT, fresh_for=fresh_for)
        def total_count(count: int) -> int:
            """How many items the whole list has."""
            return count

    for field_name, declared in more.items():
        setattr(ConnectionType, field_name, declared)
    ConnectionType.__name__ = f"{prefix}Connection"
    ConnectionType.__doc__ = f"A page of {items}."
    return shape()(ConnectionType)
