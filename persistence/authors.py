"""Lists of authors."""

from functools import lru_cache

from sqlalchemy import func, literal_column, select

from persistence.catalog import AUTHOR, Author
from persistence.database import Reading
from persistence.models import Author as authors
from persistence.pages import COUNT_LIMIT, Item, Page, PageShape, Slice, Sort, keyed, paged, take
from persistence.query import Query
from persistence.relevance import matching

_BY_NAME = Sort(authors.sort_name.expression, descending=False)


@lru_cache(maxsize=100)
def _authors_query(page: PageShape, search: bool) -> Query[Item[Author]]:
    statement = select(_BY_NAME.key, authors.id, *AUTHOR)
    if search:
        statement = statement.where(authors.search.bool_op("@@")(matching()))
    return Query(paged(statement, _BY_NAME, authors.id.expression, page), keyed(Author), skewed=page.skewed)


_ALL_AUTHORS = Query(select(func.count()).select_from(authors), int)
_FOUND_AUTHORS = Query(
    select(func.count()).select_from(
        select(authors.id)
        .where(authors.search.bool_op("@@")(matching()))
        .limit(literal_column(str(COUNT_LIMIT)))
        .subquery()
    ),
    int,
)


async def list_authors(reading: Reading, search: str | None, page: Page) -> Slice[Author]:
    return await take(reading, _authors_query(page.shape, search is not None), page, search=search)


async def count_authors(reading: Reading, search: str | None) -> int:
    if search is None:
        return await reading.first(_ALL_AUTHORS) or 0
    return await reading.first(_FOUND_AUTHORS, search=search) or 0
