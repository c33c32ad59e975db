"""The catalogue: books, authors and genres."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import stock
from domain.validation import as_isbn, is_clean
from graph.context import Info
from graph.faults import BadUserInput
from graph.fields import column, field, input_shape, query, shape, vocabulary
from graph.gates import public
from graph.ids import key_of, own_id
from graph.money import Money
from graph.nodes import Node, refetched
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
from persistence import catalog, listing
from persistence.catalog import Author as AuthorRow
from persistence.catalog import Book as BookRow
from persistence.catalog import Genre as GenreRow
from persistence.listing import KEY_TYPES, BookList, Match
from persistence.listing import BookSort as Sorts

SEARCH_LENGTH = 200
MOST_VALUES = 100
MOST_WORDS = 16
"""Of a search's words the longest count: they are the rarest."""
WORD_BREAKS = re.compile(r"[!-/:-@\[-`{-~]")

BookSort = vocabulary(
    Sorts,
    "The orders a list of books can be put in. Books that tie are ordered by ID, so pages do not overlap.",
    RELEVANCE="The best match for the search first. Only with a search; otherwise the same as `NEWEST`.",
    NEWEST="The latest to join the catalog first.",
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
Availability = vocabulary(
    stock.Availability,
    "How ready a book is to be bought.",
    IN_STOCK="There are plenty.",
    LOW_STOCK="Few are left; the store decides how few.",
    OUT_OF_STOCK="None are left.",
)

BookConnection = connection_type("Book", Annotated["Book", strawberry.lazy("graph.catalog")], "books")
AuthorConnection = connection_type("Author", Annotated["Author", strawberry.lazy("graph.catalog")], "authors")

SortArgument = Annotated[Sorts, argument("How to order the books.")]


@shape(of=BookRow)
class Book(Node):
    """A book on sale: one edition, with its own ISBN, price and stock.

    Fields that begin with `viewer` depend on who asks.
    """

    id: strawberry.ID = strawberry.field(resolver=own_id("Book"), description="The book's global ID.")
    slug: str = column("The book's name in URLs, unique and stable, such as `the-hobbit`.")
    title: str = column("The title.")
    subtitle: str | None = column("The line under the title.")
    isbn: str | None = column("The ISBN as thirteen digits, whichever way it was entered.")
    description: str | None = column("The blurb, as plain text.")
    cover_url: str | None = column("The address of the cover image.")
    format: catalog.BookFormat | None = column("How it is bound.")
    publisher: str | None = column("The publishing house.")
    published_on: dt.date | None = column("The day this edition came out, or will.")
    page_count: int | None = column("The number of pages.")
    language: str | None = column("The language it is in, as a BCP 47 tag such as `en` or `pt-BR`.")
    stock_quantity: int = column("The number of copies that can be bought now.")
    added_at: dt.datetime = column("When it joined the catalog.")
    updated_at: dt.datetime = column("When its details were last changed.")

    @field(list[Annotated["Author", strawberry.lazy("graph.catalog")]])
    async def authors(self: BookRow, info: Info) -> Sequence[AuthorRow]:
        """Who wrote it, in the order of the title page."""
        return await info.context.loaders.authors_of_book.load(self.id)

    @field(Annotated["Genre", strawberry.lazy("graph.catalog")] | None)
    async def genre(self: BookRow, info: Info) -> GenreRow | None:
        """The shelf it stands on."""
        return await info.context.loaders.genre.load(self.genre_id) if self.genre_id else None

    @field()
    def price(self: BookRow, info: Info) -> Money:
        """What one copy costs now."""
        return Money(amount=self.price, currency=info.context.shop.policy.currency)

    @field()
    def availability(self: BookRow, info: Info) -> stock.Availability:
        """The stock in a word: whether to offer the cart, or to press for time."""
        return stock.availability(self.stock_quantity, info.context.shop.policy.low_stock_threshold)


@shape(of=AuthorRow)
class Author(Node):
    """Someone who writes books."""

    id: strawberry.ID = strawberry.field(resolver=own_id("Author"), description="The author's global ID.")
    slug: str = column("The author's name in URLs, unique and stable.")
    name: str = column("The name, as printed on the cover.")

    @field(BookConnection)
    async def books(
        self: AuthorRow,
        info: Info,
        sort: SortArgument = Sorts.NEWEST,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[BookRow]:
        """Their books in the catalog."""
        return await _books(info, BookList(sort, author_id=self.id), first, after, last, before, offset)


@shape(of=GenreRow)
class Genre(Node):
    """A shelf of the store. A book stands on one shelf at most."""

    id: strawberry.ID = strawberry.field(resolver=own_id("Genre"), description="The genre's global ID.")
    slug: str = column("The genre's name in URLs, unique and stable.")
    name: str = column("The name on the shelf.")

    @field(BookConnection)
    async def books(
        self: GenreRow,
        info: Info,
        sort: SortArgument = Sorts.NEWEST,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[BookRow]:
        """The books on the shelf."""
        return await _books(info, BookList(sort, genre_id=self.id), first, after, last, before, offset)


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
    in_stock: bool | None = strawberry.field(
        default=UNSET, description="Only books that can be bought now, or only those that cannot."
    )


async def _books(
    info: Info,
    wanted: BookList,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    offset: int | None,
) -> Connection[BookRow]:
    kind = _kind(wanted)
    guess = replace(wanted, match=Match.SPELLING)
    if any(cursor and _belongs(_kind(guess), cursor) for cursor in (after, before)):
        wanted, kind = guess, _kind(guess)
    page = page_of(kind, first, after, last, before, offset)
    slice_ = await listing.list_books(info.context.reading, wanted, page)
    if (
        not slice_.items
        and _may_be_misspelt(wanted)
        and not await listing.any_book_has(info.context.reading, wanted.search or "")
    ):
        wanted, kind = guess, _kind(guess)
        slice_ = await listing.list_books(info.context.reading, wanted, page)

    async def count() -> int:
        return await info.context.shop.counts.get(wanted, lambda: listing.count_books(info.context.reading, wanted))

    return Connection(kind, slice_, count)


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
    text = _clean("search", search) if search not in (None, UNSET) else None
    isbn = as_isbn(text) if text else None
    text = _distinct(text) if text else text
    chosen = sort or (Sorts.RELEVANCE if text is not None else Sorts.NEWEST)
    if chosen is Sorts.RELEVANCE and text is None:
        chosen = Sorts.NEWEST
    if isbn:
        text, chosen = None, Sorts.NEWEST if chosen is Sorts.RELEVANCE else chosen
    if not narrow:
        return BookList(chosen, text, isbn=isbn)
    price = narrow.price or PriceFilter()
    return BookList(
        chosen,
        text,
        isbn=isbn,
        genre_slugs=_values("genres", narrow.genres),
        author=_clean("author", narrow.author) or None if narrow.author else None,
        formats=_values("formats", narrow.formats),
        price_min=price.min if price.min is not UNSET else None,
        price_max=price.max if price.max is not UNSET else None,
        in_stock=narrow.in_stock if narrow.in_stock is not UNSET else None,
    )


def _distinct(text: str) -> str:
    """Each word once, and not those that begin another: they find nothing else, and each costs its time."""
    words = dict.fromkeys(WORD_BREAKS.sub(" ", text.casefold()).split())
    telling = [word for word in words if not any(other != word and other.startswith(word) for other in words)]
    return " ".join(sorted(telling, key=len, reverse=True)[:MOST_WORDS])


def _values(name: str, values: list[Any] | None) -> tuple[str, ...] | None:
    if values is None or values is UNSET:
        return None
    if len(values) > MOST_VALUES:
        raise BadUserInput(f"`{name}` must hold {MOST_VALUES} values at most.")
    return tuple(sorted({_clean(name, str(value)) for value in values}))


def _clean(name: str, text: str | None) -> str:
    text = (text or "").strip()
    if len(text) > SEARCH_LENGTH:
        raise BadUserInput(f"`{name}` must have {SEARCH_LENGTH} characters at most.")
    if not is_clean(text):
        raise BadUserInput(f"`{name}` holds characters that no book has.")
    return text


# ── Queries ───────────────────────────────────────────────────────────────────────────────


@query(public, BookConnection)
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
    return await _books(info, _wanted(search, filter, sort), first, after, last, before, offset)


@input_shape(one_of=True)
class BookLookup:
    """The key of a book: exactly one of these."""

    id: strawberry.ID | None = strawberry.field(default=UNSET, description="Its global ID.")
    slug: str | None = strawberry.field(default=UNSET, description="Its slug.")
    isbn: str | None = strawberry.field(
        default=UNSET, description="Its ISBN, of ten or thirteen digits, with or without hyphens."
    )


@query(public, Book | None)
async def book(info: Info, by: Annotated[BookLookup, argument("The key to look the book up by.")]) -> BookRow | None:
    """One book, by any of its keys. `null` when the catalog has no such book."""
    if isinstance(by.id, str):
        return await info.context.loaders.book.load(key_of("Book", by.id))
    if by.isbn:
        isbn = as_isbn(by.isbn)
        return await catalog.find_book_by_isbn(info.context.reading, isbn) if isbn else None
    slug = _slug(by.slug)
    return await catalog.find_book_by_slug(info.context.reading, slug) if slug else None


@query(public, list[Genre])
async def genres(info: Info) -> list[GenreRow]:
    """Every genre, in alphabetical order."""
    return await catalog.list_genres(info.context.reading)


@input_shape(one_of=True)
class GenreLookup:
    """The key of a genre: exactly one of these."""

    id: strawberry.ID | None = strawberry.field(default=UNSET, description="Its global ID.")
    slug: str | None = strawberry.field(default=UNSET, description="Its slug.")


@query(public, Genre | None)
async def genre(
    info: Info, by: Annotated[GenreLookup, argument("The key to look the genre up by.")]
) -> GenreRow | None:
    """One genre, by any of its keys."""
    if isinstance(by.id, str):
        return await info.context.loaders.genre.load(key_of("Genre", by.id))
    slug = _slug(by.slug)
    return await catalog.find_genre_by_slug(info.context.reading, slug) if slug else None


@query(public, AuthorConnection)
async def authors(
    info: Info,
    search: Annotated[str | None, argument("The start of any word of the name.")] = UNSET,
    first: First = UNSET,
    after: After = UNSET,
    last: Last = UNSET,
    before: Before = UNSET,
) -> Connection[AuthorRow]:
    """The authors in the catalog, in alphabetical order."""
    text = _clean("search", search) if search not in (None, UNSET) else None
    kind = ListKind(f"authors {text!r}", str)
    slice_ = await listing.list_authors(info.context.reading, text, page_of(kind, first, after, last, before))

    async def count() -> int:
        return await info.context.shop.counts.get(kind, lambda: listing.count_authors(info.context.reading, text))

    return Connection(kind, slice_, count)


@input_shape(one_of=True)
class AuthorLookup:
    """The key of an author: exactly one of these."""

    id: strawberry.ID | None = strawberry.field(default=UNSET, description="Their global ID.")
    slug: str | None = strawberry.field(default=UNSET, description="Their slug.")


@query(public, Author | None)
async def author(
    info: Info, by: Annotated[AuthorLookup, argument("The key to look the author up by.")]
) -> AuthorRow | None:
    """One author, by any of their keys."""
    if isinstance(by.id, str):
        return await info.context.loaders.author.load(key_of("Author", by.id))
    slug = _slug(by.slug)
    return await catalog.find_author_by_slug(info.context.reading, slug) if slug else None


def _slug(text: str | None) -> str | None:
    return text if text and is_clean(text) else None


refetched("Book")(lambda info, key: info.context.loaders.book.load(key))
refetched("Author")(lambda info, key: info.context.loaders.author.load(key))
refetched("Genre")(lambda info, key: info.context.loaders.genre.load(key))
