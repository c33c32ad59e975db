"""Stock, and the ledger that explains it. Nothing else changes either."""

import uuid
from collections.abc import Mapping, Sequence
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Integer,
    Uuid,
    bindparam,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from persistence import tables
from persistence.postgres.database import ReadSession, Transaction
from persistence.postgres.statements import Command, Query


class MovementReason(StrEnum):
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
    """Adds to the stock of each book, or takes away, and writes the ledger; the books that went from none to some.

    The caller holds their locks.
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
    """Writes the ledger: (book, title, copies) of each change."""
    rows = [
        {
            "book_id": book_id,
            "title": title,
            "change": change,
            "reason": reason,
            "order_id": order_id,
        }
        for book_id, title, change in movements
        if change != 0
    ]
    await tx.execute_many(_RECORD, rows)


_DISCREPANCIES: Query[tuple[uuid.UUID, int, int]] = Query(
    select(
        tables.Book.id,
        tables.Book.stock_quantity,
        func.coalesce(func.sum(tables.StockMovement.change), 0).cast(BigInteger),
    )
    .outerjoin(tables.StockMovement, tables.StockMovement.book_id == tables.Book.id)
    .group_by(tables.Book.id)
    .having(tables.Book.stock_quantity != func.coalesce(func.sum(tables.StockMovement.change), 0)),
    lambda book_id, stock, sum_: (book_id, stock, sum_),
)


async def list_discrepancies(db: ReadSession) -> list[tuple[uuid.UUID, int, int]]:
    """Books whose stock is not the sum of their movements: (book, stock, sum). Always empty, or something is broken."""
    return await db.all(_DISCREPANCIES)
