"""The catalogue: books, authors and genres."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import stock
from domain.validation import as_isbn, is_clean
from graph.companions import book_columns
from graph.context import Info
from graph.faults import BadUserInput
from graph.fields import MINUTE, SECOND, column, field, input_shape, query, shape, vocabulary
from graph.gates import administrator, public
from graph.ids import key_of, own_id
from graph.listing import BookConnection, SortArgument, books_of
from graph.money import Money
from graph.nodes import Node, refetched
from graph.pagination import After, Before, Connection, First, Last, Offset, argument
from graph.questions import AUTHORS, GENRE, RATING, loaded
from graph.reviews import (
    RatingBucket,
    RatingsArgument,
    Review,
    ReviewConnection,
    ReviewSortArgument,
    reviews_of,
)
from persistence import catalog
from persistence.catalog import Author as AuthorRow
from persistence.catalog import Book as BookRow
from persistence.catalog import Genre as GenreRow
from persistence.companions import BookKey, find_accompanied
from persistence.listing import BookList
from persistence.listing import BookSort as Sorts
from persistence.prebookings import Prebooking as PrebookingRow
from persistence.related import MOST_RELATED
from persistence.reviews import BookRating, ReviewList, ReviewSort
from persistence.reviews import Review as ReviewRow

Prebooking: Any = Annotated["Prebooking", strawberry.lazy("graph.prebookings")]

Availability = vocabulary(
    stock.Availability,
    "How ready a book is to be bought.",
    IN_STOCK="There are plenty.",
    LOW_STOCK="Few are left; the store decides how few.",
    OUT_OF_STOCK="None are left; it can be pre-booked.",
)


@shape(of=BookRow, fresh_for=SECOND)
class Book(Node):
    """A book on sale: one edition, with its own ISBN, price and stock.

    Fields that begin with `viewer` depend on who asks.
    """

    id: strawberry.ID = own_id("Book", "The book's global ID.")
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

    @loaded(AUTHORS, list[Annotated["Author", strawberry.lazy("graph.catalog")]], length=3, fresh_for=SECOND)
    def authors(authors: Sequence[AuthorRow]) -> Sequence[AuthorRow]:
        """Who wrote it, in the order of the title page."""
        return authors

    @loaded(GENRE, Annotated["Genre", strawberry.lazy("graph.catalog")] | None, fresh_for=SECOND)
    def genre(genre: GenreRow | None) -> GenreRow | None:
        """The shelf it stands on."""
        return genre

    @field(reads=("price",), fresh_for=SECOND)
    def price(self: BookRow, info: Info) -> Money:
        """What one copy costs now."""
        return Money(amount=self.price, currency=info.context.shop.policy.currency)

    @field(reads=("stock_quantity",), fresh_for=SECOND)
    def availability(self: BookRow, info: Info) -> stock.Availability:
        """The stock in a word: whether to offer the cart, to press for time, or to offer pre-booking."""
        return stock.availability(self.stock_quantity, info.context.shop.policy.low_stock_threshold)

    @loaded(RATING, reads=("average", "count"), fresh_for=SECOND)
    def average_rating(rating: BookRating | None) -> float | None:
        """The mean of its ratings, to one decimal. `null` while there are none."""
        return rating.average if rating and rating.count else None

    @loaded(RATING, reads=("count",), fresh_for=SECOND)
    def review_count(rating: BookRating | None) -> int:
        """How many readers have reviewed it."""
        return rating.count if rating else 0

    @loaded(RATING, fresh_for=SECOND)
    def rating_histogram(rating: BookRating | None) -> list[RatingBucket]:
        """How many readers gave each number of stars: five entries, from five stars to one."""
        counts = (rating.five, rating.four, rating.three, rating.two, rating.one) if rating else (0,) * 5
        return [RatingBucket(stars=5 - position, count=count) for position, count in enumerate(counts)]

    @field(ReviewConnection, reads=("id",), fresh_for=SECOND)
    async def reviews(
        self: BookRow,
        info: Info,
        ratings: RatingsArgument = UNSET,
        sort: ReviewSortArgument = ReviewSort.NEWEST,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[ReviewRow]:
        """What readers say."""
        wanted = ReviewList(sort, book_id=self.id, ratings=_stars(ratings))
        return await reviews_of(info, wanted, first, after, last, before, offset)

    @field(list[Annotated["Book", strawberry.lazy("graph.catalog")]], reads=("id",), fresh_for=SECOND)
    async def related_books(
        self: BookRow, info: Info, first: Annotated[int, argument("How many, 20 at most.")] = 6
    ) -> Sequence[BookRow]:
        """Other books its readers may like: bought together, by the same authors, in the same genre."""
        if not 0 <= first <= MOST_RELATED:
            raise BadUserInput(f"`first` must be from 0 to {MOST_RELATED}.")
        return (await info.context.loaders.related_to_book.load(self.id))[:first]

    @field(Review | None, reads=("id",))
    async def viewer_review(self: BookRow, info: Info) -> ReviewRow | None:
        """The caller's own review, to offer editing instead of writing."""
        reader = await _viewer_id(info)
        return await info.context.loaders.review_of_reader.load((reader, self.id)) if reader else None

    @field(reads=("id",))
    async def viewer_can_review(self: BookRow, info: Info) -> bool:
        """Whether the caller may review it: they have bought it and have not reviewed it yet."""
        reader = await _viewer_id(info)
        if reader is None:
            return False
        loaders, pair = info.context.loaders, (reader, self.id)
        bought, review = await asyncio.gather(loaders.purchase.load(pair), loaders.review_of_reader.load(pair))
        return bought and review is None

    @field(reads=("id",))
    async def viewer_has_wishlisted(self: BookRow, info: Info) -> bool:
        """Whether it is on the caller's wishlist."""
        reader = await _viewer_id(info)
        return reader is not None and await info.context.loaders.wish.load((reader, self.id)) is not None

    @field(Prebooking | None, reads=("id",))
    async def viewer_prebooking(self: BookRow, info: Info) -> PrebookingRow | None:
        """The caller's place on the waiting list, while they have one."""
        reader = await _viewer_id(info)
        return await info.context.loaders.waiting_of_reader.load((reader, self.id)) if reader else None

    @field(gate=administrator, reads=("id",))
    async def waiting_prebookings(self: BookRow, info: Info) -> int | None:
        """How many customers are waiting for it."""
        return sum(await info.context.loaders.waiting_for_book.load(self.id))


async def _viewer_id(info: Info) -> uuid.UUID | None:
    viewer = await info.context.viewer()
    return viewer.user.id if viewer else None


def _stars(ratings: list[int] | None) -> tuple[int, ...] | None:
    if ratings is None or ratings is UNSET:
        return None
    if not set(ratings) <= {1, 2, 3, 4, 5}:
        raise BadUserInput("`ratings` are numbers of stars, from 1 to 5.")
    return tuple(sorted(set(ratings)))


@shape(of=AuthorRow, fresh_for=MINUTE)
class Author(Node):
    """Someone who writes books."""

    id: strawberry.ID = own_id("Author", "The author's global ID.")
    slug: str = column("The author's name in URLs, unique and stable.")
    name: str = column("The name, as printed on the cover.")

    @field(BookConnection, reads=("id",), fresh_for=SECOND)
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
        return await books_of(info, BookList(sort, author_id=self.id), first, after, last, before, offset)


@shape(of=GenreRow, fresh_for=MINUTE)
class Genre(Node):
    """A shelf of the store. A book stands on one shelf at most."""

    id: strawberry.ID = own_id("Genre", "The genre's global ID.")
    slug: str = column("The genre's name in URLs, unique and stable.")
    name: str = column("The name on the shelf.")

    @field(BookConnection, reads=("id",), fresh_for=SECOND)
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
        return await books_of(info, BookList(sort, genre_id=self.id), first, after, last, before, offset)


# ── Queries ───────────────────────────────────────────────────────────────────────────────


@input_shape(one_of=True)
class BookLookup:
    """The key of a book: exactly one of these."""

    id: strawberry.ID | None = strawberry.field(default=UNSET, description="Its global ID.")
    slug: str | None = strawberry.field(default=UNSET, description="Its slug.")
    isbn: str | None = strawberry.field(
        default=UNSET, description="Its ISBN, of ten or thirteen digits, with or without hyphens."
    )


@query(public, Book | None, fresh_for=SECOND)
async def book(info: Info, by: Annotated[BookLookup, argument("The key to look the book up by.")]) -> BookRow | None:
    """One book, by any of its keys. `null` when the catalog has no such book."""
    key, value = _named(by)
    if value is None:
        return None
    columns = book_columns(info)
    if key is BookKey.ID and not any(columns.companions):
        return await info.context.loaders.book.load(value)
    return await find_accompanied(info.context.reading, key, value, columns)


def _named(by: BookLookup) -> tuple[BookKey, Any]:
    if isinstance(by.id, str):
        return BookKey.ID, key_of("Book", by.id)
    if by.isbn:
        return BookKey.ISBN, as_isbn(by.isbn)
    return BookKey.SLUG, _slug(by.slug) or None


@query(public, list[Genre], fresh_for=MINUTE)
async def genres(info: Info) -> list[GenreRow]:
    """Every genre, in alphabetical order."""
    return await catalog.list_genres(info.context.reading)


@input_shape(one_of=True)
class GenreLookup:
    """The key of a genre: exactly one of these."""

    id: strawberry.ID | None = strawberry.field(default=UNSET, description="Its global ID.")
    slug: str | None = strawberry.field(default=UNSET, description="Its slug.")


@query(public, Genre | None, fresh_for=MINUTE)
async def genre(
    info: Info, by: Annotated[GenreLookup, argument("The key to look the genre up by.")]
) -> GenreRow | None:
    """One genre, by any of its keys."""
    if isinstance(by.id, str):
        return await info.context.loaders.genre.load(key_of("Genre", by.id))
    slug = _slug(by.slug)
    return await catalog.find_genre_by_slug(info.context.reading, slug) if slug else None


@input_shape(one_of=True)
class AuthorLookup:
    """The key of an author: exactly one of these."""

    id: strawberry.ID | None = strawberry.field(default=UNSET, description="Their global ID.")
    slug: str | None = strawberry.field(default=UNSET, description="Their slug.")


@query(public, Author | None, fresh_for=MINUTE)
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
