"""A misspelled column in a write is a type error, and the types name only columns that exist."""

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from persistence import accounts, catalog, orders, reviews, tables

TYPED_COLUMNS = (
    (accounts.OptionalUserColumns, tables.User),
    (accounts.UserChanges, tables.User),
    (accounts.NewRefreshToken, tables.RefreshToken),
    (catalog.BookChanges, tables.Book),
    (catalog.NewBook, tables.Book),
    (orders.NewOrder, tables.Order),
    (orders.OrderChanges, tables.Order),
    (orders.NewOrderItem, tables.OrderItem),
    (reviews.ReviewChanges, tables.Review),
)


@pytest.mark.parametrize(("columns", "table"), TYPED_COLUMNS)
def test_typed_columns_exist(columns: Any, table: type[tables.Base]) -> None:
    assert columns.__required_keys__ | columns.__optional_keys__ <= set(table.__table__.columns.keys())


def test_every_column_of_a_book_is_writable() -> None:
    columns = catalog.NewBook.__required_keys__ | catalog.NewBook.__optional_keys__
    assert columns == {*catalog.BookRow.__slots__, "author_names"} - {"added_at", "updated_at"}


if TYPE_CHECKING:
    # mypy reports an unused ignore, and fails, if one of these lines is not an error.
    from persistence.postgres.database import Transaction

    async def misspell_columns(tx: Transaction, id_: uuid.UUID) -> None:
        await accounts.add_user(tx, email="ann@example.com", display_name="Ann", rolle="ADMIN")  # type: ignore[call-arg]
        await accounts.update_user(tx, id_, is_activ=False)  # type: ignore[call-arg]
        await accounts.add_refresh_token(tx, session=id_)  # type: ignore[call-arg]
        await catalog.add_book(tx, titel="Emma", slug="emma", stock_quantity=1)  # type: ignore[call-arg]
        await catalog.update_book(tx, id_, titel="Emma")  # type: ignore[call-arg]
        await orders.add_order(tx, number="A-1", user=id_)  # type: ignore[call-arg]
        await orders.update_order(tx, id_, staus=orders.OrderStatus.SHIPPED)  # type: ignore[call-arg]
        await reviews.update_review(tx, id_, ratings=5)  # type: ignore[call-arg]

    async def mistype_values(tx: Transaction, id_: uuid.UUID) -> None:
        await accounts.update_user(tx, id_, is_active="no")  # type: ignore[arg-type]
        await catalog.update_book(tx, id_, price=9.9)  # type: ignore[arg-type]
        await orders.update_order(tx, id_, status="SHIPED")  # type: ignore[arg-type]
        await reviews.update_review(tx, id_, rating=None)  # type: ignore[arg-type]

    new_book: catalog.NewBook = {"slug": "emma", "titel": "Emma", "stock_quantity": 1}  # type: ignore[typeddict-unknown-key]
    new_item: orders.NewOrderItem = {"book_id": uuid.UUID(int=1), "titel": "Emma"}  # type: ignore[typeddict-item]
