"""The version of the catalogue: new after each change that visitors can see, and never taken for older than it is."""

import asyncpg
import pytest

from domain.shop import Shop
from persistence.models import Table
from persistence.versions import catalog_version
from tests.factories import add_book, add_genre, add_member
from tests.purchases import bought

UNSEEN = {
    *("sessions", "refresh_tokens", "identities", "one_time_tokens", "carts", "cart_items", "order_addresses"),
    *("stock_movements", "wishlist_items", "prebookings", "sales_window", "throttles", "rate_limits", "letters"),
    *("mock_payments", "secret_keys"),
}
"""Tables of which nothing can be seen by visitors. Every other one is watched."""
TRIGGERS = (
    "SELECT DISTINCT event_object_table FROM information_schema.triggers WHERE trigger_name = 'note_catalog_change'"
)
CHANGES = [
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
UNSEEN_CHANGES = [
    "UPDATE users SET password_hash = NULL",
    "INSERT INTO users (id, email, display_name) VALUES (gen_random_uuid(), 'b@example.com', 'B')",
    "UPDATE sessions SET last_used_at = now()",
    "DELETE FROM cart_items",
    "UPDATE orders SET swept_at = now()",
    "SELECT * FROM books FOR UPDATE",
]


@pytest.fixture
async def stocked(shop: Shop, postgres: asyncpg.Connection) -> Shop:
    genre = await add_genre(shop)
    book = await add_book(shop, authors=("Jane Austen",), genre_id=genre.id)
    await bought(postgres, await add_member(shop), (book, 1))
    return shop


async def test_every_table_is_watched_or_known_to_be_unseen(postgres: asyncpg.Connection, shop: Shop) -> None:
    watched = {record[0] for record in await postgres.fetch(TRIGGERS)}
    assert watched | UNSEEN == {table.name for table in Table.metadata.sorted_tables}
    assert watched & UNSEEN == set()


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_that_can_be_seen(stocked: Shop, postgres: asyncpg.Connection, change: str) -> None:
    reading = stocked.database.reading
    before = await catalog_version(reading)
    assert await catalog_version(reading) == before
    await postgres.execute(change)
    assert await catalog_version(reading) != before


@pytest.mark.parametrize("change", UNSEEN_CHANGES)
async def test_what_nobody_sees_is_no_change(stocked: Shop, postgres: asyncpg.Connection, change: str) -> None:
    before = await catalog_version(stocked.database.reading)
    await postgres.execute(change)
    assert await catalog_version(stocked.database.reading) == before


async def test_the_first_change_of_all_is_one(stocked: Shop, postgres: asyncpg.Connection) -> None:
    await postgres.execute("ALTER SEQUENCE catalog_changes RESTART")
    before = await catalog_version(stocked.database.reading)
    await postgres.execute(CHANGES[0])
    assert await catalog_version(stocked.database.reading) != before


@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK"])
async def test_while_a_change_is_under_way_no_version_comes_twice(
    stocked: Shop, postgres: asyncpg.Connection, ends: str
) -> None:
    """It has been counted already and cannot be read yet, so what is read now must not be taken for what comes then."""
    reading = stocked.database.reading
    before = await catalog_version(reading)
    await postgres.execute("BEGIN")
    await postgres.execute("SAVEPOINT a")
    await postgres.execute(CHANGES[0])
    await postgres.execute("ROLLBACK TO a" if ends == "ROLLBACK" else "RELEASE a")
    meanwhile = [await catalog_version(reading) for _ in range(2)]
    await postgres.execute(ends)
    after = await catalog_version(reading)
    assert len({before, *meanwhile, after}) == 4
    assert await catalog_version(reading) == after


async def test_who_changes_something_else_keeps_nobody_waiting(stocked: Shop, postgres: asyncpg.Connection) -> None:
    before = await catalog_version(stocked.database.reading)
    async with postgres.transaction():
        await postgres.execute("UPDATE sessions SET last_used_at = now()")
        assert await catalog_version(stocked.database.reading) == before
