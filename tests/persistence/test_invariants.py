"""The invariants that faults are tried against notice when something is wrong."""

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
    "an order that stands has taken its copies, another none": "UPDATE order_items SET quantity = quantity + 1",
    "an order that stands is paid": "UPDATE mock_payments SET refunded_at = now()",
    "money for an order that does not stand is back or on its way": "UPDATE orders SET refund_due_at = NULL",
    "an order that stands has one letter, one that never stood has none": "DELETE FROM letters",
    "a letter that is not settled has a job": "DELETE FROM pgqueuer",
    "a session has one refresh token to use at most": """
        INSERT INTO refresh_tokens (id, session_id, hash, expires_at)
        SELECT gen_random_uuid(), session_id, sha256(hash), expires_at FROM refresh_tokens""",
    "ratings are those of the living reviews": "UPDATE book_ratings SET five = 1",
}


@pytest.mark.parametrize("invariant", INVARIANTS)
async def test_each_invariant_detects_its_violation(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, invariant: str
) -> None:
    book = await add_book(shop, stock=5)
    for key in ("stands", "cancelled"):
        customer = await add_customer(client, shop, (book, 1))
        placed = await customer.checkout(key)
        if key == "cancelled":
            await customer.cancel_order(placed["order"]["id"])
    newcomer = {"email": "new@example.com", "password": "correct horse battery", "displayName": "New"}
    assert (await client.execute(REGISTER, input=newcomer))["register"]["__typename"] == "LoggedIn"
    assert await find_violations(postgres) == []
    await postgres.execute(VIOLATIONS[invariant])
    assert invariant in await find_violations(postgres)
