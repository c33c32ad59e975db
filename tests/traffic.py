"""A day in a shop, in a few seconds: books looked at, an order, a refusal at the till, failed sign-ins, mistakes."""

from domain.shop import Shop
from tests.client import Visitor
from tests.customers import add_customer
from tests.factories import add_book
from tests.sessions import REGISTER, try_to_log_in

PASSWORD = "a long and winding sentence"
BROWSE = "query Browse { books(first: 5) { nodes { title price { amount } } } }"


async def a_day(visitor: Visitor, shop: Shop) -> None:
    """One order, one letter of it and one of a registration; two sign-ins that fail, one checkout that is refused."""
    book, rare = await add_book(shop, stock=50), await add_book(shop, stock=1)
    for _ in range(3):
        assert not (await visitor.ask(BROWSE)).errors
    await visitor.ask(REGISTER, input={"email": "ann@example.com", "password": PASSWORD})
    for _ in range(2):
        assert (await try_to_log_in(visitor, "ann@example.com", "wrong"))["code"] == "AUTH_INVALID_CREDENTIALS"
    first = await add_customer(visitor, shop, (book, 2))
    assert (await first.buys())["__typename"] == "OrderPlaced"
    late, early = await add_customer(visitor, shop, (rare, 1)), await add_customer(visitor, shop, (rare, 1))
    assert (await early.buys())["__typename"] == "OrderPlaced"
    assert (await late.buys())["__typename"] == "InsufficientStock"
    async with visitor.http() as http:
        await http.post("/graphql", json={"query": "{ nothing }"})
        await http.post("/graphql", content=b"{", headers={"content-type": "application/json"})
        await http.get("/health")
