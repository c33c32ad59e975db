"""The books, searches and users that workloads name, and the state of the database before each round."""

import asyncio
import datetime as dt
import random
import uuid
from collections import Counter
from dataclasses import dataclass

import asyncpg

from domain.auth.tokens import Tokens
from graph.kit.ids import to_global_id
from persistence.postgres.database import Database
from persistence.sales import advance_sales_window
from tools.bench.database import execute
from tools.bench.processes import PUBLIC_URL, SECRET

SEED = 2026
STOP_WORDS = 12
"""So many of the commonest words of titles are left out of searches."""
MAX_SEARCHES = 500

CREATE_SCHEMA = """
CREATE SCHEMA bench;
CREATE TABLE bench.books AS
SELECT row_number() OVER (ORDER BY id) AS n, id FROM books WHERE stock_quantity >= 20;
CREATE TABLE bench.users AS
SELECT row_number() OVER (ORDER BY user_id) AS n, user_id, id AS session_id FROM sessions;
CREATE UNIQUE INDEX ON bench.books (n);
ANALYZE bench.books, bench.users"""
SELECT_IN_STOCK = "SELECT id FROM bench.books ORDER BY hashtextextended(id::text, 1) LIMIT 5000"
SELECT_REVIEWED = """
SELECT book_id FROM book_ratings WHERE count >= 5 ORDER BY hashtextextended(book_id::text, 2) LIMIT 1000"""
SELECT_TITLES = "SELECT title FROM books ORDER BY hashtextextended(id::text, 3) LIMIT 2000"
SELECT_USERS = "SELECT user_id, session_id FROM bench.users ORDER BY n"
FILL_CARTS = """
INSERT INTO cart_items (id, user_id, book_id, quantity)
SELECT lpad(to_hex(users.n * 3 + position), 32, '0')::uuid, user_id, books.id, 1
FROM bench.users AS users CROSS JOIN generate_series(0, 2) AS position, (SELECT count(*) FROM bench.books) AS stock
JOIN LATERAL (
    SELECT id FROM bench.books WHERE n = 1 + ((hashint8extended(users.n, 4) & 1073741823) + position * 1009) % count
) AS books ON true
WHERE users.n <= {count}"""
RESTOCK = """
WITH scarce AS (
    UPDATE books SET stock_quantity = stock_quantity + 40
    WHERE stock_quantity < 10 AND id IN (SELECT id FROM bench.books) RETURNING id, title
)
INSERT INTO stock_movements (id, book_id, title, change, reason)
SELECT gen_random_uuid(), id, title, 40, 'DELIVERY' FROM scarce"""


@dataclass(slots=True)
class Fixtures:
    """Global ids, as clients know them, and an access token for each user."""

    url: str
    searches: list[str]
    reviewed: list[str]
    in_stock: list[str]
    tokens: list[str]

    def empty_carts(self, _: int) -> None:
        """Delete all cart items."""
        asyncio.run(execute(self.url, "TRUNCATE cart_items", "CHECKPOINT"))

    def fill_carts(self, count: int) -> None:
        """Put three books in the carts of the first `count` users, and restock what has become scarce."""
        fill = FILL_CARTS.format(count=count)
        asyncio.run(execute(self.url, "TRUNCATE cart_items", RESTOCK, fill, "ANALYZE cart_items", "CHECKPOINT"))


def load_fixtures(url: str) -> Fixtures:
    """Prepare a database for workloads, and read what they name."""
    return asyncio.run(_load_fixtures(url))


async def _load_fixtures(url: str) -> Fixtures:
    async with Database(url) as database, database.transaction() as tx:
        await advance_sales_window(tx)  # up to today, or a server would do it during a measurement
    connection = await asyncpg.connect(url, timeout=10)
    await connection.execute(CREATE_SCHEMA)
    reviewed = [_book_id(row["book_id"]) for row in await connection.fetch(SELECT_REVIEWED)]
    in_stock = [_book_id(row["id"]) for row in await connection.fetch(SELECT_IN_STOCK)]
    titles = [row["title"] for row in await connection.fetch(SELECT_TITLES)]
    users = [(row["user_id"], row["session_id"]) for row in await connection.fetch(SELECT_USERS)]
    await connection.close()
    signer, lifetime = Tokens([SECRET], PUBLIC_URL), dt.timedelta(days=1)
    tokens = [signer.issue_access_token(user_id, "USER", session_id, lifetime).text for user_id, session_id in users]
    return Fixtures(url, _make_searches(titles), reviewed, in_stock, tokens)


def _book_id(key: uuid.UUID) -> str:
    return str(to_global_id("Book", key))


def _make_searches(titles: list[str]) -> list[str]:
    """Return pairs of word prefixes, both from one title."""
    randomness, words = random.Random(SEED), [title.lower().split() for title in titles]
    counts = Counter(word for title in words for word in title)
    common = set(sorted(counts, key=lambda word: (-counts[word], word))[:STOP_WORDS])
    distinctive = [[word for word in title if word not in common and len(word) > 3] for title in words]
    pairs = [randomness.sample(title, 2) for title in distinctive if len(title) > 1]
    return [" ".join(word[: randomness.randint(3, 4)] for word in pair) for pair in pairs][:MAX_SEARCHES]
