"""The stock of books, and the ledger of its changes. The sum of a book's changes is its stock."""

import uuid
from collections.abc import Mapping, Sequence
from enum import StrEnum

from sqlalchemy import Integer, Uuid, bindparam, column, func, insert, update
from sqlalchemy.dialects.postgresql import ARRAY

from persistence import tables
from persistence.postgres.database import Transaction
from persistence.postgres.statements import Command


class MovementReason(StrEnum):
    """Why the stock of a book changed."""

    NEW_BOOK = "NEW_BOOK"
    IMPORT = "IMPORT"
    STOCKTAKE = "STOCKTAKE"
    DELIVERY = "DELIVERY"
    SALE = "SALE"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    CANCELLATION = "CANCELLATION"


_changes = (
    func.unnest(
        bindparam("book_ids", type_=ARRAY(Uuid())),
        bindparam("changes", type_=ARRAY(Integer())),
    )
    .table_valued(column("book_id", Uuid()), column("change", Integer()))
    .render_derived()
)
_APPLY_CHANGES = Command(
    update(tables.Book)
    .where(tables.Book.id == _changes.c.book_id, _changes.c.change != 0)
    .values(stock_quantity=tables.Book.stock_quantity + _changes.c.change)
    .returning(tables.Book.id, tables.Book.title, _changes.c.change, tables.Book.stock_quantity)
)
_RECORD = Command(insert(tables.StockMovement))


async def change_stock(
    tx: Transaction,
    changes: Mapping[uuid.UUID, int],
    reason: MovementReason,
    order_id: uuid.UUID | None = None,
) -> list[uuid.UUID]:
    """Change the stock of books by these quantities, record the movements, and return the books that are back in stock.

    The caller holds the books' locks.
    """
    updated_rows = await tx.fetch_records(_APPLY_CHANGES, book_ids=list(changes), changes=list(changes.values()))
    movements = [(book_id, title, change) for book_id, title, change, _ in updated_rows]
    await record_movements(tx, movements, reason, order_id)
    return [book_id for book_id, _, change, quantity in updated_rows if quantity > 0 and quantity == change]


async def record_movements(
    tx: Transaction,
    movements: Sequence[tuple[uuid.UUID, str, int]],
    reason: MovementReason,
    order_id: uuid.UUID | None = None,
) -> None:
    """Record changes of stock, each as (book id, title, change), in the ledger; a change of 0 is left out."""
    rows = [
        {"book_id": book_id, "title": title, "change": change, "reason": reason, "order_id": order_id}
        for book_id, title, change in movements
        if change != 0
    ]
    await tx.execute_many(_RECORD, rows)
