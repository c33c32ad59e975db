"""Books, authors, genres and reviews as Strawberry types."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, Self, TypeVar

import strawberry
from sqlalchemy import func, select

from graph.kit.ids import parse_key, to_global_id
from tools.bench.peers import orm, queries
from tools.bench.peers.idiomatic_strawberry.loaders import Loaders

T = TypeVar("T")


@dataclass
class Context:
    loaders: Loaders
    token: str | None
    user: orm.User | None = None


Info = strawberry.Info[Context, None]


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class Money:
    amount: Decimal


@strawberry.type
class Author:
    id: strawberry.ID
    name: str

    @classmethod
    def marshal(cls, author: orm.Author) -> Self:
        return cls(id=to_global_id("Author", author.id), name=author.name)


@strawberry.type
class Genre:
    id: strawberry.ID
    name: str

    @classmethod
    def marshal(cls, genre: orm.Genre) -> Self:
        return cls(id=to_global_id("Genre", genre.id), name=genre.name)


@strawberry.type
class Reviewer:
    display_name: str


@strawberry.type
class Review:
    user_id: strawberry.Private[uuid.UUID]
    id: strawberry.ID
    rating: int
    text: str | None
    created_at: dt.datetime

    @strawberry.field
    async def reviewer(self, info: Info) -> Reviewer:
        user = await info.context.loaders.user.load(self.user_id)
        assert user is not None
        return Reviewer(display_name=user.display_name)

    @classmethod
    def marshal(cls, review: orm.Review) -> Self:
        return cls(
            user_id=review.user_id,
            id=to_global_id("Review", review.id),
            rating=review.rating,
            text=review.text,
            created_at=review.created_at,
        )


@strawberry.type
class Edge(Generic[T]):
    cursor: str
    node: T


@strawberry.type
class Connection(Generic[T]):
    edges: list[Edge[T]]
    page_info: PageInfo

    @strawberry.field
    def nodes(self) -> list[T]:
        return [edge.node for edge in self.edges]


@strawberry.type
class Book:
    key: strawberry.Private[uuid.UUID]
    genre_key: strawberry.Private[uuid.UUID | None]
    id: strawberry.ID
    title: str
    isbn: str | None
    description: str | None
    stock_quantity: int
    price: Money

    @strawberry.field
    async def authors(self, info: Info) -> list[Author]:
        return [Author.marshal(author) for author in await info.context.loaders.authors.load(self.key)]

    @strawberry.field
    async def genre(self, info: Info) -> Genre | None:
        genre = await info.context.loaders.genre.load(self.genre_key) if self.genre_key else None
        return Genre.marshal(genre) if genre else None

    @strawberry.field
    async def average_rating(self, info: Info) -> float | None:
        rating = await info.context.loaders.rating.load(self.key)
        return float(rating.average) if rating and rating.count else None

    @strawberry.field
    async def review_count(self, info: Info) -> int:
        rating = await info.context.loaders.rating.load(self.key)
        return rating.count if rating else 0

    @strawberry.field
    async def reviews(self, first: int = 20) -> Connection[Review]:
        async with orm.Session() as session:
            reviews = (await session.scalars(queries.select_reviews(self.key, first))).all()
        edges = [Edge(cursor=str(review.id), node=Review.marshal(review)) for review in reviews[:first]]
        return Connection(edges=edges, page_info=_page_info(edges, len(reviews) > first))

    @classmethod
    def marshal(cls, book: orm.Book) -> Self:
        return cls(
            key=book.id,
            genre_key=book.genre_id,
            id=to_global_id("Book", book.id),
            title=book.title,
            isbn=book.isbn,
            description=book.description,
            stock_quantity=book.stock_quantity,
            price=Money(amount=book.price),
        )


@strawberry.type
class BookConnection(Connection[Book]):
    @strawberry.field
    async def total_count(self) -> int:
        async with orm.Session() as session:
            return await session.scalar(select(func.count()).select_from(orm.Book)) or 0


def _page_info(edges: Sequence[Edge[T]], has_next: bool) -> PageInfo:
    return PageInfo(has_next_page=has_next, end_cursor=edges[-1].cursor if edges else None)


@strawberry.input
class BookLookup:
    id: strawberry.ID


@strawberry.type
class CatalogQuery:
    @strawberry.field
    async def books(self, first: int = 20, after: str | None = None, search: str | None = None) -> BookConnection:
        statement = queries.select_matches(search, first) if search else queries.select_newest(first, after)
        async with orm.Session() as session:
            books = (await session.scalars(statement)).all()
        edges = [Edge(cursor=queries.encode_cursor(book), node=Book.marshal(book)) for book in books[:first]]
        return BookConnection(edges=edges, page_info=_page_info(edges, len(books) > first))

    @strawberry.field
    async def book(self, by: BookLookup) -> Book | None:
        async with orm.Session() as session:
            book = await session.get(orm.Book, parse_key("Book", by.id))
        return Book.marshal(book) if book else None
