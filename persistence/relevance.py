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

from persistence.companions import Columns, read
from persistence.models import Book as books
from persistence.pages import COUNT_LIMIT, Page, PageShape, Slice, Sort, ordered, paged

RANKED_LIMIT = 3_000
"""Of the matches of words, this many are ranked."""
GUESSED_LIMIT = 200
"""Of books found by a misspelt word, this many are ranked, and the list ends there."""
UNRANKED = 1e11
"""Taken off the second an unranked match was added, which puts all of them after the ranked ones."""

BY_RANK = Sort(literal_column("rank", Double()), descending=True)


def matching(suffix: str = ":*", operator: str = " & ") -> ColumnElement[Any]:
    return func.search_query(
        bindparam("search", type_=String()),
        literal_column(f"'{operator}'"),
        literal_column(f"'{suffix}'"),
    )


def misspelt(count: int) -> list[ColumnElement[Any]]:
    return [func.fold(bindparam(f"word_{i}", type_=String())) for i in range(count)]


def ranked(
    conditions: list[ColumnElement[bool]], misspelt_words: int, page: PageShape, columns: Columns, *, whole: bool
) -> Select[Any]:
    """A page of the matches; not of the `whole` list but of its ranked part alone, where the page is found in that."""
    whole = whole and not misspelt_words
    place = func.row_number().over(order_by=(books.added_at.desc(), books.id.desc()))
    matches = (
        select(books.id, books.search, books.spelling, books.added_at, *([place.label("place")] if whole else []))
        .where(*conditions)
        .order_by(books.added_at.desc(), books.id.desc())
        .limit(literal_column(str(GUESSED_LIMIT if misspelt_words else COUNT_LIMIT if whole else RANKED_LIMIT)))
        .cte("matches")
    )
    rank = _likeness(misspelt_words, matches) if misspelt_words else _relevance(matches)
    if whole:
        age: ColumnElement[float] = cast(func.extract("epoch", matches.c.added_at), Double()) - literal(
            UNRANKED, Double()
        )
        rank = case((matches.c.place <= literal_column(str(RANKED_LIMIT)), rank), else_=age)
    found = select(matches.c.id, rank.label("rank")).cte("ranked")
    wanted = paged(select(found.c.rank, found.c.id), Sort(found.c.rank, descending=True), found.c.id, page).cte(
        "wanted"
    )
    return (
        select(wanted.c.rank.label("sort_key"), wanted.c.id, *read(columns))
        .join(books, books.id == wanted.c.id)
        .order_by(*ordered(wanted.c.rank, wanted.c.id, BY_RANK, page))
    )


def may_be_ranked(page: Page) -> bool:
    """Whether a page may be found among the ranked matches."""
    return not page.backward and page.before is None and (page.after is None or page.after.key >= 0)


def was_ranked(page: Page, found: Slice[Any]) -> bool:
    """Whether what was found among the ranked matches is all of a page: there is more, or there are no others."""
    return found.has_next or (page.after is None and not page.offset)


def _likeness(words: int, matches: Any) -> ColumnElement[float]:
    likeness: ColumnElement[float] = literal(0.0, Double())
    for word in misspelt(words):
        likeness = likeness + func.word_similarity(word, matches.c.spelling)
    return cast(likeness, Double())


def _relevance(matches: Any) -> ColumnElement[float]:
    """Whole words count ten times what beginnings do; `ts_rank` never passes 1."""
    whole, begun = (select(matching(suffix, " | ")).scalar_subquery() for suffix in ("", ":*"))
    return cast(
        10 * func.ts_rank(matches.c.search, whole) + func.ts_rank(matches.c.search, begun),
        Double(),
    )
