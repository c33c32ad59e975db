"""The people and things that workloads name, and the state of the database before each round."""

import asyncio
import datetime as dt
import random
import uuid
from dataclasses import dataclass
from typing import Any

import asyncpg

from domain.auth.tokens import Tokens
from graph.kit.ids import to_global_id
from persistence.postgres.database import Database
from persistence.sales import advance_sales_window

SECRET = "6b1f4e0c-benchmarks-sign-with-this-2d97a358"
PUBLIC_URL = "http://localhost:8000"
SEED = 2026
COMMON = 12
"""The commonest words of titles are no search of two words."""

SCENERY = """
CREATE SCHEMA bench;
CREATE TABLE bench.books AS
SELECT row_number() OVER (ORDER BY id) AS n, id FROM books WHERE stock_quantity >= 20;
CREATE TABLE bench.readers AS
SELECT row_number() OVER (ORDER BY user_id) AS n, user_id, id AS session_id FROM sessions;
CREATE UNIQUE INDEX ON bench.books (n);
ANALYZE bench.books, bench.readers"""
IN_STOCK = "SELECT id FROM bench.books ORDER BY hashtextextended(id::text, 1) LIMIT 5000"
REVIEWED = """
SELECT book_id FROM book_ratings WHERE count >= 5 ORDER BY hashtextextended(book_id::text, 2) LIMIT 1000"""
TITLES = "SELECT title FROM books ORDER BY hashtextextended(id::text, 3) LIMIT 2000"
READERS = "SELECT user_id, session_id FROM bench.readers ORDER BY n"
FILLED = """
INSERT INTO cart_items (id, user_id, book_id, quantity)
SELECT lpad(to_hex(readers.n * 3 + place), 32, '0')::uuid, user_id, books.id, 1
FROM bench.readers CROSS JOIN generate_series(0, 2) AS place, (SELECT count(*) FROM bench.books) AS stock
JOIN LATERAL (
    SELECT id FROM bench.books WHERE n = 1 + ((hashint8extended(readers.n, 4) & 1073741823) + place * 1009) % count
) AS books ON true
WHERE readers.n <= $1"""
RESTOCKED = """
WITH scarce AS (
    UPDATE books SET stock_quantity = stock_quantity + 40
    WHERE stock_quantity < 10 AND id IN (SELECT id FROM bench.books) RETURNING id, title
)
INSERT INTO stock_movements (id, book_id, title, change, reason)
SELECT gen_random_uuid(), id, title, 40, 'DELIVERY' FROM scarce"""


@dataclass(slots=True)
class Stage:
    """IDs are global ones, as callers know them; `readers` are in the order of `tokens`."""

    url: str
    searches: list[str]
    reviewed: list[str]
    in_stock: list[str]
    tokens: list[str]

    def empty_carts(self, _: int) -> None:
        asyncio.run(_execute(self.url, "TRUNCATE cart_items", "CHECKPOINT"))

    def fill_carts(self, count: int) -> None:
        """Three books in the carts of as many readers as are to buy; what has become scarce is delivered."""
        filled = (FILLED, count)
        asyncio.run(_execute(self.url, "TRUNCATE cart_items", RESTOCKED, filled, "ANALYZE cart_items", "CHECKPOINT"))


def set_stage(url: str) -> Stage:
    return asyncio.run(_set_stage(url))


async def _set_stage(url: str) -> Stage:
    async with Database(url) as database, database.transaction() as tx:
        await advance_sales_window(tx)  # up to today, as a server would while others are measured
    connection = await asyncpg.connect(url, timeout=10)
    await connection.execute(SCENERY)
    reviewed = [_book(row["book_id"]) for row in await connection.fetch(REVIEWED)]
    in_stock = [_book(row["id"]) for row in await connection.fetch(IN_STOCK)]
    titles = [row["title"] for row in await connection.fetch(TITLES)]
    readers = [(row["user_id"], row["session_id"]) for row in await connection.fetch(READERS)]
    await connection.close()
    tokens = Tokens([SECRET], PUBLIC_URL)
    signed = [tokens.issue_access_token(*_claims(reader)).text for reader in readers]
    return Stage(url, _searches(titles), reviewed, in_stock, signed)


def _claims(reader: tuple[uuid.UUID, uuid.UUID]) -> tuple[uuid.UUID, str, uuid.UUID, dt.timedelta]:
    user_id, session_id = reader
    return user_id, "USER", session_id, dt.timedelta(days=1)


def _book(key: uuid.UUID) -> str:
    return str(to_global_id("Book", key))


def _searches(titles: list[str]) -> list[str]:
    """The beginnings of two words that stand together in a title."""
    chance, words = random.Random(SEED), [title.lower().split() for title in titles]
    counts: dict[str, int] = {}
    for word in (word for title in words for word in title):
        counts[word] = counts.get(word, 0) + 1
    common = set(sorted(counts, key=lambda word: (-counts[word], word))[:COMMON])
    telling = [[word for word in title if word not in common and len(word) > 3] for title in words]
    pairs = [chance.sample(title, 2) for title in telling if len(title) > 1]
    return [" ".join(word[: chance.randint(3, 4)] for word in pair) for pair in pairs][:500]


async def _execute(url: str, *commands: str | tuple[str, Any]) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    for command in commands:
        sql, *arguments = (command,) if isinstance(command, str) else command
        await connection.execute(sql, *arguments)
    await connection.close()
