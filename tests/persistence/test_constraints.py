"""Every constraint rejects the rows that violate it, under its own name."""

import asyncpg
import pytest

from domain.shop import Shop

INSERT_ROWS = """
INSERT INTO users (id, email, display_name) VALUES
    (uuid(1), 'ann@example.com', 'Ann'), (uuid(2), 'ben@example.com', 'Ben');
INSERT INTO genres (id, slug, name) VALUES (uuid(1), 'drama', 'Drama'), (uuid(2), 'poetry', 'Poetry');
INSERT INTO authors (id, slug, name) VALUES (uuid(1), 'jane', 'Jane'), (uuid(2), 'mary', 'Mary');
INSERT INTO books (id, slug, title, isbn, price, stock_quantity) VALUES
    (uuid(1), 'emma', 'Emma', '9780141439587', 9.90, 3), (uuid(2), 'lodore', 'Lodore', '9781551110776', 8.90, 3);
INSERT INTO book_authors (book_id, position, author_id) VALUES (uuid(1), 0, uuid(1)), (uuid(1), 1, uuid(2));
INSERT INTO carts (user_id) VALUES (uuid(1));
INSERT INTO cart_items (id, user_id, book_id, quantity) VALUES
    (uuid(1), uuid(1), uuid(1), 1), (uuid(2), uuid(1), uuid(2), 1);
INSERT INTO orders (id, number, user_id, total, total_quantity, currency, idempotency_key, input_digest) VALUES
    (uuid(1), 'A-1', uuid(1), 9.90, 1, 'EUR', 'once', ''), (uuid(2), 'A-2', uuid(1), 9.90, 1, 'EUR', 'again', '');
INSERT INTO order_items (id, order_id, book_id, title, quantity, unit_price) VALUES
    (uuid(1), uuid(1), uuid(1), 'Emma', 1, 9.90), (uuid(2), uuid(1), uuid(2), 'Lodore', 1, 8.90);
INSERT INTO stock_movements (id, book_id, title, change, reason) VALUES (uuid(1), uuid(1), 'Emma', 3, 'NEW_BOOK');
INSERT INTO mock_payments (key, status) VALUES ('once', 'APPROVED');
INSERT INTO sessions (id, user_id, expires_at) VALUES (uuid(1), uuid(1), now());
INSERT INTO refresh_tokens (id, session_id, parent_id, hash, expires_at) VALUES
    (uuid(1), uuid(1), NULL, sha256('1'), now()),
    (uuid(2), uuid(1), uuid(1), sha256('2'), now()),
    (uuid(3), uuid(1), uuid(2), sha256('3'), now());
INSERT INTO identities (id, user_id, provider, account) VALUES
    (uuid(1), uuid(1), 'GOOGLE', '1'), (uuid(2), uuid(1), 'GOOGLE', '2');
INSERT INTO one_time_tokens (id, user_id, purpose, hash, expires_at) VALUES
    (uuid(1), uuid(1), 'VERIFY_EMAIL', sha256('1'), now()), (uuid(2), uuid(1), 'VERIFY_EMAIL', sha256('2'), now());
INSERT INTO reviews (id, book_id, user_id, rating) VALUES
    (uuid(1), uuid(1), uuid(1), 4), (uuid(2), uuid(1), uuid(2), 4);
INSERT INTO book_ratings (book_id) VALUES (uuid(1));
INSERT INTO book_sales (book_id) VALUES (uuid(1));
INSERT INTO wishlist_items (id, user_id, book_id) VALUES (uuid(1), uuid(1), uuid(1)), (uuid(2), uuid(1), uuid(2));
INSERT INTO prebookings (id, user_id, book_id) VALUES (uuid(1), uuid(1), uuid(1)), (uuid(2), uuid(1), uuid(2));
INSERT INTO letters (id, kind, subject_id, user_id) VALUES
    (uuid(1), 'BOOK_BACK', uuid(1), uuid(1)), (uuid(2), 'BOOK_BACK', uuid(2), uuid(1));
"""

VIOLATIONS = (
    ("ck_book_ratings_stars", "UPDATE book_ratings SET three = -1"),
    ("ck_book_sales_copies", "UPDATE book_sales SET copies = -1"),
    ("ck_books_format", "UPDATE books SET format = 'SCROLL'"),
    ("ck_books_isbn", "UPDATE books SET isbn = '080442957X'"),
    ("ck_books_isbn", "UPDATE books SET isbn = '978-014143958'"),
    ("ck_books_page_count", "UPDATE books SET page_count = 0"),
    ("ck_books_page_count", "UPDATE books SET page_count = 100001"),
    ("ck_books_price", "UPDATE books SET price = 0"),
    ("ck_books_price", "UPDATE books SET price = -0.01"),
    ("ck_books_stock_quantity", "UPDATE books SET stock_quantity = -1"),
    ("ck_cart_items_quantity", "UPDATE cart_items SET quantity = 0"),
    ("ck_cart_items_quantity", "UPDATE cart_items SET quantity = 1000"),
    ("ck_identities_provider", "UPDATE identities SET provider = 'MYSPACE'"),
    ("ck_letters_settled", "UPDATE letters SET status = 'SENT'"),
    ("ck_letters_settled", "UPDATE letters SET settled_at = now()"),
    ("ck_letters_status", "UPDATE letters SET status = 'LOST', settled_at = now()"),
    ("ck_mock_payments_status", "UPDATE mock_payments SET status = 'MAYBE'"),
    ("ck_one_time_tokens_hash", "UPDATE one_time_tokens SET hash = 'the token itself'"),
    ("ck_one_time_tokens_purpose", "UPDATE one_time_tokens SET purpose = 'FUN'"),
    ("ck_order_items_quantity", "UPDATE order_items SET quantity = 0"),
    ("ck_order_items_quantity", "UPDATE order_items SET quantity = 1000"),
    ("ck_orders_cancelled", "UPDATE orders SET status = 'CANCELLED'"),
    ("ck_orders_cancelled", "UPDATE orders SET cancelled_at = now()"),
    ("ck_orders_shipped", "UPDATE orders SET status = 'SHIPPED'"),
    ("ck_orders_shipped", "UPDATE orders SET shipped_at = now()"),
    ("ck_orders_status", "UPDATE orders SET status = 'LOST'"),
    ("ck_orders_total", "UPDATE orders SET total = -0.01"),
    ("ck_orders_total", "UPDATE orders SET total_quantity = -1"),
    ("ck_prebookings_cancelled", "UPDATE prebookings SET status = 'CANCELLED'"),
    ("ck_prebookings_cancelled", "UPDATE prebookings SET cancelled_at = now()"),
    ("ck_prebookings_notified", "UPDATE prebookings SET status = 'NOTIFIED'"),
    ("ck_prebookings_notified", "UPDATE prebookings SET notified_at = now()"),
    ("ck_prebookings_status", "UPDATE prebookings SET status = 'BORED'"),
    ("ck_refresh_tokens_hash", "UPDATE refresh_tokens SET hash = 'the token itself'"),
    ("ck_reviews_rating", "UPDATE reviews SET rating = 0"),
    ("ck_reviews_rating", "UPDATE reviews SET rating = 6"),
    ("ck_sales_window_one_row", "INSERT INTO sales_window (id, since) VALUES (2, now())"),
    ("ck_stock_movements_change", "UPDATE stock_movements SET change = 0"),
    ("ck_stock_movements_order", "UPDATE stock_movements SET reason = 'SALE'"),
    ("ck_stock_movements_order", "UPDATE stock_movements SET order_id = uuid(1)"),
    ("ck_stock_movements_reason", "UPDATE stock_movements SET reason = 'THEFT'"),
    ("ck_throttles_tries", "INSERT INTO throttles (key, tries, free_at, tried_at) VALUES ('', -1, now(), now())"),
    ("ck_users_email", "UPDATE users SET email = 'Ann@example.com' WHERE id = uuid(1)"),
    ("ck_users_role", "UPDATE users SET role = 'OWNER'"),
    ("uq_authors_name", "UPDATE authors SET name = 'JANE' WHERE id = uuid(2)"),
    ("uq_authors_slug", "UPDATE authors SET slug = 'jane'"),
    ("uq_book_authors_book_id_author_id", "UPDATE book_authors SET author_id = uuid(1)"),
    ("uq_books_isbn", "UPDATE books SET isbn = '9780141439587'"),
    ("uq_books_slug", "UPDATE books SET slug = 'emma'"),
    ("uq_cart_items_user_id_book_id", "UPDATE cart_items SET book_id = uuid(1)"),
    ("uq_genres_name", "UPDATE genres SET name = 'DRAMA' WHERE id = uuid(2)"),
    ("uq_genres_slug", "UPDATE genres SET slug = 'drama'"),
    ("uq_identities_provider_account", "UPDATE identities SET account = '1'"),
    ("uq_letters_kind_subject_id_user_id_repeat", "UPDATE letters SET subject_id = uuid(1)"),
    ("uq_one_time_tokens_hash", "UPDATE one_time_tokens SET hash = sha256('1')"),
    ("uq_order_items_order_id_book_id", "UPDATE order_items SET book_id = uuid(1)"),
    ("uq_orders_number", "UPDATE orders SET number = 'A-1'"),
    ("uq_orders_user_id_idempotency_key", "UPDATE orders SET idempotency_key = 'once'"),
    ("uq_prebookings_waiting", "UPDATE prebookings SET book_id = uuid(1)"),
    ("uq_refresh_tokens_hash", "UPDATE refresh_tokens SET hash = sha256('1')"),
    ("uq_refresh_tokens_parent_id", "UPDATE refresh_tokens SET parent_id = uuid(1) WHERE id = uuid(3)"),
    ("uq_reviews_living", "UPDATE reviews SET user_id = uuid(1)"),
    ("uq_users_email", "UPDATE users SET email = 'ann@example.com'"),
    ("uq_wishlist_items_user_id_book_id", "UPDATE wishlist_items SET book_id = uuid(1)"),
)

SELECT_CONSTRAINTS = """
SELECT conname FROM pg_constraint WHERE contype IN ('c', 'u') AND connamespace = 'public'::regnamespace
UNION SELECT indexrelid::regclass::text FROM pg_index
WHERE indisunique AND NOT indisprimary AND indrelid::regclass::text IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public')
"""

CREATE_UUID_FUNCTION = """
CREATE FUNCTION pg_temp.uuid(number int) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN lpad(number::text, 32, '0')::uuid
"""


@pytest.fixture
async def rows(shop: Shop, postgres: asyncpg.Connection) -> asyncpg.Connection:
    """Return a connection to tables with a few valid rows each; `uuid(1)` is the id of the first row."""
    async with postgres.transaction():
        await postgres.execute("DROP FUNCTION IF EXISTS pg_temp.uuid")
        await postgres.execute(CREATE_UUID_FUNCTION)
        await postgres.execute(INSERT_ROWS.replace("uuid(", "pg_temp.uuid("))
    return postgres


async def test_every_constraint_has_a_case(postgres: asyncpg.Connection) -> None:
    constraints = {
        record["conname"] for record in await postgres.fetch(SELECT_CONSTRAINTS) if "pgqueuer" not in record["conname"]
    }

    assert constraints == {constraint for constraint, _ in VIOLATIONS}


@pytest.mark.parametrize(("constraint", "violation"), VIOLATIONS)
async def test_invalid_row_violates_the_named_constraint(
    rows: asyncpg.Connection, constraint: str, violation: str
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as error_info:
        await rows.execute(violation.replace("uuid(", "pg_temp.uuid("))

    assert error_info.value.constraint_name == constraint
