"""Lists of books and authors: search, filters, sorts and facets."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import strawberry
from strawberry import UNSET

from domain.validation import as_isbn, is_clean
from graph.companions import book_columns
from graph.context import Info
from graph.faults import BadUserInput
from graph.fields import SECOND, column, field, input_shape, query, shape, vocabulary
from graph.gates import public
from graph.money import Money
from graph.pagination import (
    After,
    Before,
    Connection,
    First,
    Last,
    ListKind,
    Offset,
    argument,
    connection_type,
    page_of,
)
from graph.questions import GENRE, loaded, there
from persistence import authors as author_rows
from persistence import catalog, facets, listing
from persistence.catalog import Author as AuthorRow
from persistence.catalog import Book as BookRow
from persistence.catalog import Genre as GenreRow
from persistence.database import Reading
from persistence.facets import FormatCount, GenreCount
from persistence.listing import KEY_TYPES, BookList, Match
from persistence.listing import BookSort as Sorts

T = TypeVar("T")

SEARCH_LENGTH = 200
MOST_VALUES = 100
MOST_WORDS = 16
"""Of a search's words the longest count: they are the rarest."""
WORD_BREAKS = re.compile(r"[!-/:-@\[-`{-~]")

Book: Any = Annotated["Book", strawberry.lazy("graph.catalog")]
Author: Any = Annotated["Author", strawberry.lazy("graph.catalog")]
Genre: Any = Annotated["Genre", strawberry.lazy("graph.catalog")]

BookSort = vocabulary(
    Sorts,
    "The orders a list of books can be put in. Books that tie are ordered by ID, so pages do not overlap.",
    RELEVANCE="The best match for the search first. Only with a search; otherwise the same as `NEWEST`.",
    NEWEST="The latest to join the catalog first.",
    BESTSELLING="The most copies sold in the last 90 days first.",
    TOP_RATED="The best average rating first; unrated books last.",
    TITLE_ASC="Title from A to Z.",
    TITLE_DESC="Title from Z to A.",
    PRICE_ASC="The cheapest first.",
    PRICE_DESC="The dearest first.",
    PUBLISHED_ASC="The earliest publication first; undated books last.",
    PUBLISHED_DESC="The latest publication first; undated books last.",
)
BookFormat = vocabulary(
    catalog.BookFormat,
    "How a book is bound.",
    HARDCOVER="Hard covers.",
    PAPERBACK="Soft covers, large or pocket size.",
    BOX_SET="A set of volumes sold together.",
    AUDIOBOOK="Recorded, on discs.",
)

SortArgument = Annotated[Sorts, argument("How to order the books.")]


# ── Facets ────────────────────────────────────────────────────────────────────────────────


@shape(of=GenreCount, fresh_for=SECOND)
class GenreFacet:
    """A genre and the number of books it would leave."""

    count: int = column("The number of books.")

    @loaded(GENRE, Genre, fresh_for=SECOND)
    def genre(genre: GenreRow | None) -> GenreRow:
        """The genre."""
        return there(genre)


@shape(of=FormatCount, fresh_for=SECOND)
class FormatFacet:
    """A format and the number of books it would leave."""

    format: catalog.BookFormat = column("The format.")
    count: int = column("The number of books.")


@dataclass(slots=True)
class FacetedList:
    """The list whose facets are asked for."""

    wanted: BookList


@shape(of=FacetedList)
class BookFacets:
    """What a list of books could be narrowed to.

    Each facet is counted as if its own filter were not set, so that the choices beside the chosen one stay on offer.
    """

    @field(list[GenreFacet], fresh_for=SECOND)
    async def genres(self: FacetedList, info: Info) -> list[GenreCount]:
        """The genres in the list, the fullest first."""
        return await _recent(info, facets.count_genres, self.wanted)

    @field(list[FormatFacet], fresh_for=SECOND)
    async def formats(self: FacetedList, info: Info) -> list[FormatCount]:
        """The formats in the list, the fullest first."""
        return await _recent(info, facets.count_formats, self.wanted)

    @field(fresh_for=SECOND)
    async def min_price(self: FacetedList, info: Info) -> Money | None:
        """The cheapest price in the list. `null` when the list is empty."""
        return _money(info, (await _recent(info, facets.find_price_range, self.wanted)).least)

    @field(fresh_for=SECOND)
    async def max_price(self: FacetedList, info: Info) -> Money | None:
        """The dearest price in the list. `null` when the list is empty."""
        return _money(info, (await _recent(info, facets.find_price_range, self.wanted)).most)

    @field(fresh_for=SECOND)
    async def in_stock_count(self: FacetedList, info: Info) -> int:
        """How many books in the list are in stock."""
        return await _recent(info, facets.count_in_stock, self.wanted)


async def _recent(info: Info, question: Callable[[Reading, BookList], Awaitable[T]], wanted: BookList) -> T:
    key = question.__name__, wanted
    return await info.context.recent(key, lambda: question(info.context.reading, wanted))


def _money(info: Info, amount: Decimal | None) -> Money | None:
    return None if amount is None else Money(amount=amount, currency=info.context.shop.policy.currency)


@field(BookFacets, fresh_for=SECOND)
def _facets(self: Connection[BookRow]) -> FacetedList:
    """What the whole list could be narrowed to, with counts for the filter column."""
    return FacetedList(self.wanted)


BookConnection = connection_type("Book", Book, "books", fresh_for=SECOND, facets=_facets)
AuthorConnection = connection_type("Author", Author, "authors", fresh_for=SECOND)


# ── Lists ─────────────────────────────────────────────────────────────────────────────────


@input_shape()
class PriceFilter:
    """Bounds for a price, both inclusive."""

    min: Decimal | None = strawberry.field(default=UNSET, description="The least.")
    max: Decimal | None = strawberry.field(default=UNSET, description="The most.")


@input_shape()
class BookFilter:
    """Narrows a list of books. A field left out does not narrow."""

    genres: list[str] | None = strawberry.field(default=UNSET, description="In any of these genres, by slug.")
    author: str | None = strawberry.field(default=UNSET, description="Any part of an author's name, in any case.")
    formats: list[catalog.BookFormat] | None = strawberry.field(default=UNSET, description="In any of these formats.")
    price: PriceFilter | None = strawberry.field(default=UNSET, description="Priced within these bounds.")
    min_rating: float | None = strawberry.field(default=UNSET, description="With at least this average rating, 1 to 5.")
    in_stock: bool | None = strawberry.field(
        default=UNSET, description="Only books that can be bought now, or only those that cannot."
    )


async def books_of(
    info: Info,
    wanted: BookList,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    offset: int | None,
) -> Connection[BookRow]:
    kind = _kind(wanted)
    if (after or before) and any(cursor and _belongs(_kind(_guess(wanted)), cursor) for cursor in (after, before)):
        wanted, kind = _guess(wanted), _kind(_guess(wanted))
    page = page_of(kind, first, after, last, before, offset)
    columns = book_columns(info)
    slice_ = await listing.list_books(info.context.reading, wanted, page, columns)
    if (
        not slice_.items
        and _may_be_misspelt(wanted)
        and not await listing.any_book_has(info.context.reading, wanted.search or "")
    ):
        wanted, kind = _guess(wanted), _kind(_guess(wanted))
        slice_ = await listing.list_books(info.context.reading, wanted, page, columns)

    return Connection(kind, slice_, lambda: listing.count_books(info.context.reading, wanted), wanted, wanted)


WHOLE_LISTS = {sort: BookList(sort) for sort in Sorts}


def _guess(wanted: BookList) -> BookList:
    return replace(wanted, match=Match.SPELLING)


@lru_cache(maxsize=1000)
def _kind(wanted: BookList) -> ListKind:
    return ListKind(f"books {wanted!r}", KEY_TYPES[wanted.sort])


def _belongs(kind: ListKind, cursor: str) -> bool:
    try:
        kind.position(cursor)
    except BadUserInput:
        return False
    return True


def _may_be_misspelt(wanted: BookList) -> bool:
    """Words that lead nowhere in the whole catalogue are tried as typing mistakes."""
    return wanted.search is not None and wanted.match is Match.WORDS and bool(wanted.misspelt)


def _wanted(search: str | None, narrow: BookFilter | None, sort: Sorts | None) -> BookList:
    text = clean("search", search) if search not in (None, UNSET) else None
    isbn = as_isbn(text) if text else None
    text = _distinct(text) if text else text
    chosen = sort or (Sorts.RELEVANCE if text is not None else Sorts.NEWEST)
    if chosen is Sorts.RELEVANCE and text is None:
        chosen = Sorts.NEWEST
    if isbn:
        text, chosen = None, Sorts.NEWEST if chosen is Sorts.RELEVANCE else chosen
    if not narrow:
        return BookList(chosen, text, isbn=isbn) if text is not None or isbn else WHOLE_LISTS[chosen]
    price = narrow.price or PriceFilter()
    return BookList(
        chosen,
        text,
        isbn=isbn,
        genre_slugs=_values("genres", narrow.genres),
        author=clean("author", narrow.author) or None if narrow.author else None,
        formats=_values("formats", narrow.formats),
        price_min=price.min if price.min is not UNSET else None,
        price_max=price.max if price.max is not UNSET else None,
        min_rating=_rating(narrow.min_rating),
        in_stock=narrow.in_stock if narrow.in_stock is not UNSET else None,
    )


def _distinct(text: str) -> str:
    """Each word once, and not those that begin another: they find nothing else, and each costs its time."""
    words = dict.fromkeys(WORD_BREAKS.sub(" ", text.casefold()).split())
    telling = [word for word in words if not any(other != word and other.startswith(word) for other in words)]
    return " ".join(sorted(telling, key=len, reverse=True)[:MOST_WORDS])


def _rating(least: float | None) -> Decimal | None:
    if least is None or least is UNSET:
        return None
    if not 1 <= least <= 5:
        raise BadUserInput("`minRating` must be from 1 to 5.")
    return Decimal(str(least))


def _values(name: str, values: list[Any] | None) -> tuple[str, ...] | None:
    if values is None or values is UNSET:
        return None
    if len(values) > MOST_VALUES:
        raise BadUserInput(f"`{name}` must hold {MOST_VALUES} values at most.")
    return tuple(sorted({clean(name, str(value)) for value in values}))


def clean(name: str, text: str | None) -> str:
    text = (text or "").strip()
    if len(text) > SEARCH_LENGTH:
        raise BadUserInput(f"`{name}` must have {SEARCH_LENGTH} characters at most.")
    if not is_clean(text):
        raise BadUserInput(f"`{name}` holds characters that no book has.")
    return text


# ── Queries ───────────────────────────────────────────────────────────────────────────────


@query(public, BookConnection, fresh_for=SECOND)
async def books(
    info: Info,
    search: Annotated[
        str | None,
        argument(
            "Words from the title or the author's name, or a whole ISBN. Every word must match, and the start of a "
            "word is enough: `tolk ring` finds Tolkien's rings."
        ),
    ] = UNSET,
    filter: Annotated[BookFilter | None, argument("Narrows the list.")] = UNSET,
    sort: Annotated[
        Sorts | None,
        argument(
            "How to order the list. When it is left out, a search is ordered by `RELEVANCE` and anything else by "
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
    return await books_of(info, _wanted(search, filter, sort), first, after, last, before, offset)


@query(public, AuthorConnection, fresh_for=SECOND)
async def authors(
    info: Info,
    search: Annotated[str | None, argument("The start of any word of the name.")] = UNSET,
    first: First = UNSET,
    after: After = UNSET,
    last: Last = UNSET,
    before: Before = UNSET,
) -> Connection[AuthorRow]:
    """The authors in the catalog, in alphabetical order."""
    text = clean("search", search) if search not in (None, UNSET) else None
    kind = ListKind(f"authors {text!r}", str)
    slice_ = await author_rows.list_authors(info.context.reading, text, page_of(kind, first, after, last, before))

    return Connection(kind, slice_, lambda: author_rows.count_authors(info.context.reading, text), kind)
