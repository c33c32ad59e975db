"""Declares books, authors and genres, and the queries that find them."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import stock
from domain.validation import is_printable, normalize_isbn
from graph.book_list import BookConnection, SortArgument, resolve_books
from graph.context import Info
from graph.kit.batch_fields import batch_field
from graph.kit.declare import (
    MINUTE,
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
from graph.kit.ids import global_id_field, parse_key
from graph.kit.money import Money
from graph.kit.nodes import Node, node_resolver
from graph.kit.pagination import After, Before, Connection, First, Last, Offset
from graph.kit.permissions import admin_only, public
from graph.loaders import AUTHORS, GENRE, RATING
from graph.projections import book_projection
from graph.request_errors import BadUserInput
from graph.reviews import (
    RatingBucket,
    RatingsArgument,
    Review,
    ReviewConnection,
    ReviewSortArgument,
    resolve_reviews,
)
from persistence import catalog
from persistence.browse.book_projection import BookKey, find_projected_book
from persistence.browse.book_query import BookQuery, BookSort
from persistence.browse.related import MAX_RELATED
from persistence.catalog import AuthorRow, BookRow, GenreRow
from persistence.prebookings import PrebookingRow
from persistence.reviews import BookRatingRow, ReviewQuery, ReviewRow, ReviewSort

Prebooking: Any = Annotated["Prebooking", strawberry.lazy("graph.prebookings")]

Availability = enum_type(
    stock.Availability,
    "Whether a book can be bought.",
    IN_STOCK="Enough are in stock.",
    LOW_STOCK="Few are left; the store sets the threshold.",
    OUT_OF_STOCK="None are left; it can be pre-booked.",
)


@object_type(source_type=BookRow, max_age=SECOND)
class Book(Node):
    """A book on sale: one edition, with its own ISBN, price and stock.

    Fields that begin with `viewer` depend on who asks.
    """

    id: strawberry.ID = global_id_field("Book", "The book's global ID.")
    slug: str = attribute("The book's name in URLs, unique and stable, such as `the-hobbit`.")
    title: str = attribute("The title.")
    subtitle: str | None = attribute("The line under the title.")
    isbn: str | None = attribute("The ISBN as thirteen digits, also when it was entered with ten or with hyphens.")
    description: str | None = attribute("The blurb, as plain text.")
    cover_url: str | None = attribute("The URL of the cover image.")
    format: catalog.BookFormat | None = attribute("How it is bound.")
    publisher: str | None = attribute("The publishing house.")
    published_on: dt.date | None = attribute("The day this edition came out, or will.")
    page_count: int | None = attribute("The number of pages.")
    language: str | None = attribute("The language it is in, as a BCP 47 tag such as `en` or `pt-BR`.")
    stock_quantity: int = attribute("The number of copies that can be bought now.")
    added_at: dt.datetime = attribute("When it was added to the catalog.")
    updated_at: dt.datetime = attribute("When its details were last changed.")

    @batch_field(AUTHORS, list[Annotated["Author", strawberry.lazy("graph.catalog")]], assumed_size=3, max_age=SECOND)
    def authors(authors: Sequence[AuthorRow]) -> Sequence[AuthorRow]:
        """Who wrote it, in the order of the title page."""
        return authors

    @batch_field(GENRE, Annotated["Genre", strawberry.lazy("graph.catalog")] | None, max_age=SECOND)
    def genre(genre: GenreRow | None) -> GenreRow | None:
        """Its genre, if it has one."""
        return genre

    @field(requires=("price",), max_age=SECOND)
    def price(self: BookRow, info: Info) -> Money:
        """What one copy costs now."""
        return Money(amount=self.price, currency=info.context.shop.policy.currency)

    @field(requires=("stock_quantity",), max_age=SECOND)
    def availability(self: BookRow, info: Info) -> stock.Availability:
        """The stock in a word: whether to offer the cart, to say that few are left, or to offer pre-booking."""
        return stock.compute_availability(self.stock_quantity, info.context.shop.policy.low_stock_threshold)

    @batch_field(RATING, requires=("average", "count"), max_age=SECOND)
    def average_rating(rating: BookRatingRow | None) -> float | None:
        """The mean of its ratings, to one decimal. `null` while there are none."""
        return rating.average if rating and rating.count else None

    @batch_field(RATING, requires=("count",), max_age=SECOND)
    def review_count(rating: BookRatingRow | None) -> int:
        """The number of its reviews."""
        return rating.count if rating else 0

    @batch_field(RATING, max_age=SECOND)
    def rating_histogram(rating: BookRatingRow | None) -> list[RatingBucket]:
        """The number of reviews for each number of stars: five entries, from five stars to one."""
        counts = (rating.five, rating.four, rating.three, rating.two, rating.one) if rating else (0,) * 5
        return [RatingBucket(stars=5 - position, count=count) for position, count in enumerate(counts)]

    @field(ReviewConnection, requires=("id",), max_age=SECOND)
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
        """Its reviews."""
        review_query = ReviewQuery(sort, book_id=self.id, ratings=_parse_ratings(ratings))
        return await resolve_reviews(info, review_query, first, after, last, before, offset)

    @field(list[Annotated["Book", strawberry.lazy("graph.catalog")]], requires=("id",), max_age=SECOND)
    async def related_books(
        self: BookRow, info: Info, first: Annotated[int, argument("The number of books, 20 at most.")] = 6
    ) -> Sequence[BookRow]:
        """Other books its readers may like: bought together, by the same authors, in the same genre."""
        if not 0 <= first <= MAX_RELATED:
            raise BadUserInput(f"`first` must be from 0 to {MAX_RELATED}.")
        return (await info.context.loaders.related_books.load(self.id))[:first]

    @field(Review | None, requires=("id",))
    async def viewer_review(self: BookRow, info: Info) -> ReviewRow | None:
        """The caller's own review, to offer editing instead of a new review."""
        user_id = await _get_viewer_id(info)
        return await info.context.loaders.review_by_pair.load((user_id, self.id)) if user_id else None

    @field(requires=("id",))
    async def viewer_can_review(self: BookRow, info: Info) -> bool:
        """Whether the caller may review it: they have bought it and have not reviewed it yet."""
        user_id = await _get_viewer_id(info)
        if user_id is None:
            return False
        loaders, pair = info.context.loaders, (user_id, self.id)
        has_purchased, review = await asyncio.gather(
            loaders.has_purchased.load(pair), loaders.review_by_pair.load(pair)
        )
        return has_purchased and review is None

    @field(requires=("id",))
    async def viewer_has_wishlisted(self: BookRow, info: Info) -> bool:
        """Whether it is on the caller's wishlist."""
        user_id = await _get_viewer_id(info)
        return (
            user_id is not None
            and await info.context.loaders.wishlist_item_by_pair.load((user_id, self.id)) is not None
        )

    @field(Prebooking | None, requires=("id",))
    async def viewer_prebooking(self: BookRow, info: Info) -> PrebookingRow | None:
        """The caller's pre-booking, while they are on the waiting list."""
        user_id = await _get_viewer_id(info)
        return await info.context.loaders.waiting_prebooking_by_pair.load((user_id, self.id)) if user_id else None

    @field(permission=admin_only, requires=("id",))
    async def waiting_prebookings(self: BookRow, info: Info) -> int | None:
        """How many customers are waiting for it."""
        return sum(await info.context.loaders.waiting_count.load(self.id))


async def _get_viewer_id(info: Info) -> uuid.UUID | None:
    viewer = await info.context.get_viewer()
    return viewer.user.id if viewer else None


def _parse_ratings(ratings: list[int] | None) -> tuple[int, ...] | None:
    ratings = none_if_unset(ratings)
    if ratings is None:
        return None
    if not set(ratings) <= {1, 2, 3, 4, 5}:
        raise BadUserInput("`ratings` must be numbers of stars, from 1 to 5.")
    return tuple(sorted(set(ratings)))


@object_type(source_type=AuthorRow, max_age=MINUTE)
class Author(Node):
    """An author of books."""

    id: strawberry.ID = global_id_field("Author", "The author's global ID.")
    slug: str = attribute("The author's name in URLs, unique and stable.")
    name: str = attribute("The name, as printed on the cover.")

    @field(BookConnection, requires=("id",), max_age=SECOND)
    async def books(
        self: AuthorRow,
        info: Info,
        sort: SortArgument = BookSort.NEWEST,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[BookRow]:
        """Their books in the catalog."""
        return await resolve_books(info, BookQuery(sort, author_id=self.id), first, after, last, before, offset)


@object_type(source_type=GenreRow, max_age=MINUTE)
class Genre(Node):
    """A genre. A book has one genre at most."""

    id: strawberry.ID = global_id_field("Genre", "The genre's global ID.")
    slug: str = attribute("The genre's name in URLs, unique and stable.")
    name: str = attribute("The name.")

    @field(BookConnection, requires=("id",), max_age=SECOND)
    async def books(
        self: GenreRow,
        info: Info,
        sort: SortArgument = BookSort.NEWEST,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[BookRow]:
        """The books of the genre."""
        return await resolve_books(info, BookQuery(sort, genre_id=self.id), first, after, last, before, offset)


# ── Queries ───────────────────────────────────────────────────────────────────────────────


@input_type(one_of=True)
class BookLookup:
    """The key of a book: exactly one of these."""

    id: strawberry.ID | None = optional("Its global ID.")
    slug: str | None = optional("Its slug.")
    isbn: str | None = optional("Its ISBN, of ten or thirteen digits, with or without hyphens.")


@query(public, Book | None, max_age=SECOND)
async def book(info: Info, by: Annotated[BookLookup, argument("The key to look the book up by.")]) -> BookRow | None:
    """One book, by any of its keys. `null` when the catalog has no such book."""
    key, value = _parse_lookup(by)
    if value is None:
        return None
    projection = book_projection(info)
    if key is BookKey.ID and not any(projection.relations):
        return await info.context.loaders.book.load(value)
    return await find_projected_book(info.context.read_session, key, value, projection)


def _parse_lookup(by: BookLookup) -> tuple[BookKey, Any]:
    if isinstance(by.id, str):
        return BookKey.ID, parse_key("Book", by.id)
    if by.isbn:
        return BookKey.ISBN, normalize_isbn(by.isbn)
    return BookKey.SLUG, _parse_slug(by.slug) or None


@query(public, list[Genre], max_age=MINUTE)
async def genres(info: Info) -> list[GenreRow]:
    """Every genre, in alphabetical order."""
    return await catalog.list_genres(info.context.read_session)


@input_type(one_of=True)
class GenreLookup:
    """The key of a genre: exactly one of these."""

    id: strawberry.ID | None = optional("Its global ID.")
    slug: str | None = optional("Its slug.")


@query(public, Genre | None, max_age=MINUTE)
async def genre(
    info: Info, by: Annotated[GenreLookup, argument("The key to look the genre up by.")]
) -> GenreRow | None:
    """One genre, by any of its keys."""
    if isinstance(by.id, str):
        return await info.context.loaders.genre.load(parse_key("Genre", by.id))
    slug = _parse_slug(by.slug)
    return await catalog.find_genre_by_slug(info.context.read_session, slug) if slug else None


@input_type(one_of=True)
class AuthorLookup:
    """The key of an author: exactly one of these."""

    id: strawberry.ID | None = optional("Their global ID.")
    slug: str | None = optional("Their slug.")


@query(public, Author | None, max_age=MINUTE)
async def author(
    info: Info, by: Annotated[AuthorLookup, argument("The key to look the author up by.")]
) -> AuthorRow | None:
    """One author, by any of their keys."""
    if isinstance(by.id, str):
        return await info.context.loaders.author.load(parse_key("Author", by.id))
    slug = _parse_slug(by.slug)
    return await catalog.find_author_by_slug(info.context.read_session, slug) if slug else None


def _parse_slug(text: str | None) -> str | None:
    return text if text and is_printable(text) else None


node_resolver("Book")(lambda info, key: info.context.loaders.book.load(key))
node_resolver("Author")(lambda info, key: info.context.loaders.author.load(key))
node_resolver("Genre")(lambda info, key: info.context.loaders.genre.load(key))
