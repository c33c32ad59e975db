"""All that the tables remember of buying, to see that a refusal changed nothing and that stock is accounted for."""

from typing import Any

import asyncpg

from persistence.catalog import BookRow
from persistence.invariants import INVARIANTS

TABLES = (
    "books",
    "carts",
    "cart_items",
    "orders",
    "order_items",
    "order_addresses",
    "stock_movements",
    "mock_payments",
)

Snapshot = dict[str, list[tuple[Any, ...]]]


async def take_snapshot(postgres: asyncpg.Connection) -> Snapshot:
    """Every row of every table that buying touches."""
    rows = {table: await postgres.fetch(f"SELECT * FROM {table} ORDER BY {table}::text") for table in TABLES}
    return {table: [tuple(row) for row in found] for table, found in rows.items()}


async def get_stock(postgres: asyncpg.Connection, book: BookRow) -> int | None:
    """The copies that can be bought now; `None` when the book has left the catalogue."""
    quantity: int | None = await postgres.fetchval("SELECT stock_quantity FROM books WHERE id = $1", book.id)
    return quantity


async def list_stock_movements(postgres: asyncpg.Connection, book: BookRow) -> list[tuple[str, int]]:
    """Why the stock is what it is: reasons and copies, in the order they came."""
    rows = await postgres.fetch("SELECT reason, change FROM stock_movements WHERE book_id = $1 ORDER BY id", book.id)
    return [(row["reason"], row["change"]) for row in rows]


async def list_payments(postgres: asyncpg.Connection) -> list[tuple[str, bool]]:
    """What the payment provider remembers: statuses, and whether the money went back."""
    rows = await postgres.fetch("SELECT status, refunded_at IS NOT NULL AS back FROM mock_payments ORDER BY created_at")
    return [(row["status"], row["back"]) for row in rows]


async def is_stock_consistent(postgres: asyncpg.Connection) -> bool:
    """Return whether the stock of every book is the sum of its ledger."""
    return not await postgres.fetch(INVARIANTS["stock is the sum of its ledger"])


async def age_orders(postgres: asyncpg.Connection) -> None:
    """A day, for orders: what is to be swept or refunded some time is due now."""
    assignments = ", ".join(
        f"{column} = {column} - interval '1 day'" for column in ("placed_at", "swept_at", "refund_due_at")
    )
    await postgres.execute(f"UPDATE orders SET {assignments}")
