"""Snapshots of tables, to assert that a rejected request changed nothing, and queries of stock and payments."""

from collections.abc import Iterable
from typing import Any

import asyncpg

from persistence.catalog import BookRow
from persistence.invariants import INVARIANTS

PURCHASE_TABLES = (
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


async def take_snapshot(postgres: asyncpg.Connection, tables: Iterable[str] = PURCHASE_TABLES) -> Snapshot:
    """Return every row of these tables; by default, of those that a purchase writes."""
    return {
        table: [tuple(row) for row in await postgres.fetch(f"SELECT * FROM {table} ORDER BY {table}::text")]
        for table in tables
    }


async def get_stock(postgres: asyncpg.Connection, book: BookRow) -> int | None:
    """Return the quantity in stock, or `None` if the book has been deleted."""
    quantity: int | None = await postgres.fetchval("SELECT stock_quantity FROM books WHERE id = $1", book.id)
    return quantity


async def list_stock_movements(postgres: asyncpg.Connection, book: BookRow) -> list[tuple[str, int]]:
    """Return the book's stock movements, oldest first, as (reason, change in copies)."""
    rows = await postgres.fetch("SELECT reason, change FROM stock_movements WHERE book_id = $1 ORDER BY id", book.id)
    return [(row["reason"], row["change"]) for row in rows]


async def list_payments(postgres: asyncpg.Connection) -> list[tuple[str, bool]]:
    """Return the mock provider's payments, oldest first, as (status, is refunded)."""
    rows = await postgres.fetch(
        "SELECT status, refunded_at IS NOT NULL AS is_refunded FROM mock_payments ORDER BY created_at"
    )
    return [(row["status"], row["is_refunded"]) for row in rows]


async def is_stock_consistent(postgres: asyncpg.Connection) -> bool:
    """Return whether the stock of every book is the sum of its ledger."""
    return not await postgres.fetch(INVARIANTS["stock is the sum of its ledger"])


async def age_orders(postgres: asyncpg.Connection) -> None:
    """Move the times of all orders one day into the past, so that reconciliation and refunds are due."""
    assignments = ", ".join(
        f"{column} = {column} - interval '1 day'" for column in ("placed_at", "swept_at", "refund_due_at")
    )
    await postgres.execute(f"UPDATE orders SET {assignments}")
