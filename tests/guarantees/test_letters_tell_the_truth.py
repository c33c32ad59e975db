"""Letters tell the truth: what was rolled back was never told, and what was committed arrives once, whatever happens."""

import asyncpg

from domain.shop import Shop
from server.settings import Settings
from tests.client import Visitor
from tests.customers import add_customer
from tests.factories import add_book
from tests.letters import at, parts, posting, until_settled
from tests.smtp import mail_server


async def test_a_purchase_is_confirmed_by_a_letter_that_arrives_once(
    visitor: Visitor, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    customer = await add_customer(visitor, shop, (await add_book(shop, "Emma", price="12.50"), 2))
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        placed = await customer.buys()
        assert await until_settled(postgres) == [("ORDER_CONFIRMED", "SENT")]
    [letter] = mailbox.to(customer.member.user.email)
    for part in parts(letter):
        assert placed["order"]["number"] in part
        assert "Emma" in part
        assert "€25.00" in part
