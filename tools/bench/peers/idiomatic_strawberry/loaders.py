"""DataLoaders for the relations of books and reviews. Each batch has its own session."""

import uuid
from collections import defaultdict

from sqlalchemy import select
from strawberry.dataloader import DataLoader

from tools.bench.peers.orm import Author, BookRating, Genre, Session, User, book_authors


async def _load_authors(keys: list[uuid.UUID]) -> list[list[Author]]:
    query = (
        select(book_authors.c.book_id, Author)
        .join(Author, Author.id == book_authors.c.author_id)
        .where(book_authors.c.book_id.in_(keys))
        .order_by(book_authors.c.book_id, book_authors.c.position)
    )
    authors: defaultdict[uuid.UUID, list[Author]] = defaultdict(list)
    async with Session() as session:
        for book_id, author in await session.execute(query):
            authors[book_id].append(author)
    return [authors[key] for key in keys]


async def _load_genres(keys: list[uuid.UUID]) -> list[Genre | None]:
    async with Session() as session:
        rows = {genre.id: genre for genre in await session.scalars(select(Genre).where(Genre.id.in_(keys)))}
    return [rows.get(key) for key in keys]


async def _load_ratings(keys: list[uuid.UUID]) -> list[BookRating | None]:
    query = select(BookRating).where(BookRating.book_id.in_(keys))
    async with Session() as session:
        rows = {rating.book_id: rating for rating in await session.scalars(query)}
    return [rows.get(key) for key in keys]


async def _load_users(keys: list[uuid.UUID]) -> list[User | None]:
    async with Session() as session:
        rows = {user.id: user for user in await session.scalars(select(User).where(User.id.in_(keys)))}
    return [rows.get(key) for key in keys]


class Loaders:
    """The loaders of one request."""

    def __init__(self) -> None:
        self.authors: DataLoader[uuid.UUID, list[Author]] = DataLoader(load_fn=_load_authors)
        self.genre: DataLoader[uuid.UUID, Genre | None] = DataLoader(load_fn=_load_genres)
        self.rating: DataLoader[uuid.UUID, BookRating | None] = DataLoader(load_fn=_load_ratings)
        self.user: DataLoader[uuid.UUID, User | None] = DataLoader(load_fn=_load_users)
