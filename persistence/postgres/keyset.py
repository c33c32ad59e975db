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
"""Sizes written into the SQL, so that PostgreSQL plans each once. A statement for every size would be too many."""
COUNT_LIMIT = 10_000
"""Filtered lists are counted up to this number."""


KeyedRow = tuple[Any, uuid.UUID, T_co]
"""A list item: its sort key, its id and its row."""


class Position(NamedTuple):
    """The position of an item: its sort key, then its id."""

    key: Any
    id: uuid.UUID


@dataclass(slots=True)
class PageRequest:
    """A requested page. `is_backward` reads from the end; `offset` is never combined with a position."""

    size: int = 20
    is_backward: bool = False
    after: Position | None = None
    before: Position | None = None
    offset: int = 0

    @property
    def shape(self) -> "PageShape":
        """The parts of the request that its SQL depends on."""
        return PageShape(
            self.is_backward,
            self.after is not None,
            self.before is not None,
            self.offset > 0,
            self.size if self.size in COMMON_PAGE_SIZES else None,
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """The bind parameters of the page."""
        after, before = self.after or (None, None), self.before or (None, None)
        return {
            "limit": self.size + 1,  # one more row shows whether there is a next page
            "offset": self.offset,
            "after_key": after[0],
            "after_id": after[1],
            "before_key": before[0],
            "before_id": before[1],
        }


class PageShape(NamedTuple):
    """The parts of a page request that its SQL depends on. `size` is set for common page sizes."""

    is_backward: bool
    has_after: bool
    has_before: bool
    has_offset: bool
    size: int | None

    @property
    def needs_custom_plan(self) -> bool:
        """Whether the page size is a parameter, on which the best plan depends."""
        return self.size is None


class Sort(NamedTuple):
    """The order of a list: a key that is never NULL, and its direction. Ids break ties in the same direction."""

    key: ColumnElement[Any]
    descending: bool


@dataclass(slots=True)
class PageResult(Generic[T_co]):
    """The items of a page, and whether there are more on either side."""

    items: Sequence[KeyedRow[T_co]]
    has_next: bool
    has_previous: bool


def paginate(
    select: Select[Any],
    sort: Sort,
    id_column: ColumnElement[uuid.UUID],
    shape: PageShape,
) -> Select[Any]:
    """Restrict a SELECT to one page. The bind parameters are those of `PageRequest.parameters`."""
    key = sort.key
    sort_position = tuple_(key, id_column)
    key_type = Numeric() if isinstance(key.type, Numeric) else key.type  # a forged key may exceed the column's digits

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
    """Return the ORDER BY of a page; `fetch_page` reverses a backward page afterwards."""
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
    """Return one page of a query. Raises `Unavailable`."""
    items = await db.all(query, **page.parameters, **parameters)
    has_more = len(items) > page.size
    items = items[: page.size]
    if page.is_backward:
        items.reverse()
        return PageResult(items, has_next=page.before is not None, has_previous=has_more)
    return PageResult(items, has_next=has_more, has_previous=page.after is not None or page.offset > 0)
