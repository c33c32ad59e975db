"""Pages of a list by keyset: page 50,000 costs what page 1 does."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Integer, Numeric, Select, UnaryExpression, Uuid, bindparam, literal_column, tuple_

from persistence.database import Reading
from persistence.query import Query

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

USUAL_SIZES = frozenset({5, 6, 8, 10, 12, 15, 20, 24, 25, 30, 40, 48, 50, 60, 100})
"""Written into the SQL, so that PostgreSQL makes a plan for them once. A list for each would be as right, and too many statements."""
COUNT_LIMIT = 10_000
"""A narrowed list is counted up to here."""


Item = tuple[Any, uuid.UUID, T_co]
"""What stands in a list: the value it is sorted by, its id, and what it is."""


class Position(NamedTuple):
    """Where an item stands: the value it is sorted by, then its id."""

    key: Any
    id: uuid.UUID


@dataclass(slots=True)
class Page:
    """What to take. `backward` takes from the end; `offset` skips, and never comes with a position."""

    size: int = 20
    backward: bool = False
    after: Position | None = None
    before: Position | None = None
    offset: int = 0

    @property
    def shape(self) -> "PageShape":
        return PageShape(
            self.backward,
            self.after is not None,
            self.before is not None,
            self.offset > 0,
            self.size if self.size in USUAL_SIZES else None,
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

    backward: bool
    after: bool
    before: bool
    offset: bool
    size: int | None

    @property
    def skewed(self) -> bool:
        """As a parameter, a size is a thing that a plan depends on."""
        return self.size is None


class Sort(NamedTuple):
    """The order of a list: a key that is never NULL, and its direction; ids break ties the same way."""

    key: ColumnElement[Any]
    descending: bool


@dataclass(slots=True)
class Slice(Generic[T_co]):
    """A page that was taken."""

    items: Sequence[Item[T_co]]
    has_next: bool
    has_previous: bool


def paged(
    select: Select[Any],
    sort: Sort,
    id_column: ColumnElement[uuid.UUID],
    shape: PageShape,
) -> Select[Any]:
    """Cuts a page out of a list. Its parameters are those of `Page.parameters`."""
    key = sort.key
    place = tuple_(key, id_column)
    key_type = Numeric() if isinstance(key.type, Numeric) else key.type  # a forged key may exceed the column's digits

    def bound(name: str) -> Any:
        return tuple_(
            bindparam(f"{name}_key", type_=key_type),
            bindparam(f"{name}_id", type_=Uuid()),
        )

    if shape.after:
        select = select.where(place < bound("after") if sort.descending else place > bound("after"))
    if shape.before:
        select = select.where(place > bound("before") if sort.descending else place < bound("before"))
    select = select.order_by(*ordered(key, id_column, sort, shape))
    if shape.offset:
        select = select.offset(bindparam("offset", type_=Integer()))
    if shape.size is None:
        return select.limit(bindparam("limit", type_=Integer()))
    return select.limit(literal_column(str(shape.size + 1)))


def ordered(
    key: ColumnElement[Any], id_column: ColumnElement[uuid.UUID], sort: Sort, shape: PageShape
) -> tuple[UnaryExpression[Any], UnaryExpression[Any]]:
    """The order in which a page is read; one from the end is turned round later."""
    if sort.descending is shape.backward:
        return key.asc(), id_column.asc()
    return key.desc(), id_column.desc()


def keyed(row: Callable[..., T]) -> Callable[..., Item[T]]:
    """For rows whose first two columns are the sort key and the id, and whose others make what stands there."""
    return lambda key, id_, *columns: (key, id_, row(*columns))


async def take(reading: Reading, query: Query[Item[T]], page: Page, **parameters: Any) -> Slice[T]:
    items = await reading.all(query, **page.parameters, **parameters)
    more = len(items) > page.size
    items = items[: page.size]
    if page.backward:
        items.reverse()
        return Slice(items, has_next=page.before is not None, has_previous=more)
    return Slice(items, has_next=more, has_previous=page.after is not None or page.offset > 0)
