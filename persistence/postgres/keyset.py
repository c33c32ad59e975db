"""Keyset pagination: page 50,000 costs as much as page 1."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import (
    ColumnElement,
    Integer,
    Numeric,
    Select,
    UnaryExpression,
    Uuid,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
)

from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Query

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

COMMON_PAGE_SIZES = frozenset({5, 6, 8, 10, 12, 15, 20, 24, 25, 30, 40, 48, 50, 60, 100})
"""Sizes that become literals in the SQL, so that PostgreSQL keeps a plan for each. Other sizes are parameters."""
COUNT_LIMIT = 10_000
"""Filtered lists are counted up to this number."""


KeyedRow = tuple[Any, uuid.UUID, T_co]
"""An item of a list: its sort key, its id and its row."""


class Position(NamedTuple):
    """The position of an item in a sorted list: its sort key and its id."""

    key: Any
    id: uuid.UUID


@dataclass(slots=True)
class PageRequest:
    """A requested page. `is_backward` counts from the end. `offset` is never combined with a position."""

    size: int = 20
    is_backward: bool = False
    after: Position | None = None
    before: Position | None = None
    offset: int = 0

    @property
    def shape(self) -> "PageShape":
        """The part of the request that determines the SQL."""
        return PageShape(
            self.is_backward,
            self.after is not None,
            self.before is not None,
            self.offset > 0,
            self.size if self.size in COMMON_PAGE_SIZES else None,
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a statement that `paginate` returned."""
        after, before = self.after or (None, None), self.before or (None, None)
        return {
            "limit": self.size + 1,  # one more row, to see whether another page follows
            "offset": self.offset,
            "after_key": after[0],
            "after_id": after[1],
            "before_key": before[0],
            "before_id": before[1],
        }


class PageShape(NamedTuple):
    """Everything of a page request that determines the SQL. `size` is `None` unless it is a common one."""

    is_backward: bool
    has_after: bool
    has_before: bool
    has_offset: bool
    size: int | None

    @property
    def needs_custom_plan(self) -> bool:
        """Whether the size is a parameter: the best plan depends on it."""
        return self.size is None


class Sort(NamedTuple):
    """The order of a list: a key that is never NULL, and its direction; ids break ties the same way."""

    key: ColumnElement[Any]
    descending: bool


@dataclass(slots=True)
class PageResult(Generic[T_co]):
    """A page of a list."""

    items: Sequence[KeyedRow[T_co]]
    has_next: bool
    has_previous: bool


def paginate(
    select: Select[Any],
    sort: Sort,
    id_column: ColumnElement[uuid.UUID],
    shape: PageShape,
) -> Select[Any]:
    """Restrict a SELECT to one page. Its parameters are `PageRequest.parameters`."""
    key = sort.key
    sort_position = tuple_(key, id_column)
    key_type = (
        Numeric() if isinstance(key.type, Numeric) else key.type
    )  # a key in a forged cursor may exceed the column's precision

    def bind_position(name: str) -> Any:
        return tuple_(
            bindparam(f"{name}_key", type_=key_type),
            bindparam(f"{name}_id", type_=Uuid()),
        )

    if shape.has_after:
        select = select.where(
            sort_position < bind_position("after") if sort.descending else sort_position > bind_position("after")
        )
    if shape.has_before:
        select = select.where(
            sort_position > bind_position("before") if sort.descending else sort_position < bind_position("before")
        )
    select = select.order_by(*order_by(key, id_column, sort, shape))
    if shape.has_offset:
        select = select.offset(bindparam("offset", type_=Integer()))
    if shape.size is None:
        return select.limit(bindparam("limit", type_=Integer()))
    return select.limit(literal_column(str(shape.size + 1)))


def order_by(
    key: ColumnElement[Any], id_column: ColumnElement[uuid.UUID], sort: Sort, shape: PageShape
) -> tuple[UnaryExpression[Any], UnaryExpression[Any]]:
    """Return the order in which a page is read. `fetch_page` reverses a backward page."""
    if sort.descending is shape.is_backward:
        return key.asc(), id_column.asc()
    return key.desc(), id_column.desc()


def build_page_query(
    columns: Sequence[Any],
    row_factory: Callable[..., T],
    conditions: Sequence[ColumnElement[bool]],
    sort: Sort,
    id_column: ColumnElement[uuid.UUID],
    page: PageShape,
    *,
    needs_custom_plan: bool = False,
) -> Query[KeyedRow[T]]:
    """Build the query for a page of a list of one table; `row_factory` takes the columns of a row."""
    statement = select(sort.key, id_column, *columns).where(*conditions)
    return Query(
        paginate(statement, sort, id_column, page),
        lambda key, id_, *row: (key, id_, row_factory(*row)),
        needs_custom_plan=needs_custom_plan or page.needs_custom_plan,
    )


def build_count_query(
    id_column: ColumnElement[uuid.UUID], conditions: Sequence[ColumnElement[bool]], *, needs_custom_plan: bool = False
) -> Query[int]:
    """Build the query that counts a list's rows up to `COUNT_LIMIT`."""
    limited = select(id_column).where(*conditions).limit(COUNT_LIMIT).subquery()
    return Query(select(func.count()).select_from(limited), int, needs_custom_plan=needs_custom_plan)


async def fetch_page(db: ReadSession, query: Query[KeyedRow[T]], page: PageRequest, **parameters: Any) -> PageResult[T]:
    """Return a page in the order of the list.

    Raises:
        Unavailable: PostgreSQL is unreachable, overloaded or too slow.
    """
    items = await db.all(query, **page.parameters, **parameters)
    has_more = len(items) > page.size
    items = items[: page.size]
    if page.is_backward:
        items.reverse()
        return PageResult(items, has_next=page.before is not None, has_previous=has_more)
    return PageResult(items, has_next=has_more, has_previous=page.after is not None or page.offset > 0)
