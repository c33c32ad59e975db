"""Declares the lists of books and authors: search, filters, sort orders and facets."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import strawberry
from strawberry import UNSET

from domain.text import remove_format_characters
from domain.validation import is_printable, normalize_isbn
from graph.context import Info
from graph.kit.batch_fields import batch_field, require_row
from graph.kit.declare import (
    SECOND,
    argument,
    attribute,
    enum_type,
    field,
    input_type,
    none_if_unset,
    object_type,
    optional,
    query,
)
from graph.kit.money import Money
from graph.kit.pagination import (
    After,
    Before,
    Connection,
    CursorCodec,
    First,
    Last,
    Offset,
    connection_type,
    parse_page,
)
from graph.kit.permissions import public
from graph.loaders import GENRE
from graph.projections import book_projection
from graph.request_errors import BadUserInput
from persistence import catalog
from persistence.browse import facets
from persistence.browse.author_query import count_authors, list_authors
from persistence.browse.book_query import (
    KEY_TYPES,
    BookQuery,
    BookSort,
    MatchMode,
    count_books,
    list_books,
    matches_any,
)
from persistence.browse.facets import FormatCount, GenreCount
from persistence.catalog import AuthorRow, BookRow, GenreRow
from persistence.postgres.read_session import ReadSession

T = TypeVar("T")

MAX_SEARCH_LENGTH = 200
MAX_FILTER_VALUES = 100
MAX_SEARCH_WORDS = 16
"""A search uses its longest words, which are the rarest, and ignores the others."""
WORD_SEPARATORS = re.compile(r"[!-/:-@\[-`{-~]")

Book: Any = Annotated["Book", strawberry.lazy("graph.catalog")]
Author: Any = Annotated["Author", strawberry.lazy("graph.catalog")]
Genre: Any = Annotated["Genre", strawberry.lazy("graph.catalog")]

enum_type(
    BookSort,
    "How a list of books can be sorted. Books that tie are sorted by ID, so pages do not overlap.",
    RELEVANCE="The best match for the search first. Only with a search; otherwise the same as `NEWEST`.",
    NEWEST="The most recently added to the catalog first.",
    BESTSELLING="The most copies sold in the last 90 days first.",
    TOP_RATED="The best average rating first; unrated books last.",
    TITLE_ASC="Title from A to Z.",
    TITLE_DESC="Title from Z to A.",
    PRICE_ASC="The cheapest first.",
    PRICE_DESC="The most expensive first.",
    PUBLISHED_ASC="The earliest publication first; undated books last.",
    PUBLISHED_DESC="The latest publication first; undated books last.",
)
BookFormat = enum_type(
    catalog.BookFormat,
    "How a book is bound.",
    HARDCOVER="Hard covers.",
    PAPERBACK="Soft covers, large or pocket size.",
    BOX_SET="A set of volumes sold together.",
    AUDIOBOOK="Recorded, on discs.",
)

SortArgument = Annotated[BookSort, argument("How to sort the books.")]


# ── Facets ────────────────────────────────────────────────────────────────────────────────


@object_type(source_type=GenreCount, max_age=SECOND)
class GenreFacet:
    """A genre, and the number of books in the list that are in it."""

    count: int = attribute("The number of books.")

    @batch_field(GENRE, Genre, max_age=SECOND)
    def genre(genre: GenreRow | None) -> GenreRow:
        """The genre."""
        return require_row(genre)


@object_type(source_type=FormatCount, max_age=SECOND)
class FormatFacet:
    """A format, and the number of books in the list that have it."""

    format: catalog.BookFormat = attribute("The format.")
    count: int = attribute("The number of books.")


@dataclass(slots=True)
class BookFacetsSource:
    """The source of facets: the query of their list."""

    book_query: BookQuery


@object_type(source_type=BookFacetsSource)
class BookFacets:
    """What a list of books could be filtered by.

    Each facet is counted as if its own filter were not set, so that a frontend can offer the other choices.
    """

    @field(list[GenreFacet], max_age=SECOND)
    async def genres(self: BookFacetsSource, info: Info) -> list[GenreCount]:
        """The genres in the list, those with the most books first."""
        return await _cached(info, facets.count_genres, self.book_query)

    @field(list[FormatFacet], max_age=SECOND)
    async def formats(self: BookFacetsSource, info: Info) -> list[FormatCount]:
        """The formats in the list, those with the most books first."""
        return await _cached(info, facets.count_formats, self.book_query)

    @field(max_age=SECOND)
    async def min_price(self: BookFacetsSource, info: Info) -> Money | None:
        """The lowest price in the list. `null` when the list is empty."""
        return _to_money(info, (await _cached(info, facets.find_price_range, self.book_query)).min_price)

    @field(max_age=SECOND)
    async def max_price(self: BookFacetsSource, info: Info) -> Money | None:
        """The highest price in the list. `null` when the list is empty."""
        return _to_money(info, (await _cached(info, facets.find_price_range, self.book_query)).max_price)

    @field(max_age=SECOND)
    async def in_stock_count(self: BookFacetsSource, info: Info) -> int:
        """How many books in the list are in stock."""
        return await _cached(info, facets.count_in_stock, self.book_query)


async def _cached(info: Info, fetch: Callable[[ReadSession, BookQuery], Awaitable[T]], book_query: BookQuery) -> T:
    key = fetch.__name__, book_query
    return await info.context.cached(key, lambda: fetch(info.context.read_session, book_query))


def _to_money(info: Info, amount: Decimal | None) -> Money | None:
    return None if amount is None else Money(amount=amount, currency=info.context.shop.policy.currency)


@field(BookFacets, max_age=SECOND)
def _facets(self: Connection[BookRow]) -> BookFacetsSource:
    """What the whole list could be filtered by, with the number of books for each choice."""
    return BookFacetsSource(self.query)


BookConnection = connection_type("Book", Book, "books", max_age=SECOND, facets=_facets)
AuthorConnection = connection_type("Author", Author, "authors", max_age=SECOND)


# ── Lists ─────────────────────────────────────────────────────────────────────────────────


@input_type()
class PriceFilter:
    """Bounds for a price, both inclusive."""

    min: Decimal | None = optional("The lowest price.")
    max: Decimal | None = optional("The highest price.")


@input_type()
class BookFilter:
    """Filters a list of books. A field left out does not filter."""

    genres: list[str] | None = optional("In any of these genres, by slug.")
    author: str | None = optional("Any part of an author's name, in any case.")
    formats: list[catalog.BookFormat] | None = optional("In any of these formats.")
    price: PriceFilter | None = optional("With a price within these bounds.")
    min_rating: float | None = optional("With at least this average rating, 1 to 5.")
    in_stock: bool | None = optional("Only books that can be bought now, or only those that cannot.")


async def resolve_books(
    info: Info,
    book_query: BookQuery,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    offset: int | None,
) -> Connection[BookRow]:
    """Resolve a page of books. A search whose words match no book is repeated with similar spellings.

    Cursors tell which of both searches they belong to.

    Raises:
        BadUserInput: An argument is not valid.
    """
    codec = _cursor_codec(book_query)
    if (after or before) and any(
        cursor and _can_decode(_cursor_codec(_spell_corrected(book_query)), cursor) for cursor in (after, before)
    ):
        book_query, codec = _spell_corrected(book_query), _cursor_codec(_spell_corrected(book_query))
    page = parse_page(codec, first, after, last, before, offset)
    projection = book_projection(info)
    page_result = await list_books(info.context.read_session, book_query, page, projection)
    if (
        not page_result.items
        and _may_be_misspelt(book_query)
        and not await matches_any(info.context.read_session, book_query.search or "")
    ):
        book_query, codec = _spell_corrected(book_query), _cursor_codec(_spell_corrected(book_query))
        page_result = await list_books(info.context.read_session, book_query, page, projection)

    return Connection(
        codec, page_result, lambda: count_books(info.context.read_session, book_query), book_query, book_query
    )


UNFILTERED_QUERIES = {sort: BookQuery(sort) for sort in BookSort}


def _spell_corrected(book_query: BookQuery) -> BookQuery:
    return replace(book_query, match=MatchMode.SPELLING)


@lru_cache(maxsize=1000)
def _cursor_codec(book_query: BookQuery) -> CursorCodec:
    return CursorCodec(f"books {book_query!r}", KEY_TYPES[book_query.sort])


def _can_decode(codec: CursorCodec, cursor: str) -> bool:
    try:
        codec.decode(cursor)
    except BadUserInput:
        return False
    return True


def _may_be_misspelt(book_query: BookQuery) -> bool:
    """Return whether to search again with similar spellings, should no book of the catalog match the words."""
    return book_query.search is not None and book_query.match is MatchMode.WORDS and bool(book_query.spelling_words)


def _parse_query(search: str | None, filter_: BookFilter | None, sort: BookSort | None) -> BookQuery:
    text = parse_search(search)
    isbn = normalize_isbn(text) if text else None
    text = _drop_redundant_words(text) if text else text
    effective_sort = sort or (BookSort.RELEVANCE if text is not None else BookSort.NEWEST)
    if effective_sort is BookSort.RELEVANCE and text is None:
        effective_sort = BookSort.NEWEST
    if isbn:
        text, effective_sort = None, BookSort.NEWEST if effective_sort is BookSort.RELEVANCE else effective_sort
    if not filter_:
        return (
            BookQuery(effective_sort, text, isbn=isbn)
            if text is not None or isbn
            else UNFILTERED_QUERIES[effective_sort]
        )
    price = filter_.price or PriceFilter()
    return BookQuery(
        effective_sort,
        text,
        isbn=isbn,
        genre_slugs=_parse_values("genres", filter_.genres),
        author=normalize_text("author", filter_.author) or None if filter_.author else None,
        formats=_parse_values("formats", filter_.formats),
        price_min=none_if_unset(price.min),
        price_max=none_if_unset(price.max),
        min_rating=_parse_min_rating(filter_.min_rating),
        in_stock=none_if_unset(filter_.in_stock),
    )


def _drop_redundant_words(text: str) -> str:
    """Drop repeated words and those that begin another word, which match the same books at additional cost."""
    words = dict.fromkeys(WORD_SEPARATORS.sub(" ", text.casefold()).split())
    distinct_words = [word for word in words if not any(other != word and other.startswith(word) for other in words)]
    return " ".join(sorted(distinct_words, key=len, reverse=True)[:MAX_SEARCH_WORDS])


def _parse_min_rating(value: float | None) -> Decimal | None:
    value = none_if_unset(value)
    if value is None:
        return None
    if not 1 <= value <= 5:
        raise BadUserInput("`minRating` must be from 1 to 5.")
    return Decimal(str(value))


def _parse_values(name: str, values: list[Any] | None) -> tuple[str, ...] | None:
    values = none_if_unset(values)
    if values is None:
        return None
    if len(values) > MAX_FILTER_VALUES:
        raise BadUserInput(f"`{name}` must hold {MAX_FILTER_VALUES} values at most.")
    return tuple(sorted({normalize_text(name, str(value)) for value in values}))


def parse_search(text: str | None) -> str | None:
    """Return the normalized `search` argument, `None` when it is blank or left out. Raises as `normalize_text`."""
    text = none_if_unset(text)
    return normalize_text("search", text) or None if text else None


def normalize_text(name: str, text: str) -> str:
    """Strip the text of an argument or filter called `name`, and remove format characters.

    Raises:
        BadUserInput: It is too long or contains control characters.
    """
    text = remove_format_characters(text).strip()
    if len(text) > MAX_SEARCH_LENGTH:
        raise BadUserInput(f"`{name}` must have {MAX_SEARCH_LENGTH} characters at most.")
    if not is_printable(text):
        raise BadUserInput(f"`{name}` contains control characters.")
    return text


# ── Queries ───────────────────────────────────────────────────────────────────────────────


@query(public, BookConnection, max_age=SECOND)
async def books(
    info: Info,
    search: Annotated[
        str | None,
        argument(
            "Words from the title or the author's name, or a whole ISBN in any form. Every word must match, and the "
            "start of a word is enough: `tolk ring` finds Tolkien's rings. A blank text does not filter."
        ),
    ] = UNSET,
    filter: Annotated[BookFilter | None, argument("Filters the list.")] = UNSET,
    sort: Annotated[
        BookSort | None,
        argument(
            "How to sort the list. When it is left out, a search is sorted by `RELEVANCE` and any other list by "
            "`NEWEST`."
        ),
    ] = UNSET,
    first: First = UNSET,
    after: After = UNSET,
    last: Last = UNSET,
    before: Before = UNSET,
    offset: Offset = UNSET,
) -> Connection[BookRow]:
    """Browse, search and filter the catalog. Filters combine with AND."""
    return await resolve_books(info, _parse_query(search, filter, sort), first, after, last, before, offset)


@query(public, AuthorConnection, max_age=SECOND)
async def authors(
    info: Info,
    search: Annotated[str | None, argument("The start of any word of the name.")] = UNSET,
    first: First = UNSET,
    after: After = UNSET,
    last: Last = UNSET,
    before: Before = UNSET,
) -> Connection[AuthorRow]:
    """The authors in the catalog, in alphabetical order."""
    text = parse_search(search)
    codec = CursorCodec(f"authors {text!r}", str)
    page_result = await list_authors(info.context.read_session, text, parse_page(codec, first, after, last, before))

    return Connection(codec, page_result, lambda: count_authors(info.context.read_session, text), codec)
