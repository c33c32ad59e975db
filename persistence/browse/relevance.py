"""How words are looked for, and the order of relevance.

The newest matches come first, by how well they match; those before them follow by their age, and the list ends at `COUNT_LIMIT`.
So the first pages of a search for a common word cost no more than ranking its newest matches does.
"""

from typing import Any

from sqlalchemy import (
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

from persistence.browse.book_projection import BookProjection, select_book_columns
from persistence.postgres.keyset import COUNT_LIMIT, PageRequest, PageResult, PageShape, Sort, order_by, paginate
from persistence.tables import Book as Book

MAX_RANKED = 3_000
"""Of the matches of words, this many are ranked."""
MAX_SPELLING_MATCHES = 200
"""Of books found by a misspelt word, this many are ranked, and the list ends there."""
UNRANKED_OFFSET = 1e11
"""Taken off the second an unranked match was added, which puts all of them after the ranked ones."""

BY_RANK = Sort(literal_column("rank", Double()), descending=True)


def build_search_query(suffix: str = ":*", operator: str = " & ") -> ColumnElement[Any]:
    return func.search_query(
        bindparam("search", type_=String()),
        literal_column(f"'{operator}'"),
        literal_column(f"'{suffix}'"),
    )


def fold_words(count: int) -> list[ColumnElement[Any]]:
    return [func.fold(bindparam(f"word_{i}", type_=String())) for i in range(count)]


def rank_matches(
    conditions: list[ColumnElement[bool]],
    spelling_word_count: int,
    page: PageShape,
    projection: BookProjection,
    *,
    include_unranked: bool,
) -> Select[Any]:
    """A page of the matches; not of the `whole` list but of its ranked part alone, where the page is found in that."""
    include_unranked = include_unranked and not spelling_word_count
    position = func.row_number().over(order_by=(Book.added_at.desc(), Book.id.desc()))
    matches = (
        select(
            Book.id, Book.search, Book.spelling, Book.added_at, *([position.label("place")] if include_unranked else [])
        )
        .where(*conditions)
        .order_by(Book.added_at.desc(), Book.id.desc())
        .limit(
            literal_column(
                str(MAX_SPELLING_MATCHES if spelling_word_count else COUNT_LIMIT if include_unranked else MAX_RANKED)
            )
        )
        .cte("matches")
    )
    rank = _compute_similarity(spelling_word_count, matches) if spelling_word_count else _compute_rank(matches)
    if include_unranked:
        age: ColumnElement[float] = cast(func.extract("epoch", matches.c.added_at), Double()) - literal(
            UNRANKED_OFFSET, Double()
        )
        rank = case((matches.c.place <= literal_column(str(MAX_RANKED)), rank), else_=age)
    ranked_matches = select(matches.c.id, rank.label("rank")).cte("ranked")
    page_rows = paginate(
        select(ranked_matches.c.rank, ranked_matches.c.id),
        Sort(ranked_matches.c.rank, descending=True),
        ranked_matches.c.id,
        page,
    ).cte("wanted")
    return (
        select(page_rows.c.rank.label("sort_key"), page_rows.c.id, *select_book_columns(projection))
        .join(Book, Book.id == page_rows.c.id)
        .order_by(*order_by(page_rows.c.rank, page_rows.c.id, BY_RANK, page))
    )


def may_be_within_ranked(page: PageRequest) -> bool:
    """Whether a page may be found among the ranked matches."""
    return not page.is_backward and page.before is None and (page.after is None or page.after.key >= 0)


def is_complete(page: PageRequest, result: PageResult[Any]) -> bool:
    """Whether what was found among the ranked matches is all of a page: there is more, or there are no others."""
    return result.has_next or (page.after is None and not page.offset)


def _compute_similarity(word_count: int, matches: Any) -> ColumnElement[float]:
    similarity: ColumnElement[float] = literal(0.0, Double())
    for word in fold_words(word_count):
        similarity = similarity + func.word_similarity(word, matches.c.spelling)
    return cast(similarity, Double())


def _compute_rank(matches: Any) -> ColumnElement[float]:
    """Whole words count ten times what beginnings do; `ts_rank` never passes 1."""
    whole_words, prefixes = (select(build_search_query(suffix, " | ")).scalar_subquery() for suffix in ("", ":*"))
    return cast(
        10 * func.ts_rank(matches.c.search, whole_words) + func.ts_rank(matches.c.search, prefixes),
        Double(),
    )
