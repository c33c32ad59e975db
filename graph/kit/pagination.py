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

from domain.validation import is_printable
from graph.kit.batch_fields import batch_field
from graph.kit.declare import MINUTE, attribute, field, object_type
from graph.kit.scalars import parse_date, parse_datetime, parse_decimal
from graph.request_errors import BadUserInput
from persistence.postgres.keyset import PageRequest, PageResult, Position
from persistence.postgres.uuids import parse_uuid

if TYPE_CHECKING:
    from graph.context import Context

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
MAX_OFFSET = 10_000
MAX_CURSOR_LENGTH = 4_000
MAX_INTEGER_KEY = 2**31 - 1


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
class CursorCodec:
    """A list in one order: what it is called, and what a position in it is told by."""

    list_name: str
    key_type: type

    @property
    def fingerprint(self) -> str:
        """Keeps the cursors of one list out of another."""
        return _compute_fingerprint(self.list_name)

    def encode(self, key: Any, id_: uuid.UUID) -> str:
        payload = orjson.dumps([self.fingerprint, _encode_key(key), id_.hex])
        return urlsafe_b64encode(payload).rstrip(b"=").decode()

    def decode(self, cursor: str) -> Position:
        """Raises `BadUserInput` for what is no cursor of this list."""
        try:
            if len(cursor) > MAX_CURSOR_LENGTH:
                raise ValueError
            payload = orjson.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
            fingerprint, key, id_ = payload
            if fingerprint != self.fingerprint:
                raise ValueError
            return Position(_decode_key(self.key_type, key), parse_uuid(id_))
        except (ValueError, TypeError, AttributeError, binascii.Error, BadUserInput) as error:
            raise BadUserInput("This is no cursor of this list in this order.") from error


@lru_cache(maxsize=1000)
def _compute_fingerprint(list_name: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(list_name.encode()).digest()[:6]).decode()


def _encode_key(key: Any) -> Any:
    if isinstance(key, (dt.datetime, dt.date)):
        return key.isoformat()
    return format(key, "f") if isinstance(key, Decimal) else key  # without an exponent


def _decode_key(key_type: type, value: Any) -> Any:
    if key_type is dt.datetime:
        return parse_datetime(value)
    if key_type is dt.date:
        return parse_date(value)
    if key_type is Decimal:
        return parse_decimal(value)
    if key_type is int and type(value) is int and abs(value) > MAX_INTEGER_KEY:
        raise ValueError
    if type(value) is not key_type or (isinstance(value, str) and not is_printable(value, multiline=True)):
        raise ValueError
    return value


def parse_page(
    codec: CursorCodec,
    first: int | None = UNSET,
    after: str | None = UNSET,
    last: int | None = UNSET,
    before: str | None = UNSET,
    offset: int | None = UNSET,
) -> PageRequest:
    """What the arguments ask for. Raises `BadUserInput` for what makes no sense."""
    first, after, last, before, offset = map(_none_if_unset, (first, after, last, before, offset))
    for name, size in (("first", first), ("last", last)):
        if size is not None and not 0 <= size <= MAX_PAGE_SIZE:
            raise BadUserInput(f"`{name}` must be from 0 to {MAX_PAGE_SIZE}.")
    if first is not None and last is not None:
        raise BadUserInput("Give `first` or `last`, not both.")
    if offset is not None:
        if not 0 <= offset <= MAX_OFFSET:
            raise BadUserInput(f"`offset` must be from 0 to {MAX_OFFSET:,}. To go deeper, follow cursors.")
        if after or before or last is not None:
            raise BadUserInput("`offset` goes with `first` alone, not with cursors or `last`.")
    size = first if last is None else last
    return PageRequest(
        size=DEFAULT_PAGE_SIZE if size is None else size,
        is_backward=last is not None,
        after=None if after is None else codec.decode(after),
        before=None if before is None else codec.decode(before),
        offset=offset or 0,
    )


def _none_if_unset(argument: Any) -> Any:
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

    codec: CursorCodec
    page_result: PageResult[T]
    count: Callable[[], Awaitable[int]]
    count_key: Hashable = None
    query: Any = None

    @property
    def has_next_page(self) -> bool:
        return self.page_result.has_next

    @property
    def has_previous_page(self) -> bool:
        return self.page_result.has_previous

    @property
    def start_cursor(self) -> str | None:
        return self._get_cursor_at(0)

    @property
    def end_cursor(self) -> str | None:
        return self._get_cursor_at(-1)

    def _get_cursor_at(self, index: int) -> str | None:
        items = self.page_result.items
        return self.codec.encode(*items[index][:2]) if items else None


class TotalCountLoader:
    """How many items whole lists have."""

    requires = frozenset({"count", "count_key"})
    preloaded: str | None = None

    async def load(self, connections: Sequence[Connection[Any]], context: "Context") -> Sequence[Any]:
        return await asyncio.gather(*(self._count(it, context) for it in connections))

    def get_cached(self, connections: Sequence[Connection[Any]], context: "Context") -> Sequence[int] | None:
        counts = [context.peek_cached(it.count_key) for it in connections]
        return None if None in counts else counts

    async def _count(self, connection: Connection[Any], context: "Context") -> Any:
        try:
            return await (
                context.cached(connection.count_key, connection.count) if connection.count_key else connection.count()
            )
        except Exception as error:
            return error


TOTAL_COUNT = TotalCountLoader()


@object_type(source_type=Connection, max_age=MINUTE)
class PageInfo:
    """Where a page stands in its list."""

    has_next_page: bool = attribute("Whether there is more after this page.")
    has_previous_page: bool = attribute("Whether there is more before this page.")
    start_cursor: str | None = attribute("The cursor of the first item, to pass as `before`.")
    end_cursor: str | None = attribute("The cursor of the last item, to pass as `after`.")


def connection_type(
    name: str, item_type: Any, plural: str, prefix: str | None = None, max_age: int | None = None, **extra_fields: Any
) -> Any:
    """The connection of a type, and its edge, named by `prefix` or the type.

    `more` are fields that only this one has; they find what was `wanted`.
    """
    prefix = prefix or name

    class EdgeType:
        cursor: str = attribute(f"Where the {name.lower()} stands in the list.")
        node: Any = attribute(f"The {name.lower()} itself.", graphql_type=item_type)

    EdgeType.__name__ = f"{prefix}Edge"
    EdgeType.__doc__ = f"One of the {plural} in a list."
    edge = object_type(max_age=max_age)(EdgeType)

    class ConnectionType:
        @field(list[edge], max_age=max_age)  # type: ignore[valid-type]  # made at run time
        def edges(self: Connection[Any]) -> list[Edge[Any]]:
            """The items with their cursors."""
            return [Edge(self.codec.encode(key, id_), row) for key, id_, row in self.page_result.items]

        @field(list[item_type], max_age=max_age)
        def nodes(self: Connection[Any]) -> list[Any]:
            """The items alone."""
            return [row for _, _, row in self.page_result.items]

        @field(PageInfo, max_age=max_age)
        def page_info(self: Connection[Any]) -> Connection[Any]:
            """Where the page stands."""
            return self

        @batch_field(TOTAL_COUNT, max_age=max_age)
        def total_count(count: int) -> int:
            """How many items the whole list has."""
            return count

    for field_name, strawberry_field in extra_fields.items():
        setattr(ConnectionType, field_name, strawberry_field)
    ConnectionType.__name__ = f"{prefix}Connection"
    ConnectionType.__doc__ = f"A page of {plural}."
    return object_type()(ConnectionType)
