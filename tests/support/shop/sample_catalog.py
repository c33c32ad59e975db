"""A catalog that is random but deterministic for a seed, with ties, nulls, accents and capitals."""

import datetime as dt
import random
from dataclasses import dataclass, field

import asyncpg

from domain.shop import Shop
from persistence.catalog import BookFormat, BookRow
from tests.support.shop.factories import add_book, add_genre

GENRES = ("Fantasy", "Éditions rares", "poetry")
AUTHORS = (
    "Émile Zola",
    "J. R. R. Tolkien",
    "ursula k. le guin",
    "Zoë Percent%",
    "O'Brien_Smith",
    "Émile Verhaeren",
)
TITLES = (
    "Ägypten",
    "agypten",
    "Zebra",
    "The Hobbit",
    "the hobbit",
    "Élan vital",
    "100% wool",
    "Œdipe",
    "ÉCLAIR",
    "42",
)
PRICES = ("0.01", "9.99", "10.00", "10.00", "12.50", "99999999.99")

_PSEUDO_RANDOM = "('x' || right(book_id::text, 2))::bit(8)::int"


@dataclass(frozen=True, slots=True)
class SampleCatalog:
    """The books and the slugs of the genres that were added."""

    shop: Shop
    books: list[BookRow] = field(repr=False)
    genres: list[str]


async def create_sample_catalog(
    shop: Shop, postgres: asyncpg.Connection, *, books: int = 50, seed: int = 7
) -> SampleCatalog:
    """Add genres and this many books with sales and ratings."""
    rng = random.Random(seed)
    genres = [await add_genre(shop, name) for name in GENRES]
    created_books = [
        await add_book(
            shop,
            rng.choice(TITLES),
            stock=rng.choice((0, 0, 3, 50)),
            price=rng.choice(PRICES),
            authors=tuple(rng.sample(AUTHORS, rng.randint(0, 3))),
            genre_id=rng.choice([None, *(genre.id for genre in genres)]),
            format=rng.choice([None, *BookFormat]),
            published_on=rng.choice([None, dt.date(1937, 9, 21), dt.date(1900, 1, 1), dt.date(2031, 5, 5)]),
        )
        for _ in range(books)
    ]
    # Several books share a day, and days do not follow the order of ids.
    await postgres.execute(
        "UPDATE books SET added_at = now() - (('x' || right(id::text, 2))::bit(8)::int % 9) * interval '1 day'"
    )
    # Some books have no sales and some no ratings; the others have ties.
    await postgres.execute(f"UPDATE book_sales SET copies = {_PSEUDO_RANDOM} % 4")
    await postgres.execute(f"UPDATE book_ratings SET five = {_PSEUDO_RANDOM} % 3, two = {_PSEUDO_RANDOM} / 3 % 3")
    return SampleCatalog(shop, created_books, [genre.slug for genre in genres])


ORDER_BY_SQL = {
    "NEWEST": "b.added_at DESC, b.id DESC",
    "TITLE_ASC": 'lower(unaccent(b.title)) COLLATE "C", b.id',
    "TITLE_DESC": 'lower(unaccent(b.title)) COLLATE "C" DESC, b.id DESC',
    "PRICE_ASC": "b.price, b.id",
    "PRICE_DESC": "b.price DESC, b.id DESC",
    "PUBLISHED_ASC": "b.published_on NULLS LAST, b.id",
    "PUBLISHED_DESC": "b.published_on DESC NULLS LAST, b.id DESC",
    "BESTSELLING": "(SELECT copies FROM book_sales WHERE book_id = b.id) DESC, b.id DESC",
    "TOP_RATED": """(SELECT (5 * five + 2 * two)::numeric / nullif(five + two, 0) FROM book_ratings WHERE book_id = b.id)
        DESC NULLS LAST, b.id DESC""",
}
"""The expected ORDER BY clause of each `BookSort`, written independently of the product."""
