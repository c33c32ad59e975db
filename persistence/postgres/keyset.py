"""Pages of a list by keyset: page 50,000 costs what page 1 does."""

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
"""Written into the SQL, so that PostgreSQL makes a plan for them once. A list for each would be as right, and too many statements."""
COUNT_LIMIT = 10_000
"""A narrowed list is counted up to here."""


KeyedRow = tuple[Any, uuid.UUID, T_co]
"""What stands in a list: the value it is sorted by, its id, and what it is."""


class Position(NamedTuple):
    """Where an item stands: the value it is sorted by, then its id."""

    key: Any
    id: uuid.UUID


@dataclass(slots=True)
class PageRequest:
    """What to take. `backward` takes from the end; `offset` skips, and never comes with a position."""

    size: int = 20
    is_backward: bool = False
    after: Position | None = None
    before: Position | None = None
    offset: int = 0

    @property
    def shape(self) -> "PageShape":
        return PageShape(
            self.is_backward,
            self.after is not None,
            self.before is not None,
            self.offset > 0,
            self.size if self.size in COMMON_PAGE_SIZES else None,
        )

    @property
    def parameters(self) -> dict[str, Any]:
        after, before = self.after or (None, None), self.before or (None, None)
        return {
            "limit": self.size + 1,  # one more tells whether there is more
            "offset": self.offset,
            "after_key": after[0],
            "after_id": after[1],
            "before_key": before[0],
            "before_id": before[1],
        }


class PageShape(NamedTuple):
    """All of a page that its SQL depends on. `size` is told where it is a usual one."""

    is_backward: bool
    has_after: bool
    has_before: bool
    has_offset: bool
    size: int | None

    @property
    def needs_custom_plan(self) -> bool:
        """As a parameter, a size is a thing that a plan depends on."""
        return self.size is None


class Sort(NamedTuple):
    """The order of a list: a key that is never NULL, and its direction; ids break ties the same way."""

    key: ColumnElement[Any]
    descending: bool


@dataclass(slots=True)
class PageResult(Generic[T_co]):
    """A page that was taken."""

    items: Sequence[KeyedRow[T_co]]
    has_next: bool
    has_previous: bool


def paginate(
    select: Select[Any],
    sort: Sort,
    id_column: ColumnElement[uuid.UUID],
    shape: PageShape,
) -> Select[Any]:
    """Cuts a page out of a list. Its parameters are those of `Page.parameters`."""
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
    """The order in which a page is read; one from the end is turned round later."""
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
    items = await db.all(query, **page.parameters, **parameters)
    has_more = len(items) > page.size
    items = items[: page.size]
    if page.is_backward:
        items.reverse()
        return PageResult(items, has_next=page.before is not None, has_previous=has_more)
    return PageResult(items, has_next=has_more, has_previous=page.after is not None or page.offset > 0)
