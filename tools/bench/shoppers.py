"""Simulated visitors and customers: the documents that they send, and how often they send each."""

import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from tools.bench.load_clients import Client, Response

BROWSE = """query ($first: Int = 20) { books(first: $first) { nodes { id title authors { name } isbn price { amount } availability
    genre { name } averageRating reviewCount } pageInfo { hasNextPage endCursor } } }"""
BOOK = """query ($id: ID!) { book(by: {id: $id}) { title description authors { name } averageRating
    reviews(first: 10) { nodes { rating text reviewer { displayName } } } } }"""
SEARCH = "query ($text: String!) { books(search: $text, first: 20) { nodes { id title } } }"
ADD_TO_CART = "mutation ($id: ID!) { addToCart(input: {bookId: $id}) { __typename } }"
CHECKOUT = """mutation ($key: String!) { checkout(input: {idempotencyKey: $key, paymentToken: "mock-approve"}) {
    __typename ... on OrderPlaced { order { number } } } }"""
_LOGGED_IN = "{ __typename ... on LoggedIn { tokens { accessToken } } }"
REGISTER = f"mutation ($email: String!, $password: String!) {{ register(input: {{email: $email, password: $password}}) {_LOGGED_IN} }}"
LOGIN = f"mutation ($email: String!, $password: String!) {{ login(input: {{email: $email, password: $password}}) {_LOGGED_IN} }}"
PASSWORD = "a measured password"
SEARCH_PHRASES = ("war", "pri prej", "sea", "the adv")


@dataclass(slots=True)
class Shoppers:
    """Of 100 requests: 70 browse, 15 open a book, 10 search, 5 add to the cart, and 1 of these checks out."""

    books: list[str]
    randomness: random.Random = field(default_factory=lambda: random.Random(7))

    async def send(self, client: Client) -> Response:
        """Send one request of the mix."""
        percentile, book = self.randomness.random() * 100, self.randomness.choice(self.books)
        if percentile < 70:
            return await client.query(BROWSE)
        if percentile < 85:
            return await client.query(BOOK, id=book)
        if percentile < 95:
            return await client.query(SEARCH, text=self.randomness.choice(SEARCH_PHRASES))
        response = await client.query(ADD_TO_CART, id=book)
        return response if percentile < 99 else await client.query(CHECKOUT, key=uuid.uuid4().hex)


def make_clients(count: int, port: int, network: str = "127.0.1", *, reconnects: bool = True) -> list[Client]:
    """Return clients with different source addresses, so each has a rate limit of its own."""
    return [Client(port, f"{network}.{number}", reconnects=reconnects) for number in range(1, count + 1)]


async def register(clients: Iterable[Client]) -> None:
    """Give each client a new account and its access token."""
    for client in clients:
        client.token = None
        _, body = await client.query(REGISTER, email=f"{uuid.uuid4().hex}@example.com", password=PASSWORD)
        client.token = orjson.loads(body)["data"]["register"]["tokens"]["accessToken"]


async def list_book_ids(client: Client) -> list[str]:
    """Return the ids of the 100 newest books."""
    _, body = await client.query(BROWSE, first=100)
    return [node["id"] for node in orjson.loads(body)["data"]["books"]["nodes"]]
