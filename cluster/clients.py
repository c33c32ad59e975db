"""Visitors who browse, and customers who buy and do not give up, each with an address of their own."""

import asyncio
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx2

from cluster.journal import Journal, Kind

BROWSE = "{ books(first: 20) { nodes { id title authors { name } price { amount } availability } } }"
BOOK = "query ($id: ID!) { book(by: {id: $id}) { title description averageRating relatedBooks { title } } }"
SEARCH = "query ($text: String!) { books(search: $text, first: 10) { nodes { id title } } }"
WORDS = ("the garden", "history", "silver night", "sea", "lost letters")
_SIGNED_IN = "{ __typename ... on LoggedIn { tokens { accessToken } } }"
REGISTER = f"mutation ($email: String!, $password: String!) {{ register(input: {{email: $email, password: $password}}) {_SIGNED_IN} }}"
LOGIN = f"mutation ($email: String!, $password: String!) {{ login(input: {{email: $email, password: $password}}) {_SIGNED_IN} }}"
ADD = "mutation ($id: ID!) { addToCart(input: {bookId: $id}) { __typename } }"
BUY = """mutation ($key: String!) { checkout(input: {idempotencyKey: $key, paymentToken: "mock-approve"}) {
    __typename ... on OrderPlaced { order { number } } } }"""

PATIENCE = 10  # seconds for an answer
TIRED_AFTER = 120  # seconds of trying
FIRST_WAIT, LONGEST_WAIT = 0.2, 2.0  # seconds before another try


class Unanswered(Exception):
    """No good answer came. The shop says how many seconds to wait, where it can say anything."""

    def __init__(self, reason: str, retry_after: float = 0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(slots=True)
class Client:
    front: str
    address: str
    journal: Journal
    chance: random.Random
    token: str | None = None
    _http: httpx2.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        transport = httpx2.AsyncHTTPTransport(local_address=self.address)
        self._http = httpx2.AsyncClient(base_url=self.front, transport=transport, timeout=PATIENCE)

    async def close(self) -> None:
        await self._http.aclose()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self.chance.uniform(0.5, 1.5))

    async def ask(self, kind: Kind, document: str, /, **variables: object) -> dict[str, Any]:
        """Once; noted. Raises `Unanswered`."""
        try:
            data = await self._asked({"query": document, "variables": variables})
        except Unanswered as unanswered:
            self.journal.note(kind, str(unanswered))
            raise
        self.journal.note(kind)
        return data

    async def insist(self, document: str, /, **variables: object) -> dict[str, Any]:
        """A write, tried again as it was until it is answered, with longer waits. Raises `Unanswered` after two minutes."""
        wait, until = FIRST_WAIT, asyncio.get_running_loop().time() + TIRED_AFTER
        while True:
            try:
                return await self.ask(Kind.WRITE, document, **variables)
            except Unanswered as unanswered:
                if asyncio.get_running_loop().time() > until:
                    self.journal.given_up += 1
                    raise
                await self.pause(max(wait, unanswered.retry_after))
                wait = min(wait * 2, LONGEST_WAIT)

    async def _asked(self, body: dict[str, object]) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            response = await self._http.post("/graphql", json=body, headers=headers)
            told: dict[str, Any] = response.json()
        except (httpx2.HTTPError, OSError) as error:
            raise Unanswered(type(error).__name__) from error
        except ValueError as error:  # the load balancer's own page
            raise Unanswered(f"{response.status_code} from the load balancer") from error
        if errors := told.get("errors"):
            extensions = errors[0].get("extensions", {})
            raise Unanswered(extensions.get("code", "no code"), extensions.get("retryAfter", 0))
        if response.status_code != 200:
            raise Unanswered(str(response.status_code))
        data: dict[str, Any] = told["data"]
        return data


async def browse(client: Client, books: list[str]) -> None:
    """For as long as it is let."""
    while True:
        wish = client.chance.random()
        try:
            if wish < 0.6:
                await client.ask(Kind.READ, BROWSE)
            elif wish < 0.85:
                await client.ask(Kind.READ, BOOK, id=client.chance.choice(books))
            else:
                await client.ask(Kind.READ, SEARCH, text=client.chance.choice(WORDS))
        except Unanswered:
            await client.pause(FIRST_WAIT)
        await client.pause(0.15)


async def buy(client: Client, books: list[str], closing: asyncio.Event) -> None:
    """Signs in, fills a cart, checks out, over and over; the last purchase is brought to its end when the shop closes."""
    who = {"email": f"{uuid.uuid4().hex}@example.com", "password": "a cluster's customer"}
    await client.insist(REGISTER, **who)
    while not closing.is_set():
        try:
            await _go_shopping(client, books, who)
        except Unanswered:
            continue
        await client.pause(0.3)


async def _go_shopping(client: Client, books: list[str], who: dict[str, str]) -> None:
    client.token = None
    signed_in = (await client.insist(LOGIN, **who))["login"]
    client.token = signed_in["tokens"]["accessToken"]
    for book in client.chance.sample(books, 2):
        await client.pause(0.1)
        await client.insist(ADD, id=book)
    key = uuid.uuid4().hex
    outcome = (await client.insist(BUY, key=key))["checkout"]
    if outcome["__typename"] == "OrderPlaced":
        client.journal.placed(key, outcome["order"]["number"])
    else:
        client.journal.refusals[outcome["__typename"]] += 1
