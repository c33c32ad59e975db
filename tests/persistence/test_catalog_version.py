"""The catalog's version changes with each change of public data, and never repeats."""

import asyncpg
import pytest

from domain.shop import Shop
from persistence.catalog_version import get_catalog_version
from persistence.tables import Base
from tests.support.shop.factories import add_book, add_genre, add_user
from tests.support.shop.past_orders import add_past_order

PRIVATE_TABLES = {
    *("sessions", "refresh_tokens", "identities", "one_time_tokens", "carts", "cart_items", "order_addresses"),
    *("stock_movements", "wishlist_items", "prebookings", "sales_window", "throttles", "rate_limits", "letters"),
    *("mock_payments", "secret_keys"),
}
"""Tables without public data. Every other table has a trigger."""
SELECT_TABLES_WITH_TRIGGER = (
    "SELECT DISTINCT event_object_table FROM information_schema.triggers WHERE trigger_name = 'note_catalog_change'"
)
PUBLIC_CHANGES = [
    "UPDATE books SET price = price + 1",
    "UPDATE books SET stock_quantity = stock_quantity - 1",
    "UPDATE genres SET name = name || '!'",
    "UPDATE authors SET name = name || '!'",
    "DELETE FROM book_authors",
    "UPDATE book_ratings SET five = five",
    "UPDATE book_sales SET copies = copies",
    "UPDATE users SET display_name = 'Other'",
    "UPDATE orders SET status = 'CANCELLED', cancelled_at = now()",
    "UPDATE order_items SET quantity = 1",
    "TRUNCATE reviews",
    "DELETE FROM orders",
]
PRIVATE_CHANGES = [
    "UPDATE users SET password_hash = NULL",
    "INSERT INTO users (id, email, display_name) VALUES (gen_random_uuid(), 'b@example.com', 'B')",
    "UPDATE sessions SET last_used_at = now()",
    "DELETE FROM cart_items",
    "UPDATE orders SET swept_at = now()",
    "SELECT * FROM books FOR UPDATE",
]


@pytest.fixture
async def shop_with_order(shop: Shop, postgres: asyncpg.Connection) -> Shop:
    genre = await add_genre(shop)
    book = await add_book(shop, authors=("Jane Austen",), genre_id=genre.id)
    await add_past_order(postgres, await add_user(shop), (book, 1))
    return shop


async def test_every_table_is_covered(postgres: asyncpg.Connection, shop: Shop) -> None:
    tables_with_trigger = {record[0] for record in await postgres.fetch(SELECT_TABLES_WITH_TRIGGER)}
    assert tables_with_trigger | PRIVATE_TABLES == {table.name for table in Base.metadata.sorted_tables}
    assert tables_with_trigger & PRIVATE_TABLES == set()


@pytest.mark.parametrize("change", PUBLIC_CHANGES)
async def test_visible_change_increments_the_version(
    shop_with_order: Shop, postgres: asyncpg.Connection, change: str
) -> None:
    db = shop_with_order.database.read_session
    before = await get_catalog_version(db)
    assert await get_catalog_version(db) == before
    await postgres.execute(change)
    assert await get_catalog_version(db) != before


@pytest.mark.parametrize("change", PRIVATE_CHANGES)
async def test_invisible_change_keeps_the_version(
    shop_with_order: Shop, postgres: asyncpg.Connection, change: str
) -> None:
    before = await get_catalog_version(shop_with_order.database.read_session)
    await postgres.execute(change)
    assert await get_catalog_version(shop_with_order.database.read_session) == before


async def test_first_change_creates_a_version(shop_with_order: Shop, postgres: asyncpg.Connection) -> None:
    await postgres.execute("ALTER SEQUENCE catalog_changes RESTART")
    before = await get_catalog_version(shop_with_order.database.read_session)
    await postgres.execute(PUBLIC_CHANGES[0])
    assert await get_catalog_version(shop_with_order.database.read_session) != before


@pytest.mark.parametrize("end_statement", ["COMMIT", "ROLLBACK"])
async def test_concurrent_changes_never_repeat_a_version(
    shop_with_order: Shop, postgres: asyncpg.Connection, end_statement: str
) -> None:
    """An uncommitted change has a version but is not visible, so reads during it need another version."""
    db = shop_with_order.database.read_session
    before = await get_catalog_version(db)
    await postgres.execute("BEGIN")
    await postgres.execute("SAVEPOINT a")
    await postgres.execute(PUBLIC_CHANGES[0])
    await postgres.execute("ROLLBACK TO a" if end_statement == "ROLLBACK" else "RELEASE a")
    versions_during_change = [await get_catalog_version(db) for _ in range(2)]
    await postgres.execute(end_statement)
    after = await get_catalog_version(db)
    assert len({before, *versions_during_change, after}) == 4
    assert await get_catalog_version(db) == after


async def test_unrelated_changes_do_not_block(shop_with_order: Shop, postgres: asyncpg.Connection) -> None:
    before = await get_catalog_version(shop_with_order.database.read_session)
    async with postgres.transaction():
        await postgres.execute("UPDATE sessions SET last_used_at = now()")
        assert await get_catalog_version(shop_with_order.database.read_session) == before
