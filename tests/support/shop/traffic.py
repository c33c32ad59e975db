"""A small mix of requests: queries, orders, a rejected checkout, failed logins and invalid documents."""

from domain.shop import Shop
from tests.support.auth.sessions import REGISTER, try_login
from tests.support.http.client import ApiClient
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_book

PASSWORD = "a long and winding sentence"
BROWSE = "query Browse { books(first: 5) { nodes { title price { amount } } } }"


async def run_sample_traffic(client: ApiClient, shop: Shop) -> None:
    """Send requests with two orders, a registration, two failed logins, a rejected checkout and two invalid requests."""
    book, scarce_book = await add_book(shop, stock=50), await add_book(shop, stock=1)
    for _ in range(3):
        assert not (await client.execute(BROWSE)).errors
    await client.execute(REGISTER, input={"email": "ann@example.com", "password": PASSWORD})
    for _ in range(2):
        assert (await try_login(client, "ann@example.com", "wrong"))["code"] == "AUTH_INVALID_CREDENTIALS"
    customer = await add_customer(client, shop, (book, 2))
    assert (await customer.checkout())["__typename"] == "OrderPlaced"
    second_buyer, first_buyer = (
        await add_customer(client, shop, (scarce_book, 1)),
        await add_customer(client, shop, (scarce_book, 1)),
    )
    assert (await first_buyer.checkout())["__typename"] == "OrderPlaced"
    assert (await second_buyer.checkout())["__typename"] == "InsufficientStock"
    async with client.http() as http:
        await http.post("/graphql", json={"query": "{ nothing }"})
        await http.post("/graphql", content=b"{", headers={"content-type": "application/json"})
        await http.get("/health")
