"""Lists of authors by name, with an optional search."""

from functools import lru_cache

from sqlalchemy import func, literal_column, select

from persistence import tables
from persistence.browse.relevance import build_search_query
from persistence.catalog import AUTHOR_COLUMNS, AuthorRow
from persistence.postgres.keyset import (
    COUNT_LIMIT,
    KeyedRow,
    PageRequest,
    PageResult,
    PageShape,
    Sort,
    build_page_query,
    fetch_page,
)
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Query

_MATCHES = tables.Author.search.bool_op("@@")(build_search_query())
_BY_NAME = Sort(tables.Author.sort_name.expression, descending=False)


@lru_cache(maxsize=100)
def _build_authors_query(page: PageShape, search: bool) -> Query[KeyedRow[AuthorRow]]:
    conditions = [_MATCHES] if search else []
    return build_page_query(AUTHOR_COLUMNS, AuthorRow, conditions, _BY_NAME, tables.Author.id.expression, page)


_COUNT_ALL = Query(select(func.count()).select_from(tables.Author), int)
_COUNT_MATCHES = Query(
    select(func.count()).select_from(
        select(tables.Author.id).where(_MATCHES).limit(literal_column(str(COUNT_LIMIT))).subquery()
    ),
    int,
)


async def list_authors(db: ReadSession, search: str | None, page: PageRequest) -> PageResult[AuthorRow]:
    """Return a page of the authors whose names match the search, or of all authors."""
    return await fetch_page(db, _build_authors_query(page.shape, search is not None), page, search=search)


async def count_authors(db: ReadSession, search: str | None) -> int:
    """Count all authors exactly, or those that match the search up to `COUNT_LIMIT`."""
    if search is None:
        return await db.first(_COUNT_ALL) or 0
    return await db.first(_COUNT_MATCHES, search=search) or 0
