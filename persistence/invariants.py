"""Invariants of the whole database, which hold after any failure; each is a query for violations."""

import asyncpg

INVARIANTS = {
    "stock is the sum of its ledger": """
        SELECT id FROM books
        WHERE stock_quantity <> (SELECT coalesce(sum(change), 0) FROM stock_movements WHERE book_id = books.id)""",
    "an order costs what its lines cost": """
        SELECT id FROM orders
        WHERE (total, total_quantity) <> (
            SELECT coalesce(sum(quantity * unit_price), 0), coalesce(sum(quantity), 0)
            FROM order_items WHERE order_id = orders.id)""",
    "an effective order has taken its stock, another none": """
        SELECT orders.id FROM orders JOIN order_items ON order_id = orders.id
        WHERE book_id IS NOT NULL
        AND CASE WHEN status IN ('PENDING', 'CONFIRMED', 'SHIPPED') THEN -quantity ELSE 0 END
            <> (SELECT coalesce(sum(change), 0) FROM stock_movements AS movement
                WHERE movement.order_id = orders.id AND movement.book_id = order_items.book_id)""",
    "an effective order is paid": """
        SELECT id FROM orders
        WHERE status IN ('CONFIRMED', 'SHIPPED') AND NOT EXISTS (
            SELECT FROM mock_payments AS payment WHERE key = orders.id::text
            AND payment.status = 'APPROVED' AND amount = total AND refunded_at IS NULL)""",
    "the payment of an ineffective order is refunded or due": """
        SELECT orders.id FROM orders JOIN mock_payments AS payment ON key = orders.id::text
        WHERE orders.status IN ('PAYMENT_FAILED', 'CANCELLED') AND payment.status = 'APPROVED'
        AND payment.refunded_at IS NULL AND refund_due_at IS NULL""",
    "an effective order has one confirmation email, one never effective has none": """
        SELECT id FROM orders
        WHERE status <> 'CANCELLED' AND (status IN ('CONFIRMED', 'SHIPPED'))::int
            <> (SELECT count(*) FROM letters WHERE kind = 'ORDER_CONFIRMED' AND subject_id = orders.id)""",
    "an unfinished email has a job": """
        SELECT id FROM letters WHERE status = 'QUEUED'
        AND NOT EXISTS (SELECT FROM pgqueuer WHERE convert_from(payload, 'UTF8') = letters.id::text)""",
    "a session has at most one unused refresh token": """
        SELECT session_id FROM refresh_tokens WHERE used_at IS NULL GROUP BY session_id HAVING count(*) > 1""",
    "ratings are the sums of the reviews": """
        SELECT book_id FROM book_ratings
        WHERE (one, two, three, four, five) <> (
            SELECT count(*) FILTER (WHERE rating = 1), count(*) FILTER (WHERE rating = 2),
                count(*) FILTER (WHERE rating = 3), count(*) FILTER (WHERE rating = 4),
                count(*) FILTER (WHERE rating = 5)
            FROM reviews WHERE reviews.book_id = book_ratings.book_id AND deleted_at IS NULL)""",
}


async def find_violations(postgres: asyncpg.Connection) -> list[str]:
    """Return the names of the violated invariants. Each query reads whole tables."""
    return [name for name, query in INVARIANTS.items() if await postgres.fetch(query)]
