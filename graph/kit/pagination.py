"""Declares connections and encodes cursors, after the Relay specification."""

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
from typing import Annotated, Any, Generic, Protocol, TypeVar

import orjson
from strawberry import UNSET

from domain.validation import is_printable
from graph.kit.batch_fields import batch_field
from graph.kit.declare import MINUTE, argument, attribute, field, none_if_unset, object_type
from graph.kit.scalars import parse_date, parse_datetime, parse_decimal
from graph.request_errors import BadUserInput
from persistence.postgres.keyset import PageRequest, PageResult, Position
from persistence.postgres.uuids import parse_uuid

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
MAX_OFFSET = 10_000
MAX_CURSOR_LENGTH = 4_000
MAX_INTEGER_KEY = 2**31 - 1


First = Annotated[
    int | None, argument("How many items to take, from the start. 20 when no size is given, 100 at most.")
]
After = Annotated[str | None, argument("Take items after this cursor.")]
Last = Annotated[int | None, argument("How many items to take, from the end.")]
Before = Annotated[str | None, argument("Take items before this cursor.")]
Offset = Annotated[
    int | None, argument("Skips this many items before `first`, for numbered pages. Not to be combined with cursors.")
]


@dataclass(frozen=True, slots=True)
class CursorCodec:
    """Identifies a sorted list by its name; encodes and decodes its cursors, which hold a sort key and an ID."""

    list_name: str
    key_type: type

    @property
    def fingerprint(self) -> str:
        """The mark in each cursor by which other lists reject it."""
        return _compute_fingerprint(self.list_name)

    def encode(self, key: Any, id_: uuid.UUID) -> str:
        """Return the cursor of the item with this sort key and ID."""
        payload = orjson.dumps([self.fingerprint, _encode_key(key), id_.hex])
        return urlsafe_b64encode(payload).rstrip(b"=").decode()

    def decode(self, cursor: str) -> Position:
        """Return the position that the cursor stands for.

        Raises:
            BadUserInput: It is not a cursor of this list.
        """
        try:
            if len(cursor) > MAX_CURSOR_LENGTH:
                raise ValueError
            payload = orjson.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
            fingerprint, key, id_ = payload
            if fingerprint != self.fingerprint:
                raise ValueError
            return Position(_decode_key(self.key_type, key), parse_uuid(id_))
        except (ValueError, TypeError, AttributeError, binascii.Error, BadUserInput) as error:
            raise BadUserInput("Invalid cursor for this list and sort order.") from error


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
    """Parse the pagination arguments of a list.

    Raises:
        BadUserInput: An argument is out of range, is not a cursor of the list, or does not go with another.
    """
    first, last, offset = none_if_unset(first), none_if_unset(last), none_if_unset(offset)
    after, before = none_if_unset(after) or None, none_if_unset(before) or None  # some clients send "" for no cursor
    for name, size in (("first", first), ("last", last)):
        if size is not None and not 0 <= size <= MAX_PAGE_SIZE:
            raise BadUserInput(f"`{name}` must be from 0 to {MAX_PAGE_SIZE}.")
    if first is not None and last is not None:
        raise BadUserInput("Give `first` or `last`, not both.")
    if offset is not None:
        if not 0 <= offset <= MAX_OFFSET:
            raise BadUserInput(f"`offset` must be from 0 to {MAX_OFFSET:,}. To go deeper, follow cursors.")
        if after is not None or before is not None or last is not None:
            raise BadUserInput("`offset` goes with `first` alone, not with cursors or `last`.")
    size = first if last is None else last
    return PageRequest(
        size=DEFAULT_PAGE_SIZE if size is None else size,
        is_backward=last is not None,
        after=None if after is None else codec.decode(after),
        before=None if before is None else codec.decode(before),
        offset=offset or 0,
    )


@dataclass(slots=True)
class Edge(Generic[T]):
    """An item of a page with its cursor."""

    cursor: str
    node: T


@dataclass(slots=True)
class Connection(Generic[T]):
    """A page of a list, and how to count the list when `totalCount` is selected.

    With a `count_key` the count is cached for a second under it. `query` is what the extra fields of the type read.
    """

    codec: CursorCodec
    page_result: PageResult[T]
    count: Callable[[], Awaitable[int]]
    count_key: Hashable = None
    query: Any = None

    @property
    def has_next_page(self) -> bool:
        """Whether items follow the page."""
        return self.page_result.has_next

    @property
    def has_previous_page(self) -> bool:
        """Whether items precede the page."""
        return self.page_result.has_previous

    @property
    def start_cursor(self) -> str | None:
        """The cursor of the first item, `None` on an empty page."""
        return self._get_cursor_at(0)

    @property
    def end_cursor(self) -> str | None:
        """The cursor of the last item, `None` on an empty page."""
        return self._get_cursor_at(-1)

    def _get_cursor_at(self, index: int) -> str | None:
        items = self.page_result.items
        return self.codec.encode(*items[index][:2]) if items else None


class CountCache(Protocol):
    """What counting needs of the context: counts that may be a second old."""

    async def cached(self, key: Hashable, count: Callable[[], Awaitable[int]]) -> int:
        """Return the cached count, or count and cache."""

    def peek_cached(self, key: Hashable) -> int | None:
        """Return the count when it is cached."""


class TotalCountLoader:
    """Counts the lists of connections, concurrently."""

    requires = frozenset({"count", "count_key"})
    preloaded: str | None = None

    async def load(self, connections: Sequence[Connection[Any]], context: CountCache) -> Sequence[Any]:
        """Return the counts; where counting failed, the exception."""
        return await asyncio.gather(*(self._count(connection, context) for connection in connections))

    def get_cached(self, connections: Sequence[Connection[Any]], context: CountCache) -> Sequence[Any] | None:
        """Return the counts, or `None` unless all are cached."""
        counts = [context.peek_cached(connection.count_key) for connection in connections]
        return None if None in counts else counts

    async def _count(self, connection: Connection[Any], context: CountCache) -> Any:
        try:
            return await (
                context.cached(connection.count_key, connection.count) if connection.count_key else connection.count()
            )
        except Exception as error:
            return error


TOTAL_COUNT = TotalCountLoader()


@object_type(source_type=Connection, max_age=MINUTE)
class PageInfo:
    """The position of a page in its list."""

    has_next_page: bool = attribute("Whether items follow this page.")
    has_previous_page: bool = attribute("Whether items precede this page.")
    start_cursor: str | None = attribute("The cursor of the first item, to pass as `before`.")
    end_cursor: str | None = attribute("The cursor of the last item, to pass as `after`.")


def connection_type(name: str, item_type: Any, plural: str, max_age: int | None = None, **extra_fields: Any) -> Any:
    """Declare a connection type and its edge type.

    Args:
        name: What the names of both types begin with, usually the name of the item's type.
        item_type: The item's type.
        plural: What the items are called in descriptions.
        max_age: Seconds that a shared cache may keep the page.
        extra_fields: Fields that only this connection has. They find the list's query in `Connection.query`.
    """

    class EdgeType:
        cursor: str = attribute("The item's position in the list, to pass as `after` or `before`.")
        node: Any = attribute("The item.", graphql_type=item_type)

    EdgeType.__name__ = f"{name}Edge"
    EdgeType.__doc__ = f"One of the {plural} in a list."
    edge = object_type(max_age=max_age)(EdgeType)

    class ConnectionType:
        @field(list[edge], max_age=max_age)  # type: ignore[valid-type]  # made at run time
        def edges(self: Connection[Any]) -> list[Edge[Any]]:
            """The items with their cursors."""
            return [Edge(self.codec.encode(key, id_), row) for key, id_, row in self.page_result.items]

        @field(list[item_type], max_age=max_age)
        def nodes(self: Connection[Any]) -> list[Any]:
            """The items without their cursors."""
            return [row for _, _, row in self.page_result.items]

        @field(PageInfo, max_age=max_age)
        def page_info(self: Connection[Any]) -> Connection[Any]:
            """The position of the page in the list."""
            return self

        @batch_field(TOTAL_COUNT, max_age=max_age)
        def total_count(count: int) -> int:
            """How many items the whole list has."""
            return count

    for field_name, strawberry_field in extra_fields.items():
        setattr(ConnectionType, field_name, strawberry_field)
    ConnectionType.__name__ = f"{name}Connection"
    ConnectionType.__doc__ = f"A page of {plural}."
    return object_type()(ConnectionType)
