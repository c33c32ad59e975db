"""Lists of authors."""

from functools import lru_cache

from sqlalchemy import func, literal_column, select

from persistence.browse.relevance import build_search_query
from persistence.catalog import AUTHOR_COLUMNS, AuthorRow
from persistence.postgres.database import ReadSession
from persistence.postgres.keyset import (
    COUNT_LIMIT,
    KeyedRow,
    PageRequest,
    PageResult,
    PageShape,
    Sort,
    fetch_page,
    paginate,
    with_sort_key,
)
from persistence.postgres.statements import Query
from persistence.tables import Author as Author

_BY_NAME = Sort(Author.sort_name.expression, descending=False)


@lru_cache(maxsize=100)
def _build_authors_query(page: PageShape, search: bool) -> Query[KeyedRow[AuthorRow]]:
    statement = select(_BY_NAME.key, Author.id, *AUTHOR_COLUMNS)
    if search:
        statement = statement.where(Author.search.bool_op("@@")(build_search_query()))
    return Query(
        paginate(statement, _BY_NAME, Author.id.expression, page),
        with_sort_key(AuthorRow),
        needs_custom_plan=page.needs_custom_plan,
    )


_COUNT_ALL = Query(select(func.count()).select_from(Author), int)
_COUNT_MATCHES = Query(
    select(func.count()).select_from(
        select(Author.id)
        .where(Author.search.bool_op("@@")(build_search_query()))
        .limit(literal_column(str(COUNT_LIMIT)))
        .subquery()
    ),
    int,
)


async def list_authors(db: ReadSession, search: str | None, page: PageRequest) -> PageResult[AuthorRow]:
    return await fetch_page(db, _build_authors_query(page.shape, search is not None), page, search=search)


async def count_authors(db: ReadSession, search: str | None) -> int:
    if search is None:
        return await db.first(_COUNT_ALL) or 0
    return await db.first(_COUNT_MATCHES, search=search) or 0
