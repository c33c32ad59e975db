"""Search conditions, and the sort order by relevance.

The newest matches are ranked by how well they match. Older matches follow by age, and the list ends at `COUNT_LIMIT`.
So the first pages of a search for a common word cost no more than ranking its newest matches.
"""

from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Double,
    Select,
    String,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
)

from persistence import tables
from persistence.browse.book_projection import BookProjection, select_book_columns
from persistence.postgres.keyset import COUNT_LIMIT, PageRequest, PageResult, PageShape, Sort, order_by, paginate

MAX_RANKED = 3_000
"""How many of the newest matches of a search for words are ranked."""
MAX_SPELLING_MATCHES = 200
"""How many matches of a misspelled search are ranked; the list ends there."""
UNRANKED_OFFSET = 1e11
"""Seconds subtracted from the time at which an unranked match was added. The result is negative: it sorts last."""

BY_RANK = Sort(literal_column("rank", Double()), descending=True)


def build_search_query(suffix: str = ":*", operator: str = " & ") -> ColumnElement[Any]:
    """Return SQL for the tsquery of the parameter `search`; NULL where it has no words.

    The default finds books that have all of the words, each as a prefix.
    """
    return func.search_query(
        bindparam("search", type_=String()),
        literal_column(f"'{operator}'"),
        literal_column(f"'{suffix}'"),
    )


def fold_words(count: int) -> list[ColumnElement[Any]]:
    """Return SQL for the folded parameters `word_0`, `word_1` and so on."""
    return [func.fold(bindparam(f"word_{i}", type_=String())) for i in range(count)]


def rank_matches(
    conditions: list[ColumnElement[bool]],
    spelling_word_count: int,
    page: PageShape,
    projection: BookProjection,
    *,
    include_unranked: bool,
) -> Select[Any]:
    """Return the statement for a page of the matches.

    Without `include_unranked`, the list ends after the ranked matches, which is faster for a page among them.
    """
    include_unranked = include_unranked and not spelling_word_count
    limit = MAX_SPELLING_MATCHES if spelling_word_count else COUNT_LIMIT if include_unranked else MAX_RANKED
    matches = _select_newest(conditions, limit, with_position=include_unranked)
    rank = _compute_similarity(spelling_word_count, matches) if spelling_word_count else _compute_rank(matches)
    if include_unranked:
        age: ColumnElement[float] = cast(func.extract("epoch", matches.c.added_at), Double()) - literal(
            UNRANKED_OFFSET, Double()
        )
        rank = case((matches.c.position <= literal_column(str(MAX_RANKED)), rank), else_=age)
    ranked_matches = select(matches.c.id, rank.label("rank")).cte("ranked_matches")
    page_rows = paginate(
        select(ranked_matches.c.rank, ranked_matches.c.id),
        Sort(ranked_matches.c.rank, descending=True),
        ranked_matches.c.id,
        page,
    ).cte("page_rows")
    return (
        select(page_rows.c.rank.label("sort_key"), page_rows.c.id, *select_book_columns(projection))
        .join(tables.Book, tables.Book.id == page_rows.c.id)
        .order_by(*order_by(page_rows.c.rank, page_rows.c.id, BY_RANK, page))
    )


def _select_newest(conditions: list[ColumnElement[bool]], limit: int, *, with_position: bool) -> CTE:
    newest_first = tables.Book.added_at.desc(), tables.Book.id.desc()
    columns: list[Any] = [tables.Book.id, tables.Book.search, tables.Book.spelling, tables.Book.added_at]
    if with_position:
        columns.append(func.row_number().over(order_by=newest_first).label("position"))
    statement = select(*columns).where(*conditions).order_by(*newest_first)
    return statement.limit(literal_column(str(limit))).cte("matches")


def may_be_within_ranked(page: PageRequest) -> bool:
    """Return whether a page may lie among the ranked matches."""
    return not page.is_backward and page.before is None and (page.after is None or page.after.key >= 0)


def is_complete(page: PageRequest, result: PageResult[Any]) -> bool:
    """Return whether a page of the ranked matches is the same as the page of the whole list.

    It is when more ranked matches follow, or when the first page holds all matches there are.
    """
    return result.has_next or (page.after is None and not page.offset)


def _compute_similarity(word_count: int, matches: CTE) -> ColumnElement[float]:
    similarity: ColumnElement[float] = literal(0.0, Double())
    for word in fold_words(word_count):
        similarity = similarity + func.word_similarity(word, matches.c.spelling)
    return cast(similarity, Double())


def _compute_rank(matches: CTE) -> ColumnElement[float]:
    """Return SQL for the rank: whole words count ten times as much as prefixes; `ts_rank` is at most 1."""
    whole_words, prefixes = (select(build_search_query(suffix, " | ")).scalar_subquery() for suffix in ("", ":*"))
    return cast(
        10 * func.ts_rank(matches.c.search, whole_words) + func.ts_rank(matches.c.search, prefixes),
        Double(),
    )
