"""Each invariant detects data that violates it."""

import asyncpg
import pytest

from domain.shop import Shop
from persistence.invariants import INVARIANTS, find_violations
from tests.support.auth.sessions import REGISTER
from tests.support.http.client import ApiClient
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_book

VIOLATIONS = {
    "stock is the sum of its ledger": "UPDATE books SET stock_quantity = stock_quantity + 1",
    "an order costs what its lines cost": "UPDATE order_items SET quantity = quantity + 1",
    "an effective order has taken its stock, another none": "UPDATE order_items SET quantity = quantity + 1",
    "an effective order is paid": "UPDATE mock_payments SET refunded_at = now()",
    "the payment of an ineffective order is refunded or due": "UPDATE orders SET refund_due_at = NULL",
    "an effective order has one confirmation email, one never effective has none": "DELETE FROM letters",
    "an unfinished email has a job": "DELETE FROM pgqueuer",
    "a session has at most one unused refresh token": """
        INSERT INTO refresh_tokens (id, session_id, hash, expires_at)
        SELECT gen_random_uuid(), session_id, sha256(hash), expires_at FROM refresh_tokens""",
    "ratings are the sums of the reviews": "UPDATE book_ratings SET five = 1",
}


@pytest.mark.parametrize("invariant", INVARIANTS)
async def test_each_invariant_detects_its_violation(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, invariant: str
) -> None:
    book = await add_book(shop, stock=5)
    for key in ("confirmed", "cancelled"):
        customer = await add_customer(client, shop, (book, 1))
        result = await customer.checkout(key)
        if key == "cancelled":
            await customer.cancel_order(result["order"]["id"])
    registration = {"email": "new@example.com", "password": "correct horse battery", "displayName": "New"}
    assert (await client.execute(REGISTER, input=registration))["register"]["__typename"] == "LoggedIn"
    assert await find_violations(postgres) == []
    await postgres.execute(VIOLATIONS[invariant])
    assert invariant in await find_violations(postgres)
