"""Orders placed in the past, inserted with SQL because a checkout uses the current time."""

import datetime as dt
import itertools
import uuid

import asyncpg

from persistence.catalog import BookRow
from tests.support.shop.factories import SignedInUser

_numbers = itertools.count(1)
_INSERT_ORDER = """
WITH inserted AS (
  INSERT INTO orders (id, number, user_id, status, total, total_quantity, currency, idempotency_key, input_digest,
    placed_at, shipped_at, cancelled_at)
  SELECT gen_random_uuid(), $1::text, $2, $4::text, sum(price * copies), sum(copies), 'EUR', $1::text, '', $5::timestamptz,
    CASE $4::text WHEN 'SHIPPED' THEN $5::timestamptz END, CASE $4::text WHEN 'CANCELLED' THEN $5::timestamptz END
  FROM books JOIN jsonb_to_recordset($3::jsonb) AS lines (book_id uuid, copies int) ON books.id = book_id
  RETURNING id)
INSERT INTO order_items (order_id, id, book_id, title, quantity, unit_price)
SELECT inserted.id, gen_random_uuid(), books.id, title, copies, price
FROM inserted, books JOIN jsonb_to_recordset($3::jsonb) AS lines (book_id uuid, copies int) ON books.id = book_id
RETURNING order_id
"""


async def add_past_order(
    postgres: asyncpg.Connection,
    user: SignedInUser,
    *lines: tuple[BookRow, int],
    status: str = "CONFIRMED",
    at: dt.datetime | None = None,
) -> uuid.UUID:
    """Insert an order and return its id; it changes neither the stock nor the sales of the last 90 days."""
    placed_at = at or dt.datetime.now(dt.UTC)
    lines_json = ", ".join(f'{{"book_id": "{book.id}", "copies": {copies}}}' for book, copies in lines)
    order_id: uuid.UUID = await postgres.fetchval(
        _INSERT_ORDER, f"PAST-{next(_numbers):09}", user.id, f"[{lines_json}]", status, placed_at
    )
    return order_id
